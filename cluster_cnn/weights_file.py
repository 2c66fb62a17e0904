"""Our weights file: tensors, the network's settings, the scale of stamps, the calibration.

A file alone is enough to rebuild the network and to repeat its catalogues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

FIRST_KERNELS = ("stem_conv/kernel", "conv1_conv/kernel", "wide_stem_conv/kernel")
PHOTOMETRY_LAYERS = (
    "photometry_bn/",
    "photometry_dense/",
    "wide_photometry_bn/",
    "wide_photometry_dense/",
)
"""Tensors that depend on the bands."""


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
    tensors = {name: np.asarray(v) for name, v in named_variables(model).items()}
    facts = settings_to_facts(config, scale, calibration, metadata)
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
    with known_settings(name):
        return Weights(
            tensors=tensors, **settings_of_facts(facts, ModelConfig, Calibration, where=name)
        )


def settings_to_facts(
    config, scale: StampScale, calibration, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a weights file keeps beside its tensors, ready for JSON."""
    return {
        "model": config_to_dict(config),
        "scale": scale.to_dict(),
        "calibration": calibration.to_dict(),
        "metadata": dict(metadata),
    }


def settings_of_facts(
    facts: Mapping[str, Any], config: type, calibration: type, *, where: str
) -> dict[str, Any]:
    """Rebuild what `settings_to_facts` was given; `config` and `calibration` are its classes."""
    return {
        "config": config_from_dict(config, facts["model"], where=f"{where} [model]"),
        "scale": StampScale.from_dict(facts["scale"]),
        "calibration": calibration.from_dict(facts["calibration"]),
        "metadata": facts["metadata"],
    }


@contextmanager
def known_settings(name: str) -> Iterator[None]:
    """Say that a file of this name is from another version, where its facts are not ours."""
    try:
        yield
    except (ConfigError, KeyError, TypeError, IndexError, ValueError) as error:
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


def take_bands(
    tensors: Mapping[str, np.ndarray], *, bands: Sequence[str], wanted: Sequence[str], where: str
) -> dict[str, np.ndarray]:
    """Return the weights of a network that sees only some of the bands.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As `read_weights` gives them.
    bands : sequence of str
        Channels of that network.
    wanted : sequence of str
        Channels of the new one, in any order.
    where : str
        Name of the file for messages.

    Returns
    -------
    dict of str to ndarray
        The first convolution and the ring photometry without the other bands; all else as it is.

    Raises
    ------
    WeightsError
        If a wanted band is not among `bands`.
    """
    missing = [band for band in wanted if band not in bands]
    if missing:
        raise WeightsError(
            f"{where}: knows bands {', '.join(bands)}; {', '.join(missing)} is not among them. "
            "Start from weights that know all bands, or at random (init=random)."
        )
    keep = [list(bands).index(band) for band in wanted]
    result = dict(tensors)
    for name, value in tensors.items():
        if name in FIRST_KERNELS:
            result[name] = value[:, :, keep]
        elif name.startswith(PHOTOMETRY_LAYERS) and not name.endswith("photometry_dense/bias"):
            by_ring = value.reshape(-1, len(bands), *value.shape[1:])
            result[name] = by_ring[:, keep].reshape(-1, *value.shape[1:])
    return result


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
