"""Ghosts: out-of-focus images of the pupil that reflections of a bright star leave."""

from __future__ import annotations

import numpy as np

_EDGE = 0.03
"""Width of the soft edges of a ghost, in units of its radius."""


def draw_ghost(
    shape: tuple[int, int],
    *,
    x: float,
    y: float,
    flux: float,
    radius_px: float,
    hole: float,
) -> np.ndarray:
    """Draw one ghost: an evenly lit ring with soft edges.

    Parameters
    ----------
    shape : tuple of int
    x, y : float
        Centre; may lie outside the field.
    flux : float
        Light of the whole ring.
    radius_px : float
        Of the outer edge.
    hole : float
        Inner over outer radius, 0 to 1.

    Returns
    -------
    ndarray of float64, shape (H, W)
        In the unit of `flux`.
    """
    dy = np.arange(shape[0])[:, None] - y
    dx = np.arange(shape[1])[None, :] - x
    radius = np.hypot(dy, dx) / radius_px
    ring = _step(1.0 - radius) * (_step(radius - hole) if hole > 0.0 else 1.0)
    return flux / (np.pi * radius_px**2 * (1.0 - hole**2)) * ring


def _step(distance: np.ndarray) -> np.ndarray:
    """Return 0 below and 1 above zero, with a soft edge."""
    return 0.5 * (1.0 + np.tanh(distance / _EDGE))
