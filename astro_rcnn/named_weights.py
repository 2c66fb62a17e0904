"""Tensors by name: ``layer/variable`` to variable, and filling them strictly from a table.

Nothing is ever left at its random start in silence: every tensor of the network is either loaded,
or left out because the caller said so, or the load fails and names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np

from astro_io.errors import WeightsError

_MAX_NAMED = 8


@dataclass(frozen=True)
class LoadReport:
    """What happened to each tensor.

    Attributes
    ----------
    loaded : tuple of str
        Names filled from the file.
    left_out : tuple of str
        Names of the network kept at their start because the caller asked for it.
    adapted : tuple of str
        Names whose shape was fitted (``conv1`` to another number of bands).
    ignored : tuple of str
        Names in the file that the caller said are not wanted.
    """

    loaded: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """One line for the log."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.adapted:
            parts.append(f"adapted: {', '.join(self.adapted)}")
        if self.left_out:
            layers = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in self.left_out))
            named = ", ".join(layers[:_MAX_NAMED])
            more = f" and {len(layers) - _MAX_NAMED} more layers" if layers[_MAX_NAMED:] else ""
            parts.append(f"left out on purpose: {named}{more}")
        if self.ignored:
            parts.append(f"{len(self.ignored)} in the file not wanted")
        return "; ".join(parts)


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Map ``layer/variable`` to each weight of a network, in the order of its layers."""
    table: dict[str, keras.Variable] = {}
    for part in model.layers:
        leaves = part.layers if isinstance(part, keras.Model) else [part]
        for layer in leaves:
            for variable in layer.weights:
                if "seed" in variable.name:
                    continue
                name = f"{layer.name}/{variable.name}"
                assert name not in table, f"two tensors are called {name}"
                table[name] = variable
    return table


def assign_strictly(
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    *,
    where: str,
    left_out: Collection[str] = (),
    band_layer: str | None = None,
) -> LoadReport:
    """Fill a network from a table of tensors.

    Parameters
    ----------
    model : keras.Model
        Network whose weights exist.
    tensors : mapping of str to ndarray
        ``layer/variable`` to value.
    where : str
        Name of the source for messages.
    left_out : collection of str
        Layers that keep their start; the table may hold them or not.
    band_layer : str, optional
        Layer whose kernel is fitted to the network's number of bands: the mean over the bands of
        the file, scaled so that equal bands give the same response.

    Returns
    -------
    LoadReport

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown or has another shape; all of them are named and nothing
        is assigned.
    """
    variables = named_variables(model)
    kept = [name for name in variables if name.split("/")[0] in left_out]
    ignored = [name for name in tensors if name.split("/")[0] in left_out]
    wanted = {name: v for name, v in variables.items() if name not in kept}
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in variables and name not in ignored]
    values, adapted, mismatched = {}, [], []
    for name in (name for name in wanted if name in tensors):
        value, shape = np.asarray(tensors[name]), tuple(wanted[name].shape)
        if name == f"{band_layer}/kernel" and _differs_in_bands(value.shape, shape):
            adapted.append(f"{name} {value.shape[2]} -> {shape[2]} bands")
            value = adapt_bands(value, shape[2])
        if value.shape != shape:
            mismatched.append(f"{name}: network {shape}, file {value.shape}")
        values[name] = value
    problems = [
        f"{title} {', '.join(names[:4])}{' and more' if len(names) > 4 else ''} ({len(names)})"
        for title, names in (
            ("missing in the file:", missing),
            ("not in the network:", unknown),
            ("shape differs:", mismatched),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"{where}: {'; '.join(problems)}. The file belongs to another network: give weights "
            "made for this trunk and these classes, or leave the layers out on purpose."
        )
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise WeightsError(f"{where}: {name} holds a value that is not finite.")
    for name, value in values.items():
        wanted[name].assign(value.astype(np.float32))
    return LoadReport(tuple(values), tuple(kept), tuple(adapted), tuple(ignored))


def _differs_in_bands(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether two kernel shapes (k, k, B, C) differ in B, and in nothing else."""
    is_alike = len(found) == 4 and (*found[:2], found[3]) == (*wanted[:2], wanted[3])
    return is_alike and 0 < found[2] != wanted[2]


def adapt_bands(kernel: np.ndarray, n_bands: int) -> np.ndarray:
    """Fit a first kernel (k, k, B, C) to `n_bands` bands, keeping the response to equal bands."""
    mean = kernel.mean(axis=2, keepdims=True) * (kernel.shape[2] / n_bands)
    return np.repeat(mean, n_bands, axis=2)
