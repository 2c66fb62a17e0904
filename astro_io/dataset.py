"""Training sets on disk: one HDF5 file that `simulate` writes and the networks read.

Layout, schema version 1::

    /                     schema, schema_version, bands, attributes, provenance, n_planned
    /scene_000017         index, seed, name, unit, zeropoint_mag, wcs, shape, truth, complete
        pixels            (H, W, B) float32
        bad               (H, W, B) uint8, only where a pixel is bad
        catalog           (G,) compound, with units, meanings and metadata as JSON attributes
        stamp_boxes       (G, 4) int32
        stamp_pixels      all stamps, flattened, one after the other, float32

A scene counts only once its ``complete`` attribute is set, which is the last thing written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from astro_io.errors import DatasetError, InputNotFoundError, OutputExistsError
from astro_io.image import SkyImage
from astro_io.scene import (
    CLASS_NAMES,
    REQUIRED_COLUMNS,
    TRUTH_COLUMNS,
    Scene,
    SceneSource,
    Stamp,
    new_truth_catalog,
)

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "CLASS_NAMES",
    "REQUIRED_COLUMNS",
    "SCHEMA_VERSION",
    "TRUTH_COLUMNS",
    "DatasetReader",
    "DatasetWriter",
    "Scene",
    "SceneSource",
    "Stamp",
    "new_truth_catalog",
    "open_dataset",
]

SCHEMA = "astro training set"
SCHEMA_VERSION = 1

STAMP_BITS = 12
"""Bits kept of a stamp's 23-bit mantissa: within 1.3e-4 of the value, at half the size."""

_COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class DatasetWriter:
    """Write scenes into an HDF5 training set; a context manager.

    Opening a file that is there already goes on with it, provided that bands and attributes are
    the same: `done` says which scenes need not be made again.

    Parameters
    ----------
    path : str or Path
        The file, by custom ``*.h5``.
    bands : sequence of str
        Band names in channel order; every scene must have them.
    attributes : mapping, optional
        What identifies the set: preset, seed, settings.  Plain JSON values.
    provenance : mapping, optional
        Versions, date, command line: kept, but free to differ when a run goes on.
    n_planned : int, optional
        Number of scenes of the finished set; readers report a file with fewer as incomplete.
    overwrite : bool
        Replace a file that is there, instead of going on with it.
    stamp_bits : int or None
        Mantissa bits kept of stamps; None keeps them exactly.
    compress_pixels : bool
        Compress images too: 14 % smaller for noisy float images, but slower to write.

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
        stamp_bits: int | None = STAMP_BITS,
        compress_pixels: bool = False,
    ) -> None:
        self.path = Path(path)
        self.bands = tuple(bands)
        self._stamp_bits = stamp_bits
        self._pixel_filter = _COMPRESSED if compress_pixels else {}
        identity = {"bands": list(self.bands), "attributes": dict(attributes or {})}
        fresh = overwrite or not self.path.exists()
        if not fresh:
            _require_same_set(self.path, identity)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self.path, "w" if fresh else "r+")
        _hold_metadata_until_flush(self._file)
        if fresh:
            _write_root(self._file, identity, dict(provenance or {}), n_planned)
        for name in _scene_names(self._file, complete=False):
            del self._file[name]
        self.done: set[int] = {
            int(self._file[name].attrs["index"]) for name in _scene_names(self._file, complete=True)
        }

    def __enter__(self) -> DatasetWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; complete scenes stay, also after an error."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, scene: Scene) -> None:
        """Append one scene and flush it to the file system.

        Raises
        ------
        DatasetError
            If the scene has other bands, or its number is in the file already.
        """
        if scene.image.bands != self.bands:
            raise DatasetError(
                f"{scene.name}: expected bands {', '.join(self.bands)}; "
                f"found {', '.join(scene.image.bands)}."
            )
        if scene.index in self.done:
            raise DatasetError(f"{self.path.name}: {scene.name} is there already.")
        group = self._file.create_group(scene.name)
        _write_image(group, scene.image, self._pixel_filter)
        _write_catalog(group, scene.catalog)
        _write_stamps(group, scene.stamps, self._stamp_bits)
        group.attrs.update(index=scene.index, seed=scene.seed, truth=scene.truth)
        self._file.flush()
        group.attrs["complete"] = True
        self._file.flush()
        self.done.add(scene.index)


class DatasetReader:
    """Read an HDF5 training set; a context manager, safe to pickle and to fork.

    The file is opened on first use in each process.

    Parameters
    ----------
    path : str or Path
        The file.
    allow_incomplete : bool
        Read a file that has fewer scenes than planned.

    Attributes
    ----------
    bands : tuple of str
    attributes, provenance : dict
        As given to the writer.
    indices : tuple of int
        Scene numbers in the file, rising; item ``i`` is scene ``indices[i]``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    DatasetError
        If it is not a training set, of another schema version, damaged, or incomplete.
    """

    def __init__(self, path: str | Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._process = -1
        file = self._open()
        self.bands: tuple[str, ...] = tuple(json.loads(file.attrs["bands"]))
        self.attributes: dict[str, Any] = json.loads(file.attrs["attributes"])
        self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        self._names = tuple(_scene_names(file, complete=True))
        self.indices = tuple(int(name.removeprefix("scene_")) for name in self._names)
        planned = int(file.attrs["n_planned"])
        if len(self) < planned and not allow_incomplete:
            self.close()
            raise DatasetError(
                f"{self.path}: {len(self)} of {planned} scenes are complete. "
                "Rerun the command that made it to finish the rest."
            )

    def __len__(self) -> int:
        """Return the number of complete scenes."""
        return len(self._names)

    def __getitem__(self, i: int) -> Scene:
        """Return scene number `i`, counted from 0 over the complete ones."""
        group = self._group(i)
        return Scene(
            image=_read_image(group, self.bands, self.path),
            catalog=_read_catalog(group),
            stamps=_read_stamps(group, self.path),
            index=int(group.attrs["index"]),
            seed=int(group.attrs["seed"]),
            truth=group.attrs["truth"],
        )

    def __iter__(self) -> Iterator[Scene]:
        """Go through all scenes."""
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> DatasetReader:
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

    def read_image(self, i: int) -> SkyImage:
        """Return the image of scene `i` without its truth."""
        return _read_image(self._group(i), self.bands, self.path)

    def read_catalog(self, i: int) -> Table:
        """Return the truth table of scene `i` without pixels."""
        return _read_catalog(self._group(i))

    def _open(self) -> h5py.File:
        if self._handle is None or self._process != os.getpid():
            self._handle = _open_checked(self.path)
            self._process = os.getpid()
        return self._handle

    def _group(self, i: int) -> h5py.Group:
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path.name}: scene {i} of {len(self)}")
        return self._open()[self._names[i]]


def open_dataset(path: str | Path, **options: Any) -> SceneSource:
    """Open a training set of any format that we know.

    Parameters
    ----------
    path : str or Path
        An HDF5 file, an Astro R-CNN folder (``set_*/img_*.fits`` with ``masks.fits``), or a COCO
        JSON file or folder with one.
    **options
        Passed on to the reader of that format.

    Returns
    -------
    SceneSource
        `DatasetReader`, or its like for the other formats.

    Raises
    ------
    InputNotFoundError
        If there is nothing at `path`.
    DatasetError
        If it is none of these formats.
    """
    path = Path(path)
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such training set.")
    if path.is_file() and path.suffix != ".json":
        return DatasetReader(path, **options)
    from astro_io.astro_rcnn_folder import AstroRcnnFolder, is_astro_rcnn_folder
    from astro_io.coco import CocoReader, find_coco_json

    coco_json = find_coco_json(path)
    if coco_json is not None:
        return CocoReader(coco_json, **options)
    if is_astro_rcnn_folder(path):
        return AstroRcnnFolder(path, **options)
    raise DatasetError(
        f"{path}: expected an HDF5 file, set_*/ folders with img_<band>.fits and masks.fits, "
        "or a COCO JSON file; found none of them."
    )


def _open_checked(path: Path) -> h5py.File:
    """Open a training set to read; explain what is wrong with it otherwise."""
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such training set.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(
            f"{path}: not a readable HDF5 file ({error}). It may be truncated: make it again."
        ) from error
    found = file.attrs.get("schema_version")
    if file.attrs.get("schema") != SCHEMA or found != SCHEMA_VERSION:
        is_ours = file.attrs.get("schema") == SCHEMA
        file.close()
        raise DatasetError(
            f"{path}: expected a training set of schema version {SCHEMA_VERSION}, "
            + (f"found version {found}. " if is_ours else "found some other HDF5 file. ")
            + "Make it again with this version of simulate.fields."
        )
    return file


def _require_same_set(path: Path, identity: dict[str, Any]) -> None:
    """Raise unless the file at `path` was made with the same bands and attributes."""
    with _open_checked(path) as file:
        found = {key: json.loads(file.attrs[key]) for key in identity}
    wanted = json.loads(json.dumps(identity))
    flat_found = {"bands": found["bands"], **found["attributes"]}
    flat_wanted = {"bands": wanted["bands"], **wanted["attributes"]}
    differs = sorted(
        key
        for key in flat_found.keys() | flat_wanted.keys()
        if flat_found.get(key) != flat_wanted.get(key)
    )
    if differs:
        key = differs[0]
        raise OutputExistsError(
            f"{path} exists and was made with other settings ({', '.join(differs)}: "
            f"{key} = {flat_found.get(key)!r}, now {flat_wanted.get(key)!r}). "
            "Pass --overwrite, or choose another --output."
        )


def _hold_metadata_until_flush(file: h5py.File) -> None:
    """Keep HDF5 from writing parts of its index between flushes, lest a kill tears it."""
    config = file.id.get_mdc_config()
    config.evictions_enabled = False
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
    file.id.set_mdc_config(config)


def _write_root(
    file: h5py.File, identity: dict[str, Any], provenance: dict[str, Any], n_planned: int | None
) -> None:
    """Write what belongs to the set as a whole."""
    file.attrs["schema"] = SCHEMA
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["n_planned"] = n_planned or 0
    file.attrs["provenance"] = json.dumps(provenance)
    for key, value in identity.items():
        file.attrs[key] = json.dumps(value)
    file.flush()


def _scene_names(file: h5py.File, *, complete: bool) -> list[str]:
    """Return the groups of scenes that are, or are not, complete, in rising order."""
    return [
        name
        for name in sorted(file)
        if name.startswith("scene_") and ("complete" in file[name].attrs) == complete
    ]


def _write_image(group: h5py.Group, image: SkyImage, pixel_filter: dict[str, Any]) -> None:
    """Write pixels, bad pixels, WCS and units."""
    group.create_dataset("pixels", data=np.asarray(image.pixels, np.float32), **pixel_filter)
    if image.bad.any():
        group.create_dataset("bad", data=image.bad.astype(np.uint8), **_COMPRESSED)
    group.attrs["name"] = image.name
    group.attrs["unit"] = json.dumps(image.unit)
    group.attrs["zeropoint_mag"] = json.dumps(image.zeropoint_mag)
    group.attrs["sources"] = json.dumps(image.sources)
    if image.wcs is not None:
        group.attrs["wcs"] = image.wcs.to_header(relax=True).tostring(sep="\n")


def _read_image(group: h5py.Group, bands: tuple[str, ...], path: Path) -> SkyImage:
    """Read what `_write_image` wrote."""
    try:
        pixels = group["pixels"][()]
        bad = group["bad"][()].astype(bool) if "bad" in group else np.zeros(pixels.shape, bool)
    except OSError as error:
        raise DatasetError(f"{path}[{group.name[1:]}]: damaged pixels ({error}).") from error
    return SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad,
        unit=tuple(json.loads(group.attrs["unit"])),
        zeropoint_mag=tuple(json.loads(group.attrs["zeropoint_mag"])),
        wcs=_read_wcs(group, pixels.shape),
        name=group.attrs["name"],
        sources=tuple(json.loads(group.attrs["sources"])),
    )


def _read_wcs(group: h5py.Group, shape: tuple[int, ...]) -> Any:
    """Return the WCS of a scene, or None."""
    if "wcs" not in group.attrs:
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    wcs = WCS(Header.fromstring(group.attrs["wcs"], sep="\n"))
    wcs.array_shape = shape[:2]
    return wcs


def _write_catalog(group: h5py.Group, table: Table) -> None:
    """Write a table as one compound dataset; text columns become UTF-8 bytes."""
    rows = table.filled().as_array() if table.has_masked_columns else table.as_array()
    dtype = [
        (name, rows.dtype[name] if rows.dtype[name].kind != "U" else _utf8_dtype(rows[name]))
        for name in table.colnames
    ]
    stored = np.zeros(len(table), dtype)
    for name in table.colnames:
        is_text = rows.dtype[name].kind == "U"
        stored[name] = np.char.encode(rows[name], "utf-8") if is_text else rows[name]
    data = group.create_dataset("catalog", data=stored)
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit}
    meanings = {name: table[name].info.description for name in table.colnames}
    data.attrs["units"] = json.dumps(units)
    data.attrs["meanings"] = json.dumps({k: text for k, text in meanings.items() if text})
    data.attrs["meta"] = json.dumps(dict(table.meta), default=_plain)


def _utf8_dtype(text: np.ndarray) -> str:
    """Return the dtype of fixed-length bytes that holds every string, encoded."""
    longest = max((len(word.encode("utf-8")) for word in text), default=0)
    return f"S{max(longest, 1)}"


def _plain(value: Any) -> Any:
    """Turn NumPy values into what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"metadata of type {type(value).__name__} cannot be stored as JSON")


