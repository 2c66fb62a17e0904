"""Fields to cut stamps from: a mosaic each, its table, what it has in common with the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.errors import CatalogError, ConfigError, DatasetError
from astro_io.positions import Candidates, read_candidates
from cluster_cnn.joining import common_pixel_scale, common_zeropoints
from cluster_cnn.mosaics import Mosaic

logger = logging.getLogger(__name__)

CLASS_COLUMNS = ("class", "phangs_cluster_class_human", "class_mode", "cluster_class")
"""Names that the class is looked for under, in this order and in any case."""

ID_COLUMNS = ("id", "id_phangs_cluster", "id_phangs_candidate", "source_id")

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_LARGEST_RATIO = 5.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Field:
    """A mosaic and its table.

    Attributes
    ----------
    spec : str
        As for `cluster_cnn.mosaics.Mosaic`.
    candidates : Candidates
    classes : ndarray of int, shape (N,)
        0 where there is none.
    distance_kpc : float
        NaN where not known.
    """

    spec: str
    candidates: Candidates
    classes: np.ndarray
    distance_kpc: float


@dataclass(frozen=True, eq=False, kw_only=True)
class CommonUnit:
    """What stamps of several fields have in common.

    Attributes
    ----------
    names : tuple of str, length F
        Of the mosaics.
    pixel_scale_arcsec : float
        0 where not known.
    zeropoints : dict of str to float
        AB magnitude of one unit of flux, of the bands where it is known.
    factors : ndarray of float32, shape (F, B)
        Multiply the fluxes of each field.
    absent : tuple of str
        Bands that no field has.
    """

    names: tuple[str, ...]
    pixel_scale_arcsec: float
    zeropoints: dict[str, float]
    factors: np.ndarray
    absent: tuple[str, ...]


def read_fields(
    mosaics: Sequence[str],
    tables: Sequence[Path],
    distances_kpc: Sequence[float],
    *,
    columns: Sequence[str] | None,
    class_column: str | None,
    needs_classes: bool,
) -> list[Field]:
    """Read the tables of all fields.

    Raises
    ------
    ConfigError
        If there is not one table for each mosaic, and one distance for each or for all.
    CatalogError, InputNotFoundError
        If a table cannot be used.
    """
    n = len(mosaics)
    for flag, found, allowed in (
        ("--catalog", len(tables), {n}),
        ("--distance-kpc", len(distances_kpc), {0, 1, n}),
    ):
        if found not in allowed:
            raise ConfigError(f"{flag}: expected one for each of {n} mosaics; found {found}.")
    distances = list(distances_kpc) or [np.nan]
    distances *= n // len(distances)
    fields = []
    for spec, path, distance in zip(mosaics, tables, distances, strict=True):
        candidates = read_candidates(path, columns=columns)
        classes = read_classes(candidates, class_column, is_needed=needs_classes)
        fields.append(
            Field(spec=spec, candidates=candidates, classes=classes, distance_kpc=distance)
        )
    return fields


def read_classes(candidates: Candidates, name: str | None, *, is_needed: bool) -> np.ndarray:
    """Return the class of each row, int, shape (N,); 0 where there is none.

    Raises
    ------
    CatalogError
        If the table lacks the column that was asked for, or any class where one is needed, or if
        the column holds no numbers.
    """
    table = candidates.table
    by_letters = {column.lower(): column for column in reversed(table.colnames)}
    wanted = [name.lower()] if name else list(CLASS_COLUMNS)
    found = next((by_letters[w] for w in wanted if w in by_letters), None)
    if found is None:
        if is_needed or name:
            raise CatalogError(
                f"{candidates.name}: expected a column {' or '.join(wanted)} with the class; found "
                f"{', '.join(table.colnames[:12])}. Name it: --class-column."
            )
        return np.zeros(len(table), int)
    try:
        values = np.ma.asarray(table[found]).astype(float)
    except (ValueError, TypeError) as error:
        raise CatalogError(
            f"{candidates.name}: expected classes 1 to 4 in column {found}; found text ({error})."
        ) from error
    if values.ndim != 1:
        raise CatalogError(
            f"{candidates.name}: expected one class a row in column {found}; found an array of "
            f"shape {values.shape[1:]}. Name another column: --class-column."
        )
    values = np.nan_to_num(np.ma.filled(values, 0.0))
    return np.where(np.isin(values, (1, 2, 3, 4)), values, 0).astype(int)


def agree(fields: Sequence[Field], bands: Sequence[str], pixel_scale: float | None) -> CommonUnit:
    """Look at the headers of all mosaics: may their stamps be put together, and how.

    Parameters
    ----------
    fields : sequence of Field
    bands : sequence of str
    pixel_scale : float or None
        That stamps are resampled to, arcsec.

    Raises
    ------
    DatasetError
        If pixel scales, zero points or, without zero points, flux units differ.
    ConfigError
        If stamps would have to be resampled by a factor above 5.
    """
    names, scales, zeropoints, units, absent = [], [], [], [], []
    for field in fields:
        with Mosaic(field.spec, bands, may_lack_bands=True) as mosaic:
            own = mosaic.pixel_scale_arcsec
            _check_scale(mosaic.name, own, pixel_scale)
            names.append(mosaic.name)
            scales.append(pixel_scale or own or 0.0)
            units.append(dict(zip(bands, mosaic.unit, strict=True)))
            known = zip(bands, mosaic.zeropoint_mag, strict=True)
            zeropoints.append({band: float(zero) for band, zero in known if zero is not None})
            absent.append(mosaic.missing)
    common, factors = common_zeropoints(names, bands, zeropoints, absent)
    for band in bands:
        told = {unit[band] for unit, lacks in zip(units, absent, strict=True) if band not in lacks}
        if band not in common and len(told - {""}) > 1:
            raise DatasetError(
                f"{names[0]} and others: expected one flux unit in {band}, or zero points; found "
                f"{', '.join(sorted(told - {''}))}. Write zero points into the headers (MAGZERO)."
            )
    return CommonUnit(
        names=tuple(names),
        pixel_scale_arcsec=common_pixel_scale(names, scales),
        zeropoints=common,
        factors=factors,
        absent=tuple(band for band in bands if all(band in lacks for lacks in absent)),
    )


def _check_scale(name: str, own: float | None, wanted: float | None) -> None:
    """Say what is assumed of the pixel scale; refuse far-fetched resampling."""
    if own is None:
        assumed = f"{wanted:.4f} arcsec wide, as asked for" if wanted else "of unknown width"
        logger.info("%s: no sky coordinates (WCS) in the header; pixels taken to be %s", name,
                    assumed)  # fmt: skip
    elif wanted and not 1 / _LARGEST_RATIO < wanted / own < _LARGEST_RATIO:
        raise ConfigError(
            f"--pixel-scale: expected {own / _LARGEST_RATIO:.4g} to {own * _LARGEST_RATIO:.4g}, "
            f"for {name} has pixels of {own:.4g} arcsec; found {wanted:.4g}."
        )


def file_names(candidates: Candidates) -> tuple[list[str], list[str]]:
    """Return a name for the file of each row, without suffix, and what the table calls it.

    The names are the table's ids where each is one of a kind and fit for a file name, else row
    numbers.
    """
    by_letters = {name.lower(): name for name in reversed(candidates.table.colnames)}
    column = next((by_letters[name] for name in ID_COLUMNS if name in by_letters), None)
    rows = [f"row_{row:06d}" for row in range(len(candidates))]
    if column is None:
        return rows, rows
    ids = [str(value) for value in candidates.table[column]]
    is_safe = all(_SAFE_NAME.fullmatch(text) for text in ids)
    if is_safe and len({text.casefold() for text in ids}) == len(ids):
        return ids, ids
    logger.warning(
        "%s: column %s holds %s; files are named by row",
        candidates.name,
        column,
        "an id twice" if is_safe else "ids that are no file names",
    )
    return rows, ids
