"""Checkpoints of a run: weights and optimiser, everything that exact resuming needs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from astro_io.errors import WeightsError
from astro_io.run_folder import checkpoint_path, list_checkpoints
from astro_io.tensor_file import read_tensors, write_tensors

FORMAT = "cluster-cnn checkpoint 1"


def save_checkpoint(model: keras.Model, folder: Path, *, epoch: int) -> Path:
    """Write a compiled model after `epoch` epochs; remove older checkpoints.

    Parameters
    ----------
    model : keras.Model
    folder : Path
        Made if it does not exist.
    epoch : int
        Finished epochs.
    """
    path = checkpoint_path(folder, epoch)
    tensors = {name: np.asarray(v) for name, v in _variables(model).items()}
    facts = {"epoch": epoch}
    write_tensors(path, tensors, format=FORMAT, facts=facts, dtype=None, overwrite=True)
    for old in list_checkpoints(folder).values():
        if old != path:
            old.unlink()
    return path


def load_checkpoint(model: keras.Model, path: Path) -> None:
    """Restore a model that `compile_model` (or its like) has given an optimiser.

    Raises
    ------
    WeightsError
        If the checkpoint is of another network.
    """
    tensors, _ = read_tensors(path, format=FORMAT)
    variables = _variables(model)
    fits = set(variables) == set(tensors) and all(
        tensors[name].shape == tuple(variable.shape) for name, variable in variables.items()
    )
    if not fits:
        raise WeightsError(
            f"{path.name}: the run was made with another configuration. Choose another --output."
        )
    for name, variable in variables.items():
        variable.assign(tensors[name].astype(variable.dtype))


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Map path to variable, of the network and of its optimiser."""
    found = {f"model/{variable.path}": variable for variable in model.variables}
    found |= {f"optimizer/{variable.path}": variable for variable in model.optimizer.variables}
    return {name: v for name, v in found.items() if "seed_generator" not in name}
