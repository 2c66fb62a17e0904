"""Satellite trails: straight bright lines right across a field."""

from __future__ import annotations

import numpy as np

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


def draw_satellite_trail(
    rng: np.random.Generator, shape: tuple[int, int], *, brightness: float, fwhm_px: float
) -> np.ndarray:
    """Draw the light of one satellite.

    The line passes through a random point of the field at a random angle. Its profile across is
    a Gaussian; a tumbling satellite varies along it by up to 30 %.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    brightness : float
        Mean light a pixel at the middle of the trail.
    fwhm_px : float
        Full width at half maximum.

    Returns
    -------
    ndarray of float64, shape (H, W)
        In the unit of `brightness`.
    """
    angle = rng.uniform(0.0, np.pi)
    y0, x0 = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    period_px = rng.uniform(0.3, 3.0) * max(shape)
    phase, depth = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.3)
    dy = np.arange(shape[0])[:, None] - y0
    dx = np.arange(shape[1])[None, :] - x0
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    profile = np.exp(-0.5 * (across * _FWHM / fwhm_px) ** 2)
    return brightness * profile * (1.0 + depth * np.sin(2.0 * np.pi * along / period_px + phase))
