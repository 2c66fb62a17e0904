"""Whether the bands of stamps stand in the order in which they are given.

Files that were handed over in the wrong order, and whose headers do not tell, give a network
colours that no sky has, and it answers all the same.  So the weights keep what bands look like
together: scatter, level, and the light of the middle and of a ring about it, band by band, as one
multivariate t distribution.  How much more probable a stamp is if its bands are taken for others
tells, stamp by stamp, whether they were exchanged; the sum over a table tells nearly always.

References
----------
Kotz & Nadarajah 2004, Multivariate t Distributions and Their Applications,
Cambridge, chapter 1: the density.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from cluster_cnn.noise import pixel_scatter
from cluster_cnn.normalise import border_level

N_MARKS = 4
"""Numbers of one band: ln scatter, and arcsinh of level, middle and ring."""

FREEDOM = 5.0
"""Degrees of freedom of the distribution: few, so that odd stamps do not count for much."""

LARGEST_GAIN = 10.0
"""One stamp adds no more than this to the sum of a table, in nats."""

TABLE_GAIN = 20.0
"""A table that gains more than this in another order stands in the wrong one, in nats."""

_LEAST_ROW_GAIN = 5.0
_ROW_QUANTILE = 0.999
_MOST_ORDERS = 1000
_COPIES = 4
_FLUX_JITTER, _BAND_JITTER, _NOISE_JITTER = 0.3, 0.2, 0.4  # in ln
_MIDDLE, _RING = 3 / 64, 10 / 64  # radii, in units of the stamp's side
_SHRINKAGE = 0.01

Order = tuple[int, ...]
"""Which band each of the bands with data is taken for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BandOrder:
    """What the bands of a training set look like together.

    Attributes
    ----------
    unit : float
        Flux at which arcsinh turns from linear to logarithmic.
    mean : ndarray of float, shape (B * N_MARKS,)
    covariance : ndarray of float, shape (B * N_MARKS, B * N_MARKS)
    row_gain : float
        Stamps that gain more than this, in nats, in another order are doubtful.
    n_stamps : int
        Stamps that this was learnt from.
    """

    unit: float
    mean: np.ndarray
    covariance: np.ndarray
    row_gain: float = np.inf
    n_stamps: int = 0
    _whitenings: dict[Order, tuple[np.ndarray, float]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "unit": float(f"{self.unit:.6g}"),
            "mean": [float(f"{v:.6g}") for v in self.mean],
            "covariance": [[float(f"{v:.6g}") for v in row] for row in self.covariance],
            "row_gain": self.row_gain if np.isfinite(self.row_gain) else None,
            "n_stamps": self.n_stamps,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BandOrder:
        """Rebuild what `to_dict` returned."""
        gain = values["row_gain"]
        return cls(
            unit=float(values["unit"]),
            mean=np.asarray(values["mean"], float),
            covariance=np.asarray(values["covariance"], float),
            row_gain=np.inf if gain is None else float(gain),
            n_stamps=int(values["n_stamps"]),
        )

    @property
    def n_bands(self) -> int:
        """Return the number of bands."""
        return len(self.mean) // N_MARKS

    def gains(self, stamps: np.ndarray) -> list[OrderGains]:
        """Compare the order of the bands with all others.

        Parameters
        ----------
        stamps : ndarray of float, shape (N, S, S, B)
            Flux in the unit of the training set; NaN where there is no data.

        Returns
        -------
        list of OrderGains
            One for each set of bands with data among the stamps; stamps without any have none.
        """
        marks = band_marks(stamps, self.unit)
        has_band = np.isfinite(marks).all(axis=2)
        found = []
        for present in np.unique(has_band, axis=0):
            given = tuple(np.flatnonzero(present).tolist())
            if not given:
                continue
            rows = np.flatnonzero((has_band == present).all(axis=1))
            orders = possible_orders(self.n_bands, given)
            own = marks[np.ix_(rows, given)]
            density = np.stack([self._log_density(own, order) for order in orders], axis=1)
            found.append(
                OrderGains(
                    rows=rows, given=given, orders=orders, gain=density[:, 1:] - density[:, :1]
                )
            )
        return found

    def doubtful(self, stamps: np.ndarray) -> np.ndarray:
        """Return True for stamps that would be far more probable in another order, shape (N,)."""
        doubtful = np.zeros(len(stamps), bool)
        for part in self.gains(stamps):
            doubtful[part.rows] = part.best > self.row_gain
        return doubtful

    def _log_density(self, marks: np.ndarray, order: Order) -> np.ndarray:
        """Return the log density, up to a constant, of bands (N, K, M) taken for others."""
        rising = tuple(sorted(order))
        if rising not in self._whitenings:
            places = np.add.outer(np.array(rising) * N_MARKS, np.arange(N_MARKS)).ravel()
            values, vectors = np.linalg.eigh(self.covariance[np.ix_(places, places)])
            self._whitenings[rising] = vectors / np.sqrt(values), float(np.log(values).sum())
        matrix, log_determinant = self._whitenings[rising]
        sorted_marks = marks[:, np.argsort(order)].reshape(len(marks), -1)
        mean = self.mean.reshape(-1, N_MARKS)[list(rising)].ravel()
        squares = (((sorted_marks - mean) @ matrix) ** 2).sum(axis=1)
        n = matrix.shape[0]
        return -0.5 * ((FREEDOM + n) * np.log1p(squares / FREEDOM) + log_determinant)


@dataclass(frozen=True, eq=False, kw_only=True)
class OrderGains:
    """How much more probable stamps are in other orders than as they are given.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Which stamps: those that have data in the same bands.
    given : tuple of int
        The bands that have data.
    orders : list of tuple of int
        What these are taken for; the first order is `given` itself.
    gain : ndarray of float, shape (n, len(orders) - 1)
        Log density in each other order less that as given, in nats.
    """

    rows: np.ndarray
    given: Order
    orders: Sequence[Order]
    gain: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """Return the largest gain of each stamp, shape (n,)."""
        if not self.gain.shape[1]:
            return np.full(len(self.rows), -np.inf)
        return self.gain.max(axis=1)


class OrderWatch:
    """Sums gains over the stamps of a table and says at the end whether its bands are in order.

    Parameters
    ----------
    order : BandOrder
    bands : sequence of str
        Names, for the message.
    """

    def __init__(self, order: BandOrder, bands: Sequence[str]) -> None:
        self.order, self.bands = order, tuple(bands)
        self._sums: dict[Order, tuple[int, np.ndarray]] = {}

    def look(self, stamps: np.ndarray) -> np.ndarray:
        """Count stamps; return True for those doubtful by themselves, shape (N,)."""
        doubtful = np.zeros(len(stamps), bool)
        for part in self.order.gains(stamps):
            doubtful[part.rows] = part.best > self.order.row_gain
            gain = np.clip(part.gain, -LARGEST_GAIN, LARGEST_GAIN).sum(axis=0)
            n, total = self._sums.get(part.given, (0, np.zeros_like(gain)))
            self._sums[part.given] = n + len(part.rows), total + gain
        return doubtful

    def judge(self) -> str:
        """Return what is wrong with the order of all stamps counted, and begin anew.

        Returns
        -------
        str
            Empty where nothing is.
        """
        sums, self._sums = self._sums, {}
        if not sums:
            return ""
        given, (n, total) = max(sums.items(), key=lambda item: item[1][0])
        if not total.size or total.max() <= TABLE_GAIN:
            return ""
        order = possible_orders(self.order.n_bands, given)[1 + int(np.argmax(total))]
        pairs = zip(given, order, strict=True)
        moved = ", ".join(f"{self.bands[i]} like {self.bands[j]}" for i, j in pairs if i != j)
        return (
            f"expected bands {', '.join(self.bands[i] for i in given)} in this order; {n} stamps "
            f"look as if some were exchanged ({moved}). Check which file is of which filter."
        )


def learn_band_order(stamps: np.ndarray, *, unit: float, seed: int = 0) -> BandOrder | None:
    """Learn what the bands of a training set look like together.

    Fluxes and noise are varied, so that other depths and zero points are borne.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, S, S, B)
        Of the training set.
    unit : float
        A flux about as large as the noise.
    seed : int

    Returns
    -------
    BandOrder or None
        None for one band, or for fewer stamps with all bands than would tell anything.
    """
    marks = _raw_marks(stamps)
    marks = marks[np.isfinite(marks).all(axis=(1, 2))]
    n, n_bands = marks.shape[:2]
    if n_bands < 2 or n < 10 * n_bands * N_MARKS:
        return None
    rng = np.random.default_rng(seed)
    copies = np.tile(marks, (_COPIES, 1, 1))
    log_factor = rng.normal(0.0, _FLUX_JITTER, (len(copies), 1))
    log_factor = log_factor + rng.normal(0.0, _BAND_JITTER, (len(copies), n_bands))
    copies = copies * np.exp(log_factor)[..., None]
    copies[..., 0] *= np.exp(rng.normal(0.0, _NOISE_JITTER, copies.shape[:2]))
    flat = _compressed(copies, unit).reshape(len(copies), -1)
    covariance = np.cov(flat, rowvar=False)
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(np.diag(covariance))
    learnt = BandOrder(unit=unit, mean=flat.mean(axis=0), covariance=covariance)
    best = np.concatenate([part.best for part in learnt.gains(stamps)])
    return BandOrder(
        unit=unit,
        mean=learnt.mean,
        covariance=covariance,
        row_gain=max(_LEAST_ROW_GAIN, float(np.quantile(best, _ROW_QUANTILE))),
        n_stamps=n,
    )


def band_marks(stamps: np.ndarray, unit: float) -> np.ndarray:
    """Measure what tells one band from another.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, S, S, B)
        NaN where there is no data.
    unit : float
        As of `BandOrder`.

    Returns
    -------
    ndarray of float64, shape (N, B, N_MARKS)
        NaN for a band without data or without scatter.
    """
    return _compressed(_raw_marks(stamps), unit)


def _raw_marks(stamps: np.ndarray) -> np.ndarray:
    """Return scatter, level, middle and ring in flux units, shape (N, B, N_MARKS)."""
    n, size, _, n_bands = stamps.shape
    if not n:
        return np.empty((0, n_bands, N_MARKS))
    step = max(1, size // 20)
    sample = stamps[:, ::step, ::step].reshape(n, -1, n_bands)
    place = np.arange(size) - (size - 1) / 2
    radius = np.hypot(place[:, None], place) / size
    mean = np.mean
    if not np.isfinite(stamps).all():
        stamps = np.where(np.isfinite(stamps), stamps, np.nan)
        sample = np.where(np.isfinite(sample), sample, np.nan)
        mean = np.nanmean
    level, scatter = border_level(stamps), pixel_scatter(sample, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bands without data
        middle = mean(stamps[:, radius < _MIDDLE], axis=1) - level
        ring = mean(stamps[:, (radius >= _MIDDLE) & (radius < _RING)], axis=1) - level
    marks = np.stack([scatter, level, middle, ring], axis=2).astype(np.float64)
    marks[~(scatter > 0)] = np.nan
    return marks


def _compressed(marks: np.ndarray, unit: float) -> np.ndarray:
    return np.concatenate([np.log(marks[..., :1] / unit), np.arcsinh(marks[..., 1:] / unit)], 2)


@lru_cache
def possible_orders(n_bands: int, given: Order) -> list[Order]:
    """List what some of the bands can be taken for, beginning with themselves.

    All possibilities, or, where these are too many, exchanges of two bands and the reversed order.
    """
    n_orders = np.prod(np.arange(n_bands - len(given) + 1, n_bands + 1))
    if n_orders <= _MOST_ORDERS:
        every = list(itertools.permutations(range(n_bands), len(given)))
        return [given, *(order for order in every if order != given)]
    orders = [given, given[::-1]]
    for i, j in itertools.combinations(range(len(given)), 2):
        order = list(given)
        order[i], order[j] = order[j], order[i]
        orders.append(tuple(order))
    return orders
