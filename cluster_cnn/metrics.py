"""How good parameters are: bias, robust scatter, rmse, coverage; overall and in cells of truth.

Errors are predicted minus true, in dex (magnitudes for the extinction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ROBUST_LEVELS = (15.8655, 84.1345)
"""Half of the distance between these percentiles is the scatter: sigma, for a Gaussian."""

MIN_OBJECTS = 20
"""Cells with fewer objects have no numbers."""

AGE_EDGES = (6.6, 7.2, 7.8, 8.4, 9.0, 9.5, 10.1)
MASS_EDGES = (1.7, 2.4, 3.0, 3.6, 4.2, 5.0)
"""Cells of the age x mass table, in log10 of years and of solar masses."""


def error_statistics(error: np.ndarray) -> dict[str, float]:
    """Summarise errors.

    Parameters
    ----------
    error : ndarray of float, shape (N,)

    Returns
    -------
    dict of str to float
        ``bias`` (median) and ``mean``, ``scatter`` (half of the central 68.27 %, which holds no
        bias), ``rmse``, ``n``; NaN with fewer than `MIN_OBJECTS`.
    """
    error = np.asarray(error, float)
    error = error[np.isfinite(error)]
    if len(error) < MIN_OBJECTS:
        empty = dict.fromkeys(("bias", "mean", "scatter", "rmse"), float("nan"))
        return {**empty, "n": len(error)}
    low, high = np.percentile(error, ROBUST_LEVELS)
    return {
        "bias": float(np.median(error)),
        "mean": float(error.mean()),
        "scatter": float((high - low) / 2),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "n": len(error),
    }


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the share of true values inside their intervals; NaN without any."""
    known = np.isfinite(truth) & np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return float("nan")
    return float(np.mean((truth[known] >= low[known]) & (truth[known] <= high[known])))


def table_edges(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Return the edges of those cells that hold any of the values, cut to their range.

    The range is rounded to tenths; values beyond belong to the outer cells.  Cells narrower than
    0.4 after the cut are joined to their neighbour.
    """
    low, high = np.round(np.percentile(values, [0.5, 99.5]), 1)
    inner = [edge for edge in edges if low + 0.4 <= edge <= high - 0.4]
    return np.array([low, *inner, high])


def cell_table(
    error: np.ndarray,
    log_age: np.ndarray,
    log_mass: np.ndarray,
    age_edges: Sequence[float],
    mass_edges: Sequence[float],
) -> list[dict[str, Any]]:
    """Summarise errors in cells of true age and mass.

    Parameters
    ----------
    error, log_age, log_mass : ndarray of float, shape (N,)
    age_edges, mass_edges : sequence of float
        Rising; a value on an edge belongs to the upper cell, the last edge to the last.

    Returns
    -------
    list of dict
        One a cell, ages slowest: ``log_age`` and ``log_mass`` (its two edges) and what
        `error_statistics` returns.
    """
    rows = []
    age_index = _cell(log_age, age_edges)
    mass_index = _cell(log_mass, mass_edges)
    for a in range(len(age_edges) - 1):
        for m in range(len(mass_edges) - 1):
            inside = (age_index == a) & (mass_index == m)
            rows.append(
                {
                    "log_age": [float(age_edges[a]), float(age_edges[a + 1])],
                    "log_mass": [float(mass_edges[m]), float(mass_edges[m + 1])],
                    **error_statistics(error[inside]),
                }
            )
    return rows


def largest_bias(cells: Sequence[Mapping[str, Any]], *, oldest: float) -> float:
    """Return the largest absolute bias among cells that end at or before `oldest` (log age)."""
    biases = [c["bias"] for c in cells if c["log_age"][1] <= oldest + 1e-9]
    known = [abs(bias) for bias in biases if bias is not None and np.isfinite(bias)]
    return max(known, default=float("nan"))


def covariance_ellipse(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of points, shape (n, 2), outliers beyond 4 sigma left out."""
    middle = np.median(points, axis=0)
    width = 1.4826 * np.median(np.abs(points - middle), axis=0) + 1e-9
    usual = (np.abs(points - middle) < 4 * width).all(axis=1)
    kept = points[usual] if usual.sum() > 2 else points
    return kept.mean(axis=0), np.atleast_2d(np.cov(kept, rowvar=False))


def _cell(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Return the cell of each value; -1 outside."""
    index = np.searchsorted(edges, values, side="right") - 1
    index = np.where(values == edges[-1], len(edges) - 2, index)
    return np.where((values < edges[0]) | (values > edges[-1]), -1, index)
