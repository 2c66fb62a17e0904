"""What is known of clusters whose parameters are known to lie in some ranges: a box.

Quantiles of the joint density that is cut to the box, and where in it that is highest.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from cluster_cnn.posteriors import Posterior

LEAST_SHARE = 0.01
"""A box that holds less of the probability contradicts the pixels."""

USUAL_SHARE = 0.2
"""With fewer of the draws inside, others are made that all lie there."""

_PEAK_DRAWS = 400
"""Where to begin the climb to a peak: it must hold some 1 in 400 of the probability."""

_CLIMBS = 30


def quantiles_within(
    posterior: Posterior,
    levels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    n_draws: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return quantiles where the parameters are known to lie in a box, from draws.

    Parameters
    ----------
    posterior : Posterior
        Of P parameters of N clusters.
    levels : ndarray of float, shape (Q,) or (P, Q)
    low, high : ndarray of float, shape (P,)
        Sides of the box; infinite where nothing is known.  It ends with the trained range.
    n_draws : int
        For each cluster.
    seed : int

    Returns
    -------
    quantiles : ndarray of float, shape (N, P, Q)
    is_contradicted : ndarray of bool, shape (N,)
        True where the box holds less than a hundredth of the probability.
    """
    levels = np.broadcast_to(levels, (len(low), np.shape(levels)[-1]))
    rng = np.random.default_rng(seed)
    draws = posterior.sample(rng, n_draws)
    low, high = _box_within(posterior, low, high)
    inside = ((draws >= low) & (draws <= high)).all(axis=2)
    share = inside.mean(axis=1)
    result = np.empty((len(draws), len(low), levels.shape[1]))
    usual, odd = np.flatnonzero(share >= USUAL_SHARE), np.flatnonzero(share < USUAL_SHARE)
    result[usual] = _quantiles_of_some(draws[usual], inside[usual], levels)
    if odd.size:
        own, log_weights = posterior.rows(odd).sample_within(rng, n_draws, low, high)
        result[odd] = _weighted_quantiles(own, softmax(log_weights, axis=1), levels)
    return result, share < LEAST_SHARE


def _quantiles_of_some(draws: np.ndarray, chosen: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return quantiles (N, P, Q) of draws (N, D, P) that are chosen (N, D), some in each row."""
    ordered = np.sort(np.where(chosen[..., None], draws, np.inf), axis=1)
    last = (chosen.sum(axis=1) - 1)[:, None, None]
    place = levels.T[None] * last
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, last)
    first, second = (np.take_along_axis(ordered, index, axis=1) for index in (below, above))
    return np.moveaxis(first + (second - first) * (place - below), 1, 2)


def _weighted_quantiles(draws: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return quantiles (N, P, Q) of draws (N, D, P) with weights (N, D) that sum to 1."""
    result = np.empty((len(draws), draws.shape[2], levels.shape[1]))
    for n, p in np.ndindex(result.shape[:2]):
        order = np.argsort(draws[n, :, p])
        share = weights[n, order]
        result[n, p] = np.interp(levels[p], np.cumsum(share) - share / 2, draws[n, order, p])
    return result


def peaks(posterior: Posterior, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where the joint densities are highest inside a box.

    With priors as flat as those of the training sets this is the point of maximum likelihood:
    unlike medians it is not drawn towards the middle of the range, and its parameters belong
    together.

    Parameters
    ----------
    posterior : Posterior
        Of P parameters of N clusters.
    low, high : ndarray of float, shape (P,)
        Sides of the box, as of `quantiles_within`.

    Returns
    -------
    ndarray of float, shape (N, P)
    """
    low, high = _box_within(posterior, low, high)
    rng = np.random.default_rng(0)
    draws = posterior.sample(rng, _PEAK_DRAWS)
    inside = ((draws >= low) & (draws <= high)).all(axis=2)
    if (odd := np.flatnonzero(inside.mean(axis=1) < USUAL_SHARE)).size:
        own, _ = posterior.rows(odd).sample_within(rng, _PEAK_DRAWS, low, high)
        draws[odd, : own.shape[1]], inside[odd] = own, np.arange(_PEAK_DRAWS) < own.shape[1]
    draws = np.clip(draws, low, high)
    density = np.where(inside, posterior.log_density(draws), -np.inf)
    row = np.arange(len(draws))
    start = draws[row, density.argmax(axis=1)]
    top = start
    for _ in range(_CLIMBS):
        top = posterior.climb(top, low, high)
    is_higher = np.diff(posterior.log_density(np.stack([start, top], axis=1)), axis=1) >= 0
    return np.where(is_higher, top, start)


def _box_within(
    posterior: Posterior, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sides of a box, cut to the trained range."""
    ends = posterior.limits()
    return np.maximum(low, ends[0]), np.minimum(high, ends[1])
