"""Gaps: straight strips without data between the detectors of a mosaic camera."""

from __future__ import annotations

import numpy as np


def draw_gap(rng: np.random.Generator, shape: tuple[int, int], *, width_px: float) -> np.ndarray:
    """Draw a strip along rows or columns, at least one pixel wide.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    width_px : float

    Returns
    -------
    ndarray of bool, shape (H, W)
        True in the gap; part of it may lie outside the field.
    """
    gap = np.zeros(shape, dtype=bool)
    width = max(1, round(width_px))
    axis = int(rng.integers(0, 2))
    start = int(rng.integers(1 - width, shape[axis]))
    strip = slice(max(0, start), start + width)
    gap[(strip, slice(None)) if axis == 0 else (slice(None), strip)] = True
    return gap
