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

from astro_io import hdf5_scene
from astro_io.errors import DatasetError, InputNotFoundError
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
from astro_io.set_identity import require_same_set, set_identity

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
        Number of scenes of the finished set, in place of what an earlier run planned; readers
        report a file with fewer as incomplete.
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
        stamp_bits: int | None = hdf5_scene.STAMP_BITS,
        compress_pixels: bool = False,
    ) -> None:
        self.path = Path(path)
        self.bands = tuple(bands)
        self._stamp_bits = stamp_bits
        self._pixel_filter = hdf5_scene.COMPRESSED if compress_pixels else {}
        identity = set_identity(bands, attributes)
        fresh = overwrite or not self.path.exists()
        if not fresh:
            require_same_set(self.path, _stored_identity(self.path), identity)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self.path, "w" if fresh else "r+")
        _hold_metadata_until_flush(self._file)
        if fresh:
            _write_root(self._file, identity, dict(provenance or {}))
        for name in _scene_names(self._file, complete=False):
            del self._file[name]
        self.done: set[int] = {
            int(self._file[name].attrs["index"]) for name in _scene_names(self._file, complete=True)
        }
        stored = self._file.attrs.get("n_planned", 0)
        planned = stored if n_planned is None else max(n_planned, len(self.done))
        self._file.attrs["n_planned"] = planned

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
        hdf5_scene.write_image(group, scene.image, self._pixel_filter)
        hdf5_scene.write_catalog(group, scene.catalog)
        hdf5_scene.write_stamps(group, scene.stamps, self._stamp_bits)
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
            image=hdf5_scene.read_image(group, self.bands, self.path),
            catalog=hdf5_scene.read_catalog(group),
            stamps=hdf5_scene.read_stamps(group, self.path),
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
        return hdf5_scene.read_image(self._group(i), self.bands, self.path)

    def read_catalog(self, i: int) -> Table:
        """Return the truth table of scene `i` without pixels."""
        return hdf5_scene.read_catalog(self._group(i))

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
        raise InputNotFoundError(_no_such_set(path))
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


def _no_such_set(path: Path) -> str:
    return (
        f"{path}: no such training set. Check the path, or make it with simulate.fields or "
        "simulate.clusters: the configurations say how, in their first lines."
    )


def _open_checked(path: Path) -> h5py.File:
    """Open a training set to read; explain what is wrong with it otherwise."""
    if not path.exists():
        raise InputNotFoundError(_no_such_set(path))
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
            f"{path}: expected a training set of schema version {SCHEMA_VERSION}, "
            + (f"found version {found}. " if is_ours else "found some other HDF5 file. ")
            + "Make it again with this version of simulate.fields."
        )
    return file


def _stored_identity(path: Path) -> dict[str, Any]:
    """Return bands and attributes of the file at `path`."""
    with _open_checked(path) as file:
        return {key: json.loads(file.attrs[key]) for key in ("bands", "attributes")}


def _hold_metadata_until_flush(file: h5py.File) -> None:
    """Keep HDF5 from writing parts of its index between flushes, lest a kill tears it."""
    config = file.id.get_mdc_config()
    config.evictions_enabled = False
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
    file.id.set_mdc_config(config)


def _write_root(file: h5py.File, identity: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write what belongs to the set as a whole."""
    file.attrs["schema"] = SCHEMA
    file.attrs["schema_version"] = SCHEMA_VERSION
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
