"""Fit the temperature of some weights on images with truth, and write the weights with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from astro_io.scene import Scene
from astro_io.weights import WeightsEntry, write_record
from astro_rcnn.calibration import shift_score
from astro_rcnn.config import ModelConfig
from astro_rcnn.detector import Detector
from astro_rcnn.evaluation import evaluate_scenes
from astro_rcnn.evaluation_run import as_seen_by, detect_with
from astro_rcnn.scoring import ScoringSettings
from astro_rcnn.weights_file import copy_with_settings


@dataclass(frozen=True, kw_only=True)
class ScoreFit:
    """A fitted temperature.

    Attributes
    ----------
    temperature : float
        NaN without a detection.
    error_before, error_after : float
        Expected calibration error of the scores as they are, and divided by it.
    n : int
        Detections.
    min_confidence_before, min_confidence : float
        Least score of the weights, and the same limit on the new scores.
    """

    temperature: float
    error_before: float
    error_after: float
    n: int
    min_confidence_before: float
    min_confidence: float


def fit_scores(
    weights: Path,
    model: ModelConfig,
    scenes: Iterable[Scene],
    settings: ScoringSettings,
    *,
    min_score: float,
) -> ScoreFit:
    """Detect in scenes with truth and fit the temperature.

    Parameters
    ----------
    weights : Path
        One of our weights files.
    model : ModelConfig
        Settings to use it with; the temperature among them is put aside.
    scenes : iterable of Scene
    settings : ScoringSettings
    min_score : float
        Detections of lower score are left out.

    Returns
    -------
    ScoreFit

    Raises
    ------
    WeightsError
        If the file does not fit the settings.
    """
    detector = Detector.load(weights, config=model, min_confidence=min_score, temperature=1.0)
    seen = (as_seen_by(detector.bands, scene, settings.band, settings.rule) for scene in scenes)
    evaluation = evaluate_scenes(detect_with(detector), seen, settings, with_coco=False)
    found = evaluation.metrics["calibration"]
    plain_score = shift_score(model.min_confidence, 1.0 / model.temperature)
    temperature = float(found["temperature"])
    return ScoreFit(
        temperature=round(temperature, 4),
        error_before=float(found["expected_error"]),
        error_after=float(found["expected_error_with_temperature"]),
        n=int(found["n"].sum()),
        min_confidence_before=model.min_confidence,
        min_confidence=round(shift_score(plain_score, temperature), 4),
    )


def write_calibrated(
    weights: Path,
    folder: Path,
    model: ModelConfig,
    fit: ScoreFit,
    *,
    entry: WeightsEntry | None,
    facts: dict[str, Any],
    overwrite: bool,
) -> Path:
    """Write the weights with a temperature, and their record.

    Parameters
    ----------
    weights : Path
    folder : Path
        Made if it is not there.
    model : ModelConfig
        Settings that `fit` was made with; they are written.
    fit : ScoreFit
    entry : WeightsEntry or None
        What is known about the weights; None: no record is written.
    facts : dict
        JSON-able; stored with the fit in the file's metadata.
    overwrite : bool

    Returns
    -------
    Path
        The new file.
    """
    changed = replace(model, temperature=fit.temperature, min_confidence=fit.min_confidence)
    path = folder / weights.name
    calibration = {"calibration": {**asdict(fit), **facts}}
    copy_with_settings(weights, path, changed, calibration, overwrite=overwrite)
    if entry is not None:
        _write_entry(replace(entry, bands=model.bands), path, fit)
    return path


def _write_entry(entry: WeightsEntry, path: Path, fit: ScoreFit) -> None:
    thresholds = {
        **entry.thresholds,
        "min_confidence": fit.min_confidence,
        "temperature": fit.temperature,
    }
    write_record(entry, path, thresholds=thresholds)
