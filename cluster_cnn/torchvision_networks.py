"""ResNet18 and VGG19-BN exactly as torchvision has them, in Keras.

Every layer carries the name of its PyTorch module (``layer1.0.conv1``), so that a published tensor
and the variable that it belongs to find each other by name; see `cluster_cnn.torch_weights`.
Images are channels-last; everything else follows torchvision 0.13 and later, which earlier ones
agree with: padding on all sides alike, batch norm with epsilon 1e-5, average pooling of VGG to
7x7 whatever the size of the image.

References
----------
He, Zhang, Ren & Sun 2016, CVPR (arXiv 1512.03385): ResNet.
Simonyan & Zisserman 2015, ICLR (arXiv 1409.1556): VGG; batch norm is torchvision's addition.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

KINDS = ("resnet18", "vgg19_bn")

IMAGENET_CLASSES = 1000

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # share of the old value; PyTorch counts that of the new one, 0.1

RESNET18_WIDTHS = (64, 128, 256, 512)
RESNET18_BLOCKS = 2

VGG19_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions before each of the five poolings."""

VGG19_GRID = 7
VGG19_HIDDEN = 4096
VGG19_DROPOUT = 0.5

_FAN_OUT = ("fan_out", "untruncated_normal")


def build_network(
    kind: str, *, size: int = 224, n_outputs: int = IMAGENET_CLASSES, prefix: str = ""
) -> keras.Model:
    """Build one of the two networks for images of three channels.

    Parameters
    ----------
    kind : {"resnet18", "vgg19_bn"}
    size : int
        Side of the image in pixels; at least 32.
    n_outputs : int
        Length of the last layer.
    prefix : str
        In front of every layer's name.

    Returns
    -------
    keras.Model
        From images (N, size, size, 3) to (N, n_outputs), without softmax.
    """
    image = keras.Input((size, size, 3), name=f"{prefix}image")
    return keras.Model(image, network(kind, image, n_outputs=n_outputs, prefix=prefix), name=kind)


def network(kind: str, image, *, n_outputs: int = IMAGENET_CLASSES, prefix: str = ""):
    """Put one of the two networks on an image tensor.

    Parameters
    ----------
    kind : {"resnet18", "vgg19_bn"}
    image : tensor of float, shape (N, H, W, 3)
    n_outputs, prefix
        As of `build_network`.

    Returns
    -------
    tensor of float, shape (N, n_outputs)

    Raises
    ------
    ValueError
        If `kind` is neither.
    """
    if kind == "resnet18":
        return resnet18(image, n_outputs=n_outputs, prefix=prefix)
    if kind == "vgg19_bn":
        return vgg19_bn(image, n_outputs=n_outputs, prefix=prefix)
    raise ValueError(f"network '{kind}' is unknown; choose one of {', '.join(KINDS)}")


def resnet18(image, *, n_outputs: int = IMAGENET_CLASSES, prefix: str = ""):
    """Put ResNet18 on an image tensor; parameters and result as of `network`."""
    x = _conv(image, 64, 7, stride=2, name=f"{prefix}conv1")
    x = layers.ReLU(name=f"{prefix}relu")(_batch_norm(x, f"{prefix}bn1"))
    x = _max_pool_padded(x, f"{prefix}maxpool")
    for stage, width in enumerate(RESNET18_WIDTHS, start=1):
        for block in range(RESNET18_BLOCKS):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _basic_block(x, width, stride, f"{prefix}layer{stage}.{block}")
    x = layers.GlobalAveragePooling2D(name=f"{prefix}avgpool")(x)
    start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return layers.Dense(
        n_outputs, kernel_initializer=start, bias_initializer=_bias_start(x), name=f"{prefix}fc"
    )(x)