def _read_catalog(group: h5py.Group) -> Table:
    """Read what `_write_catalog` wrote."""
    from astropy.table import Column, Table

    data = group["catalog"]
    rows = data[()]
    units, meanings = json.loads(data.attrs["units"]), json.loads(data.attrs["meanings"])
    columns = []
    for name in rows.dtype.names:
        is_text = rows.dtype[name].kind == "S"
        values = np.char.decode(rows[name], "utf-8") if is_text else rows[name]
        columns.append(
            Column(values, name=name, unit=units.get(name), description=meanings.get(name))
        )
    return Table(columns, meta=json.loads(data.attrs["meta"]))


def _write_stamps(group: h5py.Group, stamps: Sequence[Stamp], bits: int | None) -> None:
    """Write all stamps as one flat array and their boxes."""
    boxes = np.array([stamp.box for stamp in stamps], np.int32).reshape(-1, 4)
    group.create_dataset("stamp_boxes", data=boxes)
    parts = [np.asarray(stamp.pixels, np.float32).ravel() for stamp in stamps]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if bits is not None:
        flat = _round_mantissa(flat, bits)
    n_bands = stamps[0].pixels.shape[2] if stamps else 0
    data = group.create_dataset("stamp_pixels", data=flat, **(_COMPRESSED if flat.size else {}))
    data.attrs["n_bands"] = n_bands


