"""Trunks: ResNet-50 and -101 as the released weights have them, and a compact one for small jobs.

He et al. 2016 (ResNet). Layer names follow the matterport weights, so that a tensor in a file and
a tensor in the network find each other by name.
"""

from __future__ import annotations

from keras import layers

from astro_rcnn.replicas import n_replicas

BATCH_NORM_EPSILON = 1e-3
_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class FrozenBatchNormalization(layers.BatchNormalization):
    """Batch normalisation that uses its moving statistics in training too; gamma and beta learn.

    Calling the plain layer with ``training=False`` while a network is put together is not enough:
    Keras replaces the argument by that of the network's own call.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalise ``inputs`` (N, ..., C) as in inference, whatever `training` is."""
        return super().call(inputs, training=False, mask=mask)


def batch_norm(name: str, *, is_frozen: bool) -> layers.Layer:
    """Make a batch normalisation; frozen ones use their moving statistics in training too.

    Where a batch is divided among replicas, the others measure the whole of it.
    """
    options = {"epsilon": BATCH_NORM_EPSILON, "momentum": 0.97, "name": name}
    if is_frozen:
        return FrozenBatchNormalization(**options)
    return layers.BatchNormalization(synchronized=n_replicas() > 1, **options)


def resnet(image, *, depth: str, is_frozen: bool) -> dict[int, object]:
    """Build ResNet-50 or -101 on an image tensor.

    Parameters
    ----------
    image : KerasTensor, shape (N, H, W, B)
    depth : {"resnet50", "resnet101"}
    is_frozen : bool
        Batch norm uses its moving statistics in training too.

    Returns
    -------
    dict of int to KerasTensor
        Level (1 to 5) to features of shape (N, H / 2**level, W / 2**level, 64 * 2**level); 64
        channels at level 1, the stem before its pooling, which the paper does not use.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = layers.Conv2D(64, 7, strides=2, name="conv1")(x)
    x = layers.ReLU(name="conv1_relu")(batch_norm("bn_conv1", is_frozen=is_frozen)(x))
    features = {1: x}
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    for stage, n_blocks in enumerate(_BLOCKS[depth], start=2):
        width = 64 * 2 ** (stage - 2)
        for index in range(n_blocks):
            x = _bottleneck(
                x,
                width,
                f"{stage}{chr(ord('a') + index)}",
                has_projection=index == 0,
                stride=2 if index == 0 and stage > 2 else 1,
                is_frozen=is_frozen,
            )
        features[stage] = x
    return features


def _bottleneck(x, width: int, block: str, *, has_projection: bool, stride: int, is_frozen: bool):
    """1x1, 3x3, 1x1 with a shortcut; the stride sits in the first 1x1 (as in the weights)."""

    def convolve(tensor, n_filters, kernel, branch, step=1):
        conv = layers.Conv2D(
            n_filters, kernel, strides=step, padding="same", name=f"res{block}_branch{branch}"
        )
        return batch_norm(f"bn{block}_branch{branch}", is_frozen=is_frozen)(conv(tensor))

    y = layers.ReLU(name=f"res{block}_relu_2a")(convolve(x, width, 1, "2a", stride))
    y = layers.ReLU(name=f"res{block}_relu_2b")(convolve(y, width, 3, "2b"))
    y = convolve(y, 4 * width, 1, "2c")
    shortcut = convolve(x, 4 * width, 1, "1", stride) if has_projection else x
    return layers.ReLU(name=f"res{block}_out")(layers.Add(name=f"res{block}_add")([y, shortcut]))


def compact(
    image, *, widths: tuple[int, ...], blocks: tuple[int, ...], is_frozen: bool
) -> dict[int, object]:
    """Build a small residual trunk that keeps a stride-2 level for sources of a few pixels.

    Parameters
    ----------
    image : KerasTensor, shape (N, H, W, B)
    widths, blocks : tuple of int
        Channels and two-convolution residual blocks of stages 1, 2, ... (strides 2, 4, ...).
    is_frozen : bool
        Batch norm uses its moving statistics in training too.

    Returns
    -------
    dict of int to KerasTensor
        Level (1 to ``len(widths)``) to features of shape (N, H / 2**level, W / 2**level, width).
    """
    x = layers.Conv2D(widths[0], 5, strides=2, padding="same", use_bias=False, name="stem_conv")(
        image
    )
    x = layers.ReLU(name="stem_relu")(batch_norm("stem_bn", is_frozen=is_frozen)(x))
    features = {}
    for level, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True), start=1):
        for index in range(n_blocks):
            stride = 2 if level > 1 and index == 0 else 1
            x = _basic_block(x, width, f"{level}{chr(ord('a') + index)}", stride, is_frozen)
        features[level] = x
    return features


def _basic_block(x, width: int, block: str, stride: int, is_frozen: bool):
    def convolve(tensor, kernel, branch, step=1):
        conv = layers.Conv2D(
            width,
            kernel,
            strides=step,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"block{block}_conv{branch}",
        )
        return batch_norm(f"block{block}_bn{branch}", is_frozen=is_frozen)(conv(tensor))

    y = layers.ReLU(name=f"block{block}_relu1")(convolve(x, 3, "1", stride))
    y = convolve(y, 3, "2")
    needs_projection = stride > 1 or x.shape[-1] != width
    shortcut = convolve(x, 1, "0", stride) if needs_projection else x
    return layers.ReLU(name=f"block{block}_out")(
        layers.Add(name=f"block{block}_add")([y, shortcut])
    )
