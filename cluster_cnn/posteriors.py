"""What is known of each cluster: joint distributions of its parameters, in numpy.

`MixturePosterior`, and `cluster_cnn.grid_posterior.GridPosterior`, answer the same questions:
cumulative probabilities, quantiles, means, covariances (the age-extinction-mass degeneracy) and
random draws.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri_exp, softmax

_BISECTIONS = 40
"""Halvings of a parameter's range in the search for a quantile: to 1e-12 of it."""

_LEAST_MASS = 1e-6
"""A mixture with less probability than this inside the range is not renormalised to it."""

_SWEEPS = 20
"""Rounds over the parameters in the search for the nearest point of a box."""

_LEAST_SHARE = 1e-9
"""A variance shrinks to no less than this share of itself when a parameter becomes known."""


class Posterior(Protocol):
    """Distributions of P parameters of N clusters."""

    def __len__(self) -> int:
        """Return N."""

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Return the marginal probability below `values`; both of shape (N, P)."""

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return the values at `levels`, shape (Q,) or (P, Q), of each marginal: (N, P, Q)."""

    def mean(self) -> np.ndarray:
        """Return the means, shape (N, P)."""

    def covariance(self) -> np.ndarray:
        """Return the covariances, shape (N, P, P)."""

    def sample(self, rng: np.random.Generator, n_draws: int) -> np.ndarray:
        """Return draws, shape (N, n_draws, P).

        All clusters share the random numbers, so that none depends on its neighbours.
        """

    def sample_within(
        self, rng: np.random.Generator, n_draws: int, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (N, D, P) inside a box, however improbable, and log-weights (N, D)."""

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the joint density, but for a constant: (N, D, P) to (N, D)."""

    def climb(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return points nearer to a peak of the joint density in a box than these, (N, P)."""

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the trained range, each of shape (P,)."""

    def given(self, place: int, values: np.ndarray) -> Posterior:
        """Return what is known of the other parameters where one is known, shape (N,)."""

    def rows(self, chosen: slice | np.ndarray) -> Posterior:
        """Return the distributions of some clusters."""


class MixturePosterior:
    """Mixtures of K Gaussians with full covariances, cut to the trained range.

    Parameters
    ----------
    weights : ndarray of float, shape (N, K)
        Sum to 1.
    means : ndarray of float, shape (N, K, P)
    covariances : ndarray of float, shape (N, K, P, P)
    low, high : ndarray of float, shape (P,)
        Marginal probabilities outside are taken away and the rest renormalised.
    """

    def __init__(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances
        self.low, self.high = np.asarray(low, float), np.asarray(high, float)
        self._sigma = np.sqrt(np.diagonal(covariances, axis1=2, axis2=3))

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.weights)

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Return the marginal probability below `values`, both of shape (N, P)."""
        return self._inside(np.asarray(values, float)[:, :, None])[:, :, 0]

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return the values at `levels` of each marginal, shape (N, P, Q), by bisection."""
        shape = (*self.means.shape[::2], np.shape(levels)[-1])
        levels = np.broadcast_to(levels, shape)
        below = np.broadcast_to(self.low[None, :, None], shape).copy()
        above = np.broadcast_to(self.high[None, :, None], shape).copy()
        for _ in range(_BISECTIONS):
            middle = (below + above) / 2
            is_low = self._inside(middle) < levels
            below, above = np.where(is_low, middle, below), np.where(is_low, above, middle)
        return (below + above) / 2

    def mean(self) -> np.ndarray:
        """Return the means of the whole mixtures, shape (N, P)."""
        return np.einsum("nk,nkp->np", self.weights, self.means)

    def covariance(self) -> np.ndarray:
        """Return the covariances of the whole mixtures, shape (N, P, P)."""
        offset = self.means - self.mean()[:, None]
        return np.einsum("nk,nkpq->npq", self.weights, self.covariances) + np.einsum(
            "nk,nkp,nkq->npq", self.weights, offset, offset
        )

    def sample(self, rng: np.random.Generator, n_draws: int) -> np.ndarray:
        """Return draws from the whole mixtures, shape (N, n_draws, P); also outside the range."""
        n, _, p = self.means.shape
        chosen = (rng.random((1, n_draws, 1)) > np.cumsum(self.weights, axis=1)[:, None]).sum(-1)
        chosen = np.minimum(chosen, self.weights.shape[1] - 1)
        row = np.arange(n)[:, None]
        values, vectors = np.linalg.eigh(self.covariances)
        factors = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])[row, chosen]
        draws = np.einsum("ndpq,dq->ndp", factors, rng.standard_normal((n_draws, p)))
        return draws + self.means[row, chosen]

    def sample_within(
        self, rng: np.random.Generator, n_draws: int, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (N, D, P) inside a box, however improbable, and log-weights (N, D).

        As many of each Gaussian, one parameter after the other, each given those before it; that
        with the narrowest side of the box comes first.

        References
        ----------
        Geweke, Hajivassiliou and Keane; see Hajivassiliou, McFadden & Ruud 1996, J. Econom. 72, 85.
        """
        n, k, p = self.means.shape
        scale = np.maximum(self._sigma, 1e-150)
        order = np.argsort((high - low) / (self.high - self.low))
        means, scale, low, high = (v[..., order] for v in (self.means, scale, low, high))
        shape = self.covariances[:, :, order][..., order]
        shape = shape / (scale[..., :, None] * scale[..., None, :])
        lower = np.linalg.cholesky(shape + _LEAST_SHARE * np.eye(p))
        uniform = rng.random((max(1, n_draws // k), p))
        normal = np.zeros((n, k, len(uniform), p))
        log_weights = np.zeros((n, k, len(uniform)))
        for i in range(p):
            given = np.einsum("nkdq,nkq->nkd", normal[..., :i], lower[:, :, i, :i])
            sides = (
                ((side[i] - means[:, :, i]) / scale[:, :, i])[..., None] - given
                for side in (low, high)
            )
            own = lower[:, :, i, i, None]
            normal[..., i], log_share = _truncated_normal(
                *(side / own for side in sides), uniform[:, i]
            )
            log_weights += log_share
        draws = means[:, :, None] + scale[:, :, None] * np.einsum("nkpq,nkdq->nkdp", lower, normal)
        with np.errstate(divide="ignore"):
            log_weights += np.log(self.weights)[..., None]
        draws = np.clip(draws.reshape(n, -1, p), low, high)[..., np.argsort(order)]
        return draws, log_weights.reshape(n, -1)

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the joint density, but for a constant: (N, D, P) to (N, D)."""
        return logsumexp(self._log_parts(values), axis=2)

    def climb(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Take one step of the fixed point iteration for modes of Gaussian mixtures, in a box.

        Where the fixed point lies outside, the highest point inside of the Gaussian around it.

        References
        ----------
        Carreira-Perpinan 2000, IEEE Trans. PAMI 22, 1318.
        """
        share = softmax(self._log_parts(values[:, None])[:, 0], axis=1)
        precision = np.einsum("nk,nkpq->npq", share, self._precisions)
        target = np.einsum("nk,nkpq,nkq->np", share, self._precisions, self.means)
        top = np.einsum("npq,nq->np", _inverse(precision), target)
        return _nearest_in_box(values, top, precision, low, high)

    def given(self, place: int, values: np.ndarray) -> MixturePosterior:
        """Return the mixtures of the other parameters where one is known.

        Parameters
        ----------
        place : int
            Which parameter.
        values : ndarray of float, shape (N,)
            What it is.

        Returns
        -------
        MixturePosterior
            Of the P - 1 others, in their order.

        References
        ----------
        Bishop 2006, Pattern Recognition and Machine Learning, eq. 2.81 and 2.82.
        """
        rest = np.delete(np.arange(self.means.shape[2]), place)
        cov = self.covariances
        own = cov[:, :, place, place]
        offset = np.asarray(values, float)[:, None] - self.means[:, :, place]
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights) - 0.5 * (offset**2 / own + np.log(own))
        log_weights -= log_weights.max(axis=1, keepdims=True)
        weights = np.exp(log_weights)
        cross = cov[:, :, rest, place]
        slope = cross / own[:, :, None]
        before = cov[:, :, rest][..., rest]
        after = before - slope[..., :, None] * cross[..., None, :]
        p = np.arange(len(rest))  # what rounding leaves below 0 is lifted
        after[..., p, p] = np.maximum(after[..., p, p], _LEAST_SHARE * before[..., p, p])
        return MixturePosterior(
            weights / weights.sum(axis=1, keepdims=True),
            self.means[:, :, rest] + slope * offset[:, :, None],
            after,
            self.low[rest],
            self.high[rest],
        )

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the trained range, each of shape (P,)."""
        return self.low, self.high

    def rows(self, chosen: slice | np.ndarray) -> MixturePosterior:
        """Return the mixtures of some clusters."""
        parts = (self.weights[chosen], self.means[chosen], self.covariances[chosen])
        return MixturePosterior(*parts, self.low, self.high)

    @cached_property
    def _precisions(self) -> np.ndarray:
        """Inverses of the covariances, shape (N, K, P, P)."""
        return _inverse(self.covariances)

    def _log_parts(self, values: np.ndarray) -> np.ndarray:
        """Return the logarithm of each Gaussian's share of the density: (N, D, P) to (N, D, K)."""
        with np.errstate(divide="ignore"):
            height = np.log(self.weights) + 0.5 * np.linalg.slogdet(self._precisions)[1]
        parts = []
        for k in range(self.weights.shape[1]):  # a loop saves memory
            offset = values - self.means[:, None, k]
            squared = np.einsum("ndp,npq,ndq->nd", offset, self._precisions[:, k], offset)
            parts.append(height[:, None, k] - 0.5 * squared)
        return np.stack(parts, axis=2)

    def _inside(self, values: np.ndarray) -> np.ndarray:
        """Return the cumulative probability at `values` (N, P, Q) inside the range."""
        under, over = self._raw(self.low[:, None]), self._raw(self.high[:, None])
        mass = over - under
        share = (self._raw(values) - under) / np.maximum(mass, _LEAST_MASS)
        share = np.where(mass > _LEAST_MASS, share, self._raw(values))
        return np.clip(share, 0.0, 1.0)

    def _raw(self, values: np.ndarray) -> np.ndarray:
        """Return the cumulative probability at `values`, shape (N or 1, P, Q)."""
        if values.ndim == 2:
            values = values[None]
        total = 0.0
        for k in range(self.weights.shape[1]):  # a loop saves memory
            z = (values - self.means[:, k, :, None]) / self._sigma[:, k, :, None]
            total = total + self.weights[:, k, None, None] * ndtr(z)
        return total


def _nearest_in_box(
    start: np.ndarray, top: np.ndarray, precision: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Go from points (N, P) towards those of a box nearest to others, by a metric (N, P, P).

    One coordinate after the other, which finds the minimum of a convex square; where parameters
    are strongly correlated, after many calls.
    """
    point = np.clip(start, low, high)
    for _ in range(_SWEEPS):
        for p in range(top.shape[1]):
            own = precision[:, p, p]
            pull = np.einsum("nq,nq->n", precision[:, p], point - top) - own * (point - top)[:, p]
            point[:, p] = np.clip(top[:, p] - pull / own, low[p], high[p])
    is_inside = ((top >= low) & (top <= high)).all(axis=1)
    return np.where(is_inside[:, None], top, point)


def _truncated_normal(
    low: np.ndarray, high: np.ndarray, uniform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn uniform draws into those of a unit normal between limits, far tails included.

    Returns
    -------
    values, log_share : ndarray of float, shape of the limits
        Draws, and the logarithm of the probability between the limits.
    """
    is_high = low > 0  # there the other tail is the accurate one
    low, high = np.where(is_high, -high, low), np.where(is_high, -low, high)
    under, over = log_ndtr(low), log_ndtr(high)
    log_share = over + np.log1p(-np.exp(np.minimum(under - over, -1e-12)))
    values = np.clip(ndtri_exp(np.logaddexp(under, np.log(uniform) + log_share)), low, high)
    return np.where(is_high, -values, values), log_share


def _inverse(matrices: np.ndarray) -> np.ndarray:
    """Invert covariances, (..., P, P), also those without width in some direction."""
    scale = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    product = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(matrices / product + _LEAST_SHARE * np.eye(scale.shape[-1])) / product


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Return correlation coefficients, shape (N, P, P); 0 where a variance is 0."""
    sigma = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    product = sigma[:, :, None] * sigma[:, None]
    return np.divide(covariance, product, out=np.zeros_like(covariance), where=product > 0)
