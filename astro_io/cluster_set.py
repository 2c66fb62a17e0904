"""Sets of star-cluster stamps on disk: one HDF5 file that `simulate` writes and networks read.

Layout, schema version 1::

    /                     schema, schema_version, bands, attributes, provenance, n_planned, n_done
    /stamps               (N, H, W, B) float32 or float16, one chunk a stamp
    /wide                 the same in larger pixels (attribute wide_binning), where there is one
    /table/<column>       (N,), with attributes unit and meaning

Rows count only up to ``n_done``, which is the last thing written for a block of rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from astro_io.errors import DatasetError, InputNotFoundError
from astro_io.set_identity import require_same_set, set_identity

if TYPE_CHECKING:
    from astropy.table import Table

SCHEMA = "star cluster set"
SCHEMA_VERSION = 1

CLUSTER_COLUMNS: dict[str, tuple[str, str, str]] = {
    "log_age": ("float32", "", "log10 of the age in years"),
    "log_mass": ("float32", "", "log10 of the initial mass in solar masses"),
    "half_light_radius_arcsec": ("float32", "arcsec", "projected radius with half of the light"),
    "av": ("float32", "mag", "extinction of the cluster in V"),
    "metallicity": ("float32", "", "mass fraction of metals"),
    "class": ("int16", "", "0 background, 1 symmetric, 2 asymmetric, 3 multiple, 4 not a cluster"),
    "snr": ("float32", "", "matched-filter signal to noise of the cluster, all bands together"),
}
"""Columns of every set: dtype, unit, meaning.  What a background stamp lacks is NaN; snr is 0."""

REQUIRED_COLUMNS = ("log_age", "log_mass", "half_light_radius_arcsec", "av", "class", "snr")

PIXELS = ("stamps", "wide")
"""Arrays of a file that hold light; the second is left out where there is no wide view."""

CLUSTER_CLASSES = (1, 2, 3)
"""Values of ``class`` that are star clusters."""


def is_cluster(class_ids: np.ndarray) -> np.ndarray:
    """Return True where ``class`` is one of a star cluster.

    Parameters
    ----------
    class_ids : ndarray of int, shape (N,)

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    return np.isin(class_ids, CLUSTER_CLASSES)


