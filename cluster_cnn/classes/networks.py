"""build_class_model(config) -> keras.Model: our multi-scale network, and those of Wei et al.

``multiscale`` sees the whole stamp at half resolution, its middle and its centre at full
resolution, each through a small convolutional network of its own (the idea of StarcNet), and sums
in rings.  It is told which bands are there and, if known, the distance.

``resnet18`` and ``vgg19_bn`` are two copies of a torchvision network side by side: three bands
each, a missing sixth being zero; what they say is joined and multiplied by one more matrix.

References
----------
Perez et al. 2021, ApJ 907, 100: StarcNet.
Wei et al. 2020, MNRAS 493, 3178, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from cluster_cnn.classes.config import ClassModelConfig
from cluster_cnn.classes.layers import BandPresence, BilinearResize, ChannelPart, UnitRange
from cluster_cnn.resnets import RingPhotometry, ring_edges
from cluster_cnn.torchvision_networks import network

LOGITS = "classes"
"""Name of the output: one logit a class."""

FEATURES = "features"
"""Name of the last hidden layer, which tells how usual a stamp is."""

STAMPS, DISTANCE = "stamps", "distance"
"""Names of the inputs."""

COPIES = ("first.", "second.")
"""Prefixes of the layers of the two copies of a torchvision network."""

_MOMENTUM = 0.97
_CONDITION_WIDTH = 16


def build_class_model(config: ClassModelConfig, *, seed: int = 0) -> keras.Model:
    """Wire a network.

    Parameters
    ----------
    config : ClassModelConfig
    seed : int
        Of the random start.

    Returns
    -------
    keras.Model
        From ``{STAMPS: (N, S, S, B), DISTANCE: (N, 2)}`` to logits (N, C) under the name `LOGITS`.
        Without `has_distance`, and for the networks of Wei et al., DISTANCE is no input.
    """
    keras.utils.set_random_seed(seed)
    stamps = keras.Input((config.stamp_size, config.stamp_size, len(config.bands)), name=STAMPS)
    if config.network == "multiscale":
        return _multiscale(stamps, config, seed)
    x = _paper_features(stamps, config)
    logits = layers.Dense(len(config.class_ids), name=LOGITS)(x)
    return keras.Model({STAMPS: stamps}, {LOGITS: logits}, name=config.network)


def paper_images(stamps, config: ClassModelConfig) -> tuple:
    """Prepare stamps as Wei et al. do: centre, [0, 1], blown up, three bands for each copy.

    Parameters
    ----------
    stamps : tensor of float, shape (N, S, S, B)
    config : ClassModelConfig

    Returns
    -------
    tuple of tensor, each of shape (N, image_size, image_size, 3)
    """
    spare = config.stamp_size - config.crop_size
    margins = (spare // 2, spare - spare // 2)
    x = layers.Cropping2D((margins, margins), name="crop")(stamps)
    x = UnitRange(name="unit_range")(x)
    x = BilinearResize(config.image_size, name="blow_up")(x)
    return tuple(ChannelPart(3 * i, 3, name=f"bands_{i + 1}")(x) for i in range(len(COPIES)))


def _paper_features(stamps, config: ClassModelConfig):
    images = paper_images(stamps, config)
    said = [
        network(config.network, image, prefix=prefix)
        for image, prefix in zip(images, COPIES, strict=True)
    ]
    return layers.Concatenate(name=FEATURES)(said)


def _multiscale(stamps, config: ClassModelConfig, seed: int) -> keras.Model:
    inputs = {STAMPS: stamps}
    facts = [BandPresence(name="presence")(stamps)]
    if config.has_distance:
        inputs[DISTANCE] = keras.Input((2,), name=DISTANCE)
        facts.append(inputs[DISTANCE])
    facts = layers.Concatenate(name="facts")(facts) if len(facts) > 1 else facts[0]
    size = config.stamp_size
    views = {
        "full": layers.AveragePooling2D(2, name="full_view")(stamps),
        "middle": layers.Cropping2D(size // 4, name="middle_view")(stamps),
        "centre": layers.Cropping2D(3 * size // 8, name="centre_view")(stamps),
    }
    seen = [_view(x, facts, config.widths, name) for name, x in views.items()]
    rings = RingPhotometry(
        ring_edges(size), config.softening if config.normalization == "asinh" else 0.0, name="rings"
    )(stamps)
    rings = layers.BatchNormalization(momentum=_MOMENTUM, name="rings_bn")(rings)
    rings = layers.Dense(config.head_width // 2, activation="relu", name="rings_dense")(rings)
    x = layers.Concatenate(name="joined")([*seen, rings, facts])
    x = layers.Dense(config.head_width, use_bias=False, name="head")(x)
    x = layers.BatchNormalization(momentum=_MOMENTUM, name="head_bn")(x)
    x = layers.ReLU(name=FEATURES)(x)
    if config.dropout > 0:
        x = layers.Dropout(config.dropout, seed=seed, name="head_dropout")(x)
    logits = layers.Dense(len(config.class_ids), name=LOGITS)(x)
    return keras.Model(inputs, {LOGITS: logits}, name="multiscale")


def _view(x, facts, widths: Sequence[int], name: str):
    """Convolve one view; return its averages and its largest values, shape (N, 2 * widths[-1])."""
    x = layers.Conv2D(widths[0], 3, padding="same", use_bias=False, name=f"{name}_conv1")(x)
    # What is missing, and how far away things are, shifts the first features.
    shift = layers.Dense(_CONDITION_WIDTH, activation="relu", name=f"{name}_facts")(facts)
    shift = layers.Dense(widths[0], use_bias=False, name=f"{name}_shift")(shift)
    shift = layers.Reshape((1, 1, widths[0]), name=f"{name}_shift_map")(shift)
    x = layers.Add(name=f"{name}_shifted")([x, shift])
    x = _normal(x, f"{name}_conv1")
    x = _conv(x, widths[1], 2, f"{name}_conv2")
    x = _conv(x, widths[1], 1, f"{name}_conv3")
    x = _conv(x, widths[2], 2, f"{name}_conv4")
    inner = _conv(x, widths[2], 1, f"{name}_conv5")
    inner = layers.Conv2D(widths[2], 3, padding="same", use_bias=False, name=f"{name}_conv6")(inner)
    x = _normal(layers.Add(name=f"{name}_joined")([x, inner]), f"{name}_conv6")
    return layers.Concatenate(name=f"{name}_pooled")(
        [
            layers.GlobalAveragePooling2D(name=f"{name}_average")(x),
            layers.GlobalMaxPooling2D(name=f"{name}_largest")(x),
        ]
    )


def _conv(x, width: int, stride: int, name: str):
    x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False, name=name)(x)
    return _normal(x, name)


def _normal(x, name: str):
    x = layers.BatchNormalization(momentum=_MOMENTUM, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
