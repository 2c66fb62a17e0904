"""Tables of candidate positions: x, y in pixels or ra, dec on the sky, from any table format.

What the table holds beside positions is kept as it is; a position that is missing or cannot be
read is NaN in its row and never an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.catalog_files import read_parquet
from astro_io.errors import BackendError, CatalogError, InputNotFoundError
from astro_io.legus import read_legus, why_not_legus

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

PIXEL_COLUMNS = (("x", "y"), ("x_pix", "y_pix"), ("xcentroid", "ycentroid"), ("x_image", "y_image"))
SKY_COLUMNS = (
    ("ra", "dec"),
    ("raj2000", "dej2000"),
    ("ra_deg", "dec_deg"),
    ("_raj2000", "_dej2000"),
    ("alpha_j2000", "delta_j2000"),
    ("phangs_ra", "phangs_dec"),
)
"""Names that are looked for, in this order and in any case; by default pixels before sky."""

DUPLICATE_PX = 0.5
"""Positions closer than this are the same."""

_NOT_TEXT = (".fits", ".fit", ".fz", ".vot", ".xml", ".ecsv", ".parquet", ".h5", ".hdf5")
_SHOWN = 12  # column names in a message


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates:
    """Candidate positions and the table that they came from.

    Attributes
    ----------
    table : astropy.table.Table
        As it was read, every column and row.
    name : str
        For messages.
    columns : tuple of str
        The two columns with positions.
    is_sky : bool
        They are right ascension and declination in degrees, not x and y in pixels.
    first, second : ndarray of float64, shape (N,)
        Their values; NaN where missing or unreadable.
    """

    table: Table
    name: str
    columns: tuple[str, str]
    is_sky: bool
    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)


def read_candidates(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    is_sky: bool | None = None,
    prefers_sky: bool = False,
) -> Candidates:
    """Read a table of positions.

    Parameters
    ----------
    path : str or Path
        FITS, ECSV, CSV, VOTable, Parquet, text with a line of column names, or a table of LEGUS
        (`astro_io.legus`).
    columns : sequence of str, optional
        The two columns to take; by default the first pair of `PIXEL_COLUMNS` or `SKY_COLUMNS`
        that the table has.
    is_sky : bool, optional
        What `columns` are; by default told by their names, pixels unless a name says otherwise.
    prefers_sky : bool
        Without `columns`, look for those of the sky first: pixels are of one image alone.

    Returns
    -------
    Candidates

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    CatalogError
        If it is no table, or has no positions.
    """
    path = Path(path)
    reason = why_not_legus(path)
    table = _read_table(path) if reason else read_legus(path)
    has_names = any(name != f"col{i}" for i, name in enumerate(table.colnames, start=1))
    if columns is None and table.colnames and not has_names:
        raise CatalogError(
            f"{path.name}: expected a line with column names, or a LEGUS table; found a table "
            f"without names, and for LEGUS {reason}. Add names, or say which columns hold "
            "positions (--columns col2,col3)."
        )
    return candidates_of(
        table, name=path.name, columns=columns, is_sky=is_sky, prefers_sky=prefers_sky
    )


def candidates_of(
    table: Table,
    *,
    name: str = "table",
    columns: Sequence[str] | None = None,
    is_sky: bool | None = None,
    prefers_sky: bool = False,
) -> Candidates:
    """Find the positions in a table; parameters and errors as of `read_candidates`."""
    if columns is None:
        chosen, found_sky = _find_columns(table.colnames, name, prefers_sky)
    else:
        chosen = _named_columns(table.colnames, columns, name)
        lowered = (chosen[0].lower(), chosen[1].lower())
        found_sky = lowered in SKY_COLUMNS or all(
            name.lstrip("_").startswith(start)
            for name, start in zip(lowered, ("ra", "de"), strict=True)
        )
    sky = found_sky if is_sky is None else is_sky
    for column in chosen:
        if getattr(table[column], "ndim", 1) != 1:
            raise CatalogError(
                f"{name}: expected one number a row in column {column}; found an array of shape "
                f"{table[column].shape[1:]}. Name other columns (--columns)."
            )
    first = _numbers(table[chosen[0]], is_hours=True if sky else None)
    second = _numbers(table[chosen[1]], is_hours=False if sky else None)
    return Candidates(
        table=table, name=name, columns=chosen, is_sky=sky, first=first, second=second
    )


def check_places(candidates: Candidates, n_mosaics: int) -> None:
    """Raise CatalogError for positions in pixels where there are several mosaics."""
    if n_mosaics > 1 and not candidates.is_sky:
        raise CatalogError(
            f"{candidates.name}: expected ra and dec, for {n_mosaics} mosaics are given; found "
            f"{', '.join(candidates.columns)}. Give one mosaic, or add columns ra and dec."
        )


def pixel_positions(
    candidates: Candidates, wcs: WCS | None, *, where: str = "mosaic", origin: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the candidates lie on an image.

    Parameters
    ----------
    candidates : Candidates
    wcs : astropy.wcs.WCS or None
        Celestial WCS of the image.
    where : str
        Name of the image for messages.
    origin : float
        Pixel number of the first pixel's centre in the table's x and y: 0 here, 1 in FITS and
        DS9.  Always 1 for SExtractor's columns, such as ``X_IMAGE``.

    Returns
    -------
    x, y : ndarray of float64, shape (N,)
        0-based pixel centres; NaN where a position has no place on the image's plane.

    Raises
    ------
    CatalogError
        If positions are on the sky and the image has no WCS.
    """
    if not candidates.is_sky:
        is_sextractor = all(name.lower().endswith("_image") for name in candidates.columns)
        origin = 1.0 if is_sextractor else origin
        return candidates.first - origin, candidates.second - origin
    if wcs is None:
        raise CatalogError(
            f"{candidates.name}: expected x and y, for {where} has no sky coordinates (WCS); "
            f"found {candidates.columns[0]}, {candidates.columns[1]}. Add columns x and y."
        )
    x, y = np.full((2, len(candidates)), np.nan)
    good = np.isfinite(candidates.first) & np.isfinite(candidates.second)
    good &= np.abs(np.where(good, candidates.second, 0.0)) <= 90.0
    if good.any():
        x[good], y[good] = _to_pixels(wcs, candidates.first[good], candidates.second[good])
    return x, y


