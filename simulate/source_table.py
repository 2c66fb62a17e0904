"""A catalogue of one's own: exactly these sources, in place of a drawn population.

Any table that astropy reads (FITS, ECSV, CSV, VOTable, Parquet, ASCII). Columns:

=========================== ====================================================================
``x``, ``y``                pixel position, centres at integers from 0; or
``ra``, ``dec``             degrees, or any angle where the column has a unit
``class``                   ``star`` or ``galaxy``; or ``class_id``, 1 or 2
``mag_<band>``              total AB magnitude in each band of the preset; infinite: no light
``half_light_radius_arcsec`` of galaxies, along the major axis; above 0
``axis_ratio``              minor over major, optional (1)
``angle_deg``               of the major axis from +x to +y, optional (0)
``sersic_index``            optional; alone it makes the whole galaxy one Sersic profile; beside
                            ``bulge_fraction`` it is the index of the bulge (4)
``bulge_fraction``          share of the light in a bulge, optional (0); the rest is exponential
``bulge_radius_arcsec``     optional (as ``half_light_radius_arcsec``)
``arms_fraction``           share in spiral arms and knots, optional (0)
``structure_seed``          of the arms, optional (the row)
``field``                   index of the field that the row belongs to, optional (every field)
=========================== ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_io.errors import CatalogError, InputNotFoundError
from simulate.observe import Exposure
from simulate.sources import GALAXY, STAR, Sources

if TYPE_CHECKING:
    from astropy.table import Table

_CLASSES = {"star": STAR, "galaxy": GALAXY}
_READ_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, ImportError)
_SERSIC_RANGE = (0.4, 6.2)
_FARTHEST_DEG = 60.0
"""No field reaches so far; at 90 degrees a gnomonic projection ends."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceTable:
    """Sources of one's own, N rows, ready to be placed in a field.

    Attributes
    ----------
    sources : Sources
        `x` and `y` are NaN where the table gives sky positions.
    ra_deg, dec_deg : ndarray of float64, shape (N,), or None
        Sky positions, or None where the table gives pixels.
    field : ndarray of int64, shape (N,), or None
        Field of each row; None for all in every field.
    center_deg : tuple of float or None
        Right ascension and declination of the middle of the field.
    sha256 : str
        Of the file.
    """

    sources: Sources
    ra_deg: np.ndarray | None
    dec_deg: np.ndarray | None
    field: np.ndarray | None
    center_deg: tuple[float, float] | None
    sha256: str

    def place(self, exposure: Exposure, index: int) -> tuple[Sources, Exposure, np.ndarray]:
        """Return the sources of one field, the exposure pointed at them, and their rows.

        Parameters
        ----------
        exposure : Exposure
        index : int
            Of the field.

        Returns
        -------
        sources : Sources
        exposure : Exposure
            Centred on `center_deg`, or on the middle of the sky positions where that is None.
        rows : ndarray of int32
            Rows of the table.
        """
        rows = np.arange(len(self.sources))
        if self.field is not None:
            rows = np.flatnonzero(self.field == index)
        sources = self.sources.take(rows)
        center = self.center_deg
        if self.ra_deg is not None and self.dec_deg is not None:
            ra, dec = self.ra_deg[rows], self.dec_deg[rows]
            if center is None and len(rows):
                center = _middle(ra, dec)
        if center is not None:
            exposure = replace(exposure, ra_deg=center[0], dec_deg=center[1])
        if self.ra_deg is not None and len(rows):
            is_near = _separation_deg(ra, dec, exposure) < _FARTHEST_DEG
            rows, sources = rows[is_near], sources.take(is_near)
            x, y = exposure.wcs().all_world2pix(ra[is_near], dec[is_near], 0)
            sources = replace(sources, x=np.asarray(x), y=np.asarray(y))
        return sources, exposure, rows.astype(np.int32)


