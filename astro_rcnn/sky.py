"""The sky under the sources: its level, its noise, and how far the noise is correlated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SKY_BOX_PX = 128
"""Smallest side of a mesh box, where level and noise are measured; wide against most galaxies."""

GROWTH_PX = 4
"""Masks are grown by this much before the sky is measured around them."""

CORRELATION_BLOCK_PX = 8
"""Side of the blocks whose scatter is compared with that of single pixels."""

MIN_BLOCKS = 50
"""With fewer blocks of empty sky the noise is taken as uncorrelated."""

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BandSky:
    """One band with its sky taken off.

    Attributes
    ----------
    light : ndarray of float32, shape (H, W)
        Flux above the local sky; 0 in bad pixels.
    sigma : ndarray of float32, shape (H, W)
        Standard deviation of the sky in one pixel, same unit, above zero. In an image without
        noise it is that of all pixels, so that errors are too large rather than none.
    correlation : float
        What the error of a sum over many pixels is larger by than for independent pixels;
        at least 1. Resampled and drizzled images have 1.5 to 3.
    """

    light: np.ndarray
    sigma: np.ndarray
    correlation: float


def grow_masks(covered: np.ndarray) -> np.ndarray:
    """Return the pixels within `GROWTH_PX` of sources: bool, shape (H, W)."""
    return ndimage.binary_dilation(covered, iterations=GROWTH_PX)


def subtract_sky(plane: np.ndarray, bad: np.ndarray, around: np.ndarray) -> BandSky:
    """Measure the sky of one band around the sources and take it off.

    Level and noise come from sigma-clipped statistics in a mesh of `SKY_BOX_PX`, interpolated;
    images under two boxes across, or without enough empty sky, get one level for all.

    Parameters
    ----------
    plane : ndarray of float32, shape (H, W)
        Flux of one band.
    bad : ndarray of bool, shape (H, W)
        Pixels without a usable value.
    around : ndarray of bool, shape (H, W)
        Pixels of sources and around them (`grow_masks`): no sky.

    Returns
    -------
    BandSky
        With light 0 and sigma 1 if there is no good pixel at all.
    """
    good = ~bad
    if not good.any():
        ones = np.ones(plane.shape, np.float32)
        return BandSky(light=np.zeros_like(ones), sigma=ones, correlation=1.0)
    smooth = _spread_steps(plane, good)
    level, sigma = _mesh(smooth, bad, around) or _global_level(smooth, good, around)
    light = np.where(good, plane - np.asarray(level, np.float32), np.float32(0))
    sigma = np.broadcast_to(np.asarray(sigma, np.float32), plane.shape)
    correlation = noise_correlation(light / sigma, good & ~around)
    return BandSky(light=light.astype(np.float32), sigma=sigma, correlation=correlation)


def noise_correlation(noise: np.ndarray, usable: np.ndarray) -> float:
    """Compare the scatter of block sums with what independent pixels would give.

    Parameters
    ----------
    noise : ndarray of float, shape (H, W)
        Sky-subtracted pixels in units of their standard deviation.
    usable : ndarray of bool, shape (H, W)
        Pixels of empty sky.

    Returns
    -------
    float
        Ratio of standard deviations, at least 1; exactly 1 with under `MIN_BLOCKS` blocks.
    """
    from skimage.measure import block_reduce

    block = (CORRELATION_BLOCK_PX, CORRELATION_BLOCK_PX)
    is_empty = block_reduce(usable, block, np.all, cval=False)
    sums = block_reduce(noise, block, np.sum)[is_empty]
    if sums.size < MIN_BLOCKS:
        return 1.0
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(sums - np.median(sums))))
    return max(1.0, scatter / CORRELATION_BLOCK_PX)


def _spread_steps(plane: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return whole numbers with their steps filled evenly; other images as they are.

    Medians of whole numbers are whole: a mode of 2.5 medians less 1.5 means would be wrong by up
    to 1.25.
    """
    values = plane[good]
    if not np.array_equal(values, np.rint(values)) or (values == values[0]).all():
        return plane
    rng = np.random.default_rng(0)
    return plane + rng.uniform(-0.5, 0.5, plane.shape).astype(np.float32)


def _mesh(
    plane: np.ndarray, bad: np.ndarray, around: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return maps of level and noise, or None where a mesh makes no sense."""
    from photutils.background import Background2D, MADStdBackgroundRMS

    n_boxes = np.array(plane.shape) // SKY_BOX_PX
    if n_boxes.min() < 2 or np.count_nonzero(~(bad | around)) < SKY_BOX_PX**2 // 8:
        return None
    try:
        background = Background2D(
            plane,
            np.ceil(np.array(plane.shape) / n_boxes).astype(int),
            mask=bad | around,
            exclude_percentile=85.0,
            filter_size=3 if n_boxes.min() >= 5 else 1,  # a median flattens a small mesh
            bkg_rms_estimator=MADStdBackgroundRMS(),
        )
    except ValueError:  # every box is covered by sources
        return None
    sigma = background.background_rms
    return (background.background, sigma) if np.min(sigma) > 0 else None


def _global_level(plane: np.ndarray, good: np.ndarray, around: np.ndarray) -> tuple[float, float]:
    """Return one level and noise, from empty sky where there is any, else from all pixels."""
    from astropy.stats import sigma_clipped_stats

    empty = good & ~around
    values = plane[empty if np.count_nonzero(empty) >= SKY_BOX_PX else good].astype(np.float64)
    _, level, sigma = sigma_clipped_stats(values, sigma=3.0, stdfunc="mad_std")
    return float(level), float(sigma) or float(plane[good].std(dtype=np.float64)) or 1.0
