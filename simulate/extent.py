"""How far the light of a source reaches before it drowns in the noise."""

from __future__ import annotations

import numpy as np
from scipy.special import gamma, gammaincinv

from simulate.psf import PointSpread
from simulate.sources import Sources

_RADII_PX = np.geomspace(1.0, 1500.0, 160)


def sersic_b(index: np.ndarray) -> np.ndarray:
    """Return ``b_n``, for which half of a Sersic profile's light lies inside its radius."""
    return gammaincinv(2.0 * np.asarray(index, dtype=float), 0.5)


def light_radius(
    sources: Sources,
    flux: np.ndarray,
    psfs: tuple[PointSpread, ...],
    *,
    pixel_scale_arcsec: float,
    sky_sigma: np.ndarray,
    n_sigma: float,
    peak_fraction: float,
) -> np.ndarray:
    """Estimate the radius inside which a source matters, the largest over the bands.

    The profile falls below `n_sigma` sky sigmas a pixel, or below `peak_fraction` of its
    peak, whichever radius is larger. Components are widened by the seeing in quadrature and
    followed along their major axis; the wings of the PSF are added.

    Parameters
    ----------
    sources : Sources, length N
    flux : ndarray of float64, shape (N, B)
        Electrons.
    psfs : tuple of PointSpread, length B
    pixel_scale_arcsec : float
    sky_sigma : ndarray of float64, shape (B,)
        Electrons a pixel.
    n_sigma, peak_fraction : float

    Returns
    -------
    ndarray of float64, shape (N,)
        Pixels.
    """
    radius = np.full(len(sources), _RADII_PX[0])
    for b, psf in enumerate(psfs):
        profile = _surface_brightness(sources, flux, psf, pixel_scale_arcsec, b)
        for level in (n_sigma * sky_sigma[b], peak_fraction * profile[:, :1]):
            above = profile > level
            last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
            reached = np.where(above.any(axis=1), _RADII_PX[last], _RADII_PX[0])
            radius = np.maximum(radius, reached)
    return radius


def _surface_brightness(
    sources: Sources, flux: np.ndarray, psf: PointSpread, scale: float, b: int
) -> np.ndarray:
    """Return the major-axis profile in electrons a pixel, shape (N, radii)."""
    r = _RADII_PX[None, :]
    bulge = flux[:, b] * sources.bulge_fraction[:, b]
    is_star = sources.disk_radius_arcsec <= 0.0
    disk = np.where(is_star, 0.0, flux[:, b] - bulge)
    total = np.zeros((len(sources), r.shape[1]))
    half_seeing = 0.5 * psf.fwhm_px
    for light, size, ratio, index in (
        (
            bulge,
            sources.bulge_radius_arcsec,
            sources.bulge_axis_ratio,
            sources.bulge_index,
        ),
        (
            disk,
            sources.disk_radius_arcsec,
            sources.disk_axis_ratio,
            np.ones(len(sources)),
        ),
    ):
        wide = np.hypot(size / scale, half_seeing)[:, None]
        thin = np.hypot(size / scale * ratio, half_seeing)[:, None]
        n = index[:, None]
        bn = sersic_b(n)
        centre = light[:, None] * bn ** (2 * n) / (2 * np.pi * n * gamma(2 * n) * wide * thin)
        total += centre * np.exp(-bn * (r / wide) ** (1.0 / n))
    wings = flux[:, [b]] * psf.surface_brightness(r)
    # the core of the PSF is not the peak of a source that is larger than it
    return np.where(is_star[:, None], wings, np.maximum(total, np.minimum(wings, total[:, :1])))