def read_source_table(
    path: Path, bands: tuple[str, ...], *, center_deg: tuple[float, float] | None = None
) -> SourceTable:
    """Read a catalogue of sources to simulate; this module's text lists its columns.

    Parameters
    ----------
    path : Path
    bands : tuple of str
        Bands that need a magnitude.
    center_deg : tuple of float, optional
        Right ascension and declination of the middle of the field.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    CatalogError
        If it is no table, lacks a column, or a value is out of range; the row is named.
    """
    from astro_io.weights import file_sha256

    table = _read(path)
    class_id = _classes(table, path)
    is_galaxy = class_id == GALAXY
    n = len(table)
    x, y, ra, dec = _positions(table, path)
    mag = np.stack([_column(table, path, f"mag_{b}") for b in bands], axis=-1)
    _require(path, "mag", ~np.isnan(mag).any(axis=1) & (mag > -50.0).all(axis=1), "a magnitude")
    radius = _galaxy_column(table, path, "half_light_radius_arcsec", is_galaxy, None)
    _require(path, "half_light_radius_arcsec", ~is_galaxy | (radius > 0.0), "above 0")
    has_index = "sersic_index" in table.colnames
    whole = 1.0 if has_index and "bulge_fraction" not in table.colnames else 0.0
    bulge = _share(table, path, "bulge_fraction", is_galaxy, whole)
    arms = _share(table, path, "arms_fraction", is_galaxy, 0.0) * (1.0 - bulge)
    ratio = _galaxy_column(table, path, "axis_ratio", is_galaxy, 1.0)
    _require(path, "axis_ratio", (ratio > 0.0) & (ratio <= 1.0), "above 0, up to 1")
    index = _galaxy_column(table, path, "sersic_index", is_galaxy, 4.0)
    in_range = (index >= _SERSIC_RANGE[0]) & (index <= _SERSIC_RANGE[1])
    _require(path, "sersic_index", in_range | ~is_galaxy, "{} to {}".format(*_SERSIC_RANGE))
    bulge_radius = radius
    if "bulge_radius_arcsec" in table.colnames:
        bulge_radius = _galaxy_column(table, path, "bulge_radius_arcsec", is_galaxy, None)
        _require(path, "bulge_radius_arcsec", ~is_galaxy | (bulge_radius > 0.0), "above 0")
    sources = Sources(
        class_id=class_id,
        x=x,
        y=y,
        mag=mag,
        bulge_fraction=np.repeat(bulge[:, None], len(bands), axis=1),
        arms_fraction=np.repeat(arms[:, None], len(bands), axis=1),
        bulge_radius_arcsec=np.where(is_galaxy, bulge_radius, 0.0),
        disk_radius_arcsec=np.where(is_galaxy, radius, 0.0),
        bulge_index=np.round(index, 1),  # a look-up table is made for each value
        bulge_axis_ratio=ratio,
        disk_axis_ratio=ratio,
        angle_rad=np.deg2rad(_galaxy_column(table, path, "angle_deg", is_galaxy, 0.0)),
        structure_seed=_whole(table, path, "structure_seed", np.arange(n)),
        is_irregular=np.zeros(n, dtype=bool),
    )
    field = _whole(table, path, "field", np.zeros(n)) if "field" in table.colnames else None
    return SourceTable(
        sources=sources,
        ra_deg=ra,
        dec_deg=dec,
        field=field,
        center_deg=center_deg,
        sha256=file_sha256(path),
    )


