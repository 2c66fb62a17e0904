"""Scores of estimates against the truth: what ``metrics.json`` holds, without files or networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cluster_cnn.metrics import (
    AGE_EDGES,
    MASS_EDGES,
    cell_table,
    coverage,
    error_statistics,
    table_edges,
)

SNR_EDGES = (0.0, 5.0, 10.0, 20.0, 50.0, 200.0, 1000.0, np.inf)
RADIUS_EDGES = (0.0, 0.3, 0.6, 1.2, 2.5, 5.0, np.inf)
"""Bins of signal to noise and of half-light radius in arcsec."""

BRIGHT_SNR = 20.0
"""Above it a cluster counts as bright."""

COMPACT_ARCSEC = 1.5
"""Half-light radius up to which a cluster counts as compact: 95 % of the real ones in M31."""


def parameter_scores(
    names: Sequence[str],
    truth: np.ndarray,
    medians: np.ndarray,
    intervals: np.ndarray | None,
    snr: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Score each parameter, overall and in bins.

    Parameters
    ----------
    names : sequence of str, length P
    truth, medians : ndarray of float, shape (N, P)
        Rows with NaN truth (no cluster) are left out.
    intervals : ndarray of float, shape (N, P, 2), or None
        Ends of the 68 % intervals; None for an estimator without.
    snr : ndarray of float, shape (N,)
        Signal to noise.

    Returns
    -------
    dict
        By parameter: what `cluster_cnn.metrics.error_statistics` returns, ``coverage68``,
        ``bright`` (S/N above `BRIGHT_SNR`), ``by_age_mass``, ``by_age``, ``by_mass``, ``by_snr``,
        ``by_radius``; ``compact``: the same up to `COMPACT_ARCSEC`, with ``by_age_mass``.
    """
    known = np.isfinite(truth).all(axis=1) & np.isfinite(medians).all(axis=1)
    truth, medians, snr = truth[known], medians[known], snr[known]
    intervals = None if intervals is None else intervals[known]
    column = {name: truth[:, p] for p, name in enumerate(names)}
    scores: dict[str, dict[str, Any]] = {}
    for p, name in enumerate(names):
        error = medians[:, p] - truth[:, p]
        ends = None if intervals is None else intervals[:, p]
        entry: dict[str, Any] = _with_coverage(error, truth[:, p], ends, slice(None))
        entry["bright"] = _with_coverage(error, truth[:, p], ends, snr > BRIGHT_SNR)
        entry.update(_binned(error, truth[:, p], ends, column, snr))
        if "log_radius" in column:
            small = column["log_radius"] <= np.log10(COMPACT_ARCSEC)
            entry["compact"] = _with_coverage(error, truth[:, p], ends, small)
            cells = {k: v[small] for k, v in column.items()}
            entry["compact"]["by_age_mass"] = _age_mass_cells(error[small], cells)
        scores[name] = entry
    return scores


def class_scores(is_cluster: np.ndarray, p_cluster: np.ndarray, entropy: np.ndarray) -> dict:
    """Score cluster against background: confusion (rows truth: background, cluster), in per cent.

    Parameters
    ----------
    is_cluster : ndarray of bool, shape (N,)
    p_cluster, entropy : ndarray of float, shape (N,)
        NaN where the network does not say; an empty dict then.
    """
    if not np.isfinite(p_cluster).any() or is_cluster.all() or not is_cluster.any():
        return {}
    said = p_cluster > 0.5
    confusion = [
        [int(np.sum((is_cluster == row) & (said == column))) for column in (False, True)]
        for row in (False, True)
    ]
    return {
        "confusion": confusion,
        "accuracy": {
            "background": 100.0 * confusion[0][0] / sum(confusion[0]),
            "cluster": 100.0 * confusion[1][1] / sum(confusion[1]),
        },
        "mean_entropy": float(entropy.mean()),
        "brier": float(np.mean((p_cluster - is_cluster) ** 2)),
    }


def visibility_scores(
    log_snr: np.ndarray, predicted: np.ndarray, error: np.ndarray
) -> dict[str, float]:
    """Score log10 S/N; NaN rows are left out."""
    known = np.isfinite(log_snr) & np.isfinite(predicted)
    offset = predicted[known] - log_snr[known]
    spread = error[known]
    return {
        **error_statistics(offset),
        "coverage68": float(np.mean(np.abs(offset) < spread)) if known.any() else float("nan"),
    }


def improvement(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Return by how many per cent each scatter is below that of another estimator."""
    return {
        name: 100.0 * (1.0 - ours[name]["scatter"] / theirs[name]["scatter"])
        for name in ours
        if name in theirs and theirs[name]["scatter"] > 0
    }


def _with_coverage(
    error: np.ndarray, truth: np.ndarray, ends: np.ndarray | None, chosen: Any
) -> dict[str, Any]:
    result: dict[str, Any] = error_statistics(error[chosen])
    if ends is not None:
        result["coverage68"] = coverage(truth[chosen], ends[chosen, 0], ends[chosen, 1])
    return result


def _binned(
    error: np.ndarray,
    truth: np.ndarray,
    ends: np.ndarray | None,
    column: Mapping[str, np.ndarray],
    snr: np.ndarray,
) -> dict[str, Any]:
    """Return the scores in bins of age and mass, S/N and size."""
    result: dict[str, Any] = {"by_snr": _in_bins(error, truth, ends, snr, SNR_EDGES, "snr")}
    if "log_radius" in column:
        radius = 10.0 ** column["log_radius"]
        result["by_radius"] = _in_bins(error, truth, ends, radius, RADIUS_EDGES, "arcsec")
    result["by_age_mass"] = _age_mass_cells(error, column)
    if result["by_age_mass"]:
        ages, masses = column["log_age"], column["log_mass"]
        age_edges, mass_edges = table_edges(ages, AGE_EDGES), table_edges(masses, MASS_EDGES)
        ages = np.clip(ages, age_edges[0], age_edges[-1])
        masses = np.clip(masses, mass_edges[0], mass_edges[-1])
        result["by_age"] = _in_bins(error, truth, ends, ages, age_edges, "log_age")
        result["by_mass"] = _in_bins(error, truth, ends, masses, mass_edges, "log_mass")
    return result


def _age_mass_cells(error: np.ndarray, column: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the scores in cells of age and mass; none without both."""
    if not len(error) or not {"log_age", "log_mass"} <= set(column):
        return []
    ages, masses = column["log_age"], column["log_mass"]
    age_edges, mass_edges = table_edges(ages, AGE_EDGES), table_edges(masses, MASS_EDGES)
    ages = np.clip(ages, age_edges[0], age_edges[-1])
    masses = np.clip(masses, mass_edges[0], mass_edges[-1])
    return cell_table(error, ages, masses, age_edges, mass_edges)


def _in_bins(
    error: np.ndarray,
    truth: np.ndarray,
    ends: np.ndarray | None,
    values: np.ndarray,
    edges: Sequence[float],
    label: str,
) -> list[dict[str, Any]]:
    rows = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high if high != edges[-1] else values <= high)
        limits = [float(low), float(high) if np.isfinite(high) else None]
        rows.append({label: limits, **_with_coverage(error, truth, ends, inside)})
    return rows
