"""Catalogues in FITS, ECSV, Parquet and VOTable; units, meanings and metadata survive all four."""

from __future__ import annotations

import importlib
import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.catalog import COLUMNS, FLAG_MEANINGS, catalog_columns, parse_unit
from astro_io.errors import BackendError

if TYPE_CHECKING:
    from astropy.table import QTable

_METADATA_CARD = "METADATA"


def write_fits(path: Path, table: QTable) -> None:
    r"""Write an empty primary HDU and one binary table, with units, meanings and metadata.

    FITS knows ASCII alone: other letters of names and text become escapes (``\u03a9``).
    """
    from astropy.io import fits
    from astropy.table import Table

    rows = _plain_rows(table)
    plain = Table({_ascii(name): _ascii_values(rows[name]) for name in table.colnames})
    hdu = fits.BinTableHDU(plain.as_array(), name="CATALOG")
    for i, (name, stored) in enumerate(zip(table.colnames, hdu.columns, strict=True), start=1):
        unit, meaning = table[name].unit, _meaning(table, name)
        if unit is not None:
            stored.unit = _unit_text(unit)
        if _missing_numbers(table[name]) is not None:
            stored.null = int(table[name].fill_value)
        if meaning:
            hdu.header[f"TCOMM{i}"] = _ascii(" ".join(meaning.split()))
    for name, value, meaning in _flag_notes(table) if "flags" in table.colnames else ():
        bit = value.bit_length() - 1
        hdu.header[f"FLAG{bit}"] = (name, f"{value}: {meaning}"[:45])
    for key, value in table.meta.items():
        if _is_card(key, value) and key.upper() not in hdu.header:
            hdu.header[key.upper()] = value
    hdu.header.add_comment(f"{_METADATA_CARD} holds all metadata as JSON")
    hdu.header[_METADATA_CARD] = json.dumps(_json_ready(table.meta))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def _flag_notes(table: QTable) -> list[tuple[str, int, str]]:
    """Return name, value and meaning of the bits of ``flags``.

    Those of ``meta["flag_meanings"]`` (name to value and meaning), else those of a source
    catalogue.
    """
    own = table.meta.get("flag_meanings")
    if own:
        return [(str(name), int(value), str(text)) for name, (value, text) in own.items()]
    return [(str(flag.name), int(flag), text) for flag, text in FLAG_MEANINGS.items()]


def _is_card(key: str, value: Any) -> bool:
    """Return whether a piece of metadata fits a header card as it stands."""
    named = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,7}", key) is not None
    plain = isinstance(value, str | int | float) and value == value  # NaN is not allowed
    return named and plain and str(value).isascii() and str(value).isprintable()


def read_fits(path: Path) -> QTable:
    """Read the first table of a FITS file."""
    from astropy.io import fits
    from astropy.table import Column, MaskedColumn, Table

    with fits.open(path, memmap=False) as hdus:
        hdu = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
        if hdu is None:
            raise ValueError("no binary table in it")
        header = hdu.header
        table = Table()
        for i, column in enumerate(hdu.columns, start=1):
            values = np.asarray(hdu.data[column.name])
            native = values.astype(values.dtype.newbyteorder("="))
            meaning = header.get(f"TCOMM{i}")
            notes = {"unit": column.unit, "description": meaning}
            table[column.name] = (
                Column(native, **notes)
                if column.null is None
                else MaskedColumn(native, mask=native == column.null, **notes)
            )
        table.meta.update(json.loads(header.get(_METADATA_CARD, "{}")))
    return _with_units(table)


def write_ecsv(path: Path, table: QTable) -> None:
    """Write text with a YAML header."""
    plain = _without_units(table)
    plain.meta = _json_ready(table.meta)
    plain.write(path, format="ascii.ecsv")


def read_ecsv(path: Path) -> QTable:
    """Read what `write_ecsv` wrote, with any unit."""
    from astropy.table import Table

    return _with_units(Table.read(path, format="ascii.ecsv"))


def write_parquet(path: Path, table: QTable) -> None:
    """Write Parquet; units and meanings stand in the metadata of each field."""
    arrow, parquet = _pyarrow()
    rows = _plain_rows(table)
    fields, columns = [], []
    for name in table.colnames:
        column = arrow.array(
            rows[name].tolist() if rows[name].dtype.kind == "U" else rows[name],
            type=arrow.string() if rows[name].dtype.kind == "U" else None,
            mask=_missing_numbers(table[name]),
        )
        notes = {
            "unit": _unit_text(table[name].unit),
            "description": _meaning(table, name) or "",
        }
        fields.append(arrow.field(name, column.type, metadata=notes))
        columns.append(column)
    metadata = {_METADATA_CARD: json.dumps(_json_ready(table.meta))}
    schema = arrow.schema(fields, metadata=metadata)
    parquet.write_table(arrow.Table.from_arrays(columns, schema=schema), path)


