"""Detections and pixels -> catalogue: fluxes, positions, shapes, errors, blends, flags.

Everything is measured inside the masks, in every band alike. Light in pixels that masks share
is divided between them (`astro_rcnn.blends.share_light`); the sky comes from around the masks
(`astro_rcnn.sky`). Positions and shapes are moments of the bands added in units of their noise.
photutils does the sums, on layers of masks that do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from astro_io.catalog import Flag, new_catalog
from astro_io.image import SkyImage
from astro_rcnn.blends import (
    blend_fractions,
    blend_groups,
    box_slices,
    count_coverage,
    share_light,
    split_layers,
)
from astro_rcnn.detections import Detections
from astro_rcnn.sky import MAD_TO_SIGMA, BandSky, grow_masks, subtract_sky

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.wcs import WCS

TEMPLATE_SMOOTHING_PX = 1.0
"""Gaussian sigma by which light is smoothed before shared pixels are divided."""

MATCHED_SIGMA_PX = 1.8
"""Of the Gaussian that stands for a point source of `_significance`: a FWHM of 4.2 pixels."""

PLATEAU_SNR = 50.0
"""Only pixels this far above the sky are looked at for flat tops."""

PLATEAU_SHAPES = ((2, 3), (3, 2))
"""A block of equal pixels of this shape is no star: noise alone would tell them apart."""

PLATEAU_RANGE = 0.05
"""Pixels this close, in sky sigma, are equal: lossy compression leaves a little dither."""

LEAST_SKY_PX = 1000
"""From fewer pixels of empty sky its noise is not known."""

MAGNITUDE_PER_RELATIVE_ERROR = 2.5 / np.log(10.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Light:
    """The bands of an image without their sky, and their noise-weighted sum.

    `total` is ``sum(light / sigma) / sqrt(n)`` over the n good bands of a pixel, with noise of
    `total_error` (1 for independent pixels of sky); `unusable` is True where no band is good, and
    `is_sky` outside of all masks and some pixels around them.
    """

    bands: tuple[BandSky, ...]
    errors: tuple[np.ndarray, ...]
    total: np.ndarray
    total_error: np.ndarray
    unusable: np.ndarray
    is_sky: np.ndarray


def measure_sources(
    image: SkyImage,
    detections: Detections,
    *,
    flags: np.ndarray | None = None,
    gain_e: Sequence[float | None] | None = None,
) -> QTable:
    """Measure every detection in every band.

    Parameters
    ----------
    image : SkyImage
        The whole image that the detections lie in, in its flux unit, sky included.
    detections : Detections
        N sources; N may be 0. Row i of the catalogue is detection i, ``source_id`` i + 1.
    flags : ndarray of int32, shape (N,), optional
        Bits of `astro_io.catalog.Flag` known already (seams); the others are added.
    gain_e : sequence of float or None, optional
        Electrons per flux unit of each band. Where known, photon noise of the sources is added
        to the errors; elsewhere they hold the noise of the sky only.

    Returns
    -------
    astropy.table.QTable
        All columns of `astro_io.catalog.catalog_columns`. A mask without pixels is measured in
        its box, undivided. What cannot be measured is NaN.

    References
    ----------
    Errors of centroids: Bertin & Arnouts 1996, A&AS 117, 393 (ERRX2, ERRY2 of SExtractor).
    """
    table = new_catalog(len(detections), image.bands, unit=image.unit)
    _fill_detections(table, detections)
    fill(table, "flags", np.zeros(len(detections), int) if flags is None else flags)
    if len(detections) == 0:
        return table
    light = _collect_light(image, detections, gain_e)
    fill(table, "significance", _significance(light, detections))
    masks, shares = _divide(light, detections)
    for members, labels in split_layers(detections.mask_boxes, masks, image.shape):
        share = np.zeros(image.shape, np.float32)
        for i in members:
            share[box_slices(detections.mask_boxes[i])][masks[i]] = shares[i][masks[i]]
        _measure_shapes(table, members, labels, share, light)
        _measure_fluxes(table, members, labels, share, light, image)
    _fill_totals(table, image)
    if image.wcs is not None:
        _fill_sky_positions(table, image.wcs)
    _fill_blends(table, detections, image.shape)
    table["flags"] |= _pixel_flags(image, detections, masks, light)
    return table


def fill(table: QTable, name: str, values: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Write numbers into a column, in the unit that the column has.

    Parameters
    ----------
    table : astropy.table.QTable
        Changed in place.
    name : str
        Column.
    values : ndarray
        Plain numbers.
    rows : ndarray of int, optional
        By default all rows.
    """
    column = table[name]
    where = slice(None) if rows is None else rows
    column[where] = values << column.unit if getattr(column, "unit", None) else values


