"""Calibration of class probabilities: a temperature, and what is out of range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster_cnn.band_order import BandOrder
from cluster_cnn.noise import NoiseRange

TEMPERATURES = np.geomspace(0.2, 5.0, 161)

_SMALLEST = 1e-9
DISTANCE_MARGIN = 1.5
"""By such a factor may a distance lie outside of those of the training set."""

NOISE_MARGIN = 2.0
"""By such a factor may the scatter of pixels lie outside of that of the training set."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassCalibration:
    """What is learnt from stamps that training has not seen.

    Attributes
    ----------
    temperature : float
        Divides the logits of every member (Guo et al. 2017, ICML, arXiv 1706.04599).
    feature_mean : ndarray of float, shape (F,)
    feature_whitening : ndarray of float, shape (F, F)
        Of the features of the first member, see `cluster_cnn.calibration.whitening`.
    largest_distance : float
        Distance in whitened features beyond which a stamp is out of range; inf: never.
    noise : NoiseRange
        What scatter the pixels may have: others are in another unit, or of another depth.
    order : BandOrder or None
        What the bands look like together; None where it was not learnt.
    distances_kpc : tuple of float
        Nearest and farthest object of the training set; NaN where they are not known.
    n_stamps : int
        Stamps that this was learnt from.
    """

    temperature: float = 1.0
    feature_mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    feature_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    largest_distance: float = np.inf
    noise: NoiseRange = field(default_factory=lambda: NoiseRange(margin=NOISE_MARGIN))
    order: BandOrder | None = None
    distances_kpc: tuple[float, float] = (np.nan, np.nan)
    n_stamps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        is_limited = np.isfinite(self.largest_distance)
        return {
            "temperature": self.temperature,
            "feature_mean": [float(f"{v:.6g}") for v in self.feature_mean],
            "feature_whitening": [
                [float(f"{v:.5g}") for v in row] for row in self.feature_whitening
            ],
            "largest_distance": self.largest_distance if is_limited else None,
            "noise": self.noise.to_list() if self.noise.is_known else None,
            "order": self.order.to_dict() if self.order else None,
            "distances_kpc": [v if np.isfinite(v) else None for v in self.distances_kpc],
            "n_stamps": self.n_stamps,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassCalibration:
        """Rebuild what `to_dict` returned."""
        mean = np.asarray(values["feature_mean"], float)
        matrix = np.asarray(values["feature_whitening"], float).reshape(len(mean), len(mean))
        limit = values["largest_distance"]
        return cls(
            temperature=float(values["temperature"]),
            feature_mean=mean,
            feature_whitening=matrix,
            largest_distance=np.inf if limit is None else float(limit),
            noise=NoiseRange.from_list(values.get("noise"), margin=NOISE_MARGIN),
            order=BandOrder.from_dict(values["order"]) if values.get("order") else None,
            distances_kpc=_pair_of(
                values.get("distances_kpc", (None, None)), absent=(np.nan, np.nan)
            ),
            n_stamps=int(values["n_stamps"]),
        )

    def is_far(self, distance_kpc: np.ndarray) -> np.ndarray:
        """Return True where a distance is known and no training object is nearly as near or far."""
        low, high = self.distances_kpc
        known = np.isfinite(distance_kpc)
        if not (low <= high):
            return known & (np.nan_to_num(distance_kpc) <= 0)
        inside = (distance_kpc > low / DISTANCE_MARGIN) & (distance_kpc < high * DISTANCE_MARGIN)
        return known & ~inside

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return how far features are from usual ones, shape (N,): about 1 for usual stamps."""
        if not self.feature_mean.size:
            return np.zeros(len(features))
        white = (features - self.feature_mean) @ self.feature_whitening
        return np.sqrt((white**2).mean(axis=1))


def _pair_of(values: Sequence[float | None], *, absent: tuple[float, float]) -> tuple[float, float]:
    low, high = (
        other if value is None else float(value)
        for value, other in zip(values, absent, strict=True)
    )
    return low, high


def mean_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Average the probabilities of the members.

    Parameters
    ----------
    logits : ndarray of float, shape (M, N, C)
    temperature : float
        Divides them first.

    Returns
    -------
    ndarray of float64, shape (N, C)
        Rows add up to 1.
    """
    from scipy.special import softmax

    return softmax(np.asarray(logits, np.float64) / temperature, axis=2).mean(axis=0)


def fit_class_temperature(
    logits: np.ndarray, labels: np.ndarray, confusion: Sequence[Sequence[float]] = ()
) -> float:
    """Find the temperature at which the averaged probabilities tell most about the labels.

    Parameters
    ----------
    logits : ndarray of float, shape (M, N, C)
    labels : ndarray of int, shape (N,)
        From 0 on.
    confusion : shape (C, C), optional
        Probability of each label given the true class, where labels are wrong at known rates.

    Returns
    -------
    float
        1 where there is no stamp.
    """
    if not len(labels):
        return 1.0
    rows = np.arange(len(labels))
    losses = []
    for temperature in TEMPERATURES:
        p = mean_probabilities(logits, float(temperature))
        p = p @ np.asarray(confusion) if len(confusion) else p
        losses.append(-np.log(np.maximum(p[rows, labels], _SMALLEST)).mean())
    return float(TEMPERATURES[int(np.argmin(losses))])
