"""The matterport HDF5 layout (``mask_rcnn_coco.h5``, ``astro_rcnn_decam.h5``) into our layers.

Keras 2 wrote one group a layer with datasets ``<layer>/<layer>/kernel:0``; the proposal network's
layers lie under ``rpn_model``; files saved whole wrap everything in ``model_weights``.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np

from astro_io.errors import InputNotFoundError, WeightsError
from astro_rcnn.named_weights import LoadReport, assign_strictly

# Layers whose shape depends on the classes: left out when fine-tuning (matterport's own list).
CLASS_LAYERS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")


def read_matterport(path: str | Path) -> dict[str, np.ndarray]:
    """Read every tensor of a matterport weights file.

    Returns
    -------
    dict of str to ndarray
        ``layer/variable``, for example ``"conv1/kernel"``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is not HDF5, holds no tensor, or two of one name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such weights file. Check the path, or --init coco.")
    tensors: dict[str, np.ndarray] = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer_weights" in name:
            return
        key = "/".join(name.split("/")[-2:]).split(":")[0]
        if key in tensors:
            raise WeightsError(f"{path.name}: two tensors are called {key}.")
        tensors[key] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except OSError as error:
        raise WeightsError(
            f"{path.name}: not a readable HDF5 file ({error}). Delete it and fetch it again."
        ) from error
    if not tensors:
        raise WeightsError(f"{path.name}: no tensor found; expected matterport's HDF5 layout.")
    return tensors


def load_matterport(
    model: keras.Model, path: str | Path, *, leave_out_classes: bool | None = None
) -> LoadReport:
    """Load a matterport weights file, strictly.

    Parameters
    ----------
    model : keras.Model
        A ResNet-50 or -101 `MaskRCNN`. Another number of bands than the file's adapts ``conv1``.
    path : str or Path
    leave_out_classes : bool, optional
        Leave the class-dependent layers at their start. By default: where the number of classes
        differs.

    Returns
    -------
    LoadReport

    Raises
    ------
    WeightsError
        If any other tensor is missing, unknown or misshapen.
    """
    tensors = read_matterport(path)
    if leave_out_classes is None:
        bias = tensors.get("mrcnn_class_logits/bias")
        leave_out_classes = bias is None or len(bias) != model.settings.n_classes
    return assign_strictly(
        model,
        tensors,
        where=Path(path).name,
        left_out=CLASS_LAYERS if leave_out_classes else (),
        band_layer="conv1",
    )