def _read_stamps(group: h5py.Group, path: Path) -> tuple[Stamp, ...]:
    """Read what `_write_stamps` wrote."""
    boxes = group["stamp_boxes"][()]
    n_rows = group["catalog"].shape[0]
    if len(boxes) != n_rows:
        raise DatasetError(
            f"{path}[{group.name[1:]}]: truth lists {n_rows} sources, stamps hold {len(boxes)}. "
            "Rerun simulate.fields for this scene."
        )
    n_bands = int(group["stamp_pixels"].attrs["n_bands"])
    flat = group["stamp_pixels"][()]
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * n_bands
    if sizes.sum() != flat.size:
        raise DatasetError(
            f"{path}[{group.name[1:]}]: boxes ask for {sizes.sum()} stamp pixels, "
            f"found {flat.size}. Rerun simulate.fields for this scene."
        )
    parts = np.split(flat, np.cumsum(sizes)[:-1]) if len(boxes) else []
    return tuple(
        Stamp(tuple(box), part.reshape(box[2] - box[0], box[3] - box[1], n_bands))
        for box, part in zip(boxes.tolist(), parts, strict=True)
    )


def _round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Round float32 values to `bits` bits of mantissa, which then compress well."""
    drop = 23 - bits
    if drop <= 0:
        return values
    integers = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32(1 << (drop - 1))
    kept = np.uint32(0xFFFFFFFF >> drop << drop)
    rounded = ((integers + half) & kept).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
