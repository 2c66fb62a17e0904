"""The two-dimensional images in a FITS file and the bands that they are in; no pixel is read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from astro_io.errors import ImageError
from astro_io.fits_errors import check_complete, readable
from astro_io.input_spec import (
    FitsFile,
    band_name,
    band_of_file_name,
    is_known_band,
    is_space_filter,
)

# fmt: off
AUXILIARY_EXTENSIONS = frozenset((
    "ERR", "ERROR", "SIGMA", "RMS", "STD", "VAR", "VARIANCE", "UNCERT", "IVAR", "INVVAR", "WHT",
    "WEIGHT", "DQ", "MASK", "MASKBITS", "FLAG", "FLAGS", "BPM", "CTX", "CON", "SAMP", "TIME",
    "EXP", "EXPMAP", "NEXP", "COVERAGE", "BACKGROUND", "BKG", "SKY", "PSF", "SEGMENTATION",
    "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "AREA", "WMAP", "WCSDVARR", "D2IMARR",
))
# fmt: on
"""Extensions beside an image that are not bands of it."""

GENERIC_EXTENSIONS = frozenset(
    ("", "PRIMARY", "SCI", "SCIENCE", "IMAGE", "IMG", "DATA", "COMPRESSED_IMAGE")
)
"""Extension names that do not tell the band."""

FILTER_KEYS = ("FILTER", "BAND", "BAND0", "BANDS", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2")
"""Header cards that may name the band, in this order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Plane:
    """One two-dimensional image in an open file, not read yet.

    Attributes
    ----------
    file : FitsFile
        For messages.
    hdu : astropy HDU
        The extension.
    index : int or None
        Which plane of a cube; None for an image.
    header : mapping
        Cards of the extension, then those of the primary header.
    primary : astropy HDU
        The first extension of the file.
    band : str or None
        None where neither header nor file name tells it.
    """

    file: FitsFile
    hdu: Any
    index: int | None
    header: Mapping[str, Any]
    primary: Any
    band: str | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.hdu.shape[-2]), int(self.hdu.shape[-1])


def open_planes(file: FitsFile, stack: ExitStack) -> list[Plane]:
    """Open a file and list its two-dimensional images, auxiliary ones left out."""
    from astropy.io import fits

    with readable(file):
        hdus = stack.enter_context(fits.open(file.path))
        last = list(hdus)[-1].fileinfo()
        check_complete(file.path, last["datLoc"] + last["datSpan"])
        chosen = list(hdus) if file.extension is None else [_extension(hdus, file)]
        images = [hdu for hdu in chosen if hdu.is_image and len(hdu.shape) >= 2]
        science = [hdu for hdu in images if hdu.name.upper() not in AUXILIARY_EXTENSIONS]
        planes = [
            plane
            for hdu in science or images
            for plane in _planes_of_hdu(file, hdu, hdus[0], is_only=len(science or images) == 1)
        ]
    planes = _small_letters(planes)
    if not planes:
        raise ImageError(
            f"{file}: expected an image of two or three dimensions, found none among "
            f"{len(chosen)} extensions."
        )
    return planes


def _planes_of_hdu(file: FitsFile, hdu: Any, primary: Any, *, is_only: bool) -> list[Plane]:
    header = ChainMap(hdu.header, primary.header)
    shape = tuple(int(n) for n in hdu.shape)
    if len(shape) == 2 or all(n == 1 for n in shape[:-2]):
        band = _band_of_hdu(hdu, header)
        if is_only:
            band = _asked_band(file) or band or band_of_file_name(file.path)
        return [Plane(file=file, hdu=hdu, index=None, header=header, primary=primary, band=band)]
    if len(shape) > 3:
        raise ImageError(
            f"{file}: expected an image or a cube, found an array of shape {shape}. "
            "Write one plane a band."
        )
    return [
        Plane(file=file, hdu=hdu, index=index, header=header, primary=primary, band=band)
        for index, band in enumerate(_bands_of_cube(header, shape[0]))
    ]


