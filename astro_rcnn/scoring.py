"""One image, its truth and its detections: everything that the scores are made of.

Truth is prepared once an image, and serves the network and the classical baseline alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from astro_io.errors import ConfigError
from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics, measure_statistics
from astro_io.scene import Scene
from astro_io.truth import MaskRule, scene_masks
from astro_rcnn.completeness import MATCH_RADIUS_PX, match_positions, nearest_neighbour
from astro_rcnn.deblending import (
    FOUND_IOU,
    MATCH_IOU,
    SceneLight,
    mask_light,
    purity_of_light,
    scene_light,
)
from astro_rcnn.detections import Detections
from astro_rcnn.measure import measure_sources
from astro_rcnn.metrics import ScoredImage, greedy_match, mask_iou

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """What counts as truth, and as a detection.

    Attributes
    ----------
    rule : MaskRule
        How true masks follow from the noiseless truth.
    operating_score : float
        Confidence from which a detection counts for confusion, completeness, purity and
        deblending. Average precision and calibration look at all.
    truth_min_snr : float
        Truth of lower signal-to-noise is ignored: not asked for, not held against a detection.
    band : str or None
        Band of the magnitudes; None: r where there is one, else the middle band.
    """

    rule: MaskRule = field(default_factory=MaskRule)
    operating_score: float = 0.5
    truth_min_snr: float = 0.0
    band: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneTruth:
    """The G true sources of one image that have a mask in it.

    Attributes
    ----------
    image : SkyImage
        What the detector saw.
    band : str
        Band of fluxes and magnitudes.
    zeropoint_mag : float
        Magnitude of one flux unit in that band; NaN where unknown.
    statistics : BandStatistics
        Sky level and noise of each band.
    class_ids : ndarray of int32, shape (G,)
    boxes : ndarray of int32, shape (G, 4)
        Smallest boxes around the masks.
    masks : tuple of ndarray of bool
    light : SceneLight
        Noiseless light of the G sources (and of all others in its total).
    columns : dict of ndarray, shape (G,)
        ``source_id``, ``class_id``, ``x``, ``y``, ``mag``, ``snr``, ``radius_px`` (of a match by
        position), ``neighbour_px``, ``rho``, ``mask_flux`` (of the source alone, in its true
        mask) and ``ignored``.
    """

    image: SkyImage
    band: str
    zeropoint_mag: float
    statistics: BandStatistics
    class_ids: np.ndarray
    boxes: np.ndarray
    masks: tuple[np.ndarray, ...]
    light: SceneLight
    columns: Columns


@dataclass(frozen=True, eq=False)
class ImageScore:
    """The result of `score_image`.

    Attributes
    ----------
    image : ScoredImage
        For average precision and confusion.
    truth, found : dict of ndarray
        Columns of equal length, one row a true source and one a detection.
    """

    image: ScoredImage
    truth: Columns
    found: Columns


def magnitude_band(bands: tuple[str, ...], wanted: str | None) -> str:
    """Choose the band of the magnitudes: the wanted one, else r, else the middle one.

    Raises
    ------
    ConfigError
        If the wanted band is not there.
    """
    if wanted is not None and wanted not in bands:
        raise ConfigError(f"--band {wanted}: expected one of {', '.join(bands)}.")
    if wanted is not None:
        return wanted
    return "r" if "r" in bands else bands[len(bands) // 2]


def prepare_truth(scene: Scene, settings: ScoringSettings) -> SceneTruth:
    """Make masks, light and columns of the truth of one scene.

    Parameters
    ----------
    scene : Scene
    settings : ScoringSettings

    Returns
    -------
    SceneTruth
        Without the sources that have no mask inside the image.
    """
    image = scene.image
    boxes, masks = scene_masks(scene, settings.rule)
    kept = np.flatnonzero([mask.any() for mask in masks])
    statistics = measure_statistics(image.pixels, image.bad, "zscore", allow_empty=True)
    light = _light(scene, statistics.scale)
    band = magnitude_band(image.bands, settings.band)
    columns = _truth_columns(scene, band, settings)
    columns["rho"] = purity_of_light(light)
    columns["mask_flux"] = _mask_fluxes(scene, image.bands.index(band), boxes, masks)
    columns = {name: values[kept] for name, values in columns.items()}
    columns["neighbour_px"] = nearest_neighbour(np.stack([columns["y"], columns["x"]], axis=1))
    return SceneTruth(
        image=image,
        band=band,
        zeropoint_mag=_zeropoint(scene, band),
        statistics=statistics,
        class_ids=columns["class_id"],
        boxes=boxes[kept],
        masks=tuple(masks[i] for i in kept),
        light=SceneLight(light.boxes[kept], tuple(light.own[i] for i in kept), light.total),
        columns=columns,
    )


def score_image(
    truth: SceneTruth,
    detections: Detections,
    *,
    operating_score: float = 0.5,
    measured: Columns | None = None,
) -> ImageScore:
    """Match the detections of one image to its truth.

    Parameters
    ----------
    truth : SceneTruth
    detections : Detections
        Best score first (`rank`).
    operating_score : float
        As in `ScoringSettings`.
    measured : dict of ndarray, optional
        What `measure_detections` returned for them, to save its time.

    Returns
    -------
    ImageScore
    """
    iou = mask_iou(detections.mask_boxes, detections.masks, truth.boxes, truth.masks)
    image = ScoredImage(
        truth_class=truth.class_ids,
        truth_area=_area(truth.boxes),
        truth_ignored=truth.columns["ignored"],
        class_ids=detections.class_ids,
        scores=detections.scores,
        areas=_area(detections.boxes),
        iou=iou,
    )
    n_kept = int(np.count_nonzero(detections.scores >= operating_score))
    if measured is None:
        measured = measure_detections(truth, detections.take(np.arange(n_kept)))
    found = _found_columns(detections, image, measured)
    by_iou = greedy_match(iou[:n_kept], FOUND_IOU, ignored=image.truth_ignored)
    by_position = match_positions(
        np.stack([found["y"], found["x"]], axis=1)[:n_kept],
        np.stack([truth.columns["y"], truth.columns["x"]], axis=1),
        truth.columns["radius_px"],
        ignored=image.truth_ignored,
    )
    for name, match in (("iou", by_iou), ("position", by_position)):
        found[f"is_true_{name}"] = _padded(match >= 0, len(detections))
        found[f"is_ignored_{name}"] = _on_ignored(match, image, len(detections))
    columns = dict(truth.columns)
    columns.update(_deblending_columns(truth, detections, iou[:n_kept], found["flux"]))
    columns["found_class"] = _at_truth(by_iou, detections.class_ids, len(truth.class_ids))
    columns["is_found_iou"] = columns["found_class"] > 0
    columns["is_found_position"] = np.isin(np.arange(len(truth.class_ids)), by_position)
    return ImageScore(image, columns, found)


def rank(detections: Detections) -> Detections:
    """Sort detections, best score first."""
    return detections.take(np.argsort(-detections.scores, kind="stable"))


def measure_detections(truth: SceneTruth, detections: Detections) -> Columns:
    """Measure detections as the catalogue does.

    Parameters
    ----------
    truth : SceneTruth
        Names the image and the band.
    detections : Detections

    Returns
    -------
    dict of ndarray, shape (D,)
        ``x``, ``y``, ``flux``, ``mag`` (NaN where the flux is not positive), ``neighbour_px``.
    """
    table = measure_sources(truth.image, detections)
    x, y, flux = (
        np.asarray(getattr(table[name], "value", table[name]), float)
        for name in ("x", "y", f"flux_{truth.band}")
    )
    magnitude = truth.zeropoint_mag - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    neighbour = nearest_neighbour(np.stack([y, x], axis=1))
    return {"x": x, "y": y, "flux": flux, "mag": magnitude, "neighbour_px": neighbour}


def _light(scene: Scene, sky_sigma: np.ndarray) -> SceneLight:
    """Return the noiseless light; where only masks are known, they stand for it."""
    scale = np.ones(1) if scene.truth == "mask" else sky_sigma
    return scene_light(
        [stamp.box for stamp in scene.stamps],
        [stamp.pixels for stamp in scene.stamps],
        scene.image.shape,
        scale,
    )


def _truth_columns(scene: Scene, band: str, settings: ScoringSettings) -> Columns:
    """Read what is known of each source; NaN where the data set does not say."""
    table = scene.catalog
    unknown = np.full(len(table), np.nan)
    read = {
        name: np.asarray(table[column], float) if column in table.colnames else unknown
        for name, column in (("mag", f"mag_{band}"), ("snr", "snr"), ("r50", "half_light_radius"))
    }
    return {
        "source_id": np.asarray(table["source_id"], np.int32),
        "class_id": np.asarray(table["class_id"], np.int32),
        "x": np.asarray(table["x"], float),
        "y": np.asarray(table["y"], float),
        "mag": read["mag"],
        "snr": read["snr"],
        "radius_px": np.fmax(MATCH_RADIUS_PX, read["r50"]),
        "ignored": read["snr"] < settings.truth_min_snr,
    }


def _mask_fluxes(
    scene: Scene, channel: int, boxes: np.ndarray, masks: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Sum the noiseless flux of each source in its own mask; NaN where only masks are known."""
    flux = np.full(len(masks), np.nan)
    if scene.truth == "mask":
        return flux
    for i, ((y1, x1, y2, x2), mask) in enumerate(zip(boxes, masks, strict=True)):
        top, left = scene.stamps[i].box[:2]
        part = scene.stamps[i].pixels[y1 - top : y2 - top, x1 - left : x2 - left, channel]
        flux[i] = part[mask].sum(dtype=np.float64) if mask.any() else np.nan
    return flux


