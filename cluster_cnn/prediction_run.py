"""Candidates on mosaics to a table: what is measured of each row, and what is doubtful about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.cli import progress
from astro_io.errors import AstroError, CatalogError, ConfigError
from astro_io.positions import Candidates, check_places, find_duplicates, pixel_positions
from cluster_cnn.flags import FLAG_MEANINGS, CandidateFlag
from cluster_cnn.mosaics import SCALE_TOLERANCE, Mosaic, StampBatch
from cluster_cnn.stamp_coverage import has_middle

if TYPE_CHECKING:
    from astropy.table import QTable

    from cluster_cnn.tasks import StampTask

logger = logging.getLogger(__name__)

TAKEN_PREFIX = "cnn_"
"""Goes before the name of a result that the input table has a column of already."""


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """How mosaics and tables are read.

    Attributes
    ----------
    origin : float
        Number of the first pixel in the table's x and y.
    may_lack_bands : bool
        Take mosaics that lack some bands of the weights.
    must_align : bool
        Refuse bands that lie more than half a pixel off one another.
    known : mapping of str to (float or str)
        Parameters that are known: a value for all rows, or the column that holds them.
    batch_size : int
        Stamps at a time.
    """

    origin: float = 0.0
    may_lack_bands: bool = False
    must_align: bool = True
    known: Mapping[str, float | str] = field(default_factory=dict)
    batch_size: int = 128


@dataclass(eq=False, kw_only=True)
class Prediction:
    """Results of all rows.

    Attributes
    ----------
    values : dict of str to ndarray, shape (N,)
        The task's columns; NaN without a result.
    flags : ndarray of int32, shape (N,)
    x, y : ndarray of float64, shape (N,)
        On the mosaic that the row was measured on; NaN off all of them.
    mosaic : ndarray of int, shape (N,)
        Number of that mosaic; -1 for none.
    failed : dict of str to str
        Mosaics that could not be read, and why.
    """

    values: dict[str, np.ndarray]
    flags: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mosaic: np.ndarray
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def has_result(self) -> np.ndarray:
        """Return True where something was measured."""
        return (self.flags & CandidateFlag.NO_RESULT) == 0


def predict_candidates(
    task: StampTask,
    mosaics: Sequence[str],
    candidates: Candidates,
    settings: PredictionSettings | None = None,
) -> Prediction:
    """Measure each candidate on the first mosaic that has data where it lies.

    Parameters
    ----------
    task : StampTask
    mosaics : sequence of str
        As for `cluster_cnn.mosaics.Mosaic`.
    candidates : Candidates
    settings : PredictionSettings, optional

    Returns
    -------
    Prediction
        Zero candidates give zero rows.

    Raises
    ------
    CatalogError
        If several mosaics are given for positions in pixels, or a column with known values is
        absent or not of numbers.
    ConfigError
        If a known value is none that the network was taught.
    AstroError
        If the only mosaic cannot be used; of several, those are listed in `failed`.
    """
    settings = settings or PredictionSettings()
    check_places(candidates, len(mosaics))
    task.check_known(settings.known)
    known = known_values(candidates, settings.known)
    result = _empty(task, candidates)
    for number, spec in enumerate(mosaics):
        try:
            _measure_on(task, spec, number, candidates, known, settings, result)
        except (AstroError, OSError) as error:
            if len(mosaics) == 1:
                raise
            task.judge()  # the stamps seen so far are no part of the next mosaic
            result.failed[str(spec)] = str(error)
            logger.warning("%s Left out.", error)
    return result


def known_values(candidates: Candidates, known: Mapping[str, float | str]) -> dict[str, np.ndarray]:
    """Return known parameters row by row; NaN where a column has no number.

    Raises
    ------
    CatalogError
        If the table lacks a column, or it holds no numbers.
    """
    values: dict[str, np.ndarray] = {}
    for name, source in known.items():
        if not isinstance(source, str):
            values[name] = np.full(len(candidates), float(source))
        elif source not in candidates.table.colnames:
            raise CatalogError(
                f"{candidates.name}: expected a column {source} with {name}; found "
                f"{', '.join(candidates.table.colnames[:12])}."
            )
        else:
            values[name] = _numbers(candidates, source, name)
    return values


def _numbers(candidates: Candidates, source: str, name: str) -> np.ndarray:
    """Return a column of numbers, NaN where masked."""
    column = candidates.table[source]
    values = np.ma.asarray(getattr(column, "value", column))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise CatalogError(
            f"{candidates.name}: expected one number a row in column {source} with {name}; found "
            f"{values.dtype}, shape {values.shape}. Leave rows without a value empty."
        )
    return np.asarray(values.astype(float).filled(np.nan))


def result_table(
    task: StampTask, candidates: Candidates, prediction: Prediction, names: Sequence[str]
) -> QTable:
    """Put results behind the columns of the input.

    Parameters
    ----------
    task : StampTask
    candidates : Candidates
    prediction : Prediction
    names : sequence of str
        Name of each mosaic.

    Returns
    -------
    astropy.table.QTable
        The rows of the input in their order, all its columns, then ``x``, ``y`` (or ``ra``,
        ``dec`` of pixels are not added), the task's columns and ``flags``.  A result whose name
        the input has taken, in any case of letters, begins with `TAKEN_PREFIX`, as often as it
        takes.
    """
    from astropy.table import Column

    table = plain_table(candidates.table)
    taken = {name.lower() for name in table.colnames}  # FITS does not tell X from x

    def add(name: str, values: np.ndarray, unit: str, meaning: str) -> None:
        label = name
        while label.lower() in taken:
            label = TAKEN_PREFIX + label
        table[label] = Column(values, unit=unit or None, description=meaning)

    if candidates.is_sky:
        add("x", prediction.x, "pix", "column of the position, 0-based pixel centres")
        add("y", prediction.y, "pix", "row of the position, 0-based pixel centres")
    if len(names) > 1:
        labels = np.array([*names, ""])
        add("mosaic", labels[prediction.mosaic], "", "image that the row was measured on")
    for name, note in task.columns().items():
        values = prediction.values[name]
        kind = np.float32 if values.dtype.kind == "f" else values.dtype
        add(name, values.astype(kind), note.unit, note.meaning)
    add("flags", prediction.flags, "", "sum of quality bits, see the FLAG cards")
    return table


def metadata(task: StampTask, mosaics: Sequence[str], catalog: str) -> dict[str, Any]:
    """Return what tells how a table was made."""
    from astro_io.provenance import provenance

    return {
        **task.facts,
        "bands": list(task.bands),
        "mosaics": [str(m) for m in mosaics],
        "catalog": catalog,
        "flag_meanings": {str(f.name): [int(f), text] for f, text in FLAG_MEANINGS.items()},
        **provenance(),
    }


def plain_table(table: Any) -> QTable:
    """Return a copy whose columns every format can hold.

    Masked numbers are NaN, but whole ones without unit stay whole and masked; what is neither
    number nor text (objects, dates) is text; mag(AB) is mag.
    """
    from astropy.table import Column, MaskedColumn, QTable

    plain = QTable()
    for name in table.colnames:
        column = table[name]
        unit = getattr(column, "unit", None)
        values = _plain_values(column)
        is_missing = np.ma.getmaskarray(values)
        notes = {
            # No format stores text with a unit, such as sexagesimal hours.
            "unit": None if values.dtype.kind == "U" else getattr(unit, "function_unit", unit),
            "description": column.info.description,
        }
        if not is_missing.any():
            plain[name] = Column(values.data, **notes)
        elif values.dtype.kind == "U":
            plain[name] = Column(values.filled(""), **notes)
        elif values.dtype.kind in "fc" or unit is not None:
            plain[name] = Column(values.astype(np.result_type(values, 0.0)).filled(np.nan), **notes)
        else:
            whole = values.astype(np.promote_types(values.dtype, np.int16))
            none = np.iinfo(whole.dtype).min
            plain[name] = MaskedColumn(whole, fill_value=none, **notes)
    return plain


def _plain_values(column: Any) -> np.ma.MaskedArray:
    """Return values as text, or as numbers of a kind that every format knows."""
    if getattr(column, "dtype", np.dtype("O")).kind == "O":
        mask = np.array([v is None or v is np.ma.masked for v in column], bool)
        return np.ma.masked_array([str(v) for v in column], mask, str)
    values = np.ma.masked_array(
        getattr(column, "value", column), getattr(column, "mask", np.ma.nomask)
    )
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "S":
        return np.ma.masked_array(np.char.decode(values.data, "utf-8", "replace"), values.mask)
    if kind in "mM":
        is_missing = np.ma.getmaskarray(values) | np.isnat(values.data)
        return np.ma.masked_array(values.data.astype(str), is_missing)
    if kind == "f" and size not in (4, 8):
        return values.astype(np.float32 if size < 4 else np.float64)
    if kind == "u" and size == 8:
        is_small = values.size == 0 or values.max() <= np.iinfo(np.int64).max
        return values.astype(np.int64 if is_small else str)
    return values.astype(np.promote_types(values.dtype, np.int16)) if kind in "iu" else values


def _empty(task: StampTask, candidates: Candidates) -> Prediction:
    n = len(candidates)
    finite = np.isfinite(candidates.first) & np.isfinite(candidates.second)
    off = CandidateFlag.OFF_IMAGE | CandidateFlag.NO_RESULT
    none = CandidateFlag.NOT_FINITE | CandidateFlag.NO_RESULT
    return Prediction(
        values={name: np.full(n, note.missing) for name, note in task.columns().items()},
        flags=np.where(finite, int(off), int(none)).astype(np.int32),
        x=np.full(n, np.nan),
        y=np.full(n, np.nan),
        mosaic=np.full(n, -1),
    )


def _measure_on(
    task: StampTask,
    spec: str,
    number: int,
    candidates: Candidates,
    known: Mapping[str, np.ndarray],
    settings: PredictionSettings,
    result: Prediction,
) -> None:
    """Measure the rows that lie on one mosaic and have no result of one before it."""
    with Mosaic(
        spec, task.bands, may_lack_bands=settings.may_lack_bands, must_align=settings.must_align
    ) as mosaic:
        _explain(mosaic, task)
        x, y = pixel_positions(candidates, mosaic.wcs, where=mosaic.name, origin=settings.origin)
        is_inside = mosaic.position_flags(x, y) == 0
        is_double = find_duplicates(np.where(is_inside, x, np.nan), y)
        here = is_inside & ~result.has_result
        result.x[here], result.y[here], result.mosaic[here] = x[here], y[here], number
        result.flags[here] = CandidateFlag.NO_RESULT
        result.flags[is_double] |= CandidateFlag.DUPLICATE
        factors = mosaic.flux_factors(task.zeropoint_mag)
        batches = mosaic.cut(
            np.where(here, x, np.nan),
            y,
            task.stamp_size,
            pixel_scale_arcsec=task.pixel_scale_arcsec or None,
            wide_binning=task.wide_binning,
            batch_size=settings.batch_size,
        )
        bar = progress(batches, description=mosaic.name, unit="batch")
        for batch in bar:
            _measure_batch(task, batch, factors, known, result)
        _judge_all(task, mosaic.name, here, result)


def _measure_batch(
    task: StampTask,
    batch: StampBatch,
    factors: np.ndarray,
    known: Mapping[str, np.ndarray],
    result: Prediction,
) -> None:
    result.flags[batch.rows] |= batch.flags
    n_bands = len(factors)
    has_data = has_middle(batch.stamps[..., :n_bands])
    rows = batch.rows[has_data]
    if not len(rows):
        return
    values, flags = task.measure(
        batch.stamps[has_data] * np.tile(factors, batch.stamps.shape[3] // n_bands),
        {name: v[rows] for name, v in known.items()},
    )
    for name, column in values.items():
        if result.values[name].dtype != column.dtype and column.dtype.kind in "SUib":
            result.values[name] = result.values[name].astype(column.dtype)
        result.values[name][rows] = column
    result.flags[rows] &= ~int(CandidateFlag.NO_RESULT)
    result.flags[rows] |= flags


def _judge_all(task: StampTask, name: str, here: np.ndarray, result: Prediction) -> None:
    """Flag all rows that were measured on a mosaic, where they look wrong together."""
    flags, reason = task.judge()
    if flags:
        result.flags[here & result.has_result] |= flags
        meant = ", ".join(f.name for f in CandidateFlag if f & flags)
        logger.warning("%s: %s All its rows are flagged %s.", name, reason, meant)


def _explain(mosaic: Mosaic, task: StampTask) -> None:
    """Say what is assumed of a mosaic."""
    pairs = zip(mosaic.bands, mosaic.zeropoint_mag, strict=True)
    silent = [
        band
        for band, own in pairs
        if own is None and band in task.zeropoint_mag and band not in mosaic.missing
    ]
    if silent:
        units = ", ".join(f"{band} {task.zeropoint_mag[band]:.3f}" for band in silent)
        logger.info(
            "%s: no zero point in the header; taken to be in the unit of the training set, with "
            "AB zero points %s",
            mosaic.name,
            units,
        )
    if mosaic.unused_photflam:
        logger.warning(
            "%s: PHOTFLAM of %s is not used, for no BUNIT says of which unit (electrons/s, "
            "electrons, ...). Add the card.",
            mosaic.name,
            ", ".join(mosaic.unused_photflam),
        )
    if mosaic.missing:
        logger.info("%s: without %s", mosaic.name, ", ".join(mosaic.missing))
    own, wanted = mosaic.pixel_scale_arcsec, task.pixel_scale_arcsec
    if own is None and wanted:
        logger.info(
            "%s: no sky coordinates (WCS) in the header; pixels taken to be %.4f arcsec wide, as "
            "in the training set",
            mosaic.name,
            wanted,
        )
    if own is not None and wanted and abs(wanted / own - 1) > SCALE_TOLERANCE:
        if not 0.2 < wanted / own < 5:
            raise ConfigError(
                f"{mosaic.name}: pixels of {own:.4g} arcsec, the weights want {wanted:.4g}. "
                "Use weights for such images."
            )
        logger.info("%s: stamps resampled from %.4f to %.4f arcsec", mosaic.name, own, wanted)