def vgg19_bn(image, *, n_outputs: int = IMAGENET_CLASSES, prefix: str = ""):
    """Put VGG19 with batch norm on an image tensor; parameters and result as of `network`."""
    x, index = image, 0
    for width, n_convolutions in VGG19_WIDTHS:
        for _ in range(n_convolutions):
            x = _conv(x, width, 3, stride=1, name=f"{prefix}features.{index}", has_bias=True)
            x = _batch_norm(x, f"{prefix}features.{index + 1}")
            x = layers.ReLU(name=f"{prefix}features.{index + 2}")(x)
            index += 3
        x = layers.MaxPooling2D(2, name=f"{prefix}features.{index}")(x)
        index += 1
    x = AdaptiveAveragePooling(VGG19_GRID, name=f"{prefix}avgpool")(x)
    x = layers.Flatten(name=f"{prefix}flatten")(x)
    start = keras.initializers.RandomNormal(stddev=0.01)
    for number in (0, 3):
        x = layers.Dense(
            VGG19_HIDDEN, kernel_initializer=start.clone(), name=f"{prefix}classifier.{number}"
        )(x)
        x = layers.ReLU(name=f"{prefix}classifier.{number + 1}")(x)
        x = layers.Dropout(VGG19_DROPOUT, name=f"{prefix}classifier.{number + 2}")(x)
    return layers.Dense(n_outputs, kernel_initializer=start.clone(), name=f"{prefix}classifier.6")(
        x
    )


def _basic_block(x, width: int, stride: int, name: str):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""
    y = _batch_norm(_conv(x, width, 3, stride=stride, name=f"{name}.conv1"), f"{name}.bn1")
    y = layers.ReLU(name=f"{name}.relu1")(y)
    y = _batch_norm(_conv(y, width, 3, stride=1, name=f"{name}.conv2"), f"{name}.bn2")
    if stride > 1 or x.shape[-1] != width:
        x = _conv(x, width, 1, stride=stride, name=f"{name}.downsample.0")
        x = _batch_norm(x, f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([y, x]))


def _conv(x, width: int, kernel: int, *, stride: int, name: str, has_bias: bool = False):
    """Convolution with half the kernel as padding on every side (Keras' "same" is lopsided)."""
    padding = "valid"
    if stride == 1 and kernel > 1:
        padding = "same"
    elif kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)
    return layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=has_bias,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, *_FAN_OUT),
        name=name,
    )(x)


def _batch_norm(x, name: str):
    return layers.BatchNormalization(
        epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=name
    )(x)


def _max_pool_padded(x, name: str):
    """Largest of 3x3 at every second pixel; zeros around do not matter behind a rectifier."""
    x = layers.ZeroPadding2D(1, name=f"{name}.pad")(x)
    return layers.MaxPooling2D(3, strides=2, name=name)(x)


def _bias_start(x) -> keras.initializers.Initializer:
    """PyTorch starts the bias of a dense layer uniformly within 1 / sqrt(inputs)."""
    limit = float(x.shape[-1]) ** -0.5
    return keras.initializers.RandomUniform(-limit, limit)


@keras.saving.register_keras_serializable(package="cluster_cnn")
class AdaptiveAveragePooling(layers.Layer):
    """Average an image over a fixed grid of cells, which overlap where sizes do not divide.

    Cell i of n covers pixels ``floor(i H / n)`` to ``ceil((i + 1) H / n)`` of H, as PyTorch's
    ``AdaptiveAvgPool2d``.

    Parameters
    ----------
    grid : int
        Cells along each axis.

    Notes
    -----
    From (N, H, W, C) to (N, grid, grid, C).
    """

    def __init__(self, grid: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.grid = grid

    def call(self, inputs):
        """Average over the cells."""
        rows = ops.convert_to_tensor(cell_weights(inputs.shape[1], self.grid), inputs.dtype)
        columns = ops.convert_to_tensor(cell_weights(inputs.shape[2], self.grid), inputs.dtype)
        return ops.einsum("ih,nhwc,jw->nijc", rows, inputs, columns)

    def compute_output_shape(self, input_shape):
        """Return (N, grid, grid, C)."""
        return (input_shape[0], self.grid, self.grid, input_shape[3])

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "grid": self.grid}


def cell_weights(n_pixels: int, n_cells: int) -> np.ndarray:
    """Return the weight of each pixel in the average of each cell.

    Parameters
    ----------
    n_pixels, n_cells : int

    Returns
    -------
    ndarray of float32, shape (n_cells, n_pixels)
        Rows add up to 1.
    """
    weights = np.zeros((n_cells, n_pixels), np.float32)
    for cell in range(n_cells):
        first, last = cell * n_pixels // n_cells, -(-(cell + 1) * n_pixels // n_cells)
        weights[cell, first:last] = 1 / (last - first)
    return weights
