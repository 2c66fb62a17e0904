"""Our weights file: HDF5, one dataset a tensor, with the network's settings as JSON beside them.

A file alone is enough to rebuild its network; tensors may be stored in half precision. A large
network is cut in pieces, ``NAME.weights.h5``, ``NAME.2of3.weights.h5`` ...: the first knows the
hashes of the others, so that its own hash vouches for all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from astro_io.atomic import atomic_path
from astro_io.config import config_to_dict
from astro_io.errors import InputNotFoundError, WeightsError
from astro_io.weights import file_sha256
from astro_rcnn.config import ModelConfig
from astro_rcnn.named_weights import LoadReport, assign_strictly, named_variables
from astro_rcnn.second_look import without_second_look

FORMAT = "astro-rcnn weights 1"
PIECE_MB = 55.0
"""Repositories refuse, or frown at, larger files."""


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    metadata: dict[str, Any] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    piece_mb: float = PIECE_MB,
) -> None:
    """Write a network's tensors and settings, atomically.

    Parameters
    ----------
    model : MaskRCNN
    path : str or Path
        Ends in ``.h5``.
    metadata : dict, optional
        JSON-able facts to keep with the tensors (training command, scores, ...).
    dtype : {"float32", "float16"}
        Storage type. Moving variances keep float32.
    overwrite : bool
        Replace a file that is there.
    piece_mb : float
        Tensors beyond this size, before compression, go into further files.
    """
    tensors = {name: np.asarray(variable) for name, variable in named_variables(model).items()}
    write_tensors(
        model.settings,
        tensors,
        Path(path),
        metadata=metadata,
        dtype=dtype,
        overwrite=overwrite,
        piece_mb=piece_mb,
    )


def write_tensors(
    settings: ModelConfig,
    tensors: Mapping[str, np.ndarray],
    path: Path,
    *,
    metadata: dict[str, Any] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    piece_mb: float = PIECE_MB,
) -> None:
    """Do what `save_weights` does for tensors that are at hand, ``layer/variable`` to value."""
    small = {
        name: value if name.endswith(("moving_variance", "moving_mean")) else value.astype(dtype)
        for name, value in tensors.items()
    }
    first, *others = _cut(small, int(piece_mb * 1e6))
    pieces = {}
    with atomic_path(path, overwrite=overwrite) as part:
        for number, names in enumerate(others, start=2):
            piece = piece_path(path, number, len(others) + 1)
            with atomic_path(piece, overwrite=True) as piece_part:
                _write_datasets(piece_part, small, names)
            pieces[piece.name] = file_sha256(piece)
        _write_datasets(part, small, first)
        with h5py.File(part, "a") as file:
            file.attrs["format"] = FORMAT
            file.attrs["model"] = json.dumps(config_to_dict(settings))
            file.attrs["metadata"] = json.dumps(metadata or {})
            file.attrs["pieces"] = json.dumps(pieces)


def piece_path(path: Path, number: int, n_pieces: int) -> Path:
    """Return the file of piece `number`, counted from 1."""
    if number == 1:
        return path
    stem = path.name.removesuffix(".h5").removesuffix(".weights")
    return path.with_name(f"{stem}.{number}of{n_pieces}{path.name[len(stem) :]}")


def copy_with_settings(
    source: Path,
    path: Path,
    settings: ModelConfig,
    metadata: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write the same tensors, bit for bit, with other settings; `metadata` is added to the old."""
    with atomic_path(path, overwrite=overwrite) as part:
        shutil.copyfile(source, part)
        with h5py.File(part, "a") as file:
            old = json.loads(file.attrs.get("pieces", "{}"))
            pieces = {}
            for number, (name, sha256) in enumerate(old.items(), start=2):
                piece = piece_path(path, number, len(old) + 1)
                if piece != source.with_name(name):
                    shutil.copyfile(source.with_name(name), piece)
                pieces[piece.name] = sha256
            file.attrs["model"] = json.dumps(config_to_dict(settings))
            known = json.loads(file.attrs["metadata"])
            file.attrs["metadata"] = json.dumps({**known, **metadata})
            file.attrs["pieces"] = json.dumps(pieces)


def _write_datasets(path: Path, tensors: Mapping[str, np.ndarray], names: list[str]) -> None:
    with h5py.File(path, "w") as file:
        for name in names:
            file.create_dataset(name, data=tensors[name], compression="gzip", shuffle=True)


def _cut(tensors: Mapping[str, np.ndarray], piece_bytes: int) -> list[list[str]]:
    """Cut the list of tensors, in order, into runs that are not too large."""
    pieces: list[list[str]] = [[]]
    size = 0
    for name, value in tensors.items():
        if pieces[-1] and size + value.nbytes > piece_bytes:
            pieces.append([])
            size = 0
        pieces[-1].append(name)
        size += value.nbytes
    return pieces


def read_weights(path: str | Path) -> tuple[ModelConfig, dict[str, np.ndarray], dict[str, Any]]:
    """Read settings, tensors and metadata.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is not one of our weights files.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such weights file. Check --weights.")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise WeightsError(
                    f"{path.name}: expected format '{FORMAT}', found "
                    f"'{file.attrs.get('format', 'none')}'. Files of the matterport layout are "
                    "read by train (--set init=FILE) or by detect with a model configuration."
                )
            settings = json.loads(file.attrs["model"])
            metadata = json.loads(file.attrs["metadata"])
            pieces = json.loads(file.attrs.get("pieces", "{}"))
            tensors = _read_datasets(file)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path.name}: not a readable weights file ({error}). Delete it and fetch it again."
        ) from error
    for name, sha256 in pieces.items():
        tensors |= _read_piece(path.with_name(name), sha256, path.name)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    known = set(ModelConfig.__dataclass_fields__)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise WeightsError(
            f"{path.name}: unknown model setting {', '.join(unknown)}; the file was written by a "
            "newer version. Update this software."
        )
    return ModelConfig(**settings), tensors, metadata


def _read_datasets(file: h5py.File) -> dict[str, np.ndarray]:
    return {
        f"{layer}/{name}": dataset[()].astype(np.float32)
        for layer, group in file.items()
        for name, dataset in group.items()
    }


def _read_piece(path: Path, sha256: str, of: str) -> dict[str, np.ndarray]:
    """Read a further file of some weights, which must be the one that the first file names."""
    if not path.is_file():
        raise InputNotFoundError(
            f"{path}: missing; it belongs to {of}. Put it into the same folder."
        )
    found = file_sha256(path)
    if found != sha256:
        raise WeightsError(
            f"{path.name}: SHA-256 {found[:8]}… is not that in {of}, {sha256[:8]}…. Copy all files "
            "of the weights anew."
        )
    with h5py.File(path, "r") as file:
        return _read_datasets(file)


def load_into(model: keras.Model, path: str | Path) -> LoadReport:
    """Fill a network from one of our files, strictly; another number of bands is adapted.

    A second look that the network is not to have is left out: in training it would be of no use.
    """
    _, tensors, _ = read_weights(path)
    band_layer = "stem_conv" if model.settings.trunk == "compact" else "conv1"
    is_wanted = bool(model.settings.second_look_px)
    other = () if is_wanted else set(tensors) - set(without_second_look(tensors))
    unwanted = sorted({name.split("/")[0] for name in other})
    return assign_strictly(
        model, tensors, where=Path(path).name, left_out=unwanted, band_layer=band_layer
    )
