"""The source catalogue: every column with its dtype, unit and meaning; the quality flags; files.

One row a source.  Positions are 0-based, pixel centres at whole numbers; boxes are pixel edges,
end exclusive.  What could not be measured is NaN (numbers) or -1 (identifiers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import IntFlag
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import CatalogError, InputNotFoundError

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import UnitBase

CatalogFormat = Literal["fits", "ecsv", "parquet", "votable"]

SUFFIXES: dict[str, str] = {
    "fits": ".fits",
    "ecsv": ".ecsv",
    "parquet": ".parquet",
    "votable": ".vot",
}
"""File suffix of each format."""


class Flag(IntFlag):
    """Bits of the ``flags`` column; `FLAG_MEANINGS` says what each means."""

    EDGE = 1
    SATURATED = 2
    MISSING_BAND = 4
    OVERLAP = 8
    MASK_EMPTY = 16
    SEAM = 32
    BAD_PIXELS = 64
    LARGE = 128
    NEGATIVE_FLUX = 256


FLAG_MEANINGS: dict[Flag, str] = {
    Flag.EDGE: "the mask touches the edge of the image",
    Flag.SATURATED: "a pixel of the mask is saturated",
    Flag.MISSING_BAND: "a band has no usable pixel in the mask",
    Flag.OVERLAP: "the mask shares pixels with, or touches, that of a neighbour",
    Flag.MASK_EMPTY: "the network gave a box but no pixel of mask; measured in the box",
    Flag.SEAM: "cut by the edge of a tile; position and fluxes may be off",
    Flag.BAD_PIXELS: "the mask holds bad pixels, but not only",
    Flag.LARGE: "wider than the overlap of the tiles",
    Flag.NEGATIVE_FLUX: "the flux is negative in a band; no magnitude there",
}


class ColumnSpec(NamedTuple):
    """What a column holds."""

    dtype: str
    unit: str
    meaning: str


COLUMNS: dict[str, ColumnSpec] = {
    "source_id": ColumnSpec("int64", "", "number of the source in its image, from 1"),
    "class": ColumnSpec("U6", "", "more probable class: star or galaxy"),
    "score": ColumnSpec("float32", "", "confidence of the detection, 0 to 1"),
    "p_star": ColumnSpec("float32", "", "probability of being a star"),
    "p_galaxy": ColumnSpec("float32", "", "probability of being a galaxy"),
    "x": ColumnSpec("float64", "pix", "column of the centroid, 0-based pixel centres"),
    "y": ColumnSpec("float64", "pix", "row of the centroid, 0-based pixel centres"),
    "x_err": ColumnSpec("float32", "pix", "standard error of x"),
    "y_err": ColumnSpec("float32", "pix", "standard error of y"),
    "ra": ColumnSpec("float64", "deg", "right ascension of the centroid"),
    "dec": ColumnSpec("float64", "deg", "declination of the centroid"),
    "ra_err": ColumnSpec("float32", "arcsec", "standard error along right ascension, on the sky"),
    "dec_err": ColumnSpec("float32", "arcsec", "standard error along declination"),
    "bbox_y1": ColumnSpec("float32", "pix", "lower edge of the box"),
    "bbox_x1": ColumnSpec("float32", "pix", "left edge of the box"),
    "bbox_y2": ColumnSpec("float32", "pix", "upper edge of the box, exclusive"),
    "bbox_x2": ColumnSpec("float32", "pix", "right edge of the box, exclusive"),
    "n_pix": ColumnSpec("int32", "", "pixels in the mask"),
    "a": ColumnSpec("float32", "pix", "standard deviation of the light along the major axis"),
    "b": ColumnSpec("float32", "pix", "standard deviation of the light along the minor axis"),
    "theta": ColumnSpec("float32", "deg", "major axis, from the x axis towards the y axis"),
    "half_light_radius": ColumnSpec(
        "float32", "pix", "radius with half of the flux, not corrected for the PSF"
    ),
    "snr": ColumnSpec("float32", "", "signal to noise of the flux in the mask, all bands together"),
    "significance": ColumnSpec("float32", "", "matched-filter height above the sky, in sigma"),
    "parent_id": ColumnSpec("int64", "", "least source_id of its blended group; its own if alone"),
    "n_blend": ColumnSpec("int32", "", "sources in its blended group; 1 alone"),
    "blend_fraction": ColumnSpec("float32", "", "share of its mask that it shares with others"),
    "flags": ColumnSpec("int32", "", "sum of quality bits, see the FLAG cards"),
}
"""Columns of every catalogue, in order; `band_columns` follow ``n_pix``."""

_BANDS_AFTER = "n_pix"

_UNIT_WORDS = {"electrons": "electron", "counts": "ct", "dn": "DN", "nanomaggies": "nanomaggy"}


def band_columns(band: str, unit: str = "") -> dict[str, ColumnSpec]:
    """Return the columns of one band.

    Parameters
    ----------
    band : str
    unit : str
        Flux unit of the image.

    Returns
    -------
    dict of str to ColumnSpec
        ``flux_<b>``, ``flux_err_<b>``, ``mag_<b>``, ``mag_err_<b>``.
    """
    error = "standard error (of the sky alone, unless with --gain) of"
    return {
        f"flux_{band}": ColumnSpec("float64", unit, f"{band}: light in the mask above the sky"),
        f"flux_err_{band}": ColumnSpec("float64", unit, f"{error} flux_{band}"),
        f"mag_{band}": ColumnSpec("float32", "mag", f"AB magnitude of flux_{band}, if calibrated"),
        f"mag_err_{band}": ColumnSpec("float32", "mag", f"{error} mag_{band}"),
    }


def catalog_columns(bands: Sequence[str], unit: str | Sequence[str] = "") -> dict[str, ColumnSpec]:
    """Return all columns of a catalogue in these bands, in order.

    Parameters
    ----------
    bands : sequence of str
    unit : str or sequence of str
        Flux unit, common or of each band.

    Returns
    -------
    dict of str to ColumnSpec
    """
    units = [unit] * len(bands) if isinstance(unit, str) else list(unit)
    columns: dict[str, ColumnSpec] = {}
    for name, column in COLUMNS.items():
        columns[name] = column
        if name == _BANDS_AFTER:
            for band, band_unit in zip(bands, units, strict=True):
                columns.update(band_columns(band, band_unit))
    return columns


def new_catalog(n: int, bands: Sequence[str], *, unit: str | Sequence[str] = "") -> QTable:
    """Return a catalogue with every column, to be filled in.

    Parameters
    ----------
    n : int
        Number of sources; 0 is allowed.
    bands : sequence of str
    unit : str or sequence of str
        Flux unit of the image as its file says it, common or of each band.  One that astropy
        does not know leaves the columns without unit; ``meta["flux_unit"]`` keeps the text.

    Returns
    -------
    astropy.table.QTable
        ``source_id`` and ``parent_id`` run from 1, ``n_blend`` is 1; other numbers NaN or 0.
    """
    from astropy.table import Column, QTable
    from astropy.units import Quantity

    units = [unit] * len(bands) if isinstance(unit, str) else list(unit)
    table = QTable()
    for name, column in catalog_columns(bands, units).items():
        fill: Any = "" if column.dtype.startswith("U") else 0
        values = np.full(n, np.nan if column.dtype.startswith("float") else fill, column.dtype)
        known = parse_unit(column.unit)
        if known is None:
            table[name] = Column(values, description=column.meaning)
        else:
            table[name] = Quantity(values, known, copy=False, dtype=values.dtype)
            table[name].info.description = column.meaning
    table["source_id"] = table["parent_id"] = np.arange(1, n + 1)
    for name in ("source_id", "parent_id"):
        table[name].info.description = COLUMNS[name].meaning
    table["n_blend"][:] = 1
    table.meta["bands"] = list(bands)
    table.meta["flux_unit"] = units
    table.meta["flag_bits"] = {flag.name: int(flag) for flag in Flag}
    return table


def parse_unit(text: str) -> UnitBase | None:
    """Return the unit that a FITS header names, or None where it names none that we know.

    Parameters
    ----------
    text : str
        For example ``"nJy"``, ``"ELECTRONS"``, ``"nanomaggy"``.

    Returns
    -------
    astropy.units.UnitBase or None
    """
    from astropy import units as u

    words = text.strip()
    for plural, singular in _UNIT_WORDS.items():
        words = re.sub(rf"\b{plural}\b", singular, words, flags=re.IGNORECASE)
    for candidate in (words, words.lower()) if words else ():
        try:
            unit = u.Unit(candidate)
        except ValueError:
            continue
        unit = getattr(unit, "function_unit", unit)  # mag of mag(AB): no column can hold the latter
        return None if unit == u.dimensionless_unscaled else unit
    return None


def catalog_format(path: str | Path) -> CatalogFormat:
    """Return the format that the suffix of a file name stands for.

    Raises
    ------
    CatalogError
        If it stands for none.
    """
    name = Path(path).name.lower()
    endings = {
        **{suffix: kind for kind, suffix in SUFFIXES.items()},
        ".fits.gz": "fits",
        ".fit": "fits",
        ".votable": "votable",
        ".xml": "votable",
        ".parq": "parquet",
    }
    for suffix, kind in endings.items():
        if name.endswith(suffix):
            return kind  # type: ignore[return-value]
    raise CatalogError(
        f"{Path(path).name}: unknown kind of catalogue; expected a name that ends in "
        f"{', '.join(SUFFIXES.values())}."
    )


def write_catalog(
    path: str | Path,
    table: QTable,
    format: CatalogFormat | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a catalogue: all of it, or nothing.

    Parameters
    ----------
    path : str or Path
    table : astropy.table.QTable
        By custom from `new_catalog`; any table will do.  Zero rows are fine.
    format : {"fits", "ecsv", "parquet", "votable"}, optional
        By default what the suffix says.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    CatalogError
        If the format is unknown.
    BackendError
        If pyarrow, which Parquet needs, is not installed.
    """
    kind = format or catalog_format(path)
    if kind not in get_args(CatalogFormat):
        raise CatalogError(
            f"{path}: expected format {', '.join(get_args(CatalogFormat))}; found {kind!r}."
        )
    from astro_io import catalog_files

    writers: dict[str, Callable[[Path, QTable], None]] = {
        "fits": catalog_files.write_fits,
        "ecsv": catalog_files.write_ecsv,
        "parquet": catalog_files.write_parquet,
        "votable": catalog_files.write_votable,
    }
    with atomic_path(path, overwrite=overwrite) as part:
        writers[kind](part, table)
    return Path(path)


