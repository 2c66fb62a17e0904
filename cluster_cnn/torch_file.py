"""Tensors out of PyTorch's weights files, without PyTorch and without running a pickle.

Three forms are read: safetensors; the zip archive that ``torch.save`` writes since version 1.6;
and the stream before that, which some published files still are.  In the last two a pickle says
which tensor lies where; `cluster_cnn.pickled_data` reads it as data.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from astro_io.errors import InputNotFoundError, WeightsError
from cluster_cnn.pickled_data import Call, Name, Reference, read_pickled_data

_STORAGE_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

_REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
_REBUILD_PARAMETER = Name("torch._utils", "_rebuild_parameter")
_TABLE = Name("collections", "OrderedDict")

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP_START = b"PK\x03\x04"
_MAX_TENSOR_AXES = 8


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read every tensor of a weights file.

    The form is recognised by the content, not by the suffix.

    Parameters
    ----------
    path : str or Path
        safetensors, or a state dict as written by ``torch.save``.

    Returns
    -------
    dict of str to ndarray
        In the order of the file, with the file's names, shapes and number types; bfloat16
        becomes float32.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is none of these forms, is damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such weights file.")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_ZIP_START):
        return _read_zip(path)
    if start.startswith(_LEGACY_START[:15]):
        return _read_stream(path)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    raise WeightsError(
        f"{path.name}: expected safetensors or a PyTorch state dict; found a file that begins "
        f"{start[:8]!r}. Fetch it again, or save the state dict alone (not the whole model)."
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path.name}: not a readable safetensors file ({error}). Fetch it again."
        ) from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    """Read the archive form: ``<name>/data.pkl`` and ``<name>/data/<key>``."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            roots = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise WeightsError(
                    f"{path.name}: expected a PyTorch state dict; found another zip archive "
                    "(a TorchScript model, perhaps). Save the state dict alone."
                )
            if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
                raise WeightsError(f"{path.name}: compressed entries; PyTorch writes none.")
            root = roots[0]
            order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"
            tree = read_pickled_data(io.BytesIO(archive.read(f"{root}data.pkl")), where=path.name)

            def load(key: str) -> bytes:
                return archive.read(f"{root}data/{key}")

            return _Tensors(path.name, load, ">" if order == b"big" else "<").table(tree)
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise WeightsError(f"{path.name}: damaged archive ({error}). Fetch it again.") from error


def _read_stream(path: Path) -> dict[str, np.ndarray]:
    """Read the form of PyTorch before 1.6: four pickles, a list of keys, then the numbers."""
    with path.open("rb") as file:
        magic, protocol, system, tree = (read_pickled_data(file, where=path.name) for _ in range(4))
        keys = read_pickled_data(file, where=path.name)
        if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or type(system) is not dict:
            raise WeightsError(f"{path.name}: not a PyTorch state dict. Fetch it again.")
        order = "<" if system.get("little_endian", True) else ">"
        sizes = {storage[2]: _storage(storage, path.name) for storage in _storages(tree)}
        storages = {}
        for key in (k for k in keys if type(k) is str) if type(keys) is list else ():
            storages[key] = _read_storage(file, sizes.get(key), order, path.name)
    return _Tensors(path.name, lambda key: storages.get(key, b""), order).table(tree)


def _read_storage(
    file: IO[bytes], expected: tuple[np.dtype, int] | None, order: str, where: str
) -> bytes:
    n_numbers = int.from_bytes(file.read(8), "little" if order == "<" else "big")
    if expected is None or n_numbers != expected[1]:
        raise WeightsError(f"{where}: storages and tensors disagree. Fetch the file again.")
    n_bytes = n_numbers * expected[0].itemsize
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise WeightsError(f"{where}: the file is cut short. Fetch it again.")
    return data


def _storages(tree: Any) -> list[tuple[Any, ...]]:
    """Return the key of every storage that a table of tensors refers to."""
    found = []
    items = _items(tree)
    for value in (_items(items.get("state_dict")) or items).values():
        call = _inner(value)
        if isinstance(call, Call) and call.arguments and isinstance(call.arguments[0], Reference):
            found.append(call.arguments[0].key)
    return [key for key in found if type(key) is tuple and len(key) >= 5 and type(key[2]) is str]


