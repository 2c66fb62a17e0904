"""From the images that PhoSim leaves to a scene of our training set."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.errors import ImageError
from astro_io.image import SkyImage
from astro_io.normalize import measure_statistics
from astro_io.scene import Scene, Stamp, new_truth_catalog
from simulate.phosim_files import PhoSimHeader, PhoSimObject, parse_header
from simulate.truth import with_blends

if TYPE_CHECKING:
    from astropy.wcs import WCS


def read_phosim_image(path: Path) -> tuple[np.ndarray, PhoSimHeader, WCS]:
    """Read one image in electrons.

    Returns
    -------
    pixels : ndarray of float32, shape (H, W)
    header : PhoSimHeader
    wcs : astropy.wcs.WCS

    Raises
    ------
    ImageError
        If it cannot be read, is not PhoSim's or not two-dimensional.
    """
    from astropy.io import fits
    from astropy.wcs import WCS, FITSFixedWarning

    try:
        with fits.open(path) as hdus:
            pixels, cards = hdus[0].data, hdus[0].header
            if pixels is None or pixels.ndim != 2:
                raise ImageError(f"{path}: expected a two-dimensional image.")
            pixels = np.asarray(pixels, dtype=np.float32)
    except (OSError, TypeError) as error:
        raise ImageError(f"{path}: cannot be read as FITS ({error}).") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # it lacks DATE-OBS
        return pixels, parse_header(cards, path), WCS(cards)


def make_scene(
    images: dict[str, Path],
    truth: list[tuple[PhoSimObject, dict[str, Path]]],
    *,
    index: int,
    seed: int,
) -> Scene:
    """Put the bands of a chip and the truth of its objects together.

    Parameters
    ----------
    images : dict of str to Path
        Band to image, in channel order.
    truth : list of (PhoSimObject, dict of str to Path)
        Each object with its images alone, in the bands where they were made.
    index, seed : int
        Of the scene.

    Returns
    -------
    Scene
        Objects without light on the chip are left out. Stamps are NaN in bands without truth.
        ``x`` and ``y`` are centroids of the truth image; magnitudes in the bands are unknown,
        and a column ``mag_norm`` holds PhoSim's.
    """
    image, headers = _read_bands(images, index)
    sigma = measure_statistics(image.pixels, image.bad, "zscore").scale
    rows: list[dict[str, Any]] = []
    stamps = []
    for item, paths in truth:
        frames = {band: read_phosim_image(path)[0] for band, path in paths.items()}
        stamp = _cut_stamp(frames, image.bands)
        if stamp is None:
            continue
        stamps.append(stamp)
        rows.append(_truth_row(item, stamp, image, sigma))
    table = new_truth_catalog(len(rows), image.bands)
    table["mag_norm"] = np.full(len(rows), np.nan, dtype=np.float32)
    table["mag_norm"].description = "PhoSim's magnitude: AB at 500 nm (1 + z)"
    for i, row in enumerate(rows):
        for name, value in row.items():
            table[name][i] = value
    table.meta["sky_sigma"] = [float(s) for s in sigma]
    table.meta["phosim_version"] = next(iter(headers.values())).version
    return with_blends(
        Scene(image=image, catalog=table, stamps=tuple(stamps), index=index, seed=seed)
    )


def _read_bands(images: dict[str, Path], index: int) -> tuple[SkyImage, dict[str, PhoSimHeader]]:
    """Read the images of all bands of a chip."""
    planes, headers, wcs = [], {}, None
    for band, path in images.items():
        pixels, headers[band], band_wcs = read_phosim_image(path)
        wcs = wcs or band_wcs
        if planes and pixels.shape != planes[0].shape:
            raise ImageError(f"{path}: {pixels.shape} px, but {planes[0].shape} in another band.")
        planes.append(pixels)
    pixels = np.stack(planes, axis=-1)
    image = SkyImage(
        pixels=pixels,
        bands=tuple(images),
        bad=np.zeros(pixels.shape, dtype=bool),
        unit=("electron",) * len(images),
        saturation=tuple(header.full_well_e for header in headers.values()),
        wcs=wcs,
        name=f"field_{index:06d}",
    )
    return image, headers


def _cut_stamp(frames: dict[str, np.ndarray], bands: tuple[str, ...]) -> Stamp | None:
    """Cut out the light of one object; None where no pixel has any."""
    lit = np.any([frame > 0 for frame in frames.values()], axis=0)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if rows.size == 0:
        return None
    y1, x1, y2, x2 = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    pixels = np.full((y2 - y1, x2 - x1, len(bands)), np.nan, dtype=np.float32)
    for band, frame in frames.items():
        pixels[..., bands.index(band)] = frame[y1:y2, x1:x2]
    return Stamp((y1, x1, y2, x2), pixels)


def _truth_row(
    item: PhoSimObject, stamp: Stamp, image: SkyImage, sigma: np.ndarray
) -> dict[str, Any]:
    """Return what the truth image and PhoSim's catalogue say of one object."""
    light = np.nansum(stamp.pixels, axis=2, dtype=np.float64)
    y, x = np.indices(light.shape)
    total = light.sum()
    scale = image.pixel_scale_arcsec or np.nan
    row: dict[str, Any] = {
        "class_id": item.class_id,
        "x": stamp.box[1] + (light * x).sum() / total,
        "y": stamp.box[0] + (light * y).sum() / total,
        "snr": np.sqrt(np.nansum((stamp.pixels / sigma) ** 2.0)),
        "half_light_radius": item.half_light_radius_arcsec / scale,
        "mag_norm": item.mag_norm,
    }
    for b, band in enumerate(image.bands):
        flux = stamp.pixels[..., b].sum(dtype=np.float64)  # NaN where the truth is not known
        row[f"flux_{band}"] = flux
    return row
