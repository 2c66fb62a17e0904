"""What share of the truth is found, and of the detections is true, against brightness and crowding.

Sources are matched either by mask IoU or by position; the second asks nothing of the mask, and is
what catalogues are usually compared by.
"""

from __future__ import annotations

import numpy as np

from astro_rcnn.metrics import greedy_match

NEIGHBOUR_EDGES_PX = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, np.inf)
"""Bins of the distance to the nearest neighbour."""

MATCH_RADIUS_PX = 3.0
"""A detection as near as this, or as one half-light radius, to a true centre is its match."""


def match_positions(
    detected_yx: np.ndarray,
    truth_yx: np.ndarray,
    radius_px: np.ndarray,
    *,
    ignored: np.ndarray | None = None,
) -> np.ndarray:
    """Match detections to truth one to one by distance, best-ranked detection first.

    Parameters
    ----------
    detected_yx : ndarray of float, shape (D, 2)
        Centres in rank order. NaN matches nothing.
    truth_yx : ndarray of float, shape (G, 2)
        True centres, same frame.
    radius_px : ndarray of float, shape (G,)
        Largest distance of a match, above 0.
    ignored : ndarray of bool, shape (G,), optional
        Truth that is matched only where no other can be.

    Returns
    -------
    ndarray of int64, shape (D,)
        Index of the truth, the one nearest in units of its radius; -1 without a match.
    """
    distance = distances(detected_yx, truth_yx)
    closeness = 1.0 - distance / np.asarray(radius_px)[None, :]
    return greedy_match(np.where(np.isfinite(closeness), closeness, -1.0), 0.0, ignored=ignored)


def nearest_neighbour(yx: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest other one.

    Parameters
    ----------
    yx : ndarray of float, shape (N, 2)

    Returns
    -------
    ndarray of float64, shape (N,)
        Infinite for a point that is alone.
    """
    distance = distances(yx, yx)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.min(axis=1, initial=np.inf))


def distances(first_yx: np.ndarray, second_yx: np.ndarray) -> np.ndarray:
    """Euclidean distance of every pair, ndarray of float64, shape (A, G)."""
    first = np.asarray(first_yx, np.float64).reshape(-1, 2)
    second = np.asarray(second_yx, np.float64).reshape(-1, 2)
    step = first[:, None, :] - second[None, :, :]
    return np.hypot(step[..., 0], step[..., 1])


def rate_in_bins(
    values: np.ndarray, is_success: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of successes in bins of a number.

    Parameters
    ----------
    values : ndarray of float, shape (N,)
        NaN falls into no bin.
    is_success : ndarray of bool, shape (N,)
    edges : ndarray of float, shape (K + 1,)
        Rising bin edges; a value on an edge belongs to the bin above.

    Returns
    -------
    count : ndarray of int64, shape (K,)
    rate : ndarray of float64, shape (K,)
        Per cent; NaN in an empty bin.
    """
    edges = np.asarray(edges, np.float64)
    n_bins = len(edges) - 1
    index = np.searchsorted(edges, values, side="right") - 1
    inside = (index >= 0) & (index < n_bins) & np.isfinite(values) | (
        np.isposinf(values) & np.isposinf(edges[-1])
    )
    index = np.minimum(index, n_bins - 1)[inside]
    count = np.bincount(index, minlength=n_bins)
    successes = np.bincount(index, weights=np.asarray(is_success, float)[inside], minlength=n_bins)
    return count, 100.0 * successes / np.where(count > 0, count, np.nan)


def magnitude_edges(magnitudes: np.ndarray, *, step_mag: float = 0.5) -> np.ndarray:
    """Bin edges on multiples of a step that hold all finite magnitudes.

    Returns
    -------
    ndarray of float64, shape (K + 1,)
        At least one bin; 20 to 20 + step where there is no finite magnitude.
    """
    finite = np.asarray(magnitudes)[np.isfinite(magnitudes)]
    if finite.size == 0:
        return np.array([20.0, 20.0 + step_mag])
    first = np.floor(finite.min() / step_mag)
    last = np.floor(finite.max() / step_mag) + 1
    return np.arange(first, last + 1) * step_mag


def percent(is_success: np.ndarray) -> float:
    """Share of True values in per cent; NaN of nothing."""
    return float(100.0 * np.mean(is_success)) if len(is_success) else float("nan")
