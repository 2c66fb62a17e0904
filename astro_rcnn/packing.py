"""A checkpoint made small and cut in pieces, to be carried to another machine.

Weights go into half precision, momenta and averages into bfloat16 (their range is too wide for
half precision); moving statistics and counters stay. Going on from it is not exact to the bit: a
weight is rounded by at most one part in two thousand, a momentum by one in two hundred and fifty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_io.run_folder import checkpoint_path

FORMAT = "astro-rcnn packed checkpoint 1"
_BFLOAT16 = "bfloat16 bits"


def pack_checkpoint(
    checkpoint: Path, folder: Path, *, has_optimizer: bool = True, piece_mb: float = 50.0
) -> list[Path]:
    """Write a checkpoint in small pieces.

    Parameters
    ----------
    checkpoint : Path
        As `astro_rcnn.checkpoint.save_checkpoint` writes it.
    folder : Path
        Pieces of an older checkpoint in it are replaced.
    has_optimizer : bool
        False leaves momenta and averages out: a third to a quarter of the size. The run that goes
        on keeps its place in the schedule and begins with empty momenta.
    piece_mb : float
        Largest size of a piece, but for one tensor that is larger.

    Returns
    -------
    list of Path
    """
    with h5py.File(checkpoint, "r") as file:
        epoch = int(file.attrs["epoch"])
        groups = ("model", "optimizer") if has_optimizer and "optimizer" in file else ("model",)
        packed = {
            f"{group}/{name}": _packed(name, dataset[()], group)
            for group in groups
            for name, dataset in file[group].items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("piece_*.h5"):
        old.unlink()
    parts = list(_cut(packed, int(piece_mb * 1e6)))
    paths = []
    for number, names in enumerate(parts, start=1):
        path = folder / f"piece_{number:02d}.h5"
        with atomic_path(path, overwrite=True) as part, h5py.File(part, "w") as file:
            file.attrs.update(format=FORMAT, epoch=epoch, piece=number, n_pieces=len(parts))
            for name in names:
                value = packed[name]
                dataset = file.create_dataset(name, data=value, **_compression(value))
                dataset.attrs["kind"] = _BFLOAT16 if value.dtype == np.uint16 else "plain"
        paths.append(path)
    return paths


def unpack_checkpoint(folder: Path, checkpoints: Path) -> tuple[Path, int]:
    """Put the pieces together as a checkpoint of a run.

    Parameters
    ----------
    folder : Path
        With ``piece_01.h5`` ...
    checkpoints : Path
        Folder of the run's checkpoints.

    Returns
    -------
    path : Path
    epoch : int

    Raises
    ------
    WeightsError
        If pieces are missing, or of different checkpoints.
    """
    pieces = sorted(folder.glob("piece_*.h5"))
    if not pieces:
        raise InputNotFoundError(f"{folder}: no checkpoint here; expected piece_01.h5 and so on.")
    checkpoints.mkdir(parents=True, exist_ok=True)
    with h5py.File(pieces[0], "r") as first:
        epoch, n_pieces = int(first.attrs.get("epoch", -1)), int(first.attrs.get("n_pieces", 0))
    if len(pieces) != n_pieces:
        raise WeightsError(
            f"{folder}: expected {n_pieces} pieces, found {len(pieces)}. Copy all of them."
        )
    path = checkpoint_path(checkpoints, epoch)
    with atomic_path(path, overwrite=True) as part, h5py.File(part, "w") as whole:
        whole.attrs["epoch"] = epoch
        for piece in pieces:
            with h5py.File(piece, "r") as file:
                found = (file.attrs.get("format"), file.attrs.get("epoch"))
                if found != (FORMAT, epoch):
                    raise WeightsError(
                        f"{piece}: expected a piece of epoch {epoch}, found {found}. Pack again."
                    )
                for group in file:
                    for name, dataset in file[group].items():
                        whole[f"{group}/{name}"] = _unpacked(dataset)
    return path, epoch


def find_checkpoint(checkpoints: Path, which: str) -> tuple[Path, int]:
    """Return a checkpoint by epoch, by file, or by the folder of its pieces.

    Raises
    ------
    InputNotFoundError
        If there is none.
    ConfigError
        If a file is not a checkpoint.
    """
    if which.isdecimal():
        path = checkpoint_path(checkpoints, int(which))
        if not path.is_file():
            found = ", ".join(p.name for p in sorted(checkpoints.glob("epoch_*.h5"))) or "none"
            raise InputNotFoundError(
                f"{path}: no such checkpoint; found {found}. keep_checkpoints = 0 keeps all."
            )
        return path, int(which)
    path = Path(which)
    if path.is_dir():
        return unpack_checkpoint(path, checkpoints)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such checkpoint. Check --resume-from.")
    try:
        with h5py.File(path, "r") as file:
            return path, int(file.attrs["epoch"])
    except (OSError, KeyError) as error:
        raise ConfigError(
            f"{path}: not a checkpoint ({error}). For weights, use --set init=FILE."
        ) from error


def _packed(name: str, value: np.ndarray, group: str) -> np.ndarray:
    """Return the value in its small type."""
    if value.dtype.kind != "f" or name.endswith(("moving_variance", "moving_mean")):
        return value
    if group == "model":
        return value.astype(np.float16)
    return to_bfloat16(value)


def _unpacked(dataset: h5py.Dataset) -> np.ndarray:
    value = dataset[()]
    if dataset.attrs["kind"] == _BFLOAT16:
        return from_bfloat16(value)
    return value.astype(np.float32) if value.dtype == np.float16 else value


def to_bfloat16(value: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even, as bits in uint16."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return the float32 of bfloat16 bits."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _compression(value: np.ndarray) -> dict[str, object]:
    return {"compression": "gzip", "shuffle": True} if value.ndim else {}


def _cut(packed: dict[str, np.ndarray], piece_bytes: int) -> Iterator[list[str]]:
    """Cut the list of tensors into runs that are not too large."""
    names: list[str] = []
    size = 0
    for name, value in packed.items():
        if names and size + value.nbytes > piece_bytes:
            yield names
            names, size = [], 0
        names.append(name)
        size += value.nbytes
    yield names
