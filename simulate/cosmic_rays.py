"""Cosmic rays: short straight tracks of charge."""

from __future__ import annotations

import numpy as np


def draw_cosmic_rays(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    n: int,
    charge_e: tuple[float, float] = (200.0, 3000.0),
) -> np.ndarray:
    """Draw the charge that `n` cosmic rays leave.

    Lengths are exponential with a mean of 6 px, charge per pixel is log-uniform and
    varies by 30 % along the track.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    n : int
    charge_e : tuple of float
        Least and largest charge a pixel.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Electrons.
    """
    charge = np.zeros(shape)
    for _ in range(n):
        length = 1.0 + rng.exponential(6.0)
        angle = rng.uniform(0.0, np.pi)
        steps = np.arange(0.0, length, 0.5)
        y = np.floor(rng.uniform(0, shape[0]) + steps * np.sin(angle)).astype(int)
        x = np.floor(rng.uniform(0, shape[1]) + steps * np.cos(angle)).astype(int)
        level = np.exp(rng.uniform(*np.log(charge_e)))
        deposit = 0.5 * level * rng.normal(1.0, 0.3, len(steps)).clip(0.1)
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        np.add.at(charge, (y[inside], x[inside]), deposit[inside])
    return charge