class ClusterSetWriter:
    """Append blocks of stamps and their truth to a file; a context manager.

    Opening a file that is there already goes on with it, provided that bands and attributes are
    the same: the next block begins at row `n_done`.

    Parameters
    ----------
    path : str or Path
        The file, by custom ``*.h5``.
    bands : sequence of str
        Band names in channel order.
    attributes : mapping, optional
        What identifies the set: preset, seed, settings.  Plain JSON values.  Readers look for
        ``pixel_scale_arcsec`` and ``zeropoint_mag`` (AB magnitude of one unit of flux; a list).
    provenance : mapping, optional
        Versions, date, command line: kept, but free to differ when a run goes on.
    n_planned : int, optional
        Rows of the finished set, in place of what an earlier run planned; readers report a file
        with fewer as incomplete.
    overwrite : bool
        Replace a file that is there, instead of going on with it.
    filters : mapping, optional
        Options of `h5py.Group.create_dataset` for the stamps, such as compression.
    half_precision : bool
        Store pixels of a new file in 16 bits: right to 1 in 4096, which is below the photon noise
        of any pixel with less than 16 million electrons.

    Attributes
    ----------
    n_done : int
        Complete rows.

    Raises
    ------
    OutputExistsError
        If the file holds another set and `overwrite` is False.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        n_planned: int | None = None,
        overwrite: bool = False,
        filters: Mapping[str, Any] | None = None,
        half_precision: bool = False,
    ) -> None:
        self.path = Path(path)
        self.bands = tuple(bands)
        self._filters = dict(filters or {})
        self._dtype = np.dtype(np.float16 if half_precision else np.float32)
        identity = set_identity(bands, attributes)
        fresh = overwrite or not self.path.exists()
        if not fresh:
            require_same_set(self.path, _stored_identity(self.path), identity)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self.path, "w" if fresh else "r+")
        if fresh:
            self._file.attrs.update(schema=SCHEMA, schema_version=SCHEMA_VERSION, n_done=0)
            self._file.attrs["provenance"] = json.dumps(dict(provenance or {}))
            for key, value in identity.items():
                self._file.attrs[key] = json.dumps(value)
            self._file.create_group("table")
        if "stamps" in self._file:
            self._dtype = self._file["stamps"].dtype
        self.n_done = int(self._file.attrs["n_done"])
        stored = self._file.attrs.get("n_planned", 0)
        self._file.attrs["n_planned"] = stored if n_planned is None else max(n_planned, self.n_done)

    def __enter__(self) -> ClusterSetWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; complete rows stay, also after an error."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(
        self,
        stamps: np.ndarray,
        rows: Table | Mapping[str, np.ndarray],
        wide: np.ndarray | None = None,
    ) -> None:
        """Append a block of rows and flush it to the file system.

        Parameters
        ----------
        stamps : ndarray of float, shape (n, H, W, B)
            Flux as observed, with background and noise; NaN where there is no data.
        rows : Table or mapping of str to ndarray, shape (n,)
            The truth: `REQUIRED_COLUMNS` and any others; the same columns in every block.
        wide : ndarray of float, shape (n, H, W, B), optional
            The same centres in larger pixels; in every block or in none.

        Raises
        ------
        DatasetError
            If shapes disagree with one another or with earlier blocks, or a column is missing.
        """
        columns = {name: np.asarray(rows[name]) for name in _column_names(rows)}
        pixels = {"stamps": stamps} if wide is None else {"stamps": stamps, "wide": wide}
        self._check_block(stamps, columns)
        self._check_pixels(pixels)
        n_new = self.n_done + len(stamps)
        for name, values in pixels.items():
            self._resized(name, self._storable(values), n_new, chunk=1, options=self._filters)
        for name, values in columns.items():
            stored = self._resized(f"table/{name}", values, n_new, chunk=4096, options={})
            unit, meaning = _notes(rows, name)
            stored.attrs.update(unit=unit, meaning=meaning)
        self._file.flush()
        self._file.attrs["n_done"] = self.n_done = n_new
        self._file.flush()

    def _check_block(self, stamps: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Raise unless a block fits the file."""
        if stamps.ndim != 4 or stamps.shape[3] != len(self.bands):
            raise DatasetError(
                f"{self.path.name}: expected stamps of shape (n, H, W, {len(self.bands)}); "
                f"found {stamps.shape}."
            )
        missing = [name for name in REQUIRED_COLUMNS if name not in columns]
        known = set(self._file["table"]) if self.n_done else set(columns)
        odd = sorted(known ^ set(columns))
        if missing or odd:
            raise DatasetError(
                f"{self.path.name}: expected columns {', '.join(sorted(known) or missing)}; "
                f"{', '.join(missing or odd)} missing or new. Write the same columns every time."
            )
        for name, values in columns.items():
            if values.shape != (len(stamps),):
                raise DatasetError(
                    f"{self.path.name}: column {name} has shape {values.shape} for "
                    f"{len(stamps)} stamps."
                )

    def _check_pixels(self, pixels: Mapping[str, np.ndarray]) -> None:
        """Raise unless all pixels are of one number of stamps and as in earlier blocks."""
        found = {name: values.shape[1:] for name, values in pixels.items()}
        earlier = found
        if self.n_done:
            stored = [name for name in PIXELS if name in self._file]
            earlier = {name: self._file[name].shape[1:] for name in stored}
        for name in PIXELS:
            if found.get(name) != earlier.get(name):
                raise DatasetError(
                    f"{self.path.name}: expected {name} of {earlier.get(name)}; found "
                    f"{found.get(name)}."
                )
        if len({len(values) for values in pixels.values()}) > 1:
            raise DatasetError(f"{self.path.name}: expected a wide view for each stamp.")

    def _storable(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels in the type of the file, those too bright for it as bright as it allows."""
        if self._dtype == np.float32:
            return pixels
        largest = float(np.finfo(np.float16).max)
        stored: np.ndarray = np.clip(pixels, -largest, largest).astype(np.float16)
        return stored

    def _resized(
        self, name: str, values: np.ndarray, n_rows: int, *, chunk: int, options: Mapping[str, Any]
    ) -> h5py.Dataset:
        """Write `values` behind the complete rows; make the array first if need be."""
        is_text = values.dtype.kind in "UO"
        if name not in self._file:
            kind = h5py.string_dtype() if is_text else values.dtype
            self._file.create_dataset(
                name,
                shape=(0, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
                chunks=(chunk, *values.shape[1:]),
                dtype=self._dtype if name in PIXELS else kind,
                **options,
            )
        stored = self._file[name]
        stored.resize(n_rows, axis=0)
        stored[self.n_done :] = values.astype(object) if is_text else values
        return stored


class ClusterSetReader:
    """Read a set of stamps; a context manager, safe to pickle and to fork.

    The file is opened on first use in each process.

    Parameters
    ----------
    path : str or Path
    allow_incomplete : bool
        Read a file that has fewer rows than planned.

    Attributes
    ----------
    bands : tuple of str
    attributes, provenance : dict
        As given to the writer.
    columns : tuple of str
        Names in the truth table.
    stamp_shape : tuple of int
        ``(H, W, B)``.
    wide_shape : tuple of int or None
        The same of the wide views; None where the set has none.
    wide_binning : int
        Pixels of a stamp along the side of one of a wide view; 0 without.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    DatasetError
        If it is no set of stamps, of another schema version, damaged, incomplete, or empty.
    """

    def __init__(self, path: str | Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._process = -1
        file = self._open()
        self.bands: tuple[str, ...] = tuple(json.loads(file.attrs["bands"]))
        self.attributes: dict[str, Any] = json.loads(file.attrs["attributes"])
        self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        self.columns: tuple[str, ...] = tuple(file["table"])
        self._n_rows = int(file.attrs["n_done"])
        planned = int(file.attrs["n_planned"])
        if self._n_rows == 0 or (self._n_rows < planned and not allow_incomplete):
            self.close()
            raise DatasetError(
                f"{self.path}: {self._n_rows} of {planned} stamps are complete. "
                "Rerun the command that made it to finish the rest."
            )
        self.stamp_shape: tuple[int, int, int] = tuple(file["stamps"].shape[1:])
        has_wide = "wide" in file
        self.wide_shape: tuple[int, ...] | None = (
            tuple(file["wide"].shape[1:]) if has_wide else None
        )
        self.wide_binning = int(self.attributes["wide_binning"]) if has_wide else 0

    def __len__(self) -> int:
        """Return the number of stamps."""
        return self._n_rows

    def __enter__(self) -> ClusterSetReader:
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind when pickled."""
        return {**self.__dict__, "_handle": None, "_process": -1}

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._handle is not None and self._process == os.getpid():
            self._handle.close()
        self._handle = None

    def read_stamps(self, rows: Sequence[int] | np.ndarray | slice) -> np.ndarray:
        """Return stamps by row number, in the order asked for.

        Parameters
        ----------
        rows : sequence of int, or slice
            From 0 to ``len(self) - 1``.

        Returns
        -------
        ndarray of float32, shape (n, H, W, B)
        """
        return self._read_pixels("stamps", rows)

    def read_wide(self, rows: Sequence[int] | np.ndarray | slice) -> np.ndarray:
        """Return wide views as `read_stamps` returns stamps.

        Raises
        ------
        DatasetError
            If the set has none.
        """
        if self.wide_shape is None:
            raise DatasetError(
                f"{self.path}: expected wide views beside the stamps; found none. Simulate them "
                "(--set instrument.wide_binning=4)."
            )
        return self._read_pixels("wide", rows)

    def _read_pixels(self, name: str, rows: Sequence[int] | np.ndarray | slice) -> np.ndarray:
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows, int)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"{self.path.name}: stamp {index.max()} of {len(self)}")
        stored = self._open()[name]
        stamps = np.empty((len(index), *stored.shape[1:]), stored.dtype)
        try:
            for place, row in enumerate(index):  # h5py is slow at lists of rows
                stored.read_direct(stamps, np.s_[int(row)], np.s_[place])
        except OSError as error:
            raise DatasetError(f"{self.path}: damaged stamps ({error}). Make it again.") from error
        return stamps.astype(np.float32, copy=False)

    def column(self, name: str) -> np.ndarray:
        """Return one column of the truth, shape (N,); float64 for numbers with a fraction.

        Raises
        ------
        DatasetError
            If there is no such column.
        """
        if name not in self.columns:
            raise DatasetError(
                f"{self.path}: expected a column {name}; found {', '.join(self.columns)}."
            )
        stored = self._open()["table"][name]
        if h5py.check_string_dtype(stored.dtype):
            return np.asarray(stored.asstr()[: len(self)], dtype=str)
        values: np.ndarray = stored[: len(self)]
        return values.astype(np.float64) if values.dtype.kind == "f" else values

    def table(self) -> Table:
        """Return the whole truth, with units and meanings."""
        from astropy.table import Column, Table

        table = Table()
        for name in self.columns:
            notes = self._open()["table"][name].attrs
            table[name] = Column(
                self.column(name),
                unit=notes.get("unit") or None,
                description=notes.get("meaning") or None,
            )
        return table

    def _open(self) -> h5py.File:
        if self._handle is None or self._process != os.getpid():
            self._handle = _open_checked(self.path)
            self._process = os.getpid()
        return self._handle


