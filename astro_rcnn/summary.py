"""From matches to the blocks of ``metrics.json``; numpy only.

Per cent, as in the paper: ``paper``, ``precision_at_recall_80``, ``completeness``, ``purity`` and
every ``found``.  Shares from 0 to 1: IoU, light purity and completeness, flux errors, ROC area,
calibration.  Bin edges stand in ``edges``; an open end is infinite (null in the file).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_io.scene import CLASS_NAMES
from astro_rcnn.calibration import Reliability, apply_temperature, fit_temperature, reliability
from astro_rcnn.completeness import NEIGHBOUR_EDGES_PX, magnitude_edges, percent, rate_in_bins
from astro_rcnn.deblending import deblending_scores
from astro_rcnn.metrics import (
    ScoredImage,
    confusion_matrix,
    paper_scores,
    precision_at_recall,
    roc_curve,
)
from astro_rcnn.scoring import Columns

GALAXY = CLASS_NAMES.index("galaxy")
CONFUSION_IOU = (0.5, 0.75)
MATCHINGS = ("iou", "position")
"""A mask IoU of 0.5, or a centre within 3 px or one half-light radius."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Summary:
    """The scores of one finder over all images.

    Attributes
    ----------
    metrics : dict
        Blocks of ``metrics.json``.
    precision : dict of str to ndarray, shape (10, 51)
        Precision against recall, averaged over images, at each IoU; per class and ``combined``.
    roc : tuple of ndarray, shape (K,)
        Share of stars, and of galaxies, above a limit on the galaxy probability.
    reliability : tuple of Reliability
        Before and after the fitted temperature.
    truth, found : dict of ndarray
        One row a true source, and a detection.
    """

    metrics: dict[str, Any]
    precision: dict[str, np.ndarray]
    roc: tuple[np.ndarray, np.ndarray]
    reliability: tuple[Reliability, Reliability]
    truth: Columns
    found: Columns


def summarise(
    images: Sequence[ScoredImage],
    truth: Columns,
    found: Columns,
    *,
    band: str,
    operating_score: float,
) -> Summary:
    """Compute all scores of one finder.

    Parameters
    ----------
    images : sequence of ScoredImage
    truth, found : dict of ndarray
        The columns of all images, as `astro_rcnn.scoring.score_image` makes them.
    band : str
        Band of the magnitudes.
    operating_score : float
        Confusion, completeness, purity and deblending speak of detections from this score on
        (`score_image` must have been given the same); the rest of all. Detections that are one
        more class of a source (``is_best`` False) count for the scores of classes alone.

    Returns
    -------
    Summary
    """
    classes = dict(enumerate(CLASS_NAMES[1:], start=1))
    table, precision = {}, {}
    for class_id, name in [*classes.items(), (None, "combined")]:
        table[name], precision[name] = paper_scores(images, class_id)
    sources = _once(images, found["is_best"])
    agnostic, _ = paper_scores([one_class(image) for image in sources])
    counted = {name: values[~truth["ignored"]] for name, values in truth.items()}
    operating = {name: values[found["score"] >= operating_score] for name, values in found.items()}
    roc_rates, roc_metrics = _star_galaxy_roc(found)
    curves, calibration = _calibration(found)
    metrics = {
        "paper": table,
        "class_agnostic": agnostic,
        "precision_at_recall_80": {
            name: precision_at_recall(images, class_id) for class_id, name in classes.items()
        },
        "confusion": _confusions(images, operating_score),
        "completeness": _rates(counted, "is_found", band),
        "purity": _rates(operating, "is_true", band),
        "deblending": deblending_scores(counted),
        "star_galaxy_roc": roc_metrics,
        "calibration": calibration,
    }
    return Summary(
        metrics=metrics,
        precision=precision,
        roc=roc_rates,
        reliability=curves,
        truth=truth,
        found=found,
    )


def _once(images: Sequence[ScoredImage], is_best: np.ndarray) -> list[ScoredImage]:
    """Return the images with every detected source once, of its most probable class."""
    ends = np.cumsum([len(image.scores) for image in images])
    parts = np.split(is_best, ends[:-1])
    pairs = zip(images, parts, strict=True)
    return [image.take(np.ones(len(image.truth_class), bool), part) for image, part in pairs]


