"""Our weights file: HDF5, one dataset a tensor, with the network's settings as JSON beside them.

A file alone is enough to rebuild its network; tensors may be stored in half precision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from astro_io.config import config_to_dict
from astro_io.errors import InputNotFoundError, WeightsError
from astro_io.fits_write import atomic_path
from astro_rcnn.config import ModelConfig
from astro_rcnn.named_weights import LoadReport, assign_strictly, named_variables

FORMAT = "astro-rcnn weights 1"


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    metadata: dict[str, Any] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
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
    """
    with atomic_path(Path(path), overwrite=overwrite) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["model"] = json.dumps(config_to_dict(model.settings))
        file.attrs["metadata"] = json.dumps(metadata or {})
        for name, variable in named_variables(model).items():
            value = np.asarray(variable)
            is_statistic = name.endswith(("moving_variance", "moving_mean"))
            kind = "float32" if is_statistic else dtype
            file.create_dataset(name, data=value.astype(kind), compression="gzip", shuffle=True)


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
            tensors = {
                f"{layer}/{name}": dataset[()].astype(np.float32)
                for layer, group in file.items()
                for name, dataset in group.items()
            }
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path.name}: not a readable weights file ({error}). Delete it and fetch it again."
        ) from error
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    known = set(ModelConfig.__dataclass_fields__)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise WeightsError(
            f"{path.name}: unknown model setting {', '.join(unknown)}; the file was written by a "
            "newer version. Update this software."
        )
    return ModelConfig(**settings), tensors, metadata


def load_into(model: keras.Model, path: str | Path) -> LoadReport:
    """Fill a network from one of our files, strictly; another number of bands is adapted."""
    _, tensors, _ = read_weights(path)
    band_layer = "stem_conv" if model.settings.trunk == "compact" else "conv1"
    return assign_strictly(model, tensors, where=Path(path).name, band_layer=band_layer)