def _fill_detections(table: QTable, detections: Detections) -> None:
    """Copy what the network said; positions start as the centres of the boxes."""
    names = np.array(detections.class_names)
    table["class"][:] = names[detections.class_ids]
    table["score"][:] = detections.scores
    for class_id, name in enumerate(detections.class_names):
        if f"p_{name}" in table.colnames:
            table[f"p_{name}"][:] = detections.probabilities[:, class_id]
    for edge, name in enumerate(("bbox_y1", "bbox_x1", "bbox_y2", "bbox_x2")):
        fill(table, name, detections.boxes[:, edge])
    fill(table, "y", (detections.boxes[:, 0] + detections.boxes[:, 2] - 1) / 2)
    fill(table, "x", (detections.boxes[:, 1] + detections.boxes[:, 3] - 1) / 2)
    table["n_pix"][:] = [np.count_nonzero(mask) for mask in detections.masks]


def _collect_light(
    image: SkyImage, detections: Detections, gain_e: Sequence[float | None] | None
) -> _Light:
    """Take the sky off each band and add the bands up in units of their noise."""
    around = grow_masks(count_coverage(detections.mask_boxes, detections.masks, image.shape) > 0)
    total = np.zeros(image.shape, np.float32)
    variance = np.zeros(image.shape, np.float32)
    n_good = np.zeros(image.shape, np.float32)
    skies, errors = [], []
    for band in range(len(image.bands)):
        bad = image.bad[..., band]
        sky = subtract_sky(image.pixels[..., band], bad, around)
        gain = None if gain_e is None else gain_e[band]
        error = sky.correlation * sky.sigma
        if gain is not None:
            error = np.sqrt(error**2 + np.maximum(sky.light, 0) / np.float32(gain))
        total += sky.light / sky.sigma
        variance += np.where(bad, np.float32(0), (error / sky.sigma) ** 2)
        n_good += ~bad
        skies.append(sky)
        errors.append(error)
    n_at_least_one = np.maximum(n_good, 1)
    return _Light(
        bands=tuple(skies),
        errors=tuple(errors),
        total=total / np.sqrt(n_at_least_one),
        total_error=np.sqrt(variance / n_at_least_one),
        unusable=n_good == 0,
        is_sky=(n_good > 0) & ~around,
    )


def _significance(light: _Light, detections: Detections) -> np.ndarray:
    """Return how far each source stands out of the sky, in standard deviations.

    The bands, added in units of their noise, are smoothed with a point source
    (`MATCHED_SIGMA_PX`), and the largest value within a pixel of the middle of the box is taken.
    The noise is that of the smoothed sky outside of all masks.

    NaN where there is no sky outside of the masks. The DESI Legacy Surveys find their sources so,
    above 6 (Dey et al. 2019, AJ 157, 168, section 6.3).
    """
    smooth = ndimage.gaussian_filter(light.total, MATCHED_SIGMA_PX)
    sky = smooth[light.is_sky]
    if sky.size < LEAST_SKY_PX:
        return np.full(len(detections), np.nan, np.float32)
    level = np.median(sky)
    noise = MAD_TO_SIGMA * np.median(np.abs(sky - level))
    highest = ndimage.maximum_filter(smooth, 3)
    middle = (detections.boxes[:, :2] + detections.boxes[:, 2:] - 1) / 2
    y, x = np.clip(np.rint(middle).astype(int), 0, np.array(smooth.shape) - 1).T
    height: np.ndarray = highest[y, x] - level
    return (height / noise if noise > 0 else np.full(len(height), np.nan)).astype(np.float32)


