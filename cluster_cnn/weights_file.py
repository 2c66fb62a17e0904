"""Our weights file: tensors, the network's settings, the scale of stamps, the calibration.

A file alone is enough to rebuild the network and to repeat its catalogues.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io.config import config_from_dict, config_to_dict
from astro_io.errors import ConfigError, WeightsError
from astro_io.tensor_file import read_tensors, write_tensors
from cluster_cnn.calibration import Calibration
from cluster_cnn.config import ModelConfig
from cluster_cnn.normalise import StampScale

FORMAT = "cluster-cnn weights 1"


@dataclass(frozen=True, eq=False, kw_only=True)
class Weights:
    """Everything that a weights file holds.

    Attributes
    ----------
    config : ModelConfig
    scale : StampScale
    calibration : Calibration
    tensors : dict of str to ndarray of float32
        ``layer/variable`` to value.
    metadata : dict
        ``pixel_scale_arcsec``, ``zeropoint_mag`` by band, training set, command, versions.
    """

    config: ModelConfig
    scale: StampScale
    calibration: Calibration
    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)


def save_weights(
    path: str | Path,
    model: keras.Model,
    *,
    config: ModelConfig,
    scale: StampScale,
    calibration: Calibration,
    metadata: Mapping[str, Any],
    dtype: str = "float16",
    overwrite: bool = False,
) -> None:
    """Write a network with all that belongs to it.

    Parameters
    ----------
    path : str or Path
        Ends in ``.h5``.
    model : keras.Model
        From `cluster_cnn.model.build_model`.
    config, scale, calibration, metadata
        As `Weights` keeps them.
    dtype : {"float32", "float16"}
        Storage type.
    overwrite : bool
        Replace a file that is there.
    """
    tensors = {name: variable.numpy() for name, variable in named_variables(model).items()}
    facts = {
        "model": config_to_dict(config),
        "scale": scale.to_dict(),
        "calibration": calibration.to_dict(),
        "metadata": dict(metadata),
    }
    write_tensors(path, tensors, format=FORMAT, facts=facts, dtype=dtype, overwrite=overwrite)


def read_weights(path: str | Path) -> Weights:
    """Read a weights file.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is not one of ours, or was written by another version.
    """
    name = Path(path).name
    tensors, facts = read_tensors(path, format=FORMAT)
    try:
        return Weights(
            config=config_from_dict(ModelConfig, facts["model"], where=f"{name} [model]"),
            scale=StampScale.from_dict(facts["scale"]),
            calibration=Calibration.from_dict(facts["calibration"]),
            tensors=tensors,
            metadata=facts["metadata"],
        )
    except (ConfigError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{name}: settings that this version does not know ({error}). Update this software."
        ) from error


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Map ``layer/variable`` to each weight of a network."""
    table: dict[str, keras.Variable] = {}
    for layer in model.layers:
        for variable in layer.weights:
            if "seed" not in variable.name:
                table[f"{layer.name}/{variable.name}"] = variable
    return table


def assign_strictly(model: keras.Model, tensors: Mapping[str, np.ndarray], *, where: str) -> None:
    """Fill a network; every tensor must be there with its shape, and none may be left over.

    Raises
    ------
    WeightsError
        Naming the first tensor that differs.
    """
    variables = named_variables(model)
    odd = sorted(set(variables) ^ set(tensors))
    if odd:
        side = "missing from the file" if odd[0] in variables else "unknown to the network"
        raise WeightsError(
            f"{where}: {len(odd)} tensors differ from the network; {odd[0]} is {side}. "
            "Use weights of the same network."
        )
    for name, variable in variables.items():
        if tensors[name].shape != tuple(variable.shape):
            raise WeightsError(
                f"{where}: {name} has shape {tensors[name].shape}, expected "
                f"{tuple(variable.shape)}. Use weights of the same network."
            )
        variable.assign(tensors[name])
