"""Anchor boxes of a feature pyramid; numpy, made once for each image size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=32)
def pyramid_anchors(
    shape: tuple[int, int],
    *,
    levels: tuple[int, ...],
    scales: tuple[float, ...],
    ratios: tuple[float, ...],
    stride: int = 1,
) -> np.ndarray:
    """Place anchors on every level of a pyramid.

    Parameters
    ----------
    shape : tuple of int
        Image height and width in pixels, multiples of the largest stride.
    levels : tuple of int
        Level n has stride ``2**n`` pixels.
    scales : tuple of float
        Anchor size in pixels at each level: the square root of its area.
    ratios : tuple of float
        Width over height.
    stride : int
        Use every n-th cell.

    Returns
    -------
    ndarray of float32, shape (A, 4)
        Pixel edges ``y1, x1, y2, x2``; order level, row, column, ratio. Centres lie at
        ``index * 2**level`` (the corner of a cell), as the released weights expect. Do not
        modify: the array is shared between callers.
    """
    parts = [
        _level_anchors(shape, 2**level, scale, ratios, stride)
        for level, scale in zip(levels, scales, strict=True)
    ]
    anchors = np.concatenate(parts).astype(np.float32)
    anchors.setflags(write=False)
    return anchors


def _level_anchors(
    shape: tuple[int, int], cell: int, scale: float, ratios: Sequence[float], stride: int
) -> np.ndarray:
    root = np.sqrt(np.asarray(ratios, float))
    heights, widths = scale / root, scale * root
    rows = np.arange(0, -(-shape[0] // cell), stride) * cell
    columns = np.arange(0, -(-shape[1] // cell), stride) * cell
    y, x = (grid[..., None] for grid in np.meshgrid(rows, columns, indexing="ij"))
    edges = [y - heights / 2, x - widths / 2, y + heights / 2, x + widths / 2]
    return np.stack(edges, axis=-1).reshape(-1, 4)
