"""A set with truth through a network and the baseline: scores, predictions, figures on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.catalog import write_catalog
from astro_io.cli import progress
from astro_io.errors import OutputExistsError
from astro_io.plain import plain_values
from astro_io.provenance import provenance
from cluster_cnn import evaluation, evaluation_figures, grid_map
from cluster_cnn.data import StampSource
from cluster_cnn.normalise import normalise_stamps
from cluster_cnn.photometry_baseline import (
    BaselineSettings,
    PhotometryBaseline,
    flux_unit,
    stretched,
)
from cluster_cnn.predictor import Estimates, Predictor
from cluster_cnn.scorecard import card_scores
from cluster_cnn.set_photometry import feature_sets, read_photometry

log = logging.getLogger(__name__)

METRICS_FILE, TABLE_FILE, CELLS_FILE = "metrics.json", "estimates.fits", "cells.png"
SCATTER_FILE, MAP_FILE = "scatter.png", "map.png"

_BATCH = 128
KNOWN = "av"
"""The parameter that is also scored as known."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is scored beside the network.

    Attributes
    ----------
    limit : int or None
        Only the first so many stamps.
    has_baseline, has_ablation : bool
    within : mapping of str to pair of float
        Ranges that the user knows parameters to lie in.
    baseline_training : tuple of Path
        Sets that the baseline learns from; without any it is cross-validated on the set itself,
        so that it knows the very distribution that it is tested on.
    """

    limit: int | None = None
    has_baseline: bool = True
    has_ablation: bool = False
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baseline_training: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """What is true of N stamps: parameters (N, P), whether a cluster, S/N."""

    parameters: np.ndarray
    is_cluster: np.ndarray
    snr: np.ndarray


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError if scores are there already and may not be replaced."""
    if (output / METRICS_FILE).exists() and not overwrite:
        raise OutputExistsError(
            f"{output / METRICS_FILE} exists. Pass --overwrite, or choose another --output."
        )


def evaluate(
    predictor: Predictor, dataset: Path, output: Path, settings: EvaluationSettings
) -> dict[str, Any]:
    """Score a network on a set; write ``metrics.json``, the estimates and figures.

    Parameters
    ----------
    predictor : Predictor
    dataset : Path
        Made by ``simulate.clusters``.
    output : Path
        Folder.
    settings : EvaluationSettings

    Returns
    -------
    dict
        What stands in ``metrics.json``.
    """
    config = predictor.config
    source = StampSource.seen_by(config, [dataset])
    source.conform(predictor.zeropoint_mag, predictor.pixel_scale_arcsec, of=predictor.where)
    names = config.parameter_names
    truth = read_truth(source, names, settings.limit)
    log.info("%s: %d stamps, %d clusters", dataset.name, len(truth.snr), truth.is_cluster.sum())
    estimates, known = estimate_all(predictor, source, truth, within=settings.within)
    metrics: dict[str, Any] = {
        "parameters": _scores(names, truth, estimates),
        "best": _best_scores(names, truth, estimates),
        "classes": evaluation.class_scores(
            truth.is_cluster, estimates.p_cluster, estimates.entropy
        ),
        "visibility": _visibility(truth, estimates),
        "out_of_range": float((estimates.is_strange | estimates.is_contradicted).mean()),
    }
    if known is not None:
        metrics[f"parameters_{KNOWN}_known"] = _scores(names, truth, known)
        metrics[f"best_{KNOWN}_known"] = _best_scores(names, truth, known)
    if settings.has_baseline:
        metrics["baseline"] = score_baselines(source, names, truth, settings)
    if settings.has_ablation:
        metrics["ablation"] = ablate(predictor, source, truth)
    metrics.update(
        n_stamps=len(truth.snr),
        n_clusters=int(truth.is_cluster.sum()),
        scores=card_scores(metrics),
        weights=predictor.describe(),
        weights_sha256=predictor.sha256,
        dataset=dataset.name,
        within={name: list(limits) for name, limits in settings.within.items()},
        provenance=provenance(),
    )
    _write(output, metrics, names, truth, estimates, known)
    if grid_map.has_grid(source.attributes):
        best = estimates if known is None else known
        points = grid_map.grid_points(source.attributes, names, truth.parameters, best.medians)
        grid_map.draw_grid_map(output / MAP_FILE, points)
    source.close()
    return metrics


