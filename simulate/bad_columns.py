"""Bad columns: dead ones without signal, hot ones with too much."""

from __future__ import annotations

import numpy as np


def add_bad_columns(
    rng: np.random.Generator,
    image: np.ndarray,
    *,
    n: int,
    hot_fraction: float,
    hot_charge: tuple[float, float],
    no_light: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Spoil `n` columns: whole, or from a random row to an edge as a blocked transfer does.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : ndarray of float, shape (H, W)
        Not changed.
    n : int
    hot_fraction : float
        Probability that a column is hot; the others are dead.
    hot_charge : tuple of float
        Range of the extra charge of hot columns, drawn log-uniformly, unit of `image`.
    no_light : float
        Value of a dead pixel.

    Returns
    -------
    image : ndarray of float, shape (H, W)
    bad : ndarray of bool, shape (H, W)
    """
    result = image.copy()
    bad = np.zeros(image.shape, dtype=bool)
    for _ in range(n):
        column = int(rng.integers(0, image.shape[1]))
        rows = _draw_rows(rng, image.shape[0])
        charge = np.exp(rng.uniform(*np.log(hot_charge)))
        is_hot = rng.uniform() < hot_fraction
        result[rows, column] = result[rows, column] + charge if is_hot else no_light
        bad[rows, column] = True
    return result, bad


def _draw_rows(rng: np.random.Generator, height: int) -> slice:
    """Draw the part of a column that is bad: all of it in a third of the cases, or one end."""
    kind = rng.integers(0, 3)
    row = int(rng.integers(1, height))
    return (slice(None), slice(row, None), slice(None, row))[kind]
