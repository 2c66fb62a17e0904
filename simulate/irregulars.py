"""Irregular galaxies: a lopsided disk with clumps of star formation, on a fine pixel grid."""

from __future__ import annotations

import numpy as np

_EXPONENTIAL_B = 1.67834699
"""Half-light radius of an exponential disk in scale lengths."""


def draw_irregular(
    rng: np.random.Generator,
    *,
    size: int,
    step_px: float,
    centre_px: tuple[float, float],
    half_light_radius_px: float,
    axis_ratio: float,
    angle_rad: float,
) -> np.ndarray:
    """Draw the clumpy part of an irregular galaxy, of unit flux.

    Three to ten Gaussian clumps lie where an off-centre exponential disk has its light; a third
    to two thirds of the light stays in that disk.

    Parameters
    ----------
    rng : numpy.random.Generator
        Seeded by the galaxy, so that every band sees the same clumps.
    size : int
        Side of the grid.
    step_px : float
        Grid step in image pixels.
    centre_px : tuple of float
        ``(y, x)`` of the centre in image pixels from the first grid point.
    half_light_radius_px, axis_ratio, angle_rad : float
        Of the disk; the angle runs from +x to +y.

    Returns
    -------
    ndarray of float64, shape (size, size)

    References
    ----------
    Elmegreen et al. 2007, ApJ 658, 763: clumps of irregulars hold 10 to 50 % of their light.
    """
    scale = half_light_radius_px / _EXPONENTIAL_B
    shift = rng.normal(0.0, 0.4 * half_light_radius_px, 2)
    axis = np.arange(size) * step_px
    dy, dx = axis[:, None] - centre_px[0], axis[None, :] - centre_px[1]
    major = dx * np.cos(angle_rad) + dy * np.sin(angle_rad)
    minor = (dy * np.cos(angle_rad) - dx * np.sin(angle_rad)) / axis_ratio
    disk = np.exp(-np.hypot(major - shift[0], minor - shift[1]) / scale)
    disk /= disk.sum()
    n_clumps = int(rng.integers(3, 11))
    radius = rng.gamma(2.0, 0.8, n_clumps) * scale
    angle = rng.uniform(0.0, 2.0 * np.pi, n_clumps)
    clumps = np.zeros(disk.shape)
    for weight, width, r, phi in zip(
        rng.pareto(1.5, n_clumps) + 0.3,
        rng.uniform(0.1, 0.3, n_clumps) * half_light_radius_px,
        radius,
        angle,
        strict=True,
    ):
        width = max(width, 0.5 * step_px)
        distance2 = (major - r * np.cos(phi)) ** 2 + (minor - r * np.sin(phi)) ** 2
        spot = np.exp(-0.5 * distance2 / width**2)
        clumps += weight * spot / max(spot.sum(), 1e-30)
    share = rng.uniform(0.33, 0.67)
    return share * disk + (1.0 - share) * clumps / clumps.sum()
