"""What is known of each cluster: joint distributions of its parameters, in numpy.

`MixturePosterior` and `GridPosterior` answer the same questions: cumulative probabilities,
quantiles, means, covariances (the age-extinction-mass degeneracy) and random draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.special import logsumexp, ndtr, softmax

_BISECTIONS = 40
"""Halvings of a parameter's range in the search for a quantile: to 1e-12 of it."""

_LEAST_MASS = 1e-6
"""A mixture with less probability than this inside the range is not renormalised to it."""

_LEAST_DRAWS = 20

_PEAK_DRAWS = 400
"""Where to begin the climb to a peak: it must hold some 1 in 400 of the probability."""

_CLIMBS = 30

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

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the joint density, but for a constant: (N, D, P) to (N, D)."""

    def climb(self, values: np.ndarray) -> np.ndarray:
        """Return points nearer to a peak of the joint density than these, (N, P)."""

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

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the joint density, but for a constant: (N, D, P) to (N, D)."""
        return logsumexp(self._log_parts(values), axis=2)

    def climb(self, values: np.ndarray) -> np.ndarray:
        """Take one step of the fixed point iteration for modes of Gaussian mixtures.

        References
        ----------
        Carreira-Perpinan 2000, IEEE Trans. PAMI 22, 1318.
        """
        share = softmax(self._log_parts(values[:, None])[:, 0], axis=1)
        precision = np.einsum("nk,nkpq->npq", share, self._precisions)
        target = np.einsum("nk,nkpq,nkq->np", share, self._precisions, self.means)
        return np.einsum("npq,nq->np", _inverse(precision), target)

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


class GridPosterior:
    """Probabilities on grids of bins; groups of parameters are independent of one another.

    Parameters
    ----------
    grids : sequence of ndarray of float
        For each group, shape (N, bins of its first parameter, bins of its second, ...).
    places : sequence of sequence of int
        For each group, the numbers of its parameters among all P.
    edges : sequence of ndarray of float
        For each of the P parameters, the rising edges of its bins.
    """

    def __init__(
        self,
        grids: Sequence[np.ndarray],
        places: Sequence[Sequence[int]],
        edges: Sequence[np.ndarray],
    ) -> None:
        self.grids, self.places, self.edges = grids, places, edges
        self._centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        marginals: list[np.ndarray] = [np.empty(0)] * len(edges)
        for grid, group in zip(grids, places, strict=True):
            for axis, place in enumerate(group):
                others = tuple(a + 1 for a in range(len(group)) if a != axis)
                marginals[place] = grid.sum(axis=others)
        self._marginals = marginals
        self._cumulative = [
            np.concatenate([np.zeros((len(self), 1)), np.cumsum(m, axis=1)], axis=1)
            for m in marginals
        ]

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.grids[0])

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Return the marginal probability below `values`, linear inside a bin."""
        columns = []
        for edges, cumulative, value in zip(self.edges, self._cumulative, values.T, strict=True):
            place = (np.clip(value, edges[0], edges[-1]) - edges[0]) / (edges[1] - edges[0])
            index = np.minimum(place.astype(int), len(edges) - 2)
            row = np.arange(len(value))
            left, right = cumulative[row, index], cumulative[row, index + 1]
            columns.append(left + (right - left) * (place - index))
        return np.stack(columns, axis=1)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return the values at `levels` of each marginal, shape (N, P, Q)."""
        levels = np.broadcast_to(levels, (len(self.edges), np.shape(levels)[-1]))
        result = np.empty((len(self), *levels.shape))
        for p, (edges, cumulative) in enumerate(zip(self.edges, self._cumulative, strict=True)):
            for q, level in enumerate(levels[p]):
                target = np.clip(level, 0.0, 1.0) * cumulative[:, -1]
                index = np.clip((cumulative <= target[:, None]).sum(axis=1) - 1, 0, len(edges) - 2)
                row = np.arange(len(self))
                left, right = cumulative[row, index], cumulative[row, index + 1]
                share = (target - left) / np.maximum(right - left, 1e-300)
                width = edges[index + 1] - edges[index]
                result[:, p, q] = edges[index] + np.clip(share, 0, 1) * width
        return result

    def mean(self) -> np.ndarray:
        """Return the means, shape (N, P)."""
        pairs = zip(self._marginals, self._centers, strict=True)
        return np.stack([marginal @ centers for marginal, centers in pairs], axis=1)

    def covariance(self) -> np.ndarray:
        """Return the covariances, shape (N, P, P); 0 between groups."""
        mean, p = self.mean(), len(self.edges)
        result = np.zeros((len(self), p, p))
        for place, (marginal, centers) in enumerate(
            zip(self._marginals, self._centers, strict=True)
        ):
            width = np.diff(self.edges[place])
            second = marginal @ (centers**2 + width**2 / 12)
            result[:, place, place] = second - mean[:, place] ** 2
        for grid, group in zip(self.grids, self.places, strict=True):
            for a in range(len(group)):
                for b in range(a + 1, len(group)):
                    others = tuple(c + 1 for c in range(len(group)) if c not in (a, b))
                    pair = grid.sum(axis=others)
                    i, j = group[a], group[b]
                    product = np.einsum("nab,a,b->n", pair, self._centers[i], self._centers[j])
                    result[:, i, j] = result[:, j, i] = product - mean[:, i] * mean[:, j]
        return result

    def sample(self, rng: np.random.Generator, n_draws: int) -> np.ndarray:
        """Return draws, shape (N, n_draws, P), uniform inside each bin."""
        draws = np.empty((len(self), n_draws, len(self.edges)))
        for grid, group in zip(self.grids, self.places, strict=True):
            cumulative = np.cumsum(grid.reshape(len(self), -1), axis=1)
            levels, places = rng.random(n_draws), rng.random((len(group), n_draws))
            for n in range(len(self)):
                level = levels * cumulative[n, -1]
                index = np.minimum(np.searchsorted(cumulative[n], level), cumulative.shape[1] - 1)
                bins = np.unravel_index(index, grid.shape[1:])
                for place, i, share in zip(group, bins, places, strict=True):
                    edge = self.edges[place]
                    draws[n, :, place] = edge[i] + share * (edge[i + 1] - edge[i])
        return draws

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the probabilities of the bins: (N, D, P) to (N, D)."""
        row = np.arange(len(self))[:, None]
        total = np.zeros(values.shape[:2])
        with np.errstate(divide="ignore"):
            for grid, group in zip(self.grids, self.places, strict=True):
                total += np.log(grid[(row, *(self._bins(values[..., p], p) for p in group))])
        return total

    def climb(self, values: np.ndarray) -> np.ndarray:
        """Return the centres of the bins that hold these points, (N, P)."""
        columns = [self._centers[p][self._bins(values[:, p], p)] for p in range(len(self.edges))]
        return np.stack(columns, axis=1)

    def _bins(self, values: np.ndarray, place: int) -> np.ndarray:
        """Return the numbers of the bins of one parameter that hold these values."""
        edges = self.edges[place]
        return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)

    def given(self, place: int, values: np.ndarray) -> GridPosterior:
        """Return the grids of the other parameters, in the bin of the one that is known."""
        index = self._bins(values, place)
        grids, places = [], []
        for grid, group in zip(self.grids, self.places, strict=True):
            if place in group:
                grid = np.moveaxis(grid, 1 + list(group).index(place), 1)
                grid = grid[np.arange(len(self)), index]
                total = grid.reshape(len(self), -1).sum(axis=1)
                grid = grid / np.maximum(total, 1e-300).reshape(-1, *(1,) * (grid.ndim - 1))
                group = [p for p in group if p != place]
            if group:
                grids.append(grid)
                places.append([p - (p > place) for p in group])
        return GridPosterior(grids, places, [*self.edges[:place], *self.edges[place + 1 :]])

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the trained range, each of shape (P,)."""
        return np.array([e[0] for e in self.edges]), np.array([e[-1] for e in self.edges])

    def rows(self, chosen: slice | np.ndarray) -> GridPosterior:
        """Return the grids of some clusters."""
        return GridPosterior([grid[chosen] for grid in self.grids], self.places, self.edges)