def _zeropoint(scene: Scene, band: str) -> float:
    """Return the magnitude of one flux unit, from the image or from the truth table."""
    known = scene.image.zeropoint_mag[scene.image.bands.index(band)]
    if known is not None:
        return float(known)
    table = scene.catalog
    if f"flux_{band}" not in table.colnames or f"mag_{band}" not in table.colnames:
        return float("nan")
    flux = np.asarray(table[f"flux_{band}"], float)
    usable = np.isfinite(flux) & (flux > 0)
    points = np.asarray(table[f"mag_{band}"], float)[usable] + 2.5 * np.log10(flux[usable])
    return float(np.median(points)) if len(points) else float("nan")


def _found_columns(detections: Detections, image: ScoredImage, measured: Columns) -> Columns:
    """Describe each detection, and say what it turned out to be."""
    any_class = greedy_match(image.iou, FOUND_IOU, ignored=image.truth_ignored)
    same_class = greedy_match(image.same_class_iou(), FOUND_IOU, ignored=image.truth_ignored)
    target = np.append(image.truth_class, 0)[any_class]
    ignored = _on_ignored(any_class, image, len(detections))
    columns: Columns = {
        "class_id": detections.class_ids,
        "score": detections.scores,
        **{name: _padded(values, len(detections), np.nan) for name, values in measured.items()},
        "target": np.where(ignored, -1, target).astype(np.int32),
        "is_correct": same_class >= 0,
        "is_best": detections.probabilities[:, 1:].argmax(axis=1) + 1 == detections.class_ids,
    }
    for k, name in enumerate(detections.class_names):
        columns[f"p_{name}"] = detections.probabilities[:, k]
    return columns