def _open_checked(path: Path) -> h5py.File:
    """Open a set to read; explain what is wrong with it otherwise."""
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such set of stamps.")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:
        raise DatasetError(
            f"{path}: another process is writing it. Wait for that to end."
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{path}: not a readable HDF5 file ({error}). It may be truncated: make it again."
        ) from error
    found = file.attrs.get("schema_version")
    if file.attrs.get("schema") != SCHEMA or found != SCHEMA_VERSION:
        is_ours = file.attrs.get("schema") == SCHEMA
        file.close()
        raise DatasetError(
            f"{path}: expected a set of star-cluster stamps of schema version {SCHEMA_VERSION}, "
            + (f"found version {found}. " if is_ours else "found some other HDF5 file. ")
            + "Make it again with this version of simulate.clusters."
        )
    return file


def _stored_identity(path: Path) -> dict[str, Any]:
    """Return bands and attributes of the file at `path`."""
    with _open_checked(path) as file:
        return {key: json.loads(file.attrs[key]) for key in ("bands", "attributes")}


def _column_names(rows: Any) -> list[str]:
    return list(rows.colnames if hasattr(rows, "colnames") else rows)


def _notes(rows: Any, name: str) -> tuple[str, str]:
    """Return unit and meaning of a column: what it says itself, else the schema."""
    _, unit, meaning = CLUSTER_COLUMNS.get(name, ("", "", ""))
    info = getattr(rows[name], "info", None)
    said = getattr(info, "description", None)
    own_unit = getattr(info, "unit", None)
    return str(own_unit) if own_unit is not None else unit, said or meaning
