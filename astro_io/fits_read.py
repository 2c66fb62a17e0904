"""FITS files in, `SkyImage` out; the only module that opens FITS to read pixels.

Accepted inputs: a folder with ``img_<band>.fits``, a cube, a file with one extension a band, a
single two-dimensional image, or ``"g=a.fits,r=b.fits"``; each plain or compressed (``.gz``,
``.fz``, ``.bz2``), with any pixel type. astropy is imported on first use, to keep commands quick.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from astro_io.align import Align, is_aligned, reference_index, reproject_band
from astro_io.coverage import zero_coverage
from astro_io.errors import ImageError
from astro_io.fits_errors import one_line, quiet_headers, readable
from astro_io.fits_planes import Plane, choose_bands, name_planes, open_planes, plane_of_band
from astro_io.image import SkyImage
from astro_io.input_spec import FitsFile, image_name, resolve_input
from astro_io.zeropoint import flux_unit, saturation_level, zeropoint_mag

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

__all__ = ["image_name", "read_image"]

logger = logging.getLogger(__name__)

_LOOKUP_CARDS = ("CPDIS", "CPERR", "DP1", "DP2", "D2IM")


def read_image(
    spec: str | Path, *, bands: Sequence[str] | None = None, align: Align = "reproject"
) -> SkyImage:
    """Read all bands of one piece of sky.

    Parameters
    ----------
    spec : str or Path
        A folder with ``img_<band>.fits``; a cube whose header names its planes (``BANDS``,
        ``BAND0`` ...); a file with one extension a band (named by ``EXTNAME`` or ``FILTER``);
        a two-dimensional image; or ``"g=a.fits,r=b.fits"``. An extension is asked for as
        ``file.fits[SCI]`` or ``file.fits[SCI,2]``.
    bands : sequence of str, optional
        Bands wanted, in channel order. For one file whose header names none of them, they name
        its planes in order.
    align : {"reproject", "refuse", "ignore"}
        What to do where the WCS of the bands disagree by more than half a pixel: resample onto
        the grid of r (or of the middle band), stop, or take pixels as they lie. Smaller
        offsets, and bands without WCS, are always taken as they lie.

    Returns
    -------
    SkyImage
        float32 pixels, shape (H, W, B). ``bad`` marks non-finite pixels and areas without
        coverage (connected exact zeros); their value is 0.

    Raises
    ------
    InputNotFoundError
        If a path does not exist.
    ImageError
        If a file is damaged or no FITS file, a band is missing or unnamed, bands differ in
        shape, or they disagree and `align` is ``refuse``.
    """
    if align not in get_args(Align):
        raise ImageError(f"align '{align}' is unknown; choose one of {', '.join(get_args(Align))}.")
    found = resolve_input(spec)
    with quiet_headers(), ExitStack() as stack:
        if isinstance(found, FitsFile):
            planes = name_planes(open_planes(found, stack), bands, str(found))
        else:
            planes = [
                replace(plane_of_band(found[here], here, stack), band=wanted)
                for wanted, here in choose_bands(list(found), bands, str(spec)).items()
            ]
        _check_shapes(planes)
        return _assemble(planes, image_name(spec), align)


def _assemble(planes: list[Plane], name: str, align: Align) -> SkyImage:
    """Read the planes one by one into a channels-last array, on one grid."""
    height, width = planes[0].shape
    bands = tuple(str(plane.band) for plane in planes)
    all_wcs = [celestial_wcs(plane) for plane in planes]
    preferred = all_wcs[reference_index(bands)]
    reference = next((wcs for wcs in (preferred, *all_wcs) if wcs is not None), None)
    pixels = np.empty((height, width, len(planes)), np.float32)
    bad = np.empty(pixels.shape, bool)
    for channel, (plane, wcs) in enumerate(zip(planes, all_wcs, strict=True)):
        pixels[..., channel], bad[..., channel] = _read_aligned(plane, wcs, reference, align)
    return SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad,
        unit=tuple(flux_unit(plane.header) for plane in planes),
        zeropoint_mag=tuple(zeropoint_mag(plane.header) for plane in planes),
        saturation=tuple(saturation_level(plane.header) for plane in planes),
        wcs=reference,
        name=name,
        sources=tuple(dict.fromkeys(str(plane.file) for plane in planes)),
    )


def _read_aligned(
    plane: Plane, wcs: WCS | None, reference: WCS | None, align: Align
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and bad pixels of one band on the grid of the reference band."""
    values, is_bad = _read_plane(plane)
    if reference is None or wcs is None or not _must_reproject(reference, wcs, plane, align):
        return values, is_bad
    return _reproject(values, is_bad, wcs, reference, plane)


