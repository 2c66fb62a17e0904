"""Truth of a field: stamps of the sources that count, their catalogue, their blends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from astro_io.scene import Scene, Stamp, new_truth_catalog
from astro_io.truth import MaskRule, scene_masks
from simulate.config import TruthConfig
from simulate.observe import Exposure
from simulate.sources import Sources

if TYPE_CHECKING:
    from astropy.table import Table


class TruthStamps:
    """Collects the stamps of the sources that enter the truth.

    Parameters
    ----------
    exposure : Exposure
    config : TruthConfig

    Attributes
    ----------
    rows : list of int
        Index of each kept source.
    snr : list of float
        Matched-filter signal-to-noise, all bands together, light inside the image only.
    stamps : list of Stamp
        Electrons.
    """

    def __init__(self, exposure: Exposure, config: TruthConfig) -> None:
        self._shape = exposure.shape
        self._sigma = exposure.sky_sigma_e
        self._config = config
        self.rows: list[int] = []
        self.snr: list[float] = []
        self.stamps: list[Stamp] = []

    def offer(self, row: int, corner: tuple[int, int], stamp: np.ndarray) -> None:
        """Keep a source if its light inside the image has the signal-to-noise asked for."""
        y1, x1 = corner
        inside = stamp[
            max(0, -y1) : max(0, self._shape[0] - y1), max(0, -x1) : max(0, self._shape[1] - x1)
        ]
        power = np.einsum("yxb,yxb->b", inside, inside, dtype=np.float64)
        snr = float(np.sqrt((power / self._sigma**2).sum()))
        if snr < self._config.min_snr:
            return
        self.rows.append(row)
        self.snr.append(snr)
        self.stamps.append(_cut(corner, stamp, self._config.max_stamp_px))


def with_blends(scene: Scene) -> Scene:
    """Fill in ``blend_id`` and ``visible_fraction``; leave out sources without a mask pixel.

    Masks follow the paper's rule. Sources whose masks share a pixel, directly or through
    others, form a blend. The visible fraction of a source is the share of the light in its
    mask that lies where no other source is brighter and the image has data in some band.
    A source without such a pixel is left out, too.

    Parameters
    ----------
    scene : Scene
        With ``sky_sigma`` in the catalogue's metadata.

    Returns
    -------
    Scene
    """
    boxes, masks = scene_masks(scene, MaskRule())
    has_data = ~scene.image.bad.all(axis=2)
    kept = np.array(
        [i for i, box in enumerate(boxes) if (_window(has_data, box) & masks[i]).any()], dtype=int
    )
    catalog = scene.catalog[kept]
    stamps = tuple(scene.stamps[i] for i in kept)
    boxes, masks = boxes[kept], tuple(masks[i] for i in kept)
    sigma = np.asarray(catalog.meta["sky_sigma"])
    light = [np.nansum(stamp.pixels / sigma, axis=2) for stamp in stamps]
    catalog["source_id"] = np.arange(1, len(kept) + 1, dtype=np.int32)
    catalog["blend_id"] = find_blends(scene.image.shape, boxes, masks)
    visible = visible_fractions(has_data, stamps, light, boxes, masks)
    catalog["visible_fraction"] = visible
    meaning = "share of the light in its mask where no other source is brighter"
    catalog["visible_fraction"].description = meaning
    return replace(scene, catalog=catalog, stamps=stamps)


def visible_fractions(
    has_data: np.ndarray,
    stamps: Sequence[Stamp],
    light: Sequence[np.ndarray],
    boxes: np.ndarray,
    masks: Sequence[np.ndarray],
) -> np.ndarray:
    """Compare each source with the brightest one at every pixel of its mask.

    Parameters
    ----------
    has_data : ndarray of bool, shape (H, W)
        False where the image has no usable pixel in any band.
    stamps : sequence of Stamp, length G
    light : sequence of ndarray of float, shape (h, w)
        What decides who is brighter: one plane a stamp.
    boxes : ndarray of int32, shape (G, 4)
    masks : sequence of ndarray of bool
        Cut to the boxes.

    Returns
    -------
    ndarray of float32, shape (G,)
        1 for a source that nothing outshines, 0 for one without light in its mask.
    """
    brightest = np.zeros(has_data.shape)
    for stamp, own in zip(stamps, light, strict=True):
        y1, x1, y2, x2 = _clip_box(stamp.box, has_data.shape)
        part = _part(own, stamp, (y1, x1, y2, x2))
        np.maximum(brightest[y1:y2, x1:x2], part, out=brightest[y1:y2, x1:x2])
    fractions = np.zeros(len(light), dtype=np.float32)
    for i, (stamp, own) in enumerate(zip(stamps, light, strict=True)):
        y1, x1, y2, x2 = boxes[i]
        part = _part(own, stamp, boxes[i])
        inside = np.where(masks[i], part, 0.0)
        if inside.sum() > 0.0:
            on_top = (part >= brightest[y1:y2, x1:x2]) & _window(has_data, boxes[i])
            fractions[i] = inside[on_top].sum() / inside.sum()
    return fractions


def _window(plane: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """Return the part of an image plane in a box."""
    y1, x1, y2, x2 = box
    return plane[y1:y2, x1:x2]


def _part(plane: np.ndarray, stamp: Stamp, box: Sequence[int]) -> np.ndarray:
    """Return the part of a stamp's plane that lies in a box of the image."""
    y1, x1, y2, x2 = box
    top, left = stamp.box[:2]
    return plane[y1 - top : y2 - top, x1 - left : x2 - left]


