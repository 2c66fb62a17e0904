"""`cluster_cnn.evaluate` for the task ``classes``: scores, ablation, figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.cli import progress
from astro_io.errors import ConfigError, DatasetError, OutputExistsError, WeightsError
from astro_io.plain import plain_values
from astro_io.provenance import provenance
from cluster_cnn.classes import baseline, figures
from cluster_cnn.classes.calibration import mean_probabilities
from cluster_cnn.classes.config import ClassModelConfig
from cluster_cnn.classes.data import label_index, read_distances
from cluster_cnn.classes.predictor import ClassEstimates, ClassPredictor
from cluster_cnn.classes.scores import (
    class_scores,
    confusion_matrix,
    row_shares,
    spread_of_runs,
)
from cluster_cnn.classes.weights_file import HELD_OUT_SHARE, N_STAMPS
from cluster_cnn.data import StampSource, split_rows

METRICS_FILE, PREDICTIONS_FILE = "metrics.json", "predictions.npz"
CONFUSION_FILE, ENTROPY_FILE, ABLATION_FILE = "confusion.png", "entropy.png", "ablation.png"
TRAININGS_FILE = "confusion_trainings.png"

HUMAN = "class_human"
SNR_EDGES = (0.0, 50.0, 100.0, 300.0, np.inf)

_BATCH = 256


def evaluate_weights(args: argparse.Namespace) -> tuple[str, str]:
    """Score weights as the arguments of `cluster_cnn.evaluate` say.

    Returns
    -------
    tables, line : str
        For stdout.
    """
    _refuse_flags(args)
    path = args.output / METRICS_FILE
    if path.exists() and not args.overwrite:
        raise OutputExistsError(f"{path} exists. Pass --overwrite, or choose another --output.")
    metrics = evaluate_classes(
        ClassPredictor.load(args.weights),
        args.dataset,
        args.output,
        limit=args.limit,
        has_ablation=args.ablation,
        is_held_out=args.held_out,
        has_baseline=not args.no_baseline,
        baseline_training=args.baseline_training,
    )
    best = metrics["classes"]
    line = f"{best['accuracy']:.1f} % of {best['n']} in the right class -> {args.output}"
    return scorecard(metrics), line


def _refuse_flags(args: argparse.Namespace) -> None:
    """Raise if flags were given that say nothing of classes, or contradict each other."""
    if args.within:
        raise ConfigError(
            f"--within: only for weights that give parameters; {args.weights} gives classes. "
            "Leave it out."
        )
    if args.baseline_training and (args.held_out or args.no_baseline):
        other = "--held-out" if args.held_out else "--no-baseline"
        raise ConfigError(
            f"--baseline-training and {other}: one of them at most (with --held-out the baseline "
            "learns from what the network learnt from)."
        )


def evaluate_classes(
    predictor: ClassPredictor,
    datasets: Sequence[Path],
    output: Path,
    *,
    limit: int | None = None,
    has_ablation: bool = False,
    is_held_out: bool = False,
    has_baseline: bool = True,
    baseline_training: Sequence[Path] = (),
) -> dict[str, Any]:
    """Score an ensemble on sets; write ``metrics.json``, the predictions and figures.

    Parameters
    ----------
    predictor : ClassPredictor
    datasets : sequence of Path
        Made by ``simulate.clusters --task classes`` or `cluster_cnn.stamps`; they count as one.
    output : Path
        Folder.
    limit : int, optional
        Only the first so many stamps.
    has_ablation : bool
        Also score with each band blanked in turn, as figure 5 of Wei et al.
    is_held_out : bool
        The sets are those of the training: only what it set aside, see `held_out_rows`.
    has_baseline : bool
        Also score gradient boosting on photometry of the same stamps.
    baseline_training : sequence of Path
        Sets that it learns from.  Without any: from the stamps that the network learnt from
        (`is_held_out`), or else five-fold from those that are scored.

    Returns
    -------
    dict
        What stands in ``metrics.json``.
    """
    config = predictor.config
    ids = config.class_ids
    source = StampSource.seen_by(config, datasets)
    source.conform(predictor.zeropoint_mag, predictor.pixel_scale_arcsec, of=predictor.where)
    held = held_out_rows(predictor, source) if is_held_out else np.arange(len(source))
    rows = held[:limit]
    truth = source.column("class")[rows]
    label_index(truth, ids)  # refuses classes that the network does not know
    estimates, each = classify_source(predictor, source, rows)
    whole = class_scores(truth, estimates.probabilities, estimates.entropy, ids)
    metrics: dict[str, Any] = {
        "classes": whole,
        "members": spread_of_runs([class_scores(truth, p, np.zeros(len(p)), ids) for p in each]),
        "by_kind": _accuracy_by(source, "kind", rows, truth, estimates),
        "by_snr": _accuracy_by_snr(source, rows, truth, estimates),
        "out_of_range": float(100 * estimates.is_strange.mean()),
    }
    if HUMAN in source_columns(source):
        human = source.column(HUMAN)[rows]
        shares = np.diag(row_shares(confusion_matrix(truth, human, ids)))
        metrics["human_labels"] = {
            "accuracy": float(100 * (human == truth).mean()),
            "per_class": {str(i): float(share) for i, share in zip(ids, shares, strict=True)},
        }
    if has_baseline:
        learnt = np.setdiff1d(np.arange(len(source)), held) if is_held_out else None
        metrics["baseline"] = _score_baselines(source, rows, learnt, config, baseline_training)
    if has_ablation:
        metrics["ablation"] = ablate(predictor, source, rows, truth, whole)
    metrics |= {
        "scores": card_scores(whole),
        "weights": predictor.describe(),
        "weights_sha256": predictor.sha256,
        "dataset": ", ".join(path.name for path in datasets),
        "held_out": is_held_out,
        "provenance": provenance(),
    }
    source.close()
    _write(output, metrics, truth, estimates, ids)
    return metrics


def _score_baselines(
    source: StampSource,
    rows: np.ndarray,
    learnt: np.ndarray | None,
    config: ClassModelConfig,
    sets: Sequence[Path],
) -> dict[str, Any]:
    if not sets:
        training = None if learnt is None else (source, learnt)
        return baseline.score_baselines(source, rows, config.class_ids, training)
    other = StampSource.seen_by(config, sets)
    other.conform(source.zeropoint_mag, source.pixel_scale_arcsec, of=source.paths[0].name)
    training = (other, np.arange(len(other)))
    scores = baseline.score_baselines(source, rows, config.class_ids, training)
    other.close()
    return scores


def held_out_rows(predictor: ClassPredictor, source: StampSource) -> np.ndarray:
    """Return the stamps of a training set that its training set aside.

    Parameters
    ----------
    predictor : ClassPredictor
    source : StampSource
        The sets of the training, in their order.

    Returns
    -------
    ndarray of int

    Raises
    ------
    WeightsError
        If the weights do not say, or set nothing aside.
    DatasetError
        If these are not the sets that they were trained on.
    """
    facts = predictor.metadata
    share = float(facts.get(HELD_OUT_SHARE) or 0.0)
    if not share:
        raise WeightsError(
            f"{predictor.where}: expected weights that set a share of their training set aside "
            "(data.validation_share); these say nothing of it. Score them on a set of its own, "
            "without --held-out."
        )
    wanted = list(facts["training_set"]), int(facts[N_STAMPS])
    found = [path.name for path in source.paths], len(source)
    if found != wanted:
        raise DatasetError(
            f"--held-out: expected the training set, {', '.join(wanted[0])} of {wanted[1]} stamps; "
            f"found {', '.join(found[0])} of {found[1]}. Name the sets of the training in their "
            "order (--dataset)."
        )
    return split_rows(len(source), share)[1]


def classify_source(
    predictor: ClassPredictor,
    source: StampSource,
    rows: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[ClassEstimates, list[np.ndarray]]:
    """Classify stamps of a set.

    Parameters
    ----------
    predictor : ClassPredictor
    source : StampSource
    rows : ndarray of int
    change : callable, optional
        Changes stamps before they are classified, for example blanks a band.

    Returns
    -------
    estimates : ClassEstimates
        Of the ensemble.
    each : list of ndarray of float, shape (N, C)
        Probabilities of every member alone.
    """
    distances = read_distances(source)[rows]
    parts, raw = [], []
    blocks = [slice(first, first + _BATCH) for first in range(0, len(rows), _BATCH)]
    for block in progress(blocks, description="stamps", unit="batch"):
        stamps = source.read(rows[block])
        stamps = stamps if change is None else change(stamps)
        logits, features = predictor.outputs(stamps, distance_kpc=distances[block])
        parts.append(predictor.estimate(stamps, logits, features))
        raw.append(logits)
    logits = np.concatenate(raw, axis=1)
    temperature = predictor.calibration.temperature
    each = [mean_probabilities(one[None], temperature) for one in logits]
    return ClassEstimates.join(parts), each


def ablate(
    predictor: ClassPredictor,
    source: StampSource,
    rows: np.ndarray,
    truth: np.ndarray,
    whole: dict[str, Any],
) -> dict[str, Any]:
    """Score with each band missing in turn; the first entry, ``all bands``, is without loss."""
    result = {"all bands": whole}
    for channel, band in enumerate(predictor.config.bands):

        def blank(stamps: np.ndarray, channel: int = channel) -> np.ndarray:
            stamps = stamps.copy()
            stamps[..., channel] = np.nan
            return stamps

        estimates, _ = classify_source(predictor, source, rows, blank)
        result[band] = class_scores(
            truth, estimates.probabilities, estimates.entropy, predictor.config.class_ids
        )
    return result


def card_scores(classes: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores that a model card shows, per cent, from the block ``classes``."""
    each = {f"class_{name}": value for name, value in classes["per_class"].items()}
    return {name: round(v, 1) for name, v in {"accuracy": classes["accuracy"], **each}.items()}


