"""Spiral arms and knots of a disk, drawn on a fine pixel grid."""

from __future__ import annotations

import numpy as np

_EXPONENTIAL_B = 1.67834699
"""Half-light radius of an exponential disk in scale lengths."""


def draw_arms(
    rng: np.random.Generator,
    *,
    size: int,
    step_px: float,
    centre_px: tuple[float, float],
    half_light_radius_px: float,
    axis_ratio: float,
    angle_rad: float,
) -> np.ndarray:
    """Draw logarithmic spiral arms with knots, of unit flux.

    An exponential disk is multiplied by ``exp(k cos(m (theta - ln(R) / tan(pitch))))`` and a
    part of its light is gathered in knots that follow the same density.

    Parameters
    ----------
    rng : numpy.random.Generator
        Seeded by the galaxy, so that every band sees the same arms.
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
    """
    n_arms = int(rng.choice([2, 2, 2, 3, 4]))
    pitch = np.deg2rad(rng.uniform(12.0, 32.0)) * rng.choice([-1.0, 1.0])
    contrast = rng.uniform(1.0, 2.5)
    phase = rng.uniform(0.0, 2 * np.pi)
    scale_length = half_light_radius_px / _EXPONENTIAL_B
    axis = np.arange(size) * step_px
    dy = (axis - centre_px[0])[:, None]
    dx = (axis - centre_px[1])[None, :]
    major = dx * np.cos(angle_rad) + dy * np.sin(angle_rad)
    minor = (dy * np.cos(angle_rad) - dx * np.sin(angle_rad)) / axis_ratio
    radius = np.hypot(major, minor)
    winding = np.log(np.maximum(radius, 0.2 * scale_length)) / np.tan(pitch)
    arms = np.exp(contrast * np.cos(n_arms * (np.arctan2(minor, major) - winding) + phase))
    hole = 1.0 - np.exp(-((radius / (0.6 * scale_length)) ** 2))
    light = np.exp(-radius / (1.15 * scale_length)) * arms * hole
    light /= light.sum()
    return _gather_knots(rng, light, share=rng.uniform(0.1, 0.35))


def _gather_knots(rng: np.random.Generator, light: np.ndarray, *, share: float) -> np.ndarray:
    """Move a share of the light into point-like knots drawn from the light itself."""
    n_knots = int(rng.integers(8, 40))
    brightness = rng.pareto(1.5, n_knots) + 0.3
    places = np.searchsorted(np.cumsum(light.ravel()), rng.uniform(0.0, 1.0, n_knots))
    knots = np.zeros(light.size)
    np.add.at(knots, np.minimum(places, light.size - 1), brightness / brightness.sum())
    return (1.0 - share) * light + share * knots.reshape(light.shape)