def _read(path: Path) -> Table:
    """Read a table in whatever format it has."""
    import warnings

    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    if not path.is_file():
        raise InputNotFoundError(f"--catalog {path}: no such file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know
            if path.suffix in (".txt", ".dat", ".cat"):
                return Table.read(path, format="ascii")
            return Table.read(path)
    except (*_READ_ERRORS, IORegistryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CatalogError(f"--catalog {path}: no table that astropy reads ({reason}).") from error


def _classes(table: Table, path: Path) -> np.ndarray:
    """Return class numbers from ``class`` or ``class_id``."""
    if "class" in table.colnames:
        names = [str(name).strip().lower() for name in table["class"]]
        numbers = np.array([_CLASSES.get(name, 0) for name in names], dtype=np.int32)
        _require(path, "class", numbers > 0, "star or galaxy")
        return numbers
    if "class_id" not in table.colnames:
        raise CatalogError(_missing(table, path, "class"))
    numbers = _whole(table, path, "class_id", None)
    _require(path, "class_id", np.isin(numbers, (STAR, GALAXY)), "1 (star) or 2 (galaxy)")
    return numbers.astype(np.int32)


def _positions(
    table: Table, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return pixel positions, or NaN and sky positions."""
    if {"x", "y"} <= set(table.colnames):
        x, y = (_finite(table, path, name) for name in ("x", "y"))
        return x, y, None, None
    if not {"ra", "dec"} <= set(table.colnames):
        raise CatalogError(_missing(table, path, "x and y (or ra and dec)"))
    ra, dec = (_finite(table, path, name, "deg") for name in ("ra", "dec"))
    _require(path, "dec", abs(dec) <= 90.0, "-90 to 90 degrees")
    unknown = np.full(len(table), np.nan)
    return unknown, unknown, ra, dec


def _column(table: Table, path: Path, name: str, unit: str = "") -> np.ndarray:
    """Return a column of numbers, converted where it has a unit; masked values are NaN."""
    from astropy import units

    if name not in table.colnames:
        raise CatalogError(_missing(table, path, name))
    column = table[name]
    try:
        numbers = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
        if unit and column.unit is not None and column.unit != unit:
            numbers = units.Quantity(numbers, column.unit).to_value(unit)
    except (ValueError, TypeError) as error:
        raise CatalogError(f"--catalog {path}: column {name} does not hold numbers.") from error
    except units.UnitConversionError as error:
        raise CatalogError(
            f"--catalog {path}: column {name} is in {column.unit}; expected {unit}."
        ) from error
    return numbers


def _finite(table: Table, path: Path, name: str, unit: str = "") -> np.ndarray:
    """Return a column that must have a value in every row."""
    numbers = _column(table, path, name, unit)
    _require(path, name, np.isfinite(numbers), "a number")
    return numbers


def _galaxy_column(
    table: Table, path: Path, name: str, is_galaxy: np.ndarray, default: float | None
) -> np.ndarray:
    """Return a column that matters for galaxies; stars get the default, or 1."""
    fallback = np.full(len(table), 1.0 if default is None else default)
    if name not in table.colnames and (default is not None or not is_galaxy.any()):
        return fallback
    unit = "arcsec" if name.endswith("arcsec") else "deg" if name.endswith("deg") else ""
    numbers = _column(table, path, name, unit)
    _require(path, name, np.isfinite(numbers) | ~is_galaxy, "a number for every galaxy")
    return np.where(is_galaxy, numbers, fallback)


def _share(
    table: Table, path: Path, name: str, is_galaxy: np.ndarray, default: float
) -> np.ndarray:
    """Return a share of the light of galaxies; 0 for stars."""
    share = np.where(is_galaxy, _galaxy_column(table, path, name, is_galaxy, default), 0.0)
    _require(path, name, (share >= 0.0) & (share <= 1.0), "0 to 1")
    return share


def _whole(table: Table, path: Path, name: str, default: np.ndarray | None) -> np.ndarray:
    """Return a column of whole numbers from 0."""
    if default is not None and name not in table.colnames:
        return default.astype(np.int64)
    numbers = _finite(table, path, name)
    _require(path, name, (numbers >= 0) & (numbers == np.round(numbers)), "a whole number from 0")
    return numbers.astype(np.int64)


def _require(path: Path, name: str, is_right: np.ndarray, expected: str) -> None:
    """Raise CatalogError at the first row that is not right."""
    wrong = np.flatnonzero(~is_right)
    if len(wrong):
        raise CatalogError(
            f"--catalog {path}: {name}, row {wrong[0]}: expected {expected} "
            f"({len(wrong)} rows are wrong)."
        )


def _missing(table: Table, path: Path, name: str) -> str:
    """Return the message for a column that is not there."""
    return (
        f"--catalog {path}: no column {name}; it has {', '.join(table.colnames) or 'no column'}. "
        "docs/simulate.md lists the columns."
    )


def _separation_deg(ra_deg: np.ndarray, dec_deg: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Return how far directions lie from the middle of the field."""
    from astropy.coordinates import angular_separation

    here = np.deg2rad([exposure.ra_deg, exposure.dec_deg])
    return np.rad2deg(angular_separation(*here, np.deg2rad(ra_deg), np.deg2rad(dec_deg)))


def _middle(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[float, float]:
    """Return the direction of the mean unit vector."""
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    vector = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]).mean(1)
    middle_ra = np.rad2deg(np.arctan2(vector[1], vector[0])) % 360.0
    return float(middle_ra), float(np.rad2deg(np.arctan2(vector[2], np.hypot(*vector[:2]))))
