"""Pixels summed in blocks, those without data left out."""

from __future__ import annotations

import numpy as np

LEAST_GOOD = 0.5
"""Share of the pixels of a block that must have data."""


def bin_pixels(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return the sums over blocks of ``factor**2`` pixels.

    Parameters
    ----------
    pixels : ndarray of float, shape (..., H, W, B)
        Flux a pixel; NaN where there is no data. Height and width are multiples of `factor`.
    factor : int

    Returns
    -------
    ndarray of float32, shape (..., H / factor, W / factor, B)
        Where pixels of a block lack data, the others stand for them; NaN where fewer than
        `LEAST_GOOD` have any.
    """
    *leading, height, width, n_bands = pixels.shape
    shape = (*leading, height // factor, factor, width // factor, factor, n_bands)
    blocks = pixels.reshape(shape)
    axes = (len(leading) + 1, len(leading) + 3)
    sums: np.ndarray = blocks.sum(axis=axes, dtype=np.float32)
    if np.isfinite(sums).all():
        return sums
    good = np.isfinite(blocks)
    share = good.mean(axis=axes, dtype=np.float32)
    sums = np.where(good, blocks, 0.0).sum(axis=axes, dtype=np.float32)
    filled: np.ndarray = np.where(
        share >= LEAST_GOOD, sums / np.maximum(share, LEAST_GOOD), np.float32(np.nan)
    )
    return filled
