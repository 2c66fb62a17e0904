"""Stamps on another pixel scale: flux conserved, pixels of the result averaged over their area."""

from __future__ import annotations

import math

import numpy as np


def source_size(size: int, ratio: float) -> int:
    """Return the side of the stamp that `resample_stamps` needs, in its own pixels.

    Odd where `size` is, so that both have their middle at the same place.
    """
    side = math.ceil(size * ratio) + 2
    return side + (side - size) % 2


def resample_stamps(stamps: np.ndarray, *, ratio: float, size: int) -> np.ndarray:
    """Bring stamps to larger or smaller pixels around the same middle.

    Parameters
    ----------
    stamps : ndarray of float32, shape (N, H, W, B)
        Flux a pixel; NaN where there is no data, which spreads to the neighbours.
    ratio : float
        Side of a wanted pixel in present pixels.
    size : int
        Side of the result.

    Returns
    -------
    ndarray of float32, shape (N, size, size, B)
        Bilinear, summed over ``ratio**2`` present pixels.
    """
    from scipy.ndimage import map_coordinates

    n, height, width, n_bands = stamps.shape
    fine = max(1, math.ceil(ratio))
    offsets = (np.arange(size * fine) + 0.5) / fine - size / 2
    y = (height - 1) / 2 + ratio * offsets
    x = (width - 1) / 2 + ratio * offsets
    grid = np.meshgrid(y, x, indexing="ij")
    result = np.empty((n, size, size, n_bands), np.float32)
    for i in range(n):
        for b in range(n_bands):
            plane = map_coordinates(stamps[i, ..., b], grid, order=1, mode="constant", cval=np.nan)
            blocks = plane.reshape(size, fine, size, fine)
            result[i, ..., b] = blocks.mean(axis=(1, 3)) * ratio**2
    return result
