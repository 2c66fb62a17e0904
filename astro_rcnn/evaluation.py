"""Score a detector on scenes with truth, and SEP on the same images."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from astro_io.errors import DatasetError
from astro_io.image import SkyImage
from astro_io.scene import CLASS_NAMES, Scene
from astro_io.truth import MaskRule
from astro_rcnn.coco_metrics import CocoCollector, coco_scores
from astro_rcnn.detections import Detections
from astro_rcnn.metrics import ScoredImage
from astro_rcnn.scoring import (
    Columns,
    ImageScore,
    SceneTruth,
    ScoringSettings,
    magnitude_band,
    measure_detections,
    prepare_truth,
    rank,
    score_image,
)
from astro_rcnn.sep_baseline import SepSettings, sep_detections
from astro_rcnn.summary import Summary, summarise

logger = logging.getLogger(__name__)

Detect = Callable[[SkyImage], Detections]


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """The scores of a set.

    Attributes
    ----------
    metrics : dict
        Content of ``metrics.json``; NaN where there is nothing to score.
    ours : Summary
        Curves and tables behind it.
    sep : Summary or None
        The same for SEP, compared with truth cut at the isophote of SEP's own threshold, which is
        fairer to it than the rule that the network learned; None where SEP was left out.
    """

    metrics: dict[str, Any]
    ours: Summary
    sep: Summary | None


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredScene:
    """One scene, scored: for pictures.

    Attributes
    ----------
    truth : SceneTruth
    detections : Detections
        Best score first, as in `score`.
    score : ImageScore
    """

    truth: SceneTruth
    detections: Detections
    score: ImageScore


@dataclass(eq=False)
class _Tally:
    """Scores of one finder, the network or SEP, image by image."""

    operating_score: float
    coco: CocoCollector | None = None
    images: list[ScoredImage] = field(default_factory=list)
    truth: list[Columns] = field(default_factory=list)
    found: list[Columns] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(
        self,
        scene_index: int,
        truth: SceneTruth,
        detections: Detections,
        measured: Columns | None = None,
    ) -> ImageScore:
        """Score one more image."""
        score = score_image(
            truth, detections, operating_score=self.operating_score, measured=measured
        )
        self.images.append(score.image)
        for rows, kept in ((score.truth, self.truth), (score.found, self.found)):
            n_rows = len(rows["class_id"])
            kept.append({"scene": np.full(n_rows, scene_index, np.int32), **rows})
        if self.coco is not None:
            _add_coco(self.coco, truth, detections)
        return score

    def summarise(self, band: str) -> Summary:
        """Compute the scores over all images."""
        return summarise(
            self.images,
            _join(self.truth),
            _join(self.found),
            band=band,
            operating_score=self.operating_score,
        )

    def metrics(self, summary: Summary) -> dict[str, Any]:
        """Return the scores of a summary, with those of COCO where they were asked for."""
        if self.coco is None:
            return dict(summary.metrics)
        return {**summary.metrics, "coco": coco_scores(self.coco, CLASS_NAMES)}

    @property
    def seconds_per_image(self) -> float:
        """Median time of detection; the first image, which compiles, hardly moves it."""
        return float(np.median(self.seconds))


class SceneScorer:
    """Collects scores scene by scene; masks are not kept but as run-length codes.

    Parameters
    ----------
    detect : callable
        Takes a SkyImage, returns Detections in its pixels.
    settings : ScoringSettings, optional
    with_coco : bool
        Score the COCO way too, SEP as well.
    sep : SepSettings, optional
        Run SEP with these settings on the same images; None leaves it out.
    """

    def __init__(
        self,
        detect: Detect,
        settings: ScoringSettings | None = None,
        *,
        with_coco: bool = True,
        sep: SepSettings | None = None,
    ) -> None:
        self._detect = detect
        self._settings = settings or ScoringSettings()
        self._sep_settings = sep

        def tally(operating_score: float) -> _Tally:
            return _Tally(operating_score, CocoCollector() if with_coco else None)

        self._ours = tally(self._settings.operating_score)
        self._sep, self._sep_isophote = tally(0.0), tally(0.0)
        self._band = ""

    def add(self, scene: Scene) -> ScoredScene:
        """Detect in one scene and score it.

        Returns
        -------
        ScoredScene

        Raises
        ------
        DatasetError
            If the detector knows other classes than the truth.
        """
        truth = prepare_truth(scene, self._settings)
        self._band = magnitude_band(scene.image.bands, self._settings.band)
        start = time.perf_counter()
        detections = rank(self._detect(scene.image))
        self._ours.seconds.append(time.perf_counter() - start)
        if detections.class_names != CLASS_NAMES:
            raise DatasetError(
                f"{scene.name}: the truth has classes {', '.join(CLASS_NAMES)}; the weights know "
                f"{', '.join(detections.class_names)}. Use weights for these classes (--weights)."
            )
        score = self._ours.add(scene.index, truth, detections)
        if self._sep_settings is not None:
            self._add_sep(scene, truth)
        logger.debug("%s: %d true, %d detected", scene.name, len(truth.masks), len(detections))
        return ScoredScene(truth=truth, detections=detections, score=score)

    def _add_sep(self, scene: Scene, truth: SceneTruth) -> None:
        """Run SEP and score all that it finds, against our truth and against isophotes."""
        start = time.perf_counter()
        found = sep_detections(
            scene.image.pixels, scene.image.bad, truth.statistics, self._sep_settings
        )
        self._sep.seconds.append(time.perf_counter() - start)
        found = rank(found)
        measured = measure_detections(truth, found)
        self._sep.add(scene.index, truth, found, measured)
        rule = MaskRule(kind="isophote", isophote_sigma=self._sep_settings.threshold_sigma)
        isophotal = prepare_truth(scene, replace(self._settings, rule=rule))
        self._sep_isophote.add(scene.index, isophotal, found, measured)

    def result(self) -> Evaluation:
        """Compute every score over the scenes so far.

        Raises
        ------
        DatasetError
            If there was no scene.
        """
        if not self._ours.images:
            raise DatasetError("nothing to evaluate: the data set has no scene. Make some first.")
        ours, sep = self._ours.summarise(self._band), None
        metrics = self._ours.metrics(ours)
        if self._sep_settings is not None:
            sep = self._sep_isophote.summarise(self._band)
            metrics["sep"] = {
                **self._sep.metrics(self._sep.summarise(self._band)),
                "isophote": self._sep_isophote.metrics(sep),
                "settings": dict(vars(self._sep_settings)),
                "seconds_per_image": self._sep.seconds_per_image,
            }
        metrics["seconds_per_image"] = self._ours.seconds_per_image
        metrics["n_images"] = len(self._ours.images)
        for class_id, name in enumerate(CLASS_NAMES[1:], start=1):
            is_class = ours.truth["class_id"] == class_id
            metrics[f"n_{name}"] = int(np.count_nonzero(is_class & ~ours.truth["ignored"]))
        return Evaluation(metrics=metrics, ours=ours, sep=sep)


def evaluate_scenes(
    detect: Detect, scenes: Iterable[Scene], settings: ScoringSettings | None = None, **options: Any
) -> Evaluation:
    """Run a detector over scenes with truth and compute every score.

    Parameters
    ----------
    detect, settings, **options
        As of `SceneScorer`.
    scenes : iterable of Scene
        Read once, one at a time.

    Returns
    -------
    Evaluation
    """
    scorer = SceneScorer(detect, settings, **options)
    for scene in scenes:
        scorer.add(scene)
    return scorer.result()


def _add_coco(coco: CocoCollector, truth: SceneTruth, detections: Detections) -> None:
    """Hand one image to the COCO scores."""
    coco.add(
        truth.image.shape,
        (truth.boxes, truth.masks, truth.class_ids),
        (detections.mask_boxes, detections.masks, detections.class_ids, detections.scores),
        ignored=truth.columns["ignored"],
    )


def _join(parts: list[Columns]) -> Columns:
    """Join tables of the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