def quantiles_within(
    posterior: Posterior,
    levels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    n_draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
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
    ndarray of float, shape (N, P, Q)
        Where hardly any draw falls into the box, those of all draws moved to its sides.
    """
    levels = np.broadcast_to(levels, (len(low), np.shape(levels)[-1]))
    draws = posterior.sample(np.random.default_rng(seed), n_draws)
    low, high = _box_within(posterior, low, high)
    inside = ((draws >= low) & (draws <= high)).all(axis=2)
    is_outside = inside.sum(axis=1) < _LEAST_DRAWS
    inside[is_outside] = True
    draws = np.sort(np.where(inside[..., None], np.clip(draws, low, high), np.inf), axis=1)
    place = levels.T[None] * (inside.sum(axis=1) - 1)[:, None, None]
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, (inside.sum(axis=1) - 1)[:, None, None])
    first, second = (np.take_along_axis(draws, index, axis=1) for index in (below, above))
    return np.moveaxis(first + (second - first) * (place - below), 1, 2)


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
    draws = posterior.sample(np.random.default_rng(0), _PEAK_DRAWS)
    inside = ((draws >= low) & (draws <= high)).all(axis=2)
    inside[~inside.any(axis=1)] = True
    draws = np.clip(draws, low, high)
    density = np.where(inside, posterior.log_density(draws), -np.inf)
    row = np.arange(len(draws))
    start = draws[row, density.argmax(axis=1)]
    top = start
    for _ in range(_CLIMBS):
        top = np.clip(posterior.climb(top), low, high)
    is_higher = np.diff(posterior.log_density(np.stack([start, top], axis=1)), axis=1) >= 0
    return np.where(is_higher, top, start)


def _inverse(matrices: np.ndarray) -> np.ndarray:
    """Invert covariances, (..., P, P), also those without width in some direction."""
    scale = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    product = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(matrices / product + _LEAST_SHARE * np.eye(scale.shape[-1])) / product


def _box_within(
    posterior: Posterior, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sides of a box, cut to the trained range."""
    ends = posterior.limits()
    return np.maximum(low, ends[0]), np.minimum(high, ends[1])


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Return correlation coefficients, shape (N, P, P); 0 where a variance is 0."""
    sigma = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    product = sigma[:, :, None] * sigma[:, None]
    return np.divide(covariance, product, out=np.zeros_like(covariance), where=product > 0)
