"""FITS files in, `SkyImage` out; the only module that opens FITS to read pixels.

Accepted inputs: a folder with ``img_<band>.fits``, a cube, a file with one extension a band, a
single two-dimensional image, or ``"g=a.fits,r=b.fits"``; each plain or compressed (``.gz``,
``.fz``, ``.bz2``), with any pixel type. astropy is imported on first use, to keep commands quick.
"""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from astro_io.align import Align, is_aligned, reference_index, reproject_band
from astro_io.coverage import zero_coverage
from astro_io.errors import ImageError
from astro_io.fits_errors import one_line, quiet_headers, readable
from astro_io.image import SkyImage
from astro_io.input_spec import (
    FitsFile,
    band_name,
    band_of_file_name,
    image_name,
    is_known_band,
    resolve_input,
)
from astro_io.zeropoint import flux_unit, saturation_level, zeropoint_mag

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["image_name", "read_image"]

logger = logging.getLogger(__name__)

AUXILIARY_EXTENSIONS = frozenset(
    (
        "ERR",
        "ERROR",
        "SIGMA",
        "RMS",
        "STD",
        "VAR",
        "VARIANCE",
        "UNCERT",
        "IVAR",
        "INVVAR",
        "WHT",
        "WEIGHT",
        "DQ",
        "MASK",
        "MASKBITS",
        "FLAG",
        "FLAGS",
        "BPM",
        "CTX",
        "CON",
        "SAMP",
        "TIME",
        "EXP",
        "EXPMAP",
        "NEXP",
        "COVERAGE",
        "BACKGROUND",
        "BKG",
        "SKY",
        "PSF",
        "SEGMENTATION",
    )
)
"""Extensions beside an image that are not bands of it."""

GENERIC_EXTENSIONS = frozenset(
    ("", "PRIMARY", "SCI", "SCIENCE", "IMAGE", "IMG", "DATA", "COMPRESSED_IMAGE")
)
"""Extension names that do not tell the band."""

