"""Output heads: class and box of a region, and its mask. He et al. 2017 (Mask R-CNN), fig. 4."""

from __future__ import annotations

import keras
from keras import layers

from astro_rcnn.resnet import batch_norm


def class_box_head(
    *, pool_size: int, width: int, channels: int, n_classes: int, is_frozen: bool
) -> keras.Model:
    """Build the head that names a region and refines its box.

    Returns
    -------
    keras.Model
        From pooled features (K, pool_size, pool_size, width) to class logits (K, n_classes) and
        box deltas (K, n_classes, 4).
    """
    pooled = layers.Input((pool_size, pool_size, width), name="mrcnn_class_features")
    x = layers.Conv2D(channels, pool_size, name="mrcnn_class_conv1")(pooled)
    x = layers.ReLU()(batch_norm("mrcnn_class_bn1", is_frozen=is_frozen)(x))
    x = layers.Conv2D(channels, 1, name="mrcnn_class_conv2")(x)
    x = layers.ReLU()(batch_norm("mrcnn_class_bn2", is_frozen=is_frozen)(x))
    x = layers.Flatten(name="pool_squeeze")(x)
    logits = layers.Dense(n_classes, name="mrcnn_class_logits")(x)
    deltas = layers.Dense(4 * n_classes, name="mrcnn_bbox_fc")(x)
    deltas = layers.Reshape((n_classes, 4), name="mrcnn_bbox")(deltas)
    return keras.Model(pooled, [logits, deltas], name="class_box_head")


def mask_head(
    *, pool_size: int, width: int, channels: int, depth: int, n_classes: int, is_frozen: bool
) -> keras.Model:
    """Build the head that draws one mask for each class.

    Returns
    -------
    keras.Model
        From pooled features (K, pool_size, pool_size, width) to mask probabilities
        (K, 2 pool_size, 2 pool_size, n_classes).
    """
    pooled = layers.Input((pool_size, pool_size, width), name="mrcnn_mask_features")
    x = pooled
    for index in range(1, depth + 1):
        x = layers.Conv2D(channels, 3, padding="same", name=f"mrcnn_mask_conv{index}")(x)
        x = layers.ReLU()(batch_norm(f"mrcnn_mask_bn{index}", is_frozen=is_frozen)(x))
    x = layers.Conv2DTranspose(channels, 2, strides=2, activation="relu", name="mrcnn_mask_deconv")(
        x
    )
    masks = layers.Conv2D(n_classes, 1, activation="sigmoid", dtype="float32", name="mrcnn_mask")(x)
    return keras.Model(pooled, masks, name="mask_head")