def read_parquet(path: Path) -> QTable:
    """Read what `write_parquet` wrote."""
    from astropy.table import MaskedColumn, Table

    arrow, parquet = _pyarrow()
    stored = parquet.read_table(path)
    table = Table()
    for field in stored.schema:
        column = stored[field.name]
        is_missing = column.is_null().to_numpy()
        if arrow.types.is_integer(field.type):
            column = column.fill_null(0)  # as floats they would lose digits
        values = column.to_numpy()
        notes = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        table[field.name] = MaskedColumn(
            values.astype(str) if values.dtype == object else values,
            mask=is_missing,
            unit=notes.get("unit") or None,
            description=notes.get("description") or None,
        )
    metadata = (stored.schema.metadata or {}).get(_METADATA_CARD.encode(), b"{}")
    table.meta.update(json.loads(metadata))
    return _with_units(table)


def _pyarrow() -> tuple[Any, Any]:
    """Import pyarrow, or say what to install."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise BackendError(
            "Parquet catalogues need pyarrow. Install it (pip install pyarrow), "
            "or use --format fits."
        ) from error


def write_votable(path: Path, table: QTable) -> None:
    """Write VOTable; the metadata goes into an INFO element."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    plain = _without_units(table)
    plain.meta = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units such as electron are not in the standard
        votable = from_table(plain)
        metadata = json.dumps(_json_ready(table.meta))
        votable.resources[0].infos.append(Info(name=_METADATA_CARD, value=metadata))
        votable.to_xml(str(path))


def read_votable(path: Path) -> QTable:
    """Read the first table of a VOTable."""
    from astropy.io.votable import parse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        votable = parse(str(path))
        table = votable.get_first_table().to_table(use_names_over_ids=True)
    infos = {info.name: info.value for info in votable.resources[0].infos}
    table.meta = json.loads(infos.get(_METADATA_CARD, "{}"))
    return _with_units(table)


def _meaning(table: QTable, name: str) -> str | None:
    """Return what a column holds: as it says itself, else as the schema says."""
    said = table[name].info.description
    schema = catalog_columns(table.meta.get("bands", ()))
    return said or (schema[name].meaning if name in schema else None)


def _plain_rows(table: QTable) -> np.ndarray:
    """Return the values of a table as a structured array."""
    rows = table.filled() if table.has_masked_columns else table
    return np.asarray(rows.as_array())


def _without_units(table: QTable) -> Any:
    """Return a `Table` whose units are attributes of plain columns."""
    from astropy.table import Column, MaskedColumn, Table

    rows = _plain_rows(table)
    plain = Table(meta=dict(table.meta))
    for name in table.colnames:
        notes = {"unit": table[name].unit, "description": _meaning(table, name)}
        is_missing = _missing_numbers(table[name])
        plain[name] = (
            Column(rows[name], **notes)
            if is_missing is None
            else MaskedColumn(rows[name], mask=is_missing, **notes)
        )
    return plain


def _with_units(table: Any) -> QTable:
    """Return a `QTable`; text columns without rows get back their width.

    Of missing values only whole numbers stay masked; others are NaN or empty text.
    """
    from astropy.table import Column, MaskedColumn, QTable
    from astropy.units import Quantity

    result = QTable(meta=dict(table.meta))
    for name in table.colnames:
        is_missing = _missing_numbers(table[name])
        if is_missing is not None:
            numbers = np.asarray(table[name])
            result[name] = MaskedColumn(
                numbers, mask=is_missing, description=table[name].description
            )
            continue
        values = _filled(table[name])
        if values.dtype.kind in "SO":
            values = values.astype(str)
        if values.dtype.kind == "U" and len(table) == 0 and name in COLUMNS:
            values = values.astype(COLUMNS[name].dtype)
        unit = parse_unit(str(table[name].unit or ""))
        meaning = table[name].description
        if unit is None:
            result[name] = Column(values, description=meaning)
        else:
            result[name] = Quantity(values, unit, copy=False, dtype=values.dtype)
            result[name].info.description = meaning
    return result


def _filled(column: Any) -> np.ndarray:
    """Return values; missing ones are NaN, empty text, or nought."""
    if getattr(column, "mask", None) is None:
        return np.asarray(column)
    fill: Any = {"f": np.nan, "c": np.nan, "U": "", "S": "", "O": ""}.get(column.dtype.kind, 0)
    return np.asarray(column.filled(fill))


def _missing_numbers(column: Any) -> np.ndarray | None:
    """Return where a column of whole numbers without unit has none; None where it has all."""
    mask = getattr(column, "mask", None)
    if mask is None or column.dtype.kind not in "iu" or column.unit is not None or not mask.any():
        return None
    return np.asarray(mask)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _ascii_values(values: np.ndarray) -> np.ndarray:
    """Return text as ASCII, of any shape; other values as they are."""
    if values.dtype.kind != "U" or "".join(values.flat).isascii():
        return values
    return np.char.encode(values, "ascii", "backslashreplace")


def _unit_text(unit: Any) -> str:
    """Return a unit as FITS spells it, or as astropy does where FITS has no word for it."""
    if unit is None:
        return ""
    try:
        return str(unit.to_string("fits"))
    except ValueError:
        return str(unit)


def _json_ready(value: Any) -> Any:
    """Return metadata as JSON knows it: dicts, lists, text, numbers, truth values, None."""
    if isinstance(value, dict):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
