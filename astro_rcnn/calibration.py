"""Does a score of 0.9 come true nine times in ten? Reliability and a fitted temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TINY = 1e-12
"""Probabilities below this are taken as this before the logarithm."""

TEMPERATURE_RANGE = (0.05, 20.0)
"""A fit that leaves this range means that the scores carry no information on the outcome."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often scores come true, in bins of equal width from 0 to 1.

    Attributes
    ----------
    count : ndarray of int64, shape (K,)
        Detections in each bin.
    mean_score, accuracy : ndarray of float64, shape (K,)
        Average score, and share of true detections; NaN in an empty bin.
    expected_error : float
        Expected calibration error, 0 to 1: ``sum n_k |accuracy_k - mean_score_k| / sum n_k``;
        NaN without a detection.
    """

    count: np.ndarray
    mean_score: np.ndarray
    accuracy: np.ndarray
    expected_error: float


def reliability(scores: np.ndarray, is_true: np.ndarray, *, n_bins: int = 10) -> Reliability:
    """Compare scores with what came of them.

    Parameters
    ----------
    scores : ndarray of float, shape (D,)
        Confidences, 0 to 1. A score of exactly 1 belongs to the last bin.
    is_true : ndarray of bool, shape (D,)
        Whether each detection is a true source of its class.
    n_bins : int
        Number K of bins.

    Returns
    -------
    Reliability

    References
    ----------
    Guo et al. 2017, ICML (arXiv 1706.04599), eq. 2 and 3.
    """
    index = np.minimum((np.asarray(scores, np.float64) * n_bins).astype(int), n_bins - 1)
    count = np.bincount(index, minlength=n_bins)
    total = np.bincount(index, weights=scores, minlength=n_bins)
    n_true = np.bincount(index, weights=np.asarray(is_true, float), minlength=n_bins)
    filled = np.where(count > 0, count, np.nan)
    mean_score, accuracy = total / filled, n_true / filled
    error = float("nan")
    if count.sum():
        error = float(np.nansum(count * np.abs(accuracy - mean_score)) / count.sum())
    return Reliability(count, mean_score, accuracy, error)


def fit_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Find the temperature T that makes ``softmax(log(p) / T)`` most likely.

    T above 1 softens scores that were too sure. The negative log-likelihood is convex in 1/T, so
    its slope is followed to zero by bisection.

    Parameters
    ----------
    probabilities : ndarray of float, shape (D, C)
        Class probabilities, background first.
    targets : ndarray of int, shape (D,)
        Class that each detection turned out to be; 0 where there is no source.

    Returns
    -------
    float
        NaN without a detection; a limit of `TEMPERATURE_RANGE` where the best lies beyond.

    References
    ----------
    Guo et al. 2017, ICML (arXiv 1706.04599), section 4.2.
    """
    if len(targets) == 0:
        return float("nan")
    log_p = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    at_target = log_p[np.arange(len(targets)), targets]
    low, high = 1.0 / TEMPERATURE_RANGE[1], 1.0 / TEMPERATURE_RANGE[0]
    for _ in range(60):
        middle = 0.5 * (low + high)
        expected = (_softmax(middle * log_p) * log_p).sum(axis=1)
        if np.mean(expected - at_target) < 0:
            low = middle
        else:
            high = middle
    return float(2.0 / (low + high))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return ``softmax(log(p) / T)``: the same order of classes, other confidence.

    Parameters
    ----------
    probabilities : ndarray of float, shape (D, C)
    temperature : float
        Above zero; 1 changes nothing.

    Returns
    -------
    ndarray of float64, shape (D, C)
        Rows sum to one.
    """
    log_p = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    return _softmax(log_p / temperature)


def shift_score(score: float, temperature: float) -> float:
    """Return what a score of two classes becomes when logits are divided by a temperature.

    ``sigmoid(logit(score) / T)``; 0 and 1 stay.
    """
    if not 0.0 < score < 1.0:
        return score
    return float(1.0 / (1.0 + ((1.0 - score) / score) ** (1.0 / temperature)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
