"""From what the user typed to files and band names; no file is opened here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from astro_io.errors import ImageError, InputNotFoundError

BLUE_TO_RED = ("u", "g", "r", "i", "z", "y", "Y", "J", "H", "K", "Ks")
"""Order of the bands of a folder; others follow in alphabetical order."""

FITS_SUFFIX = re.compile(r"\.(?:fits|fit|fts)(?:\.(?:gz|fz|bz2))?$", re.IGNORECASE)

_SPACE_FILTER = r"F\d{3,4}(?:W2?|M|N|X|LP)"
_KNOWN_BAND = re.compile(rf"[ugrizyYJHKUBVRI]|Ks|{_SPACE_FILTER}", re.ASCII)
_EXTENSION = re.compile(r"^(?P<path>.+)\[(?P<extension>[^\[\]]+)\]$")
_HSC_FILTER = re.compile(r"HSC-([GRIZY])\d?$")
_PATTERNS = (
    re.compile(r"^(?P<prefix>img)_(?P<band>[^_.]+)$"),
    re.compile(r"^(?P<prefix>.*[-_]image)[-_](?P<band>[^-_.]+)$"),
    re.compile(rf"^(?P<prefix>.+)[-_](?P<band>{_KNOWN_BAND.pattern})$"),
    re.compile(rf"^(?P<prefix>.*)[-_](?P<band>(?i:{_SPACE_FILTER}))(?P<rest>[-_].*)?$"),
    re.compile(r"^(?P<prefix>.+)[-_](?P<band>[A-Za-z][A-Za-z0-9]*)$"),
)
"""Forms of band files in a folder; the first that any file has is used for all."""


@dataclass(frozen=True)
class FitsFile:
    """One file, as the user named it.

    Attributes
    ----------
    path : Path
    extension : int, str, (str, int) or None
        Asked for with ``file.fits[SCI,1]``.
    alias : str or None
        Filter of the image where it stands for another band: ``F438W=F435W=file.fits``.
    """

    path: Path
    extension: int | str | tuple[str, int] | None = None
    alias: str | None = None

    def __str__(self) -> str:
        """Return the text for messages: the path, with its extension in brackets."""
        if self.extension is None:
            return str(self.path)
        parts = self.extension if isinstance(self.extension, tuple) else (self.extension,)
        return f"{self.path}[{','.join(str(part) for part in parts)}]"


def resolve_input(spec: str | Path) -> FitsFile | dict[str, FitsFile]:
    """Find the files that an input names.

    Parameters
    ----------
    spec : str or Path
        A folder with ``img_<band>.fits``, one FITS file, or ``"g=a.fits,r=b.fits"``; in
        ``"F438W=F435W=a.fits"`` an image in F435W stands for F438W.

    Returns
    -------
    FitsFile or dict of str to FitsFile
        One file whose bands are still to be found out, or one file a band in channel order.

    Raises
    ------
    InputNotFoundError
        If a path does not exist.
    ImageError
        If a folder holds no band files, or two for one band.
    """
    pairs = _split_pairs(spec)
    if pairs is not None:
        return {band: _file_of_pair(path) for band, path in pairs}
    if Path(spec).is_dir():
        return {band: FitsFile(path) for band, path in band_files(Path(spec)).items()}
    return _existing_file(str(spec))


def image_name(spec: str | Path) -> str:
    """Return the NAME that result files of this input carry, without opening it.

    Parameters
    ----------
    spec : str or Path
        As for `astro_io.fits_read.read_image`.

    Returns
    -------
    str
        The folder's name; the file's name without suffix; or what the names of a
        ``band=path`` list begin with, else (or if they begin with the band) the name of the
        folder they are in.
    """
    pairs = _split_pairs(spec)
    if pairs is None:
        path = Path(spec) if Path(spec).exists() else _parse_file(str(spec)).path
        return _stem(path) if FITS_SUFFIX.search(path.name) else path.resolve().name
    paths = [_file_and_alias(path)[0].path for _, path in pairs]
    if len(paths) == 1:
        return _stem(paths[0])
    stems = [_stem(path) for path in paths]
    common = _common_start(stems).rstrip("-_. ")
    begin_with_band = all(
        stem.lower().startswith(band.lower()) for (band, _), stem in zip(pairs, stems, strict=True)
    )
    if common in ("", "img") or begin_with_band:
        return paths[0].resolve().parent.name or "image"
    return common


def band_files(folder: Path) -> dict[str, Path]:
    """Find the file of each band in a folder, blue to red.

    ``img_<band>.fits`` come first; without any, ``<name>-image-<band>.fits``, then
    ``<name>_<band>.fits``, then ``<name>_f555w_<more>.fits``. Each may end in ``.gz``, ``.fz``
    or ``.bz2``.

    Raises
    ------
    ImageError
        If there is none, two files claim one band, or there are bands of two images.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    fits_names = [name for name in names if FITS_SUFFIX.search(name)]
    for pattern in _PATTERNS:
        found = _group_by_band(fits_names, pattern)
        if found:
            _refuse_doubles(folder, found)
            ordered = sort_bands(found)
            return {band: folder / found[band][0][1] for band in ordered}
    raise ImageError(
        f"{folder}: expected img_<band>.fits (or .fits.gz, .fits.fz); found {_listing(names)}. "
        "Name the files yourself: g=a.fits,r=b.fits."
    )


def sort_bands(bands: Iterable[str]) -> list[str]:
    """Return band names from blue to red, unknown ones last in alphabetical order."""
    rank = {band: index for index, band in enumerate(BLUE_TO_RED)}
    return sorted(bands, key=lambda band: (rank.get(band, len(rank)), band))


