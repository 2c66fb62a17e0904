"""The classical way, for comparison: threshold, deblend and classify by size, with SEP.

SEP is Source Extractor as a library.  It works on one plane: the sum of all bands, each in units
of its sky noise.  It has no classes; a source is called a star if its half-light radius is hardly
larger than that of the sharpest sources of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astro_io.normalize import BandStatistics
from astro_rcnn.detections import Detections

MAX_OBJECTS_PER_BLEND = 4096
"""SEP gives up on a blend of more pieces; its default of 1024 is too few for deep fields."""


@dataclass(frozen=True, kw_only=True)
class SepSettings:
    """How SEP is run.

    Contrast and size limit gave, of those tried on fields of ``decam-paper`` and ``decam`` (seed
    77), the best completeness and classification.  No threshold suits all: 1.5 was best where
    sources go down to the noise (``decam``), 5 to 7 where all are bright (``decam-paper``).

    Attributes
    ----------
    threshold_sigma : float
        Detection limit in units of the global noise.
    min_area_px : int
        Least number of connected pixels above it.
    deblend_levels, deblend_contrast : int, float
        Levels, and least share of the flux, of a branch that is cut off as a source of its own.
    star_radius_ratio : float
        A star's half-light radius is at most so many times the stellar one.
    stellar_percentile : float
        The stellar half-light radius is this percentile over sources of high S/N.
    stellar_min_snr : float
        S/N of those sources.
    """

    threshold_sigma: float = 1.5
    min_area_px: int = 5
    deblend_levels: int = 32
    deblend_contrast: float = 0.001
    star_radius_ratio: float = 1.15
    stellar_percentile: float = 10.0
    stellar_min_snr: float = 20.0


@dataclass(frozen=True, eq=False)
class Extraction:
    """What SEP found in one plane.

    Attributes
    ----------
    objects : structured ndarray, shape (N,)
        SEP's table: ``x``, ``y``, ``npix``, ``flux``, ``a``, ``flag`` ...
    segmentation : ndarray of int32, shape (H, W)
        0 background, else row number + 1.
    plane : ndarray of float32, shape (H, W)
        Background subtracted.
    rms : float
        Global noise of the plane.
    """

    objects: np.ndarray
    segmentation: np.ndarray
    plane: np.ndarray
    rms: float

    @property
    def snr(self) -> np.ndarray:
        """Isophotal S/N of each source, ``flux / (sqrt(npix) rms)``, shape (N,)."""
        return self.objects["flux"] / (np.sqrt(self.objects["npix"]) * self.rms)


def noise_normalised_sum(
    pixels: np.ndarray, bad: np.ndarray | None, statistics: BandStatistics
) -> np.ndarray:
    """Add up the bands, each less its sky level and divided by its sky noise.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W, B)
        Any linear flux unit.
    bad : ndarray of bool, shape (H, W, B), optional
        Bad pixels count as sky.
    statistics : BandStatistics
        Level and noise of each band, in the unit of `pixels`.

    Returns
    -------
    ndarray of float32, shape (H, W)
    """
    scaled = (pixels - statistics.center) / statistics.scale
    usable = np.isfinite(scaled) if bad is None else np.isfinite(scaled) & ~bad
    return np.ascontiguousarray(np.where(usable, scaled, 0.0).sum(axis=2, dtype=np.float32))


def extract(plane: np.ndarray, settings: SepSettings | None = None) -> Extraction:
    """Subtract SEP's background from a plane and extract its sources.

    Parameters
    ----------
    plane : ndarray of float32, shape (H, W)
        One band, or a sum of bands.
    settings : SepSettings, optional

    Returns
    -------
    Extraction
        Without objects where nothing reaches the threshold.

    References
    ----------
    Barbary 2016, JOSS 1(6), 58; Bertin & Arnouts 1996, A&AS 117, 393.
    """
    import sep

    settings = settings or SepSettings()
    # room for every pixel of the image; SEP's own 300 000 are too few for a bright large one
    sep.set_extract_pixstack(max(plane.size, sep.get_extract_pixstack()))
    sep.set_sub_object_limit(max(MAX_OBJECTS_PER_BLEND, sep.get_sub_object_limit()))
    plane = np.ascontiguousarray(plane, np.float32)
    background = sep.Background(plane)
    flat = plane - background.back().astype(np.float32)
    objects, segmentation = sep.extract(
        flat,
        settings.threshold_sigma,
        err=background.globalrms,
        minarea=settings.min_area_px,
        deblend_nthresh=settings.deblend_levels,
        deblend_cont=settings.deblend_contrast,
        segmentation_map=True,
    )
    return Extraction(objects, segmentation, flat, float(background.globalrms))


def sep_detections(
    pixels: np.ndarray,
    bad: np.ndarray | None,
    statistics: BandStatistics,
    settings: SepSettings | None = None,
) -> Detections:
    """Run SEP on a multi-band image and dress its result as detections.

    Parameters
    ----------
    pixels, bad, statistics
        As in `noise_normalised_sum`.
    settings : SepSettings, optional

    Returns
    -------
    Detections
        Masks are SEP's footprints.  The score ``s / (s + 10)``, with s the isophotal S/N, only
        ranks.  Class probabilities follow the half-light radius; their sum with the background's
        is one.
    """
    settings = settings or SepSettings()
    found = extract(noise_normalised_sum(pixels, bad, statistics), settings)
    boxes, masks = _footprints(found)
    snr = np.maximum(found.snr, 0.0)
    scores = (snr / (snr + 10.0)).astype(np.float32)
    galaxy_share = _galaxy_share(found, settings)
    probabilities = np.stack(
        [1.0 - scores, scores * (1.0 - galaxy_share), scores * galaxy_share], axis=1
    )
    return Detections(
        boxes=boxes.astype(np.float32),
        class_ids=np.where(galaxy_share < 0.5, 1, 2).astype(np.int32),
        scores=scores,
        probabilities=probabilities.astype(np.float32),
        mask_boxes=boxes,
        masks=masks,
    )


def half_light_radii(found: Extraction) -> np.ndarray:
    """Measure the radius with half the flux of each source, neighbours masked.

    Returns
    -------
    ndarray of float64, shape (N,)
        Pixels; 0 where SEP cannot measure it.
    """
    import sep

    objects = found.objects
    if len(objects) == 0:
        return np.zeros(0)
    radii, _ = sep.flux_radius(
        found.plane,
        objects["x"],
        objects["y"],
        6.0 * objects["a"],
        0.5,
        segmap=found.segmentation,
        seg_id=np.arange(1, len(objects) + 1, dtype=np.int32),
        subpix=5,
    )
    return np.nan_to_num(np.asarray(radii, np.float64))


def _galaxy_share(found: Extraction, settings: SepSettings) -> np.ndarray:
    """Turn half-light radii into a number from 0, star, to 1, galaxy; 0.5 at the limit."""
    radii = half_light_radii(found)
    sharp = radii[(found.snr > settings.stellar_min_snr) & (radii > 0)]
    if len(sharp) == 0:
        sharp = radii[radii > 0]
    if len(sharp) == 0:
        return np.ones(len(radii))
    stellar = np.percentile(sharp, settings.stellar_percentile)
    excess = radii / stellar - settings.star_radius_ratio
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(excess / 0.1, -50.0, 50.0))))


def _footprints(found: Extraction) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Cut every footprint out of the segmentation image."""
    from scipy.ndimage import find_objects

    boxes, masks = np.zeros((len(found.objects), 4), np.int32), []
    for row, place in enumerate(find_objects(found.segmentation, len(found.objects))):
        if place is None:
            masks.append(np.zeros((0, 0), bool))
            continue
        rows, columns = place
        boxes[row] = rows.start, columns.start, rows.stop, columns.stop
        masks.append(found.segmentation[place] == row + 1)
    return boxes, tuple(masks)
