"""A second implementation of ResNet18 and VGG19-BN: NumPy, channels first, PyTorch's names.

Written from the definitions of the layers, independently of Keras; slow, for small images.
Also writes files as ``torch.save`` does, without PyTorch.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

State = dict[str, np.ndarray]


def conv2d(x, weight, bias=None, *, stride=1, padding=0):
    """Cross-correlate (N, C, H, W) with (O, C, k, k)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    windows = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    y = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
    return y if bias is None else y + bias[:, None, None]


def batch_norm(x, state: State, name: str):
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / np.sqrt(var + 1e-5)
    return x * scale[:, None, None] + (state[f"{name}.bias"] - mean * scale)[:, None, None]


def max_pool(x, k, stride, padding=0):
    edge = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    x = np.pad(x, edge, constant_values=-np.inf)
    return sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride].max(axis=(4, 5))


def adaptive_average(x, n):
    height, width = x.shape[2:]
    result = np.empty((*x.shape[:2], n, n))
    for i in range(n):
        for j in range(n):
            rows = slice(i * height // n, -(-(i + 1) * height // n))
            columns = slice(j * width // n, -(-(j + 1) * width // n))
            result[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def relu(x):
    return np.maximum(x, 0)


def resnet18(state: State, x: np.ndarray) -> np.ndarray:
    """Forward pass of (N, 3, H, W)."""
    x = relu(batch_norm(conv2d(x, state["conv1.weight"], stride=2, padding=3), state, "bn1"))
    x = max_pool(x, 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = relu(batch_norm(y, state, f"{name}.bn1"))
            y = batch_norm(
                conv2d(y, state[f"{name}.conv2.weight"], padding=1), state, f"{name}.bn2"
            )
            if f"{name}.downsample.0.weight" in state:
                x = conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = batch_norm(x, state, f"{name}.downsample.1")
            x = relu(x + y)
    x = x.mean(axis=(2, 3))
    return x @ state["fc.weight"].T + state["fc.bias"]


def vgg19_bn(state: State, x: np.ndarray) -> np.ndarray:
    """Forward pass of (N, 3, H, W)."""
    index = 0
    for n_convolutions in (2, 2, 4, 4, 4):
        for _ in range(n_convolutions):
            name = f"features.{index}"
            x = conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
            x = relu(batch_norm(x, state, f"features.{index + 1}"))
            index += 3
        x = max_pool(x, 2, 2)
        index += 1
    x = adaptive_average(x, 7).reshape(len(x), -1)
    for number in (0, 3):
        name = f"classifier.{number}"
        x = relu(x @ state[f"{name}.weight"].T + state[f"{name}.bias"])
    return x @ state["classifier.6.weight"].T + state["classifier.6.bias"]


def random_state(shapes: dict[str, tuple[int, ...]], *, seed: int) -> State:
    """Draw tensors that keep activations near 1."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2.0, shape).astype(np.float32)
        elif len(shape) > 1:
            fan_in = np.prod(shape[1:])
            state[name] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        elif name.endswith("weight"):
            state[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            state[name] = rng.normal(0, 0.2, shape).astype(np.float32)
    return state


class _Storage:
    """What PyTorch pickles by reference: one block of numbers."""

    def __init__(self, key: str, values: np.ndarray) -> None:
        self.key, self.values = key, values


def torch_modules() -> dict[str, types.ModuleType]:
    """Return stand-ins for the modules that a state dict's pickle names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        raise AssertionError("nothing may be called")

    rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
    rebuild.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = rebuild
    for name in ("FloatStorage", "HalfStorage", "LongStorage", "BFloat16Storage"):
        kind = type(name, (), {"__module__": "torch"})
        setattr(torch, name, kind)
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


_KINDS = {"f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage", "u2": "BFloat16Storage"}


class _Pickler(pickle.Pickler):
    """Pickle arrays as PyTorch pickles tensors."""

    def __init__(self, file, modules, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file, protocol=2)
        self.modules, self.storages = modules, storages

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        kind = getattr(self.modules["torch"], _KINDS[value.values.dtype.str[1:]])
        return ("storage", kind, value.key, "cpu", value.values.size)

    def reducer_override(self, value):
        if not isinstance(value, np.ndarray):
            return NotImplemented
        key = str(len(self.storages))
        self.storages[key] = np.ascontiguousarray(value).ravel()
        strides = tuple(step // value.itemsize for step in value.copy(order="C").strides)
        rebuild = self.modules["torch._utils"]._rebuild_tensor_v2
        storage = _Storage(key, self.storages[key])
        return rebuild, (storage, 0, value.shape, strides, False, OrderedDict())


def _pickled(tree: object) -> tuple[bytes, dict[str, np.ndarray]]:
    modules, storages, file = torch_modules(), {}, io.BytesIO()
    with mock.patch.dict(sys.modules, modules):
        _Pickler(file, modules, storages).dump(tree)
    return file.getvalue(), storages


def save_zip(path: Path, tree: object) -> Path:
    """Write what ``torch.save`` has written since version 1.6."""
    data, storages = _pickled(tree)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def save_legacy(path: Path, tree: object) -> Path:
    """Write what ``torch.save`` wrote before version 1.6."""
    data, storages = _pickled(tree)
    # The older form has a sixth entry in the reference to a storage: the view, here none.
    with path.open("wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        pickle.dump({"protocol_version": 1001, "little_endian": True}, file, protocol=2)
        file.write(data)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(np.int64(storages[key].size).tobytes())
            file.write(storages[key].tobytes())
    return path
