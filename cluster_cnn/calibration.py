"""Calibration after training: intervals that cover what they promise, and what is out of range.

Everything is measured on stamps that training did not see and kept with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster_cnn.noise import NoiseRange

LEVELS = np.linspace(0.0, 1.0, 101)
"""Nominal probabilities whose levels in the network's own posterior are tabulated."""

OUTLIER_QUANTILE = 0.999
"""Stamps stranger than all but this share of the calibration stamps are out of range."""

_SHRINKAGE = 0.1
_TEMPERATURES = np.geomspace(0.05, 20.0, 241)


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """What is learnt from stamps with known truth after training.

    Attributes
    ----------
    levels : ndarray of float, shape (P, L)
        For each of `LEVELS`, the level in the network's marginal posterior below which that
        share of the truth lies (Kuleshov, Fenner & Ermon 2018, ICML, arXiv 1807.00263).
    known_levels : dict of str to ndarray of float, shape (P - 1, L)
        The same where a parameter is known, for the others.
    snr_levels : ndarray of float, shape (L,)
        The same for the visibility.
    temperature : float
        Divides the logit of the class (Guo et al. 2017, ICML, arXiv 1706.04599).
    spread : ndarray of float, shape (P, P), or None
        Covariance of the errors of a ``point`` head.
    feature_mean : ndarray of float, shape (F,)
    feature_whitening : ndarray of float, shape (F, F)
        Turns features into ones of unit covariance.
    largest_distance : float
        Distance in whitened features beyond which a stamp is out of range; inf: never.
    noise : NoiseRange
        Scatter of pixels outside of which a stamp is out of range: it is in another unit, or of
        another depth.
    n_stamps : int
        Clusters that were measured.
    """

    levels: np.ndarray
    known_levels: dict[str, np.ndarray] = field(default_factory=dict)
    snr_levels: np.ndarray = field(default_factory=lambda: LEVELS.copy())
    temperature: float = 1.0
    spread: np.ndarray | None = None
    feature_mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    largest_distance: float = np.inf
    noise: NoiseRange = field(default_factory=NoiseRange)
    n_stamps: int = 0

    @classmethod
    def identity(cls, n_parameters: int) -> Calibration:
        """Return the calibration that changes nothing."""
        return cls(levels=np.tile(LEVELS, (n_parameters, 1)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "levels": self.levels.round(6).tolist(),
            "known_levels": {k: v.round(6).tolist() for k, v in self.known_levels.items()},
            "snr_levels": self.snr_levels.round(6).tolist(),
            "temperature": self.temperature,
            "spread": None if self.spread is None else self.spread.tolist(),
            "feature_mean": [float(f"{v:.6g}") for v in self.feature_mean],
            "feature_whitening": [
                [float(f"{v:.6g}") for v in row] for row in self.feature_whitening
            ],
            "largest_distance": (
                self.largest_distance if np.isfinite(self.largest_distance) else None
            ),
            "noise": self.noise.to_list() if self.noise.is_known else None,
            "n_stamps": self.n_stamps,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Rebuild what `to_dict` returned."""
        arrays = ("levels", "snr_levels", "feature_mean", "feature_whitening")
        parts = {name: np.asarray(values[name], float) for name in arrays}
        if not parts["feature_mean"].size:
            parts["feature_whitening"] = np.zeros((0, 0))
        limit = values["largest_distance"]
        known = values.get("known_levels", {})
        return cls(
            **parts,
            known_levels={name: np.asarray(rows, float) for name, rows in known.items()},
            temperature=float(values["temperature"]),
            spread=None if values["spread"] is None else np.asarray(values["spread"], float),
            largest_distance=np.inf if limit is None else float(limit),
            noise=NoiseRange.from_list(values.get("noise")),
            n_stamps=int(values["n_stamps"]),
        )

    def parameter_levels(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the levels to ask the posterior for, shape (P, Q).

        Parameters
        ----------
        probabilities : ndarray of float, shape (Q,)
            Wanted, for example 0.16, 0.5, 0.84.
        """
        return _interpolated(self.levels, probabilities)

    def levels_given(self, name: str, place: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return `parameter_levels` for the case that one parameter is known.

        Parameters
        ----------
        name : str
            The parameter that is known.
        place : int
            Which one it is.

        Returns
        -------
        callable
            Gives levels of shape (P - 1, Q); those of the general case where none were measured.
        """
        table = self.known_levels.get(name, np.delete(self.levels, place, axis=0))
        return lambda probabilities: _interpolated(table, probabilities)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return how far features are from those of the calibration stamps, shape (N,).

        The root mean square of whitened features: about 1 for usual stamps.
        """
        if not self.feature_mean.size:
            return np.zeros(len(features))
        white = (features - self.feature_mean) @ self.feature_whitening
        return np.sqrt((white**2).mean(axis=1))


def _interpolated(table: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(probabilities, LEVELS, row) for row in table])


def level_table(pit: np.ndarray) -> np.ndarray:
    """Return the quantiles of probability integral transforms at `LEVELS`.

    Parameters
    ----------
    pit : ndarray of float, shape (N,)
        Posterior probability below the truth, of N objects.

    Returns
    -------
    ndarray of float, shape (L,)
        Rising from 0 to 1; `LEVELS` itself without objects.
    """
    pit = pit[np.isfinite(pit)]
    if not pit.size:
        return LEVELS.copy()
    table = np.quantile(pit, LEVELS)
    table[0], table[-1] = 0.0, 1.0
    return np.maximum.accumulate(table)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Find the temperature that makes class probabilities come true as often as they say.

    Parameters
    ----------
    logits : ndarray of float, shape (N,)
    truth : ndarray of bool, shape (N,)

    Returns
    -------
    float
        1 where there is one class only, or nothing.
    """
    if truth.all() or not truth.any():
        return 1.0
    sign = np.where(truth, 1.0, -1.0)
    losses = [np.logaddexp(0.0, -sign * logits / t).mean() for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def whitening(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Learn what usual features are.

    Parameters
    ----------
    features : ndarray of float, shape (N, F)

    Returns
    -------
    mean : ndarray of float, shape (F,)
    matrix : ndarray of float, shape (F, F)
        ``(features - mean) @ matrix`` has about unit covariance.  The covariance is shrunk
        towards its diagonal, the more so the fewer stamps there are.
    largest_distance : float
        That all but 1 in 1000 of these stamps stay below; inf with fewer than 200.
    """
    n, f = features.shape
    mean = features.mean(axis=0)
    covariance = np.cov(features, rowvar=False).reshape(f, f)
    share = min(1.0, _SHRINKAGE + f / max(n, 1))
    diagonal = np.diag(covariance).copy()
    diagonal += 1e-3 * max(diagonal.mean(), 1e-12)
    covariance = (1 - share) * covariance + share * np.diag(diagonal)
    values, vectors = np.linalg.eigh(covariance)
    matrix = vectors / np.sqrt(np.maximum(values, 1e-12))
    distance = np.sqrt((((features - mean) @ matrix) ** 2).mean(axis=1))
    limit = float(np.quantile(distance, OUTLIER_QUANTILE)) if n >= 200 else np.inf
    return mean, matrix, limit
