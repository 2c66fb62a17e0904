"""Checkpoints of a run: everything that exact resuming needs, in one HDF5 file an epoch."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np

from astro_io.errors import WeightsError
from astro_io.fits_write import atomic_path
from astro_io.run_folder import checkpoint_path, list_checkpoints


def save_checkpoint(model: keras.Model, folder: Path, *, epoch: int, keep: int = 2) -> Path:
    """Write weights and optimiser after `epoch` epochs; the newest `keep` stay, with 0 all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, epoch)
    with atomic_path(path, overwrite=True) as part, h5py.File(part, "w") as file:
        file.attrs["epoch"] = epoch
        _write(file.create_group("model"), _state_variables(model))
        _write(file.create_group("optimizer"), model.optimizer.variables)
    for old in list(list_checkpoints(folder).values())[:-keep] if keep else ():
        old.unlink()
    return path


def remove_later(folder: Path, epoch: int) -> None:
    """Remove the checkpoints of epochs after `epoch`, of a try that is given up."""
    for number, path in list_checkpoints(folder).items():
        if number > epoch:
            path.unlink()


def load_model_state(model: keras.Model, path: Path) -> None:
    """Restore weights and moving statistics."""
    with h5py.File(path, "r") as file:
        _read(file["model"], _state_variables(model), f"{path.name}[model]")


def load_optimizer_state(model: keras.Model, path: Path, *, n_steps: int = 0) -> bool:
    """Restore the optimiser of a compiled model.

    Parameters
    ----------
    model : keras.Model
    path : Path
    n_steps : int
        Steps that the optimiser has done, where the checkpoint holds none of its state (one that
        was packed without): the schedule then goes on, momenta and averages start anew.

    Returns
    -------
    bool
        Whether the state was there.
    """
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    with h5py.File(path, "r") as file:
        if "optimizer" in file:
            _read(file["optimizer"], optimizer.variables, f"{path.name}[optimizer]")
            return True
    optimizer.iterations.assign(n_steps)
    for average, variable in zip(
        getattr(optimizer, "_model_variables_moving_average", []),
        model.trainable_variables,
        strict=False,
    ):
        average.assign(variable)
    return False


def _state_variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, moving statistics and seeds, but not metrics or the optimiser."""
    return [*model.trainable_variables, *model.non_trainable_variables]


def _write(group: h5py.Group, variables: list[keras.Variable]) -> None:
    for variable in sorted(variables, key=lambda v: v.path):
        name = variable.path.replace("/", "|")
        group.create_dataset(name, data=np.asarray(variable))


def _read(group: h5py.Group, variables: list[keras.Variable], where: str) -> None:
    by_name = {variable.path.replace("/", "|"): variable for variable in variables}
    if set(by_name) != set(group):
        odd = sorted(set(by_name) ^ set(group))
        raise WeightsError(
            f"{where}: {len(odd)} tensors differ from the network, first {odd[0]}. The run was "
            "made with another configuration; choose another --output."
        )
    for name, variable in by_name.items():
        value = np.asarray(group[name][()])
        if value.shape != tuple(variable.shape):
            raise WeightsError(
                f"{where}: {name} has shape {value.shape}, expected {tuple(variable.shape)}. The "
                "run was made with another configuration; choose another --output."
            )
        variable.assign(value)