def find_blends(
    shape: tuple[int, int], boxes: np.ndarray, masks: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Give each group of sources whose masks overlap a number.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    boxes : ndarray of int32, shape (G, 4)
    masks : tuple of ndarray of bool
        Cut to the boxes.

    Returns
    -------
    ndarray of int32, shape (G,)
        Group number from 0, or -1 for a source alone.
    """
    n = len(masks)
    if n == 0:
        return np.zeros(0, dtype=np.int32)
    owner = np.full(shape, -1, dtype=np.int32)
    pairs: list[tuple[int, int]] = []
    for i, mask in enumerate(masks):
        y1, x1, y2, x2 = boxes[i]
        view = owner[y1:y2, x1:x2]
        pairs.extend((i, int(j)) for j in np.unique(view[mask]) if j >= 0)
        view[mask] = i
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    size = np.bincount(label)
    numbers = np.full(len(size), -1, dtype=np.int32)
    numbers[size > 1] = np.arange(np.count_nonzero(size > 1))
    return numbers[label]


def truth_catalog(
    sources: Sources, flux_e: np.ndarray, truth: TruthStamps, exposure: Exposure
) -> Table:
    """Return the truth table of the kept sources, blends not yet known.

    Parameters
    ----------
    sources : Sources, length N
    flux_e : ndarray of float64, shape (N, B)
        Electrons.
    truth : TruthStamps
    exposure : Exposure

    Returns
    -------
    astropy.table.Table
    """
    rows = np.array(truth.rows, dtype=int)
    table = new_truth_catalog(len(rows), exposure.bands)
    table["class_id"] = sources.class_id[rows]
    table["x"] = sources.x[rows]
    table["y"] = sources.y[rows]
    table["snr"] = np.array(truth.snr, dtype=np.float32)
    for b, band in enumerate(exposure.bands):
        table[f"flux_{band}"] = (flux_e[rows, b] * exposure.unit_per_electron[b]).astype("f4")
        table[f"mag_{band}"] = sources.mag[rows, b].astype(np.float32)
    table["half_light_radius"] = (_half_light_radius(sources, rows)).astype(
        np.float32
    ) / np.float32(exposure.pixel_scale_arcsec)
    if len(rows):
        ra, dec = exposure.wcs().all_pix2world(table["x"], table["y"], 0)
    else:
        ra = dec = np.zeros(0)
    table["ra"] = np.asarray(ra, dtype=np.float64)
    table["dec"] = np.asarray(dec, dtype=np.float64)
    sigma = exposure.sky_sigma_e * exposure.unit_per_electron
    table.meta["sky_sigma"] = [float(s) for s in sigma]
    table.meta["seeing_fwhm_px"] = [float(psf.fwhm_px) for psf in exposure.psfs]
    return table


def _half_light_radius(sources: Sources, rows: np.ndarray) -> np.ndarray:
    """Return the light-weighted mean of the components' radii along the major axis, arcsec."""
    share = sources.bulge_fraction[rows].mean(axis=1)
    return (
        share * sources.bulge_radius_arcsec[rows] + (1.0 - share) * sources.disk_radius_arcsec[rows]
    )


def _cut(corner: tuple[int, int], stamp: np.ndarray, max_px: int) -> Stamp:
    """Cut a stamp to at most `max_px` a side about its middle."""
    height, width = stamp.shape[:2]
    top, left = max(0, (height - max_px) // 2), max(0, (width - max_px) // 2)
    pixels = stamp[top : top + max_px, left : left + max_px]
    y1, x1 = corner[0] + top, corner[1] + left
    return Stamp(box=(y1, x1, y1 + pixels.shape[0], x1 + pixels.shape[1]), pixels=pixels.copy())


def _clip_box(box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, ...]:
    """Return the part of a box inside the image; empty boxes have equal edges."""
    y1, x1 = max(0, box[0]), max(0, box[1])
    return y1, x1, max(y1, min(shape[0], box[2])), max(x1, min(shape[1], box[3]))