def _read_plane(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of one plane, float32 and finite, and where they are bad."""
    with readable(plane.file), np.errstate(over="ignore", invalid="ignore"):
        data = plane.hdu.data if plane.index is None else plane.hdu.section[plane.index]
        values = np.array(data, np.float32).reshape(plane.shape)
    is_bad = ~np.isfinite(values)
    is_bad |= zero_coverage(values)
    values[is_bad] = 0.0
    return values, is_bad


def _must_reproject(reference: WCS, wcs: WCS, plane: Plane, align: Align) -> bool:
    if wcs is reference or align == "ignore" or is_aligned(reference, wcs, plane.shape):
        return False
    if align == "refuse":
        raise ImageError(
            f"{plane.file}: band {plane.band} lies more than half a pixel off the reference band. "
            "Let it be resampled (--align reproject), or take it as it is (--align ignore)."
        )
    return True


def _reproject(
    values: np.ndarray, is_bad: np.ndarray, wcs: WCS, reference: WCS, plane: Plane
) -> tuple[np.ndarray, np.ndarray]:
    logger.info("%s: band %s resampled onto the reference band", plane.file, plane.band)
    values = np.where(is_bad, np.float32(np.nan), values)
    values = reproject_band(values, wcs, reference, plane.shape)
    is_bad = ~np.isfinite(values)
    if is_bad.all():
        raise ImageError(
            f"{plane.file}: band {plane.band} shows another part of the sky than the reference "
            "band. Check the WCS of both, or take pixels as they lie (--align ignore)."
        )
    return np.where(is_bad, np.float32(0), values), is_bad


def _check_shapes(planes: list[Plane]) -> None:
    if len({plane.shape for plane in planes}) > 1:
        found = ", ".join(f"{p.band} {p.shape[0]}x{p.shape[1]}" for p in planes)
        raise ImageError(
            f"{planes[0].file}: expected bands of one shape, found {found} px (height x width). "
            "Crop or reproject them to one grid."
        )


def celestial_wcs(plane: Plane) -> WCS | None:
    """Return the sky coordinates of a plane, or None where the header has none that work."""
    from astropy.wcs import WCS, WcsError

    headers: list[Header] = [plane.hdu.header]
    if plane.primary is not plane.hdu:
        headers.append(plane.primary.header)
    for header in headers:
        try:
            wcs = WCS(_without_lookup(header, plane)).celestial
            if wcs.naxis != 2:
                continue
            corner = wcs.pixel_to_world_values(0, 0)
            _check_frame(wcs, plane)
        except (WcsError, ValueError, KeyError) as error:
            logger.warning("%s: WCS left out: %s", plane.file, one_line(error))
            continue
        if np.isfinite(corner).all():
            wcs.array_shape = plane.shape
            return wcs
    return None


def _without_lookup(header: Header, plane: Plane) -> Header:
    """Return a header that does not ask for the distortion tables of HST's FLT and FLC files."""
    lookups = [key for key in header if str(key).startswith(("CPDIS", "D2IMDIS"))]
    if not lookups:
        return header
    logger.warning(
        "%s: distortion tables (%s) left out; positions may be off by 0.1 pixel.",
        plane.file,
        ", ".join(lookups),
    )
    header = header.copy()
    for key in {str(key) for key in header if str(key).startswith(_LOOKUP_CARDS)}:
        header.remove(key, ignore_missing=True, remove_all=True)
    return header


def _check_frame(wcs: WCS, plane: Plane) -> None:
    """Give a WCS a frame that astropy knows; raise ValueError where its axes have none."""
    from astropy.wcs.utils import wcs_to_celestial_frame

    given = str(wcs.wcs.radesys).strip()
    for name in (given, given.upper(), ""):
        wcs.wcs.radesys = name
        try:
            wcs_to_celestial_frame(wcs)
        except ValueError:
            continue
        if not name and given:
            logger.warning("%s: RADESYS %s is not known; left out.", plane.file, given)
        return
    axes = ", ".join(str(axis) for axis in wcs.wcs.ctype)
    raise ValueError(f"axes {axes} are in no frame on the sky that astropy knows")
