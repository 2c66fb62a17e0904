"""Tables of LEGUS: 34 columns without a header, and the votes of the people who classified.

Columns 1 to 34 are those of the README of the LEGUS cluster catalogues; a table made for training
networks has the agreement of the votes in column 35 and the votes themselves behind it.

References
----------
Adamo et al. 2017, ApJ 841, 131: classes 1 to 4, section 3.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_io.errors import CatalogError, InputNotFoundError

if TYPE_CHECKING:
    from astropy.table import Table

LEGUS_BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")
"""Bands of the photometry, in the order of the columns, where the caller does not say."""

NOT_DETECTED_MAG, NOT_COVERED_MAG = 99.999, 66.666
N_COLUMNS = 34
_LAST_CLASS = 4
UNSEEN = 0
"""Class of an object that nobody has looked at."""

_SUMMARY = ("best", "max", "min")


def legus_columns(bands: Sequence[str] = LEGUS_BANDS) -> dict[str, tuple[str, str]]:
    """Return unit and meaning of the 34 columns, by name, in order."""
    columns: dict[str, tuple[str, str]] = {
        "id": ("", "number of the source"),
        "x": ("pix", "column on the mosaic, 0-based (the file counts from 1)"),
        "y": ("pix", "row on the mosaic, 0-based (the file counts from 1)"),
        "ra": ("deg", "right ascension, J2000"),
        "dec": ("deg", "declination, J2000"),
    }
    for band in bands:
        columns[f"mag_{band}"] = ("mag", f"{band}, Vega, aperture corrected")
        columns[f"mag_err_{band}"] = ("mag", f"error of {band}")
    columns["ci"] = ("mag", "concentration index in the V band: 1 px minus 3 px")
    for name, unit, text in (
        ("age", "yr", "age"),
        ("mass", "solMass", "mass"),
        ("ebv", "mag", "E(B-V)"),
    ):
        for suffix in _SUMMARY:
            columns[f"{name}_{suffix}"] = (unit, f"{text}, {suffix} of the fit")
    for band in bands:
        columns[f"residual_{band}"] = ("mag", f"{band}, observed minus fitted")
    columns["chi2"] = ("", "reduced chi square of the fit")
    columns["q"] = ("", "probability of the fit")
    columns["n_filters"] = ("", "filters with photometry")
    columns["class"] = ("", "class by the mode of the votes; 0 not inspected")
    return columns


def read_legus(path: str | Path, bands: Sequence[str] = LEGUS_BANDS) -> Table:
    """Read a LEGUS table.

    Parameters
    ----------
    path : str or Path
        Text, perhaps gzipped.
    bands : sequence of str
        Five bands of the photometry, in the order of the columns.

    Returns
    -------
    astropy.table.Table
        Columns of `legus_columns`; ``agreement`` and ``vote_1`` ... where the table has votes (0:
        none).  Positions are 0-based pixel centres; magnitudes without detection or coverage are
        NaN.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    CatalogError
        If it has not 34 columns of numbers, or others than LEGUS'.
    """
    from astropy.table import Column, Table

    values = _read_numbers(Path(path))
    notes = legus_columns(bands)
    if len(notes) != N_COLUMNS:
        raise CatalogError(f"{path}: expected five bands; found {', '.join(bands)}.")
    if values.shape[1] < N_COLUMNS:
        raise CatalogError(
            f"{Path(path).name}: expected a LEGUS table of {N_COLUMNS} columns (and votes); found "
            f"{values.shape[1]}."
        )
    reason = _odd_values(values)
    if reason:
        raise CatalogError(f"{Path(path).name}: expected a LEGUS table; {reason}.")
    table = Table()
    for place, (name, (unit, meaning)) in enumerate(notes.items()):
        column = values[:, place]
        if name.startswith("mag_"):
            column = np.where(_is_measured(column), column, np.nan)
        if name in ("x", "y"):
            column = column - 1.0
        if name in ("id", "n_filters", "class"):
            column = column.astype(int)
        table[name] = Column(column, unit=unit or None, description=meaning)
    if values.shape[1] > N_COLUMNS:
        table["agreement"] = values[:, N_COLUMNS].astype(int)
    for number, place in enumerate(range(N_COLUMNS + 1, values.shape[1]), start=1):
        table[f"vote_{number}"] = values[:, place].astype(int)
    return table


def why_not_legus(path: str | Path) -> str:
    """Return what tells that a file is no LEGUS table; empty where it is one.

    A LEGUS table has 34 columns, or 36 and more with votes, numbers alone.  Its ids are whole,
    positions on the sky are possible, classes and votes are 0 to 4.

    Parameters
    ----------
    path : str or Path
    """
    try:
        if _read_numbers(Path(path), max_rows=1).shape[1] < N_COLUMNS:
            return f"it has fewer than {N_COLUMNS} columns"
        return _odd_values(_read_numbers(Path(path)))
    except (CatalogError, InputNotFoundError) as error:
        return str(error)


def _odd_values(values: np.ndarray) -> str:
    """Return what a LEGUS table would not hold; empty where there is nothing."""
    n_columns = values.shape[1]
    if n_columns < N_COLUMNS or n_columns == N_COLUMNS + 1:
        return f"it has {n_columns} columns instead of {N_COLUMNS} and votes"
    votes = values[:, N_COLUMNS + 1 :]
    checks = {
        "column 1 is no number of a source": _are_whole(values[:, 0], 0, np.inf),
        "column 4 is no right ascension": ((values[:, 3] >= 0) & (values[:, 3] <= 360)).all(),
        "column 5 is no declination": (np.abs(values[:, 4]) <= 90).all(),
        "column 33 is no number of filters": _are_whole(values[:, 32], 0, 9),
        "column 34 is no class, 0 to 4": _are_whole(values[:, 33], UNSEEN, _LAST_CLASS),
        "columns from 36 on are no votes, 0 to 4": _are_whole(votes, UNSEEN, _LAST_CLASS),
    }
    return next((text for text, is_right in checks.items() if not is_right), "")


def _are_whole(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether all values are whole numbers in a range."""
    return bool(((values >= low) & (values <= high) & (values == np.rint(values))).all())