def one_class(image: ScoredImage) -> ScoredImage:
    """Return the image with every source, true or detected, of one and the same class."""
    return ScoredImage(
        **{
            **vars(image),
            "truth_class": np.ones_like(image.truth_class),
            "class_ids": np.ones_like(image.class_ids),
        }
    )


def _confusions(images: Sequence[ScoredImage], min_score: float) -> dict[str, list[list[int]]]:
    """Count at both IoU; keys ``0.5`` and ``0.75``, truth first."""
    return {
        str(threshold): confusion_matrix(
            images, threshold, n_classes=len(CLASS_NAMES) - 1, min_score=min_score
        ).tolist()
        for threshold in CONFUSION_IOU
    }


def _rates(rows: Columns, prefix: str, band: str) -> dict[str, Any]:
    """Share of rows found (or true): overall, by magnitude and by nearest neighbour."""
    groups = {
        name: rows["class_id"] == class_id for class_id, name in enumerate(CLASS_NAMES) if class_id
    }
    groups["all"] = np.ones(len(rows["class_id"]), bool)
    success = {kind: (rows[f"{prefix}_{kind}"], _counts(rows, prefix, kind)) for kind in MATCHINGS}
    rates: dict[str, Any] = {
        kind: {name: percent(good[chosen & counts]) for name, chosen in groups.items()}
        for kind, (good, counts) in success.items()
    }
    bins = {
        "magnitude": ("mag", magnitude_edges(rows["mag"]), {"band": band}),
        "neighbour_px": ("neighbour_px", np.asarray(NEIGHBOUR_EDGES_PX), {}),
    }
    for key, (column, edges, extra) in bins.items():
        rates[key] = {**extra, "edges": edges}
        for name, chosen in groups.items():
            rates[key][name] = {}
            for kind, (good, counts) in success.items():
                kept = chosen & counts
                number, rate = rate_in_bins(rows[column][kept], good[kept], edges)
                rates[key][name][f"n_{kind}"], rates[key][name][kind] = number, rate
    return rates


def _counts(rows: Columns, prefix: str, kind: str) -> np.ndarray:
    """Leave out detections that sit on ignored truth."""
    ignored = rows.get(f"is_ignored_{kind}") if prefix == "is_true" else None
    return np.ones(len(rows["class_id"]), bool) if ignored is None else ~ignored


def _star_galaxy_roc(
    found: Columns,
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, float]]:
    """Tell galaxies from stars by ``p_galaxy / (p_star + p_galaxy)`` of matched detections."""
    matched = found["target"] > 0
    p_star, p_galaxy = found["p_star"][matched], found["p_galaxy"][matched]
    share = p_galaxy / np.maximum(p_star + p_galaxy, np.finfo(np.float32).tiny)
    is_galaxy = found["target"][matched] == GALAXY
    false_rate, true_rate, area = roc_curve(is_galaxy, share)
    metrics = {
        "area": area,
        "n_star": int(np.count_nonzero(~is_galaxy)),
        "n_galaxy": int(np.count_nonzero(is_galaxy)),
    }
    return (false_rate, true_rate), metrics


def _calibration(found: Columns) -> tuple[tuple[Reliability, Reliability], dict[str, Any]]:
    """Compare scores with outcomes, before and after the temperature that fits best."""
    counted = (found["target"] >= 0) & found["is_best"]
    names = [f"p_{name}" for name in CLASS_NAMES]
    probabilities = np.stack([found[name][counted] for name in names], axis=1)
    is_correct, scores = found["is_correct"][counted], found["score"][counted]
    temperature = fit_temperature(probabilities, found["target"][counted])
    cooled = scores
    if np.isfinite(temperature):
        class_ids = found["class_id"][counted]
        cooled = apply_temperature(probabilities, temperature)[np.arange(len(scores)), class_ids]
    before, after = reliability(scores, is_correct), reliability(cooled, is_correct)
    metrics = {
        "n": before.count,
        "mean_score": before.mean_score,
        "accuracy": before.accuracy,
        "expected_error": before.expected_error,
        "temperature": temperature,
        "expected_error_with_temperature": after.expected_error,
    }
    return (before, after), metrics