def _deblending_columns(
    truth: SceneTruth, detections: Detections, iou: np.ndarray, flux: np.ndarray
) -> Columns:
    """Weigh the light in the mask that stands for each true source, however bad it is."""
    match = greedy_match(iou, MATCH_IOU)
    names = ("iou", "light_purity", "light_completeness", "flux_error")
    columns = {name: np.full(len(truth.masks), np.nan) for name in names}
    columns["iou"][:] = 0.0
    for i in np.flatnonzero(match >= 0):
        k = match[i]
        purity, completeness = mask_light(
            truth.light, k, detections.mask_boxes[i], detections.masks[i]
        )
        columns["iou"][k] = iou[i, k]
        columns["light_purity"][k] = purity
        columns["light_completeness"][k] = completeness
        columns["flux_error"][k] = flux[i] / truth.columns["mask_flux"][k] - 1.0
    return columns


def _area(boxes: np.ndarray) -> np.ndarray:
    """Area of boxes, shape (N,), px^2."""
    boxes = np.asarray(boxes, np.float64)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _padded(values: np.ndarray, length: int, value: float | bool = False) -> np.ndarray:
    """Append one value up to a length."""
    return np.append(values, np.full(length - len(values), value))


def _on_ignored(match: np.ndarray, image: ScoredImage, length: int) -> np.ndarray:
    """Say which detections were matched to ignored truth, False beyond the match's end."""
    ignored = np.append(image.truth_ignored, False)[match]
    return _padded(ignored, length)


def _at_truth(match: np.ndarray, values: np.ndarray, n_truth: int) -> np.ndarray:
    """Move a number of each detection to the truth it is matched to; 0 elsewhere."""
    moved = np.zeros(n_truth, values.dtype)
    hit = match >= 0
    moved[match[hit]] = values[: len(match)][hit]
    return moved
