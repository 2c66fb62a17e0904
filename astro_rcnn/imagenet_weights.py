"""Trunks trained on ImageNet, as `keras.applications` publishes them, into our ResNets.

The files are of Keras 2: one group a layer, ``conv2_block1_1_conv/conv2_block1_1_conv/kernel:0``
and so on, without the classifier ("notop"). They use another epsilon in batch normalisation than
the Mask R-CNN weights do; the statistics are changed so that the trunk gives the same features.
"""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np

from astro_io.errors import ConfigError, WeightsError
from astro_rcnn.named_weights import LoadReport, assign_strictly, named_variables
from astro_rcnn.released_weights import read_matterport
from astro_rcnn.resnet import BATCH_NORM_EPSILON

PUBLISHED_EPSILON = 1.001e-5
"""Of the batch normalisation in `keras.applications.resnet`."""

_BRANCHES = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}
_BLOCK = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")
_TRUNK = re.compile(r"(conv1|bn_conv1|res\d|bn\d)")


def registry_name(trunk: str) -> str:
    """Return the name of a trunk's weights in the registry.

    Raises
    ------
    ConfigError
        If nobody publishes weights for it.
    """
    if not trunk.startswith("resnet"):
        raise ConfigError(
            f"init: there are no ImageNet weights for the {trunk} trunk. Use model.trunk "
            "'resnet50' or 'resnet101', or init 'random'."
        )
    return f"imagenet-{trunk}"


def load_imagenet(model: keras.Model, path: str | Path) -> LoadReport:
    """Fill the trunk of a network, strictly; pyramid and heads keep their start.

    Parameters
    ----------
    model : MaskRCNN
        With the same ResNet. Another number of bands than three adapts ``conv1``.
    path : str or Path
        ``resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5`` or that of ResNet-50.

    Returns
    -------
    LoadReport

    Raises
    ------
    WeightsError
        If a tensor of the trunk is missing, unknown or misshapen.
    """
    tensors = rescaled_statistics(
        {_our_name(name, Path(path).name): value for name, value in read_matterport(path).items()}
    )
    others = {name.split("/")[0] for name in named_variables(model)}
    return assign_strictly(
        model,
        tensors,
        where=Path(path).name,
        left_out=sorted(name for name in others if not _TRUNK.match(name)),
        band_layer="conv1",
    )


def _our_name(name: str, where: str) -> str:
    """Translate ``conv2_block1_1_conv/kernel`` to ``res2a_branch2a/kernel``."""
    layer, variable = name.split("/")
    if layer in ("conv1_conv", "conv1_bn"):
        return f"{'conv1' if layer == 'conv1_conv' else 'bn_conv1'}/{variable}"
    match = _BLOCK.fullmatch(layer)
    if match is None or match[3] not in _BRANCHES:
        raise WeightsError(
            f"{where}: unknown layer {layer}; expected a ResNet of keras.applications without its "
            "classifier (a file that ends in notop.h5)."
        )
    block = chr(ord("a") + int(match[2]) - 1)
    kind = "res" if match[4] == "conv" else "bn"
    return f"{kind}{match[1]}{block}_branch{_BRANCHES[match[3]]}/{variable}"


def rescaled_statistics(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Change variances, and gammas where need be, from the published epsilon to ours.

    ``gamma / sqrt(variance + epsilon)`` stays: the variance takes up the difference, and where it
    is too small for that, gamma.

    Parameters
    ----------
    tensors : dict of str to ndarray
        ``layer/gamma``, ``layer/moving_variance`` and others.

    Returns
    -------
    dict of str to ndarray
    """
    changed = dict(tensors)
    for name, variance in tensors.items():
        layer, variable = name.split("/")
        if variable != "moving_variance":
            continue
        before = np.asarray(variance, np.float64) + PUBLISHED_EPSILON
        ours = np.maximum(before - BATCH_NORM_EPSILON, 0.0)
        factor = np.sqrt((ours + BATCH_NORM_EPSILON) / before)
        changed[name] = ours.astype(np.float32)
        changed[f"{layer}/gamma"] = (tensors[f"{layer}/gamma"] * factor).astype(np.float32)
    return changed
