"""How good classes are: confusion matrices, per-class accuracy, entropy; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

NO_CLUSTER = 4


def confusion_matrix(truth: np.ndarray, chosen: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Count objects of each true class (rows) by the class that was chosen (columns).

    Parameters
    ----------
    truth, chosen : ndarray of int, shape (N,)
        Objects with another value in either are left out.
    class_ids : sequence of int

    Returns
    -------
    ndarray of int, shape (C, C)
    """
    ids = list(class_ids)
    matrix = np.zeros((len(ids), len(ids)), int)
    for row, true_id in enumerate(ids):
        for column, chosen_id in enumerate(ids):
            matrix[row, column] = np.sum((truth == true_id) & (chosen == chosen_id))
    return matrix


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Return rows in per cent of their sums; NaN for a class without objects."""
    total = matrix.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 100.0 * matrix / total, np.nan)


def f1_scores(matrix: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of completeness and purity of each class, per cent, shape (C,).

    A network that calls everything one class has a completeness of 100 % there, and a low score.
    NaN for a class that neither is nor is chosen.
    """
    total = matrix.sum(axis=1) + matrix.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 200.0 * np.diag(matrix) / total, np.nan)


def class_scores(
    truth: np.ndarray, probabilities: np.ndarray, entropy: np.ndarray, class_ids: Sequence[int]
) -> dict[str, Any]:
    """Score probabilities against the truth.

    Parameters
    ----------
    truth : ndarray of int, shape (N,)
    probabilities : ndarray of float, shape (N, C)
        Objects with NaN count as wrong in ``accuracy`` and are left out elsewhere.
    entropy : ndarray of float, shape (N,)
        In nats.
    class_ids : sequence of int

    Returns
    -------
    dict
        Per cent: ``accuracy``, ``per_class`` (completeness) and ``f1`` (its harmonic mean with
        purity) by class, ``confusion_percent``, ``two_class`` (cluster against class 4, where
        there is one); ``confusion`` in counts; ``entropy`` (mean
        of the right, of the wrong, and by class), ``log_loss`` in nats, ``calibration_error``.
    """
    ids = np.asarray(class_ids)
    known = np.isfinite(probabilities).all(axis=1)
    chosen = np.where(known, ids[np.argmax(np.where(known[:, None], probabilities, 0), axis=1)], 0)
    matrix = confusion_matrix(truth, chosen, class_ids)
    right = chosen == truth
    shares = row_shares(matrix)
    scores: dict[str, Any] = {
        "n": len(truth),
        "accuracy": _percent(right),
        "per_class": {str(i): float(shares[k, k]) for k, i in enumerate(class_ids)},
        "f1": dict(zip(map(str, class_ids), f1_scores(matrix).tolist(), strict=True)),
        "confusion": matrix.tolist(),
        "confusion_percent": shares.round(2).tolist(),
        "entropy": {
            "right": _mean(entropy[right]),
            "wrong": _mean(entropy[known & ~right]),
            "per_class": {str(i): _mean(entropy[known & (truth == i)]) for i in class_ids},
        },
        "log_loss": _log_loss(truth[known], probabilities[known], ids),
        "calibration_error": calibration_error(right[known], probabilities[known].max(axis=1)),
    }
    if NO_CLUSTER in ids and len(ids) > 2:
        scores["two_class"] = two_class_scores(truth[known], probabilities[known], ids)
    return scores


def two_class_scores(
    truth: np.ndarray, probabilities: np.ndarray, class_ids: np.ndarray
) -> dict[str, float]:
    """Return accuracy, completeness and purity of clusters against class 4, in per cent."""
    p_cluster = probabilities[:, class_ids != NO_CLUSTER].sum(axis=1)
    said, is_cluster = p_cluster >= 0.5, truth != NO_CLUSTER
    return {
        "accuracy": _percent(said == is_cluster),
        "completeness": _percent(said[is_cluster]),
        "purity": _percent(is_cluster[said]),
    }


def calibration_error(right: np.ndarray, confidence: np.ndarray, n_bins: int = 10) -> float:
    """Return the expected calibration error: how far confidence is from being right.

    Parameters
    ----------
    right : ndarray of bool, shape (N,)
    confidence : ndarray of float, shape (N,)
        Probability of the chosen class.
    n_bins : int
        Of equal numbers of objects.

    References
    ----------
    Guo et al. 2017, ICML (arXiv 1706.04599), section 2; here with equal numbers in the bins.
    """
    if not len(right):
        return float("nan")
    order = np.argsort(confidence)
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    gaps = [abs(right[part].mean() - confidence[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(right))


def spread_of_runs(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation of several `class_scores`.

    Parameters
    ----------
    runs : sequence of dict
        At least one.

    Returns
    -------
    dict
        ``accuracy``, ``per_class`` and each cell of ``confusion_percent`` as
        ``[mean, standard deviation]``, per cent; the deviation is that of a sample (0 for one run).
    """

    def pair(values: Sequence[float]) -> list[float]:
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return [float(np.mean(values)), deviation]

    return {
        "n_runs": len(runs),
        "accuracy": pair([run["accuracy"] for run in runs]),
        "per_class": {
            name: pair([run["per_class"][name] for run in runs]) for name in runs[0]["per_class"]
        },
        "confusion_percent": [
            [pair(cell) for cell in zip(*rows, strict=True)]
            for rows in zip(*(run["confusion_percent"] for run in runs), strict=True)
        ],
    }


def _percent(values: np.ndarray) -> float:
    return 100.0 * float(np.mean(values)) if len(values) else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _log_loss(truth: np.ndarray, probabilities: np.ndarray, ids: np.ndarray) -> float:
    if not len(truth):
        return float("nan")
    place = np.searchsorted(ids, truth)
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), place], 1e-9)).mean())