def _asked_band(file: FitsFile) -> str | None:
    """Return ``g`` where the user asked for ``file.fits[g]``."""
    asked = file.extension if isinstance(file.extension, str) else ""
    return asked if is_known_band(asked) else None


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


def _small_letters(planes: list[Plane]) -> list[Plane]:
    """Undo capitals: astropy writes the extensions g, r, z as G, R, Z.

    Only with a G or Z among them, for R and I alone are bands of their own.
    """
    names = {plane.band for plane in planes}
    if len(planes) < 2 or not names & {"G", "Z"}:
        return planes
    return [
        replace(plane, band=plane.band.lower()) if plane.band in set("UGRIZY") else plane
        for plane in planes
    ]


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


def plane_of_band(file: FitsFile, band: str, stack: ExitStack) -> Plane:
    """Return the image of one band from a file that the user, or its name, gave to that band."""
    planes = open_planes(file, stack)
    matching = planes
    if len(planes) > 1:
        alike = _same_letters((plane.band or "" for plane in planes), file.alias or band)
        matching = [plane for plane in planes if plane.band in alike]
    if len(matching) != 1:
        raise ImageError(
            f"{file}: expected one image for band {band}, found {_band_list(planes)}. "
            f"Name the extension: {band}={file.path}[EXTNAME]."
        )
    return matching[0]


def name_planes(planes: list[Plane], bands: Sequence[str] | None, where: str) -> list[Plane]:
    """Pick the wanted bands of one file, or name its planes where the header does not."""
    known = [plane.band for plane in planes]
    if bands is not None and _can_name(planes, bands):
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
    chosen = choose_bands([str(band) for band in known], bands, where)
    by_band = {plane.band: plane for plane in planes}
    return [replace(by_band[here], band=wanted) for wanted, here in chosen.items()]


def _can_name(planes: list[Plane], bands: Sequence[str]) -> bool:
    """Return whether these bands name the planes in order rather than pick among them.

    They do if there are as many and the header contradicts none: by knowing it elsewhere, or by
    saying that an extension, given to one filter of a space telescope, is of another.
    """
    if len(planes) != len(bands) or len(set(bands)) < len(bands):
        return False
    if any(is_of_another(plane, band) for plane, band in zip(planes, bands, strict=True)):
        return False
    old = [(plane.band or "").casefold() for plane in planes]
    new = [band.casefold() for band in bands]
    told = {band for band in old if band and old.count(band) == 1}
    if not told & set(new):
        return True
    return all(a == b or a not in told for a, b in zip(old, new, strict=True))


def is_of_another(plane: Plane, band: str) -> bool:
    """Return whether an image says that it is of another space-telescope filter than `band`.

    Planes of a cube do not: their names are often those of the programme that wrote it.
    """
    own = plane.band or ""
    if plane.index is not None or own.casefold() == band.casefold():
        return False
    return is_space_filter(own) and is_space_filter(band)


def choose_bands(known: list[str], bands: Sequence[str] | None, where: str) -> dict[str, str]:
    """Return each wanted band and what the input calls it; case counts only where it must."""
    if bands is None:
        return {band: band for band in known}
    alike = {b: [k for k in known if k == b] or _same_letters(known, b) for b in bands}
    lacking = [band for band, names in alike.items() if len(names) != 1]
    if lacking:
        raise ImageError(
            f"{where}: expected bands {', '.join(bands)}; found {', '.join(known)}. "
            f"Add {', '.join(lacking)}, or use weights for the bands at hand (--weights)."
        )
    return {band: names[0] for band, names in alike.items()}


def _same_letters(known: Iterable[str], band: str) -> list[str]:
    return [b for b in known if b.casefold() == band.casefold()]


def _extension(hdus: Any, file: FitsFile) -> Any:
    try:
        return hdus[file.extension]
    except (KeyError, IndexError):
        names = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(hdus))
        raise ImageError(f"{file}: no such extension; the file has {names}.") from None


def _band_list(planes: list[Plane]) -> str:
    names = [plane.band or "unnamed" for plane in planes]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