def band_name(text: object) -> str | None:
    """Return the short band name that a header value such as ``HSC-G`` stands for.

    The first word that is a known band wins (``"g DECam SDSS c0001 4720.0"`` is ``g``);
    a value without one is returned as it is, blanks replaced.

    Parameters
    ----------
    text : object
        Value of ``FILTER``, ``BAND0``, ``EXTNAME`` or the like.

    Returns
    -------
    str or None
        None for an empty value.
    """
    words = str(text).strip() if text is not None else ""
    if not words:
        return None
    hsc = _HSC_FILTER.match(words)
    if hsc:
        return hsc.group(1).lower()
    for word in re.split(r"[\s\-_.,:;/]+", words):
        if is_known_band(word):
            return word
        if is_known_band(word.upper()) and len(word) > 2:
            return word.upper()
    return re.sub(r"\s+", "_", words)


def is_known_band(word: str) -> bool:
    """Return whether a word is a usual name of a band: ``g``, ``Ks``, ``F814W``."""
    return _KNOWN_BAND.fullmatch(word) is not None


def is_space_filter(word: str) -> bool:
    """Return whether a word is the name of a filter of HST or JWST: ``F814W``, ``f438w``."""
    return re.fullmatch(_SPACE_FILTER, word.upper()) is not None


def band_of_file_name(path: Path) -> str | None:
    """Return the band in the name of a lone file: its last word, or an HST filter anywhere."""
    for pattern in _PATTERNS[2:4]:
        match = pattern.match(_stem(path))
        if match:
            return band_name(match["band"])
    return None


def _split_pairs(spec: str | Path) -> list[tuple[str, str]] | None:
    """Split ``g=a.fits,r=b.fits``; None if the input is a plain path."""
    text = str(spec)
    if "=" not in text or Path(text).exists() or _parse_file(text).path.exists():
        return None
    pairs: list[tuple[str, str]] = []
    for part in re.split(r",(?=[^,=/]+=)", text):
        band, _, path = part.partition("=")
        band, path = band.strip(), path.strip().rstrip(",")
        if not band or not path or "/" in band:
            raise ImageError(f"input '{text}': expected BAND=FILE, found '{part}'.")
        if any(band == other for other, _ in pairs):
            raise ImageError(f"input '{text}': band {band} is given twice. Name each band once.")
        pairs.append((band, path))
    return pairs


def _parse_file(text: str) -> FitsFile:
    """Split a trailing ``[extension]`` from a path, unless the path itself has that name."""
    match = _EXTENSION.match(text)
    if match is None or Path(text).exists():
        return FitsFile(Path(text))
    name, _, version = match["extension"].partition(",")
    name, version = name.strip(), version.strip()
    path = Path(match["path"])
    if version.isdigit():
        return FitsFile(path, (name, int(version)))
    return FitsFile(path, int(name) if name.isdigit() else name)


def _file_of_pair(text: str) -> FitsFile:
    file, alias = _file_and_alias(text)
    return replace(_existing(file), alias=alias)


def _file_and_alias(text: str) -> tuple[FitsFile, str | None]:
    """Split ``F435W=a.fits``, unless that is the name of the file."""
    file = _parse_file(text)
    alias, _, path = text.partition("=")
    if not is_space_filter(alias.strip()) or file.path.exists():
        return file, None
    return _parse_file(path.strip()), alias.strip().upper()


def _existing_file(text: str) -> FitsFile:
    return _existing(_parse_file(text))


def _existing(file: FitsFile) -> FitsFile:
    if file.path.is_dir():
        raise ImageError(f"{file.path}: expected a FITS file, found a folder.")
    if not file.path.exists():
        raise InputNotFoundError(f"{file.path}: no such file or folder.{_neighbours(file.path)}")
    return file


def _neighbours(path: Path) -> str:
    """Return what the folder of a missing file holds instead, as a sentence."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    names = sorted(item.name for item in path.parent.iterdir() if FITS_SUFFIX.search(item.name))
    return f" {path.parent} holds {_listing(names)}." if names else ""


def _stem(path: Path) -> str:
    return FITS_SUFFIX.sub("", path.name) or path.name


def _common_start(names: list[str]) -> str:
    """Return the letters that all names begin with."""
    alike = [len(set(letters)) == 1 for letters in zip(*names, strict=False)]
    return names[0][: alike.index(False) if False in alike else len(alike)]


def _group_by_band(names: list[str], pattern: re.Pattern[str]) -> dict[str, list[tuple[str, str]]]:
    """Return band -> [(prefix, file name)] of the files with this form."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in names:
        match = pattern.match(FITS_SUFFIX.sub("", name))
        if match:
            parts = match.groupdict()
            band = parts["band"].upper() if "rest" in parts else parts["band"]
            groups[band].append((parts["prefix"] + (parts.get("rest") or ""), name))
    if pattern is _PATTERNS[-1] and len({p for files in groups.values() for p, _ in files}) > 1:
        return {}
    return dict(groups)


def _refuse_doubles(folder: Path, found: dict[str, list[tuple[str, str]]]) -> None:
    prefixes = sorted({prefix for files in found.values() for prefix, _ in files})
    for band, files in found.items():
        if len(files) > 1:
            raise ImageError(
                f"{folder}: expected one file for band {band}, found "
                f"{_listing([name for _, name in files])}. Name one: {band}=FILE,..."
            )
    if len(prefixes) > 1:
        raise ImageError(
            f"{folder}: expected the bands of one image, found files of "
            f"{_listing(prefixes)}. Name the files yourself: g=a.fits,r=b.fits."
        )


def _listing(names: list[str], limit: int = 8) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
