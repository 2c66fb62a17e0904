"""Pixels summed in blocks, those without data left out; the WCS of what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

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


def binned_wcs(wcs: WCS, factor: int) -> WCS:
    """Return the WCS of an image whose pixels are added up in blocks of `factor` on a side.

    Whether the header has CDi_j, PCi_j or CDELTi, with SIP distortion or without (slices of
    astropy leave CDi_j and the distortion as they were).
    """
    from astropy.wcs import Sip

    new = wcs.deepcopy()
    crpix = (np.asarray(wcs.wcs.crpix) - 0.5) / factor + 0.5
    if wcs.wcs.has_cd():
        new.wcs.cd = np.asarray(wcs.wcs.cd) * factor
    else:
        new.wcs.cdelt = np.asarray(wcs.wcs.cdelt) * factor
    new.wcs.crpix = crpix
    if wcs.sip is not None:
        tables = [getattr(wcs.sip, name) for name in ("a", "b", "ap", "bp")]
        new.sip = Sip(*(_binned_terms(table, factor) for table in tables), crpix)
    if wcs.array_shape is not None:
        new.array_shape = tuple(size // factor for size in wcs.array_shape)
    new.wcs.set()
    return new


def _binned_terms(table: np.ndarray | None, factor: int) -> np.ndarray | None:
    """Return coefficients of u^p v^q for offsets in pixels `factor` times as wide."""
    if table is None:
        return None
    p, q = np.indices(table.shape)
    return np.asarray(table * float(factor) ** (p + q - 1.0))