def read_truth(source: StampSource, names: Sequence[str], limit: int | None) -> Truth:
    """Return the truth of the first `limit` stamps."""
    chosen = slice(limit)
    is_cluster = source.is_cluster()[chosen]
    parameters = source.parameters(names)[chosen].astype(float)
    parameters[~is_cluster] = np.nan
    return Truth(parameters=parameters, is_cluster=is_cluster, snr=source.column("snr")[chosen])


def estimate_all(
    predictor: Predictor,
    source: StampSource,
    truth: Truth,
    *,
    blank: int | None = None,
    within: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Estimates, Estimates | None]:
    """Return estimates of all stamps: extinction unknown, and told (None if no parameter).

    Parameters
    ----------
    predictor : Predictor
    source : StampSource
    truth : Truth
    blank : int, optional
        A band that is set to 0.
    within : mapping of str to pair of float, optional
        As of `Predictor.predict`.
    """
    names = predictor.config.parameter_names
    parts: list[dict[str, np.ndarray]] = []
    noises: list[np.ndarray] = []
    for rows in _batches(len(truth.snr), "stamps"):
        fluxes = source.read(rows)
        stamps = normalise_stamps(fluxes, predictor.scale)
        if blank is not None:
            stamps[..., blank :: len(source.bands)] = 0.0  # in every view
        elif (noise := predictor.watched_noise(fluxes)) is not None:
            noises.append(noise)
        parts.append(predictor.outputs(stamps))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    noise = np.concatenate(noises) if noises else None
    told = None
    if KNOWN in names and len(names) > 1:
        values = truth.parameters[:, names.index(KNOWN)]
        told = predictor.estimate(outputs, {KNOWN: values}, within, noise)
    return predictor.estimate(outputs, None, within, noise), told


def score_baselines(
    source: StampSource, names: Sequence[str], truth: Truth, settings: EvaluationSettings
) -> dict[str, Any]:
    """Score gradient boosting on aperture photometry of the same stamps.

    Returns
    -------
    dict
        ``integrated`` (one aperture), ``apertures`` (three) and, where the network has a wide
        view, ``wide_apertures`` (these and three in that), each as it is and with ``_av_known``;
        ``trained_on``.
    """
    boosting = BaselineSettings()
    features = read_photometry(source, np.arange(len(truth.snr)), boosting)
    training = None
    if settings.baseline_training:
        other = StampSource(
            settings.baseline_training,
            bands=source.bands,
            stamp_size=source.stamp_size,
            wide_binning=source.wide_binning,
        )
        other.conform(source.zeropoint_mag, source.pixel_scale_arcsec, of=source.paths[0].name)
        seen = read_photometry(other, np.arange(len(other)), boosting)
        training = (seen, read_truth(other, names, None).parameters)
        other.close()
    unit = flux_unit(features if training is None else training[0])
    result: dict[str, Any] = {
        "trained_on": [p.name for p in settings.baseline_training] or "itself, 5-fold"
    }
    for label, columns in feature_sets(source, boosting).items():
        for is_known in (False, True) if KNOWN in names else (False,):
            key = f"{label}_{KNOWN}_known" if is_known else label
            if is_known and training is None and _is_constant(truth, names):
                result[key] = result[label]  # cross-validated, it knows anyway
                continue
            seen = _inputs(features, truth.parameters, unit, columns, names, is_known)
            baseline = PhotometryBaseline(boosting)
            if training is None:
                rows = np.flatnonzero(np.isfinite(truth.parameters).all(axis=1))
                answer = np.full(truth.parameters.shape, np.nan)
                answer[rows] = baseline.cross_predict(seen[rows], truth.parameters[rows])
            else:
                learnt = _inputs(*training, unit, columns, names, is_known)
                answer = baseline.fit(learnt, training[1]).predict(seen)
            result[key] = evaluation.parameter_scores(
                names, truth.parameters, answer, None, truth.snr
            )
    return result


