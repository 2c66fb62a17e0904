"""Joint distributions of the parameters of each cluster on grids of bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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

    def sample_within(
        self, rng: np.random.Generator, n_draws: int, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (N, D, P) inside a box, however improbable, and log-weights (N, D).

        Where the grid has no probability at all in the box they are uniform there.
        """
        cut = []
        for grid, group in zip(self.grids, self.places, strict=True):
            share = np.ones(grid.shape[1:])
            for axis, place in enumerate(group):
                edges = self.edges[place]
                top, bottom = np.minimum(edges[1:], high[place]), np.maximum(edges[:-1], low[place])
                inside = np.clip(top - bottom, 0.0, None) / np.diff(edges)
                share = share * inside.reshape(-1, *(1,) * (len(group) - 1 - axis))
            part = grid * share
            total = part.reshape(len(self), -1).sum(axis=1).reshape(-1, *(1,) * len(group))
            cut.append(np.where(total > 0, part / np.maximum(total, 1e-300), share / share.sum()))
        sides = zip(self.edges, low, high, strict=True)
        edges = [np.clip(edge, least, most) for edge, least, most in sides]
        draws = GridPosterior(cut, self.places, edges).sample(rng, n_draws)
        return draws, np.zeros((len(self), n_draws))

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Return logarithms of the probabilities of the bins: (N, D, P) to (N, D)."""
        row = np.arange(len(self))[:, None]
        total = np.zeros(values.shape[:2])
        with np.errstate(divide="ignore"):
            for grid, group in zip(self.grids, self.places, strict=True):
                total += np.log(grid[(row, *(self._bins(values[..., p], p) for p in group))])
        return total

    def climb(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the centres of the bins that hold these points, moved into a box, (N, P)."""
        columns = [self._centers[p][self._bins(values[:, p], p)] for p in range(len(self.edges))]
        return np.clip(np.stack(columns, axis=1), low, high)

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
