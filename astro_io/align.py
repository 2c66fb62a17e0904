"""Bring the bands of one image onto one pixel grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

Align = Literal["reproject", "refuse", "ignore"]

TOLERANCE_PX = 0.5
"""Typical offset along an axis that is left alone: no shift by whole pixels improves on it."""

MAX_TOLERANCE_PX = 1.0
"""Offset that is not left alone anywhere in the image, as at the corners of a turned band."""

BLOCK_PX = 1024
"""Side of the blocks that are resampled at a time, which bounds the memory."""

GRID_POINTS = 7
"""Points along each axis where two WCS are compared."""


def reference_index(bands: Sequence[str]) -> int:
    """Return which band the others are aligned to: r, or else the middle one."""
    return list(bands).index("r") if "r" in bands else len(bands) // 2


def wcs_offset_px(reference: WCS, other: WCS, shape: tuple[int, int]) -> tuple[float, float]:
    """Measure how far two WCS disagree over an image.

    Parameters
    ----------
    reference, other : astropy.wcs.WCS
        Celestial, two-dimensional.
    shape : tuple of int
        Height and width of the image in pixels.

    Returns
    -------
    typical, largest : float
        Median over the image, along the worse axis, and maximum, in pixels of `other`.
        Infinite where a point of one image has no place in the other.
    """
    from astropy.wcs.utils import pixel_to_pixel

    y, x = np.meshgrid(
        np.linspace(0, shape[0] - 1, GRID_POINTS), np.linspace(0, shape[1] - 1, GRID_POINTS)
    )
    try:
        x_other, y_other = pixel_to_pixel(reference, other, x, y)
    except ValueError:  # astropy's errors of transformation derive from it
        return np.inf, np.inf
    offsets = np.abs([x_other - x, y_other - y])
    if not np.isfinite(offsets).all():
        return np.inf, np.inf
    return float(np.median(offsets, axis=(1, 2)).max()), float(offsets.max())


def is_aligned(reference: WCS, other: WCS, shape: tuple[int, int]) -> bool:
    """Return whether two bands agree to half a pixel, and nowhere differ by more than one."""
    typical, largest = wcs_offset_px(reference, other, shape)
    return typical <= TOLERANCE_PX and largest <= MAX_TOLERANCE_PX


def reproject_band(
    values: np.ndarray, wcs: WCS, reference: WCS, shape: tuple[int, int]
) -> np.ndarray:
    """Resample one band onto the pixels of the reference by bilinear interpolation.

    Pixels hold flux, not surface brightness, so values are multiplied by the ratio of the
    pixel areas. Neighbouring pixels share noise afterwards.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W)
        NaN where bad; the neighbours of such a pixel become NaN as well.
    wcs, reference : astropy.wcs.WCS
        Celestial WCS of the band and of the reference band.
    shape : tuple of int
        Height and width of the result.

    Returns
    -------
    ndarray of float32, shape `shape`
        NaN where the band does not reach.
    """
    from astropy.wcs.utils import proj_plane_pixel_area
    from reproject import reproject_interp

    area_ratio = proj_plane_pixel_area(reference) / proj_plane_pixel_area(wcs)
    result = np.empty(shape, np.float32)
    for y in range(0, shape[0], BLOCK_PX):
        for x in range(0, shape[1], BLOCK_PX):
            block = result[y : y + BLOCK_PX, x : x + BLOCK_PX]
            block_wcs = reference[y : y + block.shape[0], x : x + block.shape[1]]
            block[...] = area_ratio * reproject_interp(
                (values, wcs), block_wcs, block.shape, order="bilinear", return_footprint=False
            )
    return result
