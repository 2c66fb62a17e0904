"""Fill our ResNet18 and VGG19-BN from published tensors, strictly by name and shape.

PyTorch keeps convolutions as (out, in, height, width), dense layers as (out, in), and flattens
channels first; here they are turned round.  Nothing is left at its random start unless the caller
names it.

Files: ``resnet18-f37072fd.pth`` and ``vgg19_bn-c79401a0.pth`` (or any later one) from
``https://download.pytorch.org/models/``, or their safetensors form.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np

from astro_io.errors import WeightsError
from cluster_cnn.torch_file import read_torch_file
from cluster_cnn.torchvision_networks import VGG19_GRID

logger = logging.getLogger(__name__)

_TORCH_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

_COUNTER = ".num_batches_tracked"
"""A tensor of PyTorch's batch norm that no network needs."""


def load_torch_weights(
    model: keras.Model, path: str | Path, *, prefix: str = "", left_out: Collection[str] = ()
) -> tuple[str, ...]:
    """Read a published file and fill a network with it.

    Parameters and errors as of `read_torch_file` and `assign_torch_tensors`.

    Returns
    -------
    tuple of str
        Names of the tensors that were filled.
    """
    filled = assign_torch_tensors(
        model, read_torch_file(path), where=Path(path).name, prefix=prefix, left_out=left_out
    )
    logger.info("%s: %d tensors loaded", Path(path).name, len(filled))
    return filled


def assign_torch_tensors(
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    *,
    where: str,
    prefix: str = "",
    left_out: Collection[str] = (),
) -> tuple[str, ...]:
    """Fill the layers whose names begin with `prefix`.

    Parameters
    ----------
    model : keras.Model
        Holds a network of `cluster_cnn.torchvision_networks`, perhaps several.
    tensors : mapping of str to ndarray
        With PyTorch's names, shapes and axis order.
    where : str
        Name of the source for messages.
    prefix : str
        As the network was built with.
    left_out : collection of str
        Layers without prefix, such as ``"fc"``, that keep their start.

    Returns
    -------
    tuple of str
        PyTorch's names of the tensors that were filled.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown, of another shape, or not finite; then none is filled.
    """
    variables = torch_variables(model, prefix=prefix)
    wanted = {name: v for name, v in variables.items() if _layer(name) not in left_out}
    offered = {
        name: np.asarray(value)
        for name, value in tensors.items()
        if not name.endswith(_COUNTER) and _layer(name) not in left_out
    }
    _require_fit({name: shape for name, (_, shape) in wanted.items()}, offered, where)
    turned = {
        name: from_torch_order(offered[name], tuple(variable.shape))
        for name, (variable, _) in wanted.items()
    }
    for name, (variable, _) in wanted.items():
        variable.assign(turned[name])
    return tuple(wanted)


def torch_variables(
    model: keras.Model, *, prefix: str = ""
) -> dict[str, tuple[keras.Variable, tuple[int, ...]]]:
    """Return PyTorch's name of every weight, with our variable and PyTorch's shape.

    Parameters
    ----------
    model : keras.Model
    prefix : str
        Only layers that begin with it; the names come without it.

    Returns
    -------
    dict of str to (keras.Variable, tuple of int)
    """
    table = {}
    for layer in model.layers:
        if not layer.name.startswith(prefix):
            continue
        for variable in layer.weights:
            if variable.name in _TORCH_NAMES:
                name = f"{layer.name[len(prefix) :]}.{_TORCH_NAMES[variable.name]}"
                table[name] = (variable, _torch_shape(tuple(variable.shape)))
    return table


def from_torch_order(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Turn the axes of one of PyTorch's tensors into ours.

    Parameters
    ----------
    value : ndarray, shape (out, in, h, w), (out, in) or (n,)
    shape : tuple of int
        Of our variable: (h, w, in, out), (in, out) or (n,).

    Returns
    -------
    ndarray of float32, shape `shape`

    Notes
    -----
    The first dense layer of VGG reads a flattened grid of 7x7 cells.  PyTorch flattens channel by
    channel, we cell by cell.
    """
    value = np.asarray(value, np.float32)
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(2, 3, 1, 0))
    if value.ndim != 2:
        return value
    if shape[0] == _VGG_FLAT:
        grid = value.reshape(len(value), -1, VGG19_GRID, VGG19_GRID)
        return np.ascontiguousarray(grid.transpose(2, 3, 1, 0).reshape(shape))
    return np.ascontiguousarray(value.T)


_VGG_FLAT = 512 * VGG19_GRID**2


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    return shape[::-1]


def _layer(name: str) -> str:
    """Return ``fc`` of ``fc.weight``."""
    return name.rpartition(".")[0]


def _require_fit(
    wanted: Mapping[str, tuple[int, ...]], offered: Mapping[str, np.ndarray], where: str
) -> None:
    """Raise unless names, shapes and values are as they should be; name what is not."""
    problems = {
        "missing in the file": [name for name in wanted if name not in offered],
        "not in the network": [name for name in offered if name not in wanted],
        "of another shape": [
            f"{name} (network {shape}, file {offered[name].shape})"
            for name, shape in wanted.items()
            if name in offered and offered[name].shape != shape
        ],
        "not finite": [
            name
            for name, value in offered.items()
            if value.dtype.kind not in "fiu" or not np.isfinite(value).all()
        ],
    }
    said = [
        f"{len(names)} {title}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for title, names in problems.items()
        if names
    ]
    if said:
        raise WeightsError(
            f"{where}: {'; '.join(said)}. The file belongs to another network, or to another "
            "number of classes: give the one that was published for this network."
        )