def _divide(
    light: _Light, detections: Detections
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return the masks to measure in, and the share of the light that each pixel gives.

    A mask without pixels takes its whole box, and takes nothing from its neighbours.
    """
    smooth = ndimage.gaussian_filter(light.total, TEMPLATE_SMOOTHING_PX)
    shares = share_light(smooth, detections.mask_boxes, detections.masks)
    is_empty = [not mask.any() for mask in detections.masks]
    masks = [np.ones_like(m) if e else m for m, e in zip(detections.masks, is_empty, strict=True)]
    return tuple(masks), tuple(
        np.ones_like(s) if e else s for s, e in zip(shares, is_empty, strict=True)
    )


def _measure_shapes(
    table: QTable, members: np.ndarray, labels: np.ndarray, share: np.ndarray, light: _Light
) -> None:
    """Fill in centroids, ellipses and half-light radii of one layer of masks."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    shapes = SourceCatalog(
        light.total * share,
        SegmentationImage(labels),
        mask=light.unusable,
        aperture_mask_method="mask",
    )
    x, y = np.atleast_1d(shapes.x_centroid), np.atleast_1d(shapes.y_centroid)
    is_known = np.isfinite(x) & np.isfinite(y)
    fill(table, "x", x[is_known], members[is_known])
    fill(table, "y", y[is_known], members[is_known])
    x_err, y_err = _centroid_errors(members, labels, x, y, light.total * share, light, share)
    fill(table, "x_err", x_err, members)
    fill(table, "y_err", y_err, members)
    fill(table, "a", np.atleast_1d(shapes.semimajor_axis.value), members)
    fill(table, "b", np.atleast_1d(shapes.semiminor_axis.value), members)
    angle = np.atleast_1d(shapes.orientation.to_value("deg"))
    fill(table, "theta", (angle + 90.0) % 180.0 - 90.0, members)
    radius = np.atleast_1d(np.asarray(shapes.flux_radius(0.5).value, float))
    fill(table, "half_light_radius", radius, members)


