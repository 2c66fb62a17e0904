"""Glare of bright stars: diffraction spikes of the spider and a wide halo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def add_spikes(
    image: np.ndarray,
    *,
    x: float,
    y: float,
    flux: float,
    angle_deg: float,
    width_px: float,
    noise: float,
) -> None:
    """Add four diffraction spikes in place.

    The light of a spike falls as ``1 / (r + 4 w)^2`` along its length, and as a Gaussian of
    standard deviation `width_px` (slowly widening) across it.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W)
        Changed in place.
    x, y : float
        The star.
    flux : float
        Light in all four spikes.
    angle_deg : float
        Direction of the first; the others follow every 90 degrees.
    width_px : float
    noise : float
        Spikes are followed until they fall below a tenth of this, per pixel.
    """
    core = 4.0 * width_px
    per_arm = flux / 4.0
    norm = core / (np.sqrt(2.0 * np.pi) * width_px)
    reach = np.sqrt(max(per_arm * norm / (0.1 * noise), 0.0)) - core
    _add_radial(image, x, y, min(reach, 700.0), _spike_light, (per_arm, angle_deg, width_px))


def add_halo(
    image: np.ndarray, *, x: float, y: float, flux: float, radius_px: float, noise: float
) -> None:
    """Add a wide halo in place, ``flux / (pi a^2) (1 + r^2 / a^2)^-2`` with a = `radius_px`.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W)
        Changed in place.
    x, y, flux : float
        The star, and the light in its halo.
    radius_px : float
    noise : float
        The halo is followed until it falls below a tenth of this, per pixel.
    """
    peak = flux / (np.pi * radius_px**2)
    reach = radius_px * np.sqrt(max(np.sqrt(peak / (0.1 * noise)) - 1.0, 0.0))
    _add_radial(image, x, y, min(reach, 1500.0), _halo_light, (peak, radius_px))


def _add_radial(
    image: np.ndarray,
    x: float,
    y: float,
    reach: float,
    light: Callable[..., np.ndarray],
    parameters: tuple[float, ...],
) -> None:
    """Add ``light(dy, dx, *parameters)`` within `reach` of a point."""
    if reach < 3.0:
        return
    y1, y2 = (int(np.clip(y + s * reach, 0, image.shape[0])) for s in (-1, 1))
    x1, x2 = (int(np.clip(x + s * reach, 0, image.shape[1])) for s in (-1, 1))
    dy = np.arange(y1, y2)[:, None] - y
    dx = np.arange(x1, x2)[None, :] - x
    if dy.size and dx.size:
        image[y1:y2, x1:x2] += light(dy, dx, *parameters)


def _spike_light(
    dy: np.ndarray, dx: np.ndarray, per_arm: float, angle_deg: float, width: float
) -> np.ndarray:
    """Return the light of four spikes at offsets from the star."""
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    core = 4.0 * width
    total = np.zeros(np.broadcast_shapes(dy.shape, dx.shape))
    for r, t in ((np.abs(along), across), (np.abs(across), along)):
        spread = width * (1.0 + r / (40.0 * width))
        total += (
            per_arm
            * core
            / (r + core) ** 2
            * np.exp(-0.5 * (t / spread) ** 2)
            / (np.sqrt(2.0 * np.pi) * spread)
        )
    return total


def _halo_light(dy: np.ndarray, dx: np.ndarray, peak: float, radius: float) -> np.ndarray:
    """Return the light of a halo at offsets from the star."""
    return peak * (1.0 + (dy**2 + dx**2) / radius**2) ** -2