def find_duplicates(x: np.ndarray, y: np.ndarray, *, radius: float = DUPLICATE_PX) -> np.ndarray:
    """Return True where an earlier row lies within `radius`, shape (N,); NaN never does."""
    from scipy.spatial import cKDTree

    is_double: np.ndarray = np.isfinite(x) & np.isfinite(y)
    rows = np.flatnonzero(is_double)
    if len(rows):
        # Equal rows first: each pair of them would be listed below.
        places, first = np.unique(np.stack([x[rows], y[rows]], 1), axis=0, return_index=True)
        is_double[rows[first]] = False
        pairs = cKDTree(places).query_pairs(radius, output_type="ndarray")
        is_double[rows[first[pairs].max(axis=1)]] = True
    return is_double


def _read_table(path: Path) -> Table:
    from astropy.table import Table

    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such table of positions.")
    problem: Exception | None = None
    suffixes = [suffix.lower() for suffix in path.suffixes]
    inner = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    is_text = not set(inner) & set(_NOT_TEXT)
    for options in ({}, {"format": "ascii"})[: 2 if is_text else 1]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd units and the like
                if path.suffix.lower() == ".parquet":
                    return read_parquet(path)
                return _without_mark(Table.read(path, **options))
        except BackendError:
            raise
        except Exception as error:  # astropy's readers raise all kinds
            problem = problem or error
    raise CatalogError(
        f"{path}: expected a table that astropy reads (FITS, ECSV, CSV, VOTable, text with column "
        f"names); found {' '.join(str(problem).split())[:160]}."
    )


def _without_mark(table: Table) -> Table:
    """Take the byte-order mark that Excel puts before its text off the first name."""
    for name in table.colnames[:1]:
        if name.startswith("\ufeff"):
            table.rename_column(name, name.removeprefix("\ufeff").strip('"'))
    return table


def _find_columns(
    names: Sequence[str], where: str, prefers_sky: bool
) -> tuple[tuple[str, str], bool]:
    by_letters = {name.lower(): name for name in reversed(names)}
    kinds = ((PIXEL_COLUMNS, False), (SKY_COLUMNS, True))
    for pairs, is_sky in kinds[::-1] if prefers_sky else kinds:
        for first, second in pairs:
            if first in by_letters and second in by_letters:
                return (by_letters[first], by_letters[second]), is_sky
    raise CatalogError(
        f"{where}: expected columns x and y (pixels), or ra and dec (degrees); found "
        f"{_listing(names)}. Rename the two that hold positions, or name them (--columns, where "
        "there is that option)."
    )


def _named_columns(names: Sequence[str], wanted: Sequence[str], where: str) -> tuple[str, str]:
    missing = [name for name in wanted if name not in names]
    if len(wanted) != 2 or missing:
        raise CatalogError(
            f"{where}: expected two columns of the table, asked for {', '.join(wanted)}; found "
            f"{_listing(names)}."
        )
    return wanted[0], wanted[1]


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def _numbers(column: Any, *, is_hours: bool | None) -> np.ndarray:
    """Return a column as float64, in degrees for the sky; NaN where it cannot be read.

    Text with colons, blanks or letters is sexagesimal: hours where `is_hours`.
    """
    values = np.ma.masked_array(getattr(column, "value", column))
    if values.dtype.kind in "OSU":
        texts = [str(v.decode() if isinstance(v, bytes) else v) for v in values.filled("")]
        return np.array([_number(text, is_hours) for text in texts], np.float64)
    numbers = np.asarray(np.ma.filled(values.astype(np.float64), np.nan), np.float64)
    unit = getattr(column, "unit", None)
    if is_hours is not None and unit is not None:
        from astropy.units import UnitConversionError, deg, hour

        if is_hours and unit == hour:
            return 15.0 * numbers
        try:
            return np.asarray(unit.to(deg, numbers), np.float64)
        except (UnitConversionError, AttributeError):
            return numbers
    return numbers


def _number(text: str, is_hours: bool | None) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    if is_hours is None:
        return np.nan
    from astropy.coordinates import Angle

    try:
        return float(Angle(text.strip(), unit="hourangle" if is_hours else "deg").deg)
    except Exception:  # anything that is no angle
        return np.nan


def _to_pixels(wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 0-based pixels; NaN on the far side of the sky."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        x, y = wcs.celestial.all_world2pix(ra, dec, 0, quiet=True)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x[lost] = y[lost] = np.nan
    return x, y
