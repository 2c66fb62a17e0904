"""Score a detector on a whole data set and write what came out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from astro_io.atomic import atomic_path
from astro_io.cli import progress
from astro_io.errors import OutputExistsError
from astro_io.image import SkyImage
from astro_io.provenance import provenance
from astro_io.scene import Scene, SceneSource
from astro_io.truth import MaskRule, in_one_band
from astro_rcnn.config import ANY_BAND
from astro_rcnn.cutout_figure import SUBJECTS, CutoutGallery
from astro_rcnn.detections import Detections
from astro_rcnn.evaluation import Detect, Evaluation, SceneScorer
from astro_rcnn.example_figure import write_example
from astro_rcnn.figures import write_figures
from astro_rcnn.scorecard import card_scores, plain
from astro_rcnn.scoring import Columns, ScoringSettings, magnitude_band
from astro_rcnn.sep_baseline import SepSettings
from astro_rcnn.tiled import AnyDetector, detect_tiled

METRICS_FILE, TRUTH_FILE, DETECTIONS_FILE = "metrics.json", "truth.fits", "detections.fits"

MEANINGS = {
    "scene": "number of the image in its set",
    "radius_px": "largest distance of a match by position",
    "neighbour_px": "distance to the nearest other one",
    "rho": "purity of light, 1 alone",
    "mask_flux": "flux of the source alone in its true mask",
    "ignored": "below the least S/N asked for",
    "iou": "mask IoU with the detection that stands for it",
    "light_purity": "share of the light in that mask that is its own",
    "light_completeness": "share of its light in that mask",
    "flux_error": "measured flux / mask_flux - 1",
    "found_class": "class of the detection at IoU 0.5; 0 none",
    "target": "class of the truth at IoU 0.5; 0 none, -1 ignored",
    "is_correct": "truth of the same class at IoU 0.5",
    "is_best": "the most probable class of this source; else one more, for scores",
}
"""Descriptions of the columns that do not speak for themselves."""


def as_seen_by(
    bands: Sequence[str], scene: Scene, band: str | None = None, rule: MaskRule | None = None
) -> Scene:
    """Return a scene with the one band that a network for any band is shown.

    Parameters
    ----------
    bands : sequence of str
        Of the network; unless they are `ANY_BAND` the scene stays as it is.
    scene : Scene
    band : str, optional
        As of `magnitude_band`.
    rule : MaskRule, optional
    """
    if tuple(bands) != ANY_BAND:
        return scene
    return in_one_band(scene, magnitude_band(scene.image.bands, band), rule or MaskRule())


def in_bands(bands: Sequence[str], image: SkyImage) -> SkyImage:
    """Return an image in the bands of a network; for any band, the one that it has."""
    return image if tuple(bands) == ANY_BAND else image.select(bands)


def detect_with(detector: AnyDetector, *, tile: int = 512, overlap: int = 64) -> Detect:
    """Return a function that runs a detector on a SkyImage as ``detect`` does.

    Parameters
    ----------
    detector : Detector
        Its bands are chosen from the image by name; for any band, the image has one.
    tile, overlap : int
        Side of a tile and least overlap in pixels; tile 0 takes images whole.
    """

    def detect(image: SkyImage) -> Detections:
        chosen = in_bands(detector.bands, image)
        return detect_tiled(chosen, detector, tile=tile, overlap=overlap)[0]

    return detect


def score_dataset(
    detector: AnyDetector,
    dataset: SceneSource,
    output: Path,
    settings: ScoringSettings | None = None,
    *,
    tile: int = 512,
    overlap: int = 64,
    sep: SepSettings | None = None,
    limit: int | None = None,
    n_examples: int = 3,
    facts: dict[str, Any] | None = None,
) -> Evaluation:
    """Score a detector and write ``metrics.json``, tables and figures.

    Parameters
    ----------
    detector : Detector
    dataset : SceneSource
    output : Path
        Folder; made if it is not there. Files of an earlier run are replaced.
    settings : ScoringSettings, optional
    tile, overlap : int
        As of `detect_with`.
    sep : SepSettings, optional
        Run SEP beside; None leaves it out.
    limit : int, optional
        Only the first so many images.
    n_examples : int
        Number of images drawn with truth and detections.
    facts : dict, optional
        Further keys of ``metrics.json``, such as ``dataset``.

    Returns
    -------
    Evaluation
        With `facts`, settings and provenance in its metrics.

    Raises
    ------
    DatasetError
        If the set is empty or its truth has other classes.
    ImageError
        If an image lacks a band of the detector.
    """
    settings = settings or ScoringSettings()
    output.mkdir(parents=True, exist_ok=True)
    scorer = SceneScorer(detect_with(detector, tile=tile, overlap=overlap), settings, sep=sep)
    n_images = len(dataset) if limit is None else min(limit, len(dataset))
    galleries = {
        name: CutoutGallery(subject, operating_score=settings.operating_score, n_images=n_images)
        for name, subject in SUBJECTS.items()
    }
    for i in progress(range(n_images), description="images", total=n_images, unit="image"):
        scored = scorer.add(as_seen_by(detector.bands, dataset[i], settings.band, settings.rule))
        for gallery in galleries.values():
            gallery.add(scored)
        if i < n_examples:
            path = output / f"example_{i}.png"
            write_example(scored, path, operating_score=settings.operating_score)
    evaluation = scorer.result()
    facts_of_detector = detector.describe()
    evaluation.metrics.update(
        {
            **(facts or {}),
            "scores": card_scores(evaluation.metrics),
            "weights": facts_of_detector["weights"],
            "weights_sha256": facts_of_detector["weights_sha256"],
            "detector": facts_of_detector,
            "dataset_attributes": {
                key: dataset.attributes[key]
                for key in ("preset", "seed")
                if key in dataset.attributes
            },
            "settings": {**asdict(settings), "tile": tile, "overlap": overlap},
            "provenance": provenance(),
        }
    )
    for name, gallery in galleries.items():
        gallery.write(output / f"{name}.png")
    write_evaluation(evaluation, output)
    return evaluation


def write_evaluation(evaluation: Evaluation, output: Path) -> None:
    """Write figures, tables, and last of all ``metrics.json``."""
    write_figures(evaluation, output)
    _write_table(evaluation.ours.truth, output / TRUTH_FILE)
    _write_table(evaluation.ours.found, output / DETECTIONS_FILE)
    with atomic_path(output / METRICS_FILE, overwrite=True) as part:
        part.write_text(_to_json(evaluation.metrics), encoding="utf-8")


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Stop before the work if the folder holds an evaluation already.

    Raises
    ------
    OutputExistsError
        If there is a ``metrics.json`` and `overwrite` is False.
    """
    if (output / METRICS_FILE).exists() and not overwrite:
        raise OutputExistsError(
            f"{output / METRICS_FILE} exists. Pass --overwrite, or choose another --output."
        )


def _to_json(metrics: dict[str, Any]) -> str:
    """Return indented JSON with lists of plain numbers on one line."""
    text = json.dumps(plain(metrics), indent=1, allow_nan=False)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _write_table(columns: Columns, path: Path) -> None:
    """Write columns as a FITS table."""
    from astropy.table import Table

    table = Table(columns)
    for name in table.colnames:
        if name in MEANINGS:
            table[name].description = MEANINGS[name]
    with atomic_path(path, overwrite=True) as part:
        table.write(part, format="fits")
