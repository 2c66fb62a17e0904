"""Where a training starts: at random, at COCO, at ImageNet, or at a file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import h5py

from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_io.weights import resolve
from astro_rcnn.config import ModelConfig
from astro_rcnn.imagenet_weights import load_imagenet, registry_name
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.named_weights import LoadReport, assign_strictly, named_variables
from astro_rcnn.released_weights import load_matterport
from astro_rcnn.weights_file import FORMAT, load_into, read_weights

log = logging.getLogger(__name__)

_IMAGENET_ENDING = "_notop.h5"
_HEADS = re.compile(r"fpn_p\d|rpn_|mrcnn_")
_SHARED_WITH_TEACHER = (
    *("bands", "normalization", "normalization_softening"),
    *("fpn_width", "rpn_levels", "roi_levels"),
)
_LAST_OF_BLOCK = re.compile(r"bn\d[a-z]_branch2c/gamma")


def initialise(model: MaskRCNN, init: str) -> LoadReport:
    """Fill a network before training.

    Parameters
    ----------
    model : MaskRCNN
    init : str
        ``random``; ``coco``, downloaded and checked; ``imagenet``, the trunk alone, too; another
        name of the registry; or the path of a file: ours, of the matterport layout, or a ResNet
        of `keras.applications`.

    Returns
    -------
    LoadReport
        With ``random``, everything is listed as left out on purpose.
    """
    if init == "random":
        quieten_residuals(model)
        return LoadReport(left_out=("all layers (random start)",))
    path, _ = resolve(registry_name(model.settings.trunk) if init == "imagenet" else init)
    if path.name.endswith(_IMAGENET_ENDING):
        return load_imagenet(model, path)
    return load_any(model, path)


def initialise_heads(model: MaskRCNN, weights: str) -> LoadReport:
    """Take pyramid and heads over from another network, strictly; the trunk is left alone.

    A network with a new trunk so begins with heads that know what sources look like.

    Parameters
    ----------
    model : MaskRCNN
    weights : str
        Name in the registry, or path of a file of ours.

    Returns
    -------
    LoadReport

    Raises
    ------
    WeightsError
        If a tensor of the heads is missing or has another shape.
    """
    path, _ = resolve(weights)
    _, tensors, _ = read_weights(path)
    layers = {name.split("/")[0] for name in (*named_variables(model), *tensors)}
    others = sorted(layer for layer in layers if not _HEADS.match(layer))
    return assign_strictly(model, tensors, where=path.name, left_out=others)


def load_teacher(config: ModelConfig, weights: str) -> MaskRCNN:
    """Load a network whose pyramid another one, of `config`, is to imitate.

    Parameters
    ----------
    config : ModelConfig
        Of the network that learns.
    weights : str
        Name in the registry, or path of a file of ours.

    Raises
    ------
    ConfigError
        If the two differ in levels or width of the pyramid, or in the pixels that they take.
    """
    path, _ = resolve(weights)
    theirs, _, _ = read_weights(path)
    for name in _SHARED_WITH_TEACHER:
        expected, found = getattr(theirs, name), getattr(config, name)
        if expected != found:
            raise ConfigError(
                f"imitate = '{weights}': expected the same {name}, {expected}; found {found} in "
                "[model]. Change it, or choose another network."
            )
    teacher = build_model(theirs)
    load_into(teacher, path)
    return teacher


def quieten_residuals(model: MaskRCNN) -> None:
    """Let every block of a ResNet begin as its shortcut alone, if batch normalisation learns.

    A trunk of a hundred layers learns from scratch much sooner so: Goyal et al. 2017 (arXiv
    1706.02677), section 5.1.
    """
    if model.settings.is_batch_norm_frozen:
        return
    for name, variable in named_variables(model).items():
        if _LAST_OF_BLOCK.fullmatch(name):
            variable.assign(0.0 * variable)


def load_any(model: MaskRCNN, path: str | Path) -> LoadReport:
    """Load a file of either layout, strictly."""
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such weights file.")
    return load_into(model, path) if is_our_format(path) else load_matterport(model, path)


def is_our_format(path: Path) -> bool:
    """Tell our weights files from the matterport layout.

    Raises
    ------
    WeightsError
        If it is not a readable HDF5 file.
    """
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("format") == FORMAT
    except OSError as error:
        raise WeightsError(
            f"{path.name}: not a readable weights file ({error}). Delete it and fetch it again."
        ) from error