def ablate(predictor: Predictor, source: StampSource, truth: Truth) -> dict[str, Any]:
    """Return the scatter of each parameter with one band blanked, band by band."""
    names = predictor.config.parameter_names
    result: dict[str, Any] = {}
    for channel, band in enumerate(predictor.bands):
        estimates, _ = estimate_all(predictor, source, truth, blank=channel)
        scores = _scores(names, truth, estimates)
        result[band] = {n: {k: s[k] for k in ("bias", "scatter")} for n, s in scores.items()}
    return result


def _scores(names: Sequence[str], truth: Truth, estimates: Estimates) -> dict[str, Any]:
    return evaluation.parameter_scores(
        names,
        truth.parameters,
        estimates.medians,
        estimates.quantiles[:, :, ::2],
        truth.snr,
    )


def _best_scores(names: Sequence[str], truth: Truth, estimates: Estimates) -> dict[str, Any]:
    return evaluation.parameter_scores(names, truth.parameters, estimates.best, None, truth.snr)


def _visibility(truth: Truth, estimates: Estimates) -> dict[str, float]:
    with np.errstate(divide="ignore"):
        log_snr = np.where(truth.is_cluster, np.log10(np.maximum(truth.snr, 1e-9)), np.nan)
    return evaluation.visibility_scores(log_snr, estimates.log_snr, estimates.log_snr_error)


def _inputs(
    fluxes: np.ndarray,
    parameters: np.ndarray,
    unit: np.ndarray,
    columns: Any,
    names: Sequence[str],
    is_known: bool,
) -> np.ndarray:
    """Return what the regressor sees: stretched fluxes, and the extinction where it is told."""
    seen = stretched(fluxes, unit)[:, columns]
    if not is_known:
        return seen
    return np.concatenate([seen, parameters[:, [list(names).index(KNOWN)]]], axis=1)


def _is_constant(truth: Truth, names: Sequence[str]) -> bool:
    """Return whether all clusters have the same extinction."""
    values = truth.parameters[:, list(names).index(KNOWN)]
    return bool(np.nanmax(values) - np.nanmin(values) < 1e-9)


def _batches(n: int, description: str) -> Iterator[np.ndarray]:
    starts = progress(range(0, n, _BATCH), description=description, unit="batch")
    return (np.arange(first, min(first + _BATCH, n)) for first in starts)


def _write(
    output: Path,
    metrics: dict[str, Any],
    names: Sequence[str],
    truth: Truth,
    estimates: Estimates,
    known: Estimates | None,
) -> None:
    from astropy.table import QTable

    output.mkdir(parents=True, exist_ok=True)
    table = QTable({"is_cluster": truth.is_cluster, "snr": truth.snr})
    for p, name in enumerate(names):
        table[f"{name}_true"] = truth.parameters[:, p]
        for label, item in (("", estimates), (f"_{KNOWN}_known", known)):
            if item is not None:
                for q, level in enumerate(("p16", "p50", "p84")):
                    table[f"{name}{label}_{level}"] = item.quantiles[:, p, q].astype(np.float32)
                table[f"{name}{label}_best"] = item.best[:, p].astype(np.float32)
    table["p_cluster"] = estimates.p_cluster.astype(np.float32)
    table["strangeness"] = estimates.distance.astype(np.float32)
    write_catalog(output / TABLE_FILE, table, overwrite=True)
    with atomic_path(output / METRICS_FILE, overwrite=True) as part:
        part.write_text(json.dumps(plain_values(metrics), indent=1), encoding="utf-8")
    best = known if known is not None else estimates
    evaluation_figures.draw_scatter(
        output / SCATTER_FILE, names, truth.parameters, best.medians, truth.snr
    )
    key = "parameters" if known is None else f"parameters_{KNOWN}_known"
    evaluation_figures.draw_maps(output / CELLS_FILE, metrics[key])