def _items(tree: Any) -> Mapping[Any, Any]:
    """Return the entries of a plain or ordered dictionary."""
    if isinstance(tree, Call) and tree.function == _TABLE and not tree.arguments:
        return tree.items
    return tree if type(tree) is dict else {}


def _inner(value: Any) -> Any:
    """Return the tensor in a parameter."""
    if isinstance(value, Call) and value.function == _REBUILD_PARAMETER and value.arguments:
        return value.arguments[0]
    return value


def _storage(key: tuple[Any, ...], where: str) -> tuple[np.dtype, int]:
    """Return type and count of the numbers in a storage."""
    _, kind, _, _, n_numbers = key[:5]
    known = isinstance(kind, Name) and kind.module == "torch" and kind.name in _STORAGE_DTYPES
    if not known or type(n_numbers) is not int or n_numbers < 0:
        raise WeightsError(f"{where}: numbers of a kind that PyTorch does not have.")
    return np.dtype(_STORAGE_DTYPES[kind.name]), n_numbers


class _Tensors:
    """Make arrays of what a pickle says about tensors."""

    def __init__(self, where: str, load: Any, order: str) -> None:
        self._where, self._load, self._order = where, load, order
        self._cache: dict[tuple[str, np.dtype], np.ndarray] = {}

    def table(self, tree: Any) -> dict[str, np.ndarray]:
        """Return name -> array of a state dict, or of one under the key ``state_dict``."""
        items = _items(tree)
        nested = _items(items.get("state_dict"))
        tensors = {}
        for name, value in (nested or items).items():
            if type(name) is not str:
                raise self._refuse(f"a number ({name}) in place of a name")
            tensors[name] = self._tensor(name, _inner(value))
        if not tensors:
            raise self._refuse("no tensor")
        return tensors

    def _tensor(self, name: str, call: Any) -> np.ndarray:
        if not (isinstance(call, Call) and call.function == _REBUILD and len(call.arguments) >= 4):
            what = f"made by {call.function}" if isinstance(call, Call) else type(call).__name__
            raise self._refuse(f"{name}, {what}")
        reference, offset, shape, strides = call.arguments[:4]
        is_reference = isinstance(reference, Reference) and type(reference.key) is tuple
        if not is_reference or len(reference.key) < 5 or reference.key[0] != "storage":
            raise self._refuse(f"{name} without numbers")
        for sizes in (shape, strides):
            is_plain = type(sizes) is tuple and all(type(n) is int and n >= 0 for n in sizes)
            if not is_plain or len(sizes) > _MAX_TENSOR_AXES:
                raise self._refuse(f"{name} without a proper shape")
        numbers = self._numbers(reference.key)
        if type(offset) is not int or offset < 0 or len(shape) != len(strides):
            raise self._refuse(f"{name} without a proper shape")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) > numbers.size or (math.prod(shape) and last >= numbers.size):
            raise self._refuse(f"{name} of shape {shape} in {numbers.size} numbers")
        if math.prod(shape) == 0:
            return np.empty(shape, numbers.dtype)
        view = np.lib.stride_tricks.as_strided(
            numbers[offset:], shape, [step * numbers.itemsize for step in strides]
        )
        return _widened(view, reference.key[1].name)

    def _numbers(self, key: tuple[Any, ...]) -> np.ndarray:
        name = key[2]
        if type(name) is not str or not name.isdigit():
            raise self._refuse("numbers without a key")
        dtype, n_numbers = _storage(key, self._where)
        if (name, dtype) not in self._cache:
            data = self._load(name)
            if len(data) != n_numbers * dtype.itemsize:
                raise self._refuse(f"{len(data)} bytes for {n_numbers} numbers")
            self._cache[name, dtype] = np.frombuffer(data, dtype.newbyteorder(self._order))
        return self._cache[name, dtype]

    def _refuse(self, found: str) -> WeightsError:
        return WeightsError(
            f"{self._where}: expected a state dict of tensors; found {found}. "
            "Save the state dict alone (torch.save(model.state_dict(), ...))."
        )


def _widened(view: np.ndarray, kind: str) -> np.ndarray:
    """Copy, in the byte order of this machine; bfloat16 is the upper half of a float32."""
    native = np.array(view, view.dtype.newbyteorder("="))
    if kind == "BFloat16Storage":
        return (native.astype(np.uint32) << 16).view(np.float32)
    return native