def scorecard(metrics: dict[str, Any]) -> str:
    """Return the scores as a table in Markdown."""
    scores, members = metrics["classes"], metrics["members"]
    names = list(scores["per_class"])
    head = ["", "all", *(f"class {name}" for name in names)]
    lines = [head, ["---"] * len(head)]
    single = [members["accuracy"], *(members["per_class"][name] for name in names)]
    lines.append(["ensemble", *_row(scores, names)])
    label = f"one training ({members['n_runs']})"
    lines.append([label, *(f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in single)])
    if human := metrics.get("human_labels"):
        lines.append(["human-like labels", *_row(human, names)])
    for label, title in baseline.TITLES.items():
        if part := metrics.get("baseline", {}).get(label):
            lines.append([title, *_row(part, names)])
    for band, part in metrics.get("ablation", {}).items():
        if band != "all bands":
            lines.append([f"without {band}", *_row(part, names)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(scores: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{v:.1f}" for v in (scores["accuracy"], *(scores["per_class"][n] for n in names))]


def source_columns(source: StampSource) -> set[str]:
    """Return the columns that all sets of a source have."""
    from astro_io.cluster_set import ClusterSetReader

    found = []
    for path in source.paths:
        with ClusterSetReader(path) as reader:
            found.append(set(reader.columns))
    return set.intersection(*found)


def _accuracy_by(
    source: StampSource, name: str, rows: np.ndarray, truth: np.ndarray, estimates: ClassEstimates
) -> dict[str, Any]:
    if name not in source_columns(source):
        return {}
    values, right = source.column(name)[rows], estimates.chosen == truth
    return {
        str(value): {
            "n": int((values == value).sum()),
            "accuracy": float(100 * right[values == value].mean()),
        }
        for value in np.unique(values)
    }


def _accuracy_by_snr(
    source: StampSource, rows: np.ndarray, truth: np.ndarray, estimates: ClassEstimates
) -> list[dict[str, float]]:
    snr, right = source.column("snr")[rows], estimates.chosen == truth
    result = []
    for low, high in pairwise(SNR_EDGES):
        own = (snr >= low) & (snr < high) & (snr > 0)
        if own.any():
            accuracy = float(100 * right[own].mean())
            result.append({"above": low, "n": int(own.sum()), "accuracy": accuracy})
    return result


def _write(
    output: Path,
    metrics: dict[str, Any],
    truth: np.ndarray,
    estimates: ClassEstimates,
    ids: Sequence[int],
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / METRICS_FILE, overwrite=True) as part:
        part.write_text(json.dumps(plain_values(metrics), indent=1, allow_nan=False))
    with atomic_path(output / PREDICTIONS_FILE, overwrite=True) as part, part.open("wb") as file:
        np.savez_compressed(
            file, truth=truth, probabilities=estimates.probabilities, entropy=estimates.entropy
        )
    scores = metrics["classes"]
    title = f"{scores['accuracy']:.1f} % of {scores['n']}"
    counts = [[f"({n})" for n in row] for row in scores["confusion"]]
    percent = scores["confusion_percent"]
    figures.draw_confusion(output / CONFUSION_FILE, percent, counts, ids, title)
    if metrics["members"]["n_runs"] > 1:
        _draw_trainings(output / TRAININGS_FILE, metrics["members"], ids)
    figures.draw_entropy(output / ENTROPY_FILE, truth, estimates.chosen, estimates.entropy, ids)
    if "ablation" in metrics:
        figures.draw_ablation(output / ABLATION_FILE, metrics["ablation"])


def _draw_trainings(path: Path, members: Mapping[str, Any], ids: Sequence[int]) -> None:
    """Draw mean and deviation of the confusion matrices of several trainings."""
    mean, deviation = np.moveaxis(np.array(members["confusion_percent"]), -1, 0)
    below = [[f"± {value:.1f}" for value in row] for row in deviation]
    overall = "{:.1f} ± {:.1f} %".format(*members["accuracy"])
    title = f"{members['n_runs']} trainings: {overall}"
    figures.draw_confusion(path, mean, below, ids, title)
