"""From a mask on the grid of its box to pixels of the image."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

MASK_THRESHOLD = 0.5


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Resample each mask at the centres of the pixels that its box covers.

    Parameters
    ----------
    masks : ndarray of float, shape (N, S, S)
        Probability that a cell belongs to the source; S x S cells fill the box.
    boxes : ndarray of float, shape (N, 4)
        Pixel edges ``y1, x1, y2, x2``, fractions allowed.
    shape : tuple of int
        Image height and width.

    Returns
    -------
    mask_boxes : ndarray of int32, shape (N, 4)
        Inside the image: tight around the pixels above `MASK_THRESHOLD`; where there is none, the
        pixels of the box.
    pasted : tuple of ndarray of bool
        One a source, of the shape of its mask box.
    """
    mask_boxes = np.zeros((len(boxes), 4), np.int32)
    pasted = []
    for index, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        mask_boxes[index], pixels = _paste(mask, box, shape)
        pasted.append(pixels)
    return mask_boxes, tuple(pasted)


def _paste(
    mask: np.ndarray, box: np.ndarray, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    y1, x1, y2, x2 = (float(edge) for edge in box)
    top, bottom = _covered(y1, y2, shape[0])
    left, right = _covered(x1, x2, shape[1])
    if bottom == top or right == left or y2 <= y1 or x2 <= x1:
        return (top, left, bottom, right), np.zeros((bottom - top, right - left), bool)
    size = mask.shape[0]
    rows = (np.arange(top, bottom) + 0.5 - y1) / (y2 - y1) * size - 0.5
    columns = (np.arange(left, right) + 0.5 - x1) / (x2 - x1) * size - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    values = map_coordinates(mask, grid, order=1, mode="nearest")
    is_inside = (np.abs(rows - size / 2 + 0.5) <= size / 2)[:, None] & (
        np.abs(columns - size / 2 + 0.5) <= size / 2
    )[None]
    pixels = (values > MASK_THRESHOLD) & is_inside
    if not pixels.any():
        return (top, left, bottom, right), pixels
    used_rows, used_columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    first_row, last_row = int(used_rows[0]), int(used_rows[-1]) + 1
    first_column, last_column = int(used_columns[0]), int(used_columns[-1]) + 1
    tight = (top + first_row, left + first_column, top + last_row, left + last_column)
    return tight, pixels[first_row:last_row, first_column:last_column]


def _covered(low: float, high: float, size: int) -> tuple[int, int]:
    """Return first and last (exclusive) pixel that an interval covers, inside 0..size."""
    first = min(max(int(np.floor(low)), 0), size)
    return first, max(min(int(np.ceil(high)), size), first)