def votes_of(table: Table) -> np.ndarray:
    """Return the votes of a table, int, shape (N, V); 0 where somebody did not vote."""
    names = [name for name in table.colnames if name.startswith("vote_")]
    return np.stack([np.asarray(table[name]) for name in names], axis=1)


def count_agreement(votes: np.ndarray, n_classes: int = 4) -> np.ndarray:
    """Count pairs of votes of two people on the same object.

    Parameters
    ----------
    votes : ndarray of int, shape (N, V)
    n_classes : int

    Returns
    -------
    ndarray of int, shape (C, C)
        Symmetric: each pair counts twice, once from either side.
    """
    counts = np.zeros((n_classes, n_classes), int)
    for first in range(votes.shape[1]):
        for second in range(votes.shape[1]):
            if first != second:
                both = (votes[:, first] > 0) & (votes[:, second] > 0)
                np.add.at(counts, (votes[both, first] - 1, votes[both, second] - 1), 1)
    return counts


def photometry_features(
    table: Table, bands: Sequence[str] = LEGUS_BANDS, *, has_quality: bool = False
) -> np.ndarray:
    """Return magnitudes and colours of neighbouring bands, shape (N, F); NaN: not measured.

    Parameters
    ----------
    table : Table
        From `read_legus`.
    bands : sequence of str
    has_quality : bool
        Also the errors, which tell of crowding, and the concentration index, which tells of size.
    """
    mags = np.stack([np.asarray(table[f"mag_{band}"], float) for band in bands], axis=1)
    parts = [mags, mags[:, :-1] - mags[:, 1:]]
    if has_quality:
        parts += [np.asarray(table[f"mag_err_{band}"], float)[:, None] for band in bands]
        parts.append(np.asarray(table["ci"], float)[:, None])
    return np.concatenate(parts, axis=1)


def _is_measured(values: np.ndarray) -> np.ndarray:
    return (np.abs(values - NOT_DETECTED_MAG) > 1e-3) & (np.abs(values - NOT_COVERED_MAG) > 1e-3)


def _read_numbers(path: Path, max_rows: int | None = None) -> np.ndarray:
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such table.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lines of comments, before or instead of numbers
            values = np.loadtxt(path, ndmin=2, max_rows=max_rows)
    except (ValueError, OSError, EOFError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path.name}: expected a LEGUS table, numbers alone; found something else ({error})."
        ) from error
    if not values.size:
        raise CatalogError(f"{path.name}: expected a LEGUS table; found no row.")
    return values