def _centroid_errors(
    members: np.ndarray,
    labels: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    data: np.ndarray,
    light: _Light,
    share: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``sqrt(sum(error^2 (x - <x>)^2)) / sum(data)`` along both axes, NaN if undefined."""
    rows, columns = np.nonzero((labels > 0) & ~light.unusable)
    member = np.searchsorted(members, labels[rows, columns] - 1)
    flux = np.maximum(data[rows, columns], 0)
    variance = (light.total_error[rows, columns] * share[rows, columns]) ** 2

    def add(weights: np.ndarray) -> np.ndarray:
        return np.bincount(member, weights, minlength=len(members)).astype(float)

    total = add(flux)
    total[total <= 0] = np.nan
    x_err = np.sqrt(add(variance * (columns - x[member]) ** 2)) / total
    y_err = np.sqrt(add(variance * (rows - y[member]) ** 2)) / total
    return x_err, y_err


def _measure_fluxes(
    table: QTable,
    members: np.ndarray,
    labels: np.ndarray,
    share: np.ndarray,
    light: _Light,
    image: SkyImage,
) -> None:
    """Fill in flux, magnitude and their errors of one layer of masks, band by band."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    segments = SegmentationImage(labels)
    for channel, band in enumerate(image.bands):
        sums = SourceCatalog(
            light.bands[channel].light * share,
            segments,
            error=light.errors[channel] * share,
            mask=image.bad[..., channel],
        )
        flux = np.atleast_1d(sums.segment_flux)
        error = np.atleast_1d(sums.segment_flux_err)
        fill(table, f"flux_{band}", flux, members)
        fill(table, f"flux_err_{band}", error, members)


def _fill_totals(table: QTable, image: SkyImage) -> None:
    """Fill in magnitudes and signal to noise, and flag negative fluxes."""
    total = np.zeros(len(table))
    for band, zeropoint in zip(image.bands, image.zeropoint_mag, strict=True):
        flux, error = _numbers(table[f"flux_{band}"]), _numbers(table[f"flux_err_{band}"])
        is_positive = flux > 0
        if zeropoint is not None:
            positive = np.where(is_positive, flux, np.nan)
            fill(table, f"mag_{band}", zeropoint - 2.5 * np.log10(positive))
            fill(table, f"mag_err_{band}", MAGNITUDE_PER_RELATIVE_ERROR * error / positive)
        usable = is_positive & (error > 0)
        total[usable] += (flux[usable] / error[usable]) ** 2
        table["flags"][flux < 0] |= int(Flag.NEGATIVE_FLUX)
    fill(table, "snr", np.sqrt(total))


def _fill_sky_positions(table: QTable, wcs: WCS) -> None:
    """Fill in ICRS positions, and their errors by the local derivatives of the WCS."""
    x, y = _numbers(table["x"]), _numbers(table["y"])
    x_err, y_err = _numbers(table["x_err"]), _numbers(table["y_err"])

    def icrs(dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
        sky = wcs.celestial.pixel_to_world(x + dx, y + dy).icrs
        return sky.ra.deg, sky.dec.deg

    ra, dec = icrs(0.0, 0.0)
    errors = np.zeros((2, len(table)))
    for (dx, dy), pixel_error in (((0.5, 0.0), x_err), ((0.0, 0.5), y_err)):
        (ra_after, dec_after), (ra_before, dec_before) = icrs(dx, dy), icrs(-dx, -dy)
        along_ra = ((ra_after - ra_before + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec))
        errors += (np.array([along_ra, dec_after - dec_before]) * 3600.0 * pixel_error) ** 2
    for name, values in (("ra", ra), ("dec", dec)):
        fill(table, name, values)
    for name, values in zip(("ra_err", "dec_err"), np.sqrt(errors), strict=True):
        fill(table, name, values)


def _fill_blends(table: QTable, detections: Detections, shape: tuple[int, int]) -> None:
    """Fill in blend groups and fractions, and flag sources in contact with others."""
    parents, n_blend = blend_groups(detections.mask_boxes, detections.masks, shape)
    _, contact = blend_fractions(detections.mask_boxes, detections.masks, shape)
    table["parent_id"][:] = _numbers(table["source_id"])[parents]
    table["n_blend"][:] = n_blend
    table["blend_fraction"][:] = contact
    table["blend_fraction"].info.description = "part of its mask that others cover or touch"
    table["flags"][contact > 0] |= int(Flag.OVERLAP)


def _pixel_flags(
    image: SkyImage, detections: Detections, masks: Sequence[np.ndarray], light: _Light
) -> np.ndarray:
    """Return the flags that a look at the pixels of each mask tells."""
    flags = np.zeros(len(masks), np.int32)
    height, width = image.shape
    for i, (box, mask) in enumerate(zip(detections.mask_boxes, masks, strict=True)):
        where = box_slices(box)
        rows, columns = np.nonzero(mask)
        if rows.size == 0:
            flags[i] |= Flag.MASK_EMPTY
            continue
        y, x = rows + where[0].start, columns + where[1].start
        if y.min() == 0 or x.min() == 0 or y.max() == height - 1 or x.max() == width - 1:
            flags[i] |= Flag.EDGE
        if not detections.masks[i].any():
            flags[i] |= Flag.MASK_EMPTY
        bad_fraction = image.bad[where][mask].mean(axis=0)
        if (bad_fraction == 1).any():
            flags[i] |= Flag.MISSING_BAND
        if ((bad_fraction > 0) & (bad_fraction < 1)).any():
            flags[i] |= Flag.BAD_PIXELS
        if any(
            _is_saturated(image, where, mask, channel, sky)
            for channel, sky in enumerate(light.bands)
        ):
            flags[i] |= Flag.SATURATED
    return flags


def _is_saturated(
    image: SkyImage, where: tuple[slice, slice], mask: np.ndarray, channel: int, sky: BandSky
) -> bool:
    """Return whether a masked pixel reaches the saturation level, or the source has a flat top."""
    values = image.pixels[where][..., channel]
    level = image.saturation[channel]
    if level is not None and bool((values[mask] >= level).any()):
        return True
    bright = mask & (sky.light[where] > PLATEAU_SNR * sky.sigma[where])
    if np.count_nonzero(bright) < 6:
        return False
    limit = PLATEAU_RANGE * sky.sigma[where]
    return any(
        bool(((_local_range(values, block) <= limit) & bright).any()) for block in PLATEAU_SHAPES
    )


def _local_range(values: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Return maximum minus minimum of the block around each pixel, infinite at the border."""
    highest = ndimage.maximum_filter(values, size=block, mode="constant", cval=np.inf)
    lowest = ndimage.minimum_filter(values, size=block, mode="constant", cval=-np.inf)
    return np.asarray(highest - lowest)


def _numbers(column: object) -> np.ndarray:
    """Return a column's plain numbers, in its own unit."""
    return np.asarray(getattr(column, "value", column))