def check_storable(table: QTable, format: CatalogFormat, *, name: str = "table") -> None:
    """Write a table to a temporary file and read it back, so that the work is not done in vain.

    Parameters
    ----------
    table : astropy.table.QTable
    format : {"fits", "ecsv", "parquet", "votable"}
    name : str
        Of the table, for the message.

    Raises
    ------
    CatalogError
        If a column cannot be written, or does not come back with its shape; it is named.
    BackendError
        If pyarrow, which Parquet needs, is not installed.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial"
        if not _storage_problem(path, table, format):
            return
        for column in table.colnames:
            problem = _storage_problem(path, table[[column]], format)
            if problem:
                kind = f"{table[column].dtype}, shape {table[column].shape}"
                raise CatalogError(
                    f"{name}: expected columns that {format} can hold; found {column} ({kind}): "
                    f"{problem}. Remove it, or choose another --format."
                )


def _storage_problem(path: Path, table: QTable, format: CatalogFormat) -> str:
    """Return why a table cannot be written and read back; empty where it can."""
    try:
        back = read_catalog(write_catalog(path, table, format, overwrite=True), format)
    except (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError) as error:
        return " ".join(str(error).split())[:160].rstrip(".")
    for before, after in zip(table.colnames, back.colnames, strict=True):
        if table[before].shape != back[after].shape:
            return f"it would come back with shape {back[after].shape}"
    return ""


def read_catalog(path: str | Path, format: CatalogFormat | None = None) -> QTable:
    """Read a catalogue in any of our formats.

    Parameters
    ----------
    path : str or Path
    format : {"fits", "ecsv", "parquet", "votable"}, optional
        By default what the suffix says.

    Returns
    -------
    astropy.table.QTable
        With units, descriptions and metadata.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    CatalogError
        If it cannot be read as that format.
    """
    path = Path(path)
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such catalogue.")
    kind = format or catalog_format(path)
    from astro_io import catalog_files

    readers: dict[str, Callable[[Path], QTable]] = {
        "fits": catalog_files.read_fits,
        "ecsv": catalog_files.read_ecsv,
        "parquet": catalog_files.read_parquet,
        "votable": catalog_files.read_votable,
    }
    try:
        return readers[kind](path)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise CatalogError(f"{path}: not a readable {kind} catalogue ({error}).") from error