FILTER_KEYS = ("FILTER", "BAND", "BAND0", "BANDS", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2")
"""Header cards that may name the band, in this order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Plane:
    """One two-dimensional image in an open file, not read yet."""

    file: FitsFile
    hdu: Any
    index: int | None
    header: Mapping[str, Any]
    primary: Any
    band: str | None

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.hdu.shape[-2]), int(self.hdu.shape[-1])


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
            planes = _name_planes(_open_planes(found, stack), bands, str(found))
        else:
            wanted = _choose(list(found), bands, str(spec))
            planes = [_plane_of_band(found[band], band, stack) for band in wanted]
        _check_shapes(planes)
        return _assemble(planes, image_name(spec), align)


def _assemble(planes: list[_Plane], name: str, align: Align) -> SkyImage:
    """Read the planes one by one into a channels-last array, on one grid."""
    height, width = planes[0].shape
    bands = tuple(str(plane.band) for plane in planes)
    all_wcs = [_celestial_wcs(plane) for plane in planes]
    reference = all_wcs[reference_index(bands)]
    pixels = np.empty((height, width, len(planes)), np.float32)
    bad = np.empty(pixels.shape, bool)
    for channel, (plane, wcs) in enumerate(zip(planes, all_wcs, strict=True)):
        values, is_bad = _read_plane(plane)
        if _must_reproject(reference, wcs, plane, align):
            assert wcs is not None and reference is not None
            values, is_bad = _reproject(values, is_bad, wcs, reference, plane)
        pixels[..., channel] = values
        bad[..., channel] = is_bad
    return SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad,
        unit=tuple(flux_unit(plane.header) for plane in planes),
        zeropoint_mag=tuple(zeropoint_mag(plane.header) for plane in planes),
        saturation=tuple(saturation_level(plane.header) for plane in planes),
        wcs=reference or next((wcs for wcs in all_wcs if wcs is not None), None),
        name=name,
        sources=tuple(dict.fromkeys(str(plane.file) for plane in planes)),
    )


def _read_plane(plane: _Plane) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of one plane, float32 and finite, and where they are bad."""
    with readable(plane.file), np.errstate(over="ignore", invalid="ignore"):
        data = plane.hdu.data if plane.index is None else plane.hdu.section[plane.index]
        values = np.array(data, np.float32).reshape(plane.shape)
    is_bad = ~np.isfinite(values)
    is_bad |= zero_coverage(values)
    values[is_bad] = 0.0
    return values, is_bad


def _must_reproject(reference: WCS | None, wcs: WCS | None, plane: _Plane, align: Align) -> bool:
    if reference is None or wcs is None or wcs is reference or align == "ignore":
        return False
    if is_aligned(reference, wcs, plane.shape):
        return False
    if align == "refuse":
        raise ImageError(
            f"{plane.file}: band {plane.band} lies more than half a pixel off the reference band. "
            "Let it be resampled (--align reproject), or take it as it is (--align ignore)."
        )
    return True


def _reproject(
    values: np.ndarray, is_bad: np.ndarray, wcs: WCS, reference: WCS, plane: _Plane
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


def _open_planes(file: FitsFile, stack: ExitStack) -> list[_Plane]:
    """Open a file and list its two-dimensional images, auxiliary ones left out."""
    from astropy.io import fits

    with readable(file):
        hdus = stack.enter_context(fits.open(file.path))
        chosen = list(hdus) if file.extension is None else [_extension(hdus, file)]
        images = [hdu for hdu in chosen if hdu.is_image and len(hdu.shape) >= 2]
        science = [hdu for hdu in images if hdu.name.upper() not in AUXILIARY_EXTENSIONS]
        planes = [
            plane
            for hdu in science or images
            for plane in _planes_of_hdu(file, hdu, hdus[0], is_only=len(science or images) == 1)
        ]
    if not planes:
        raise ImageError(
            f"{file}: expected an image of two or three dimensions, found none among "
            f"{len(chosen)} extensions."
        )
    return planes


def _planes_of_hdu(file: FitsFile, hdu: Any, primary: Any, *, is_only: bool) -> list[_Plane]:
    header = ChainMap(hdu.header, primary.header)
    shape = tuple(int(n) for n in hdu.shape)
    if len(shape) == 2 or all(n == 1 for n in shape[:-2]):
        band = _band_of_hdu(hdu, header)
        if band is None and is_only:
            band = band_of_file_name(file.path)
        return [_Plane(file=file, hdu=hdu, index=None, header=header, primary=primary, band=band)]
    if len(shape) > 3:
        raise ImageError(
            f"{file}: expected an image or a cube, found an array of shape {shape}. "
            "Write one plane a band."
        )
    return [
        _Plane(file=file, hdu=hdu, index=index, header=header, primary=primary, band=band)
        for index, band in enumerate(_bands_of_cube(header, shape[0]))
    ]


def _band_of_hdu(hdu: Any, header: Mapping[str, Any]) -> str | None:
    """Return the band of a two-dimensional extension from its name or its filter card."""
    name = "" if hdu.name.upper() in GENERIC_EXTENSIONS else band_name(_extname(hdu))
    if name and is_known_band(name):
        return name
    for key in FILTER_KEYS:
        band = band_name(header.get(key))
        if band is not None and "CLEAR" not in band.upper():
            return band
    return name or None


def _extname(hdu: Any) -> str:
    """Return ``EXTNAME`` as written; ``hdu.name`` is in capitals, and G is not g."""
    return str(hdu.header.get("EXTNAME", hdu.name))


def _bands_of_cube(header: Mapping[str, Any], n_planes: int) -> list[str | None]:
    """Return the name of each plane, None where the header is silent."""
    for first in (0, 1):
        cards = [band_name(header.get(f"BAND{first + i}")) for i in range(n_planes)]
        if all(cards):
            return cards
    text = str(header.get("BANDS", header.get("FILTERS", ""))).strip()
    words = text.replace(",", " ").replace(";", " ").split()
    if len(words) == n_planes:
        return [band_name(word) for word in words]
    return list(text) if len(text) == n_planes else [None] * n_planes


def _plane_of_band(file: FitsFile, band: str, stack: ExitStack) -> _Plane:
    """Return the image of one band from a file that the user, or its name, gave to that band."""
    planes = _open_planes(file, stack)
    matching = planes if len(planes) == 1 else [p for p in planes if p.band == band]
    if len(matching) != 1:
        raise ImageError(
            f"{file}: expected one image for band {band}, found {_band_list(planes)}. "
            f"Name the extension: {band}={file.path}[EXTNAME]."
        )
    return replace(matching[0], band=band)


def _name_planes(planes: list[_Plane], bands: Sequence[str] | None, where: str) -> list[_Plane]:
    """Pick the wanted bands of one file, or name its planes where the header does not."""
    known = [plane.band for plane in planes]
    if bands is not None and _can_name(known, bands):
        return [replace(plane, band=band) for plane, band in zip(planes, bands, strict=True)]
    if None in known:
        raise ImageError(
            f"{where}: expected a band name for each of {len(planes)} images, found "
            f"{_band_list(planes)}. Name {len(planes)} in order (--bands)."
        )
    if len(set(known)) < len(known):
        raise ImageError(
            f"{where}: expected one image a band, found {_band_list(planes)}. "
            "Choose an extension (file.fits[SCI,1]), or name each in order (--bands)."
        )
    wanted = _choose([str(band) for band in known], bands, where)
    by_band = {plane.band: plane for plane in planes}
    return [by_band[band] for band in wanted]


def _can_name(known: list[str | None], bands: Sequence[str]) -> bool:
    """Return whether these bands name the planes in order rather than pick among them.

    They do if there are as many and the header contradicts none by knowing it elsewhere.
    """
    if len(known) != len(bands) or len(set(bands)) < len(bands):
        return False
    named = {old for old in known if old is not None and known.count(old) == 1}
    if not named & set(bands):
        return True
    return all(old == new or old not in named for old, new in zip(known, bands, strict=True))


def _choose(known: list[str], bands: Sequence[str] | None, where: str) -> list[str]:
    """Return the wanted bands as the input spells them; case matters only where it must."""
    if bands is None:
        return known
    chosen = []
    for band in bands:
        alike = [b for b in known if b == band] or [
            b for b in known if b.casefold() == band.casefold()
        ]
        if len(alike) != 1:
            raise ImageError(
                f"{where}: expected bands {', '.join(bands)}; found {', '.join(known)}. "
                f"Add {band}, or use weights for the bands at hand (--weights)."
            )
        chosen.append(alike[0])
    return chosen


def _check_shapes(planes: list[_Plane]) -> None:
    if len({plane.shape for plane in planes}) > 1:
        found = ", ".join(f"{p.band} {p.shape[0]}x{p.shape[1]}" for p in planes)
        raise ImageError(
            f"{planes[0].file}: expected bands of one shape, found {found} px (height x width). "
            "Crop or reproject them to one grid."
        )


def _celestial_wcs(plane: _Plane) -> WCS | None:
    """Return the sky coordinates of a plane, or None where the header has none that work."""
    from astropy.io.fits import Header
    from astropy.wcs import WCS, WcsError

    headers: list[Header] = [plane.hdu.header]
    if plane.primary is not plane.hdu:
        headers.append(plane.primary.header)
    for header in headers:
        try:
            wcs = WCS(header).celestial
            if wcs.naxis != 2:
                continue
            corner = wcs.pixel_to_world_values(0, 0)
        except (WcsError, ValueError, KeyError) as error:
            logger.warning("%s: WCS left out: %s", plane.file, one_line(error))
            continue
        if np.isfinite(corner).all():
            wcs.array_shape = plane.shape
            return wcs
    return None


def _extension(hdus: Any, file: FitsFile) -> Any:
    try:
        return hdus[file.extension]
    except (KeyError, IndexError):
        names = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(hdus))
        raise ImageError(f"{file}: no such extension; the file has {names}.") from None


def _band_list(planes: list[_Plane]) -> str:
    return ", ".join(plane.band or "unnamed" for plane in planes)
