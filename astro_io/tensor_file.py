"""Named arrays and plain facts in one HDF5 file: what a weights file is made of, without Keras.

Layout::

    /           format
    /facts      JSON text
    /tensors    one dataset an array; ``/`` in a name makes a group
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import InputNotFoundError, WeightsError

EXACT_SUFFIXES = ("moving_mean", "moving_variance")
"""Arrays whose names end so are never stored in half precision."""


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    *,
    format: str,
    facts: Mapping[str, Any],
    dtype: str | None = "float32",
    overwrite: bool = False,
) -> None:
    """Write arrays and facts, all or nothing.

    Parameters
    ----------
    path : str or Path
    tensors : mapping of str to ndarray
    format : str
        Name and version of the layout, which `read_tensors` asks for.
    facts : mapping
        Plain JSON values.
    dtype : {"float32", "float16", None}
        Storage type of the arrays, which are packed with gzip. None: as they are and not packed,
        for the files of a run: 10 MB are packed in a second, and become less than a tenth smaller.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    WeightsError
        If a value is not finite, or too large for `dtype`.
    """
    with atomic_path(path, overwrite=overwrite) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = format
        file.create_dataset("facts", data=json.dumps(dict(facts)))
        group = file.create_group("tensors")
        for name, value in tensors.items():
            value = np.asarray(value)
            is_exact = dtype == "float16" and name.endswith(EXACT_SUFFIXES)
            kind = "float32" if is_exact else (dtype or value.dtype)
            with np.errstate(over="ignore"):
                stored = value.astype(kind, copy=False)
            if not np.isfinite(stored).all():
                raise WeightsError(
                    f"{Path(path).name}: {name} holds values that {kind} cannot. "
                    "The training has gone wrong, or needs float32."
                )
            is_packed = dtype is not None and stored.ndim > 0
            packed = {"compression": "gzip", "shuffle": True} if is_packed else {}
            group.create_dataset(name, data=stored, **packed)


def read_format(path: str | Path) -> str:
    """Return the layout that a file names, empty where it names none or is no HDF5 file."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format", ""))
    except OSError:
        return ""


def read_tensors(path: str | Path, *, format: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : str or Path
    format : str
        Expected layout.

    Returns
    -------
    tensors : dict of str to ndarray of float32, or float64 where that does not hold them
    facts : dict

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is damaged or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such weights file. Check --weights.")
    tensors: dict[str, np.ndarray] = {}

    def keep(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[name] = item[()].astype(np.promote_types(item.dtype, np.float32))

    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format", "none")
            if found != format:
                raise WeightsError(f"{path.name}: expected format '{format}', found '{found}'.")
            facts = json.loads(file["facts"].asstr()[()])
            file["tensors"].visititems(keep)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path.name}: not a readable weights file ({error}). Delete it and fetch it again."
        ) from error
    return tensors, facts
