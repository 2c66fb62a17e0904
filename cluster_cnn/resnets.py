"""The trunks: residual networks from a stamp to a vector of features.

``compact`` is ours; ``paper1`` is a small residual network in the form of He et al. 2016,
section 4.2, as Paper I uses; ``resnet50`` follows the table of Paper II.

References
----------
He, Zhang, Ren & Sun 2016, CVPR (arXiv 1512.03385).
Bialopetravicius, Narbutis & Vansevicius 2019, A&A 621, A103 (Paper I).
Bialopetravicius & Narbutis 2020, A&A 633, A148 (Paper II), table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers, ops

PAPER2_WIDTHS = (128, 256, 512, 1024)
PAPER2_BLOCKS = (3, 4, 6, 3)

POOL_SIGMAS = (0.06, 0.16)
"""Widths of the Gaussian pools of `compact`, in units of the stamp's side."""

PROFILED_STAGES = 2
"""Stages of `compact`, from the stem on, whose maps are still fine enough to count stars on."""


def compact(
    x,
    *,
    widths: Sequence[int],
    blocks: Sequence[int],
    profile_channels: int = 0,
    profile_units: int = 128,
    prefix: str = "",
):
    """Our trunk: strided stem, basic blocks, and pools that know where the middle is.

    Parameters
    ----------
    x : tensor of float, shape (N, H, W, B)
    widths, blocks : sequence of int
        Channels and blocks of each stage; every stage halves height and width.
    profile_channels, profile_units : int
        Read radial profiles of so many kinds of features off the first `PROFILED_STAGES` stages,
        each through a dense layer of so many units; 0 channels: none.
    prefix : str
        Goes before the names of the layers.

    Returns
    -------
    tensor of float, shape (N, 4 * widths[-1])
        Two averages about the middle, one over all, and the largest value anywhere: the
        brightest star tells the age.  Profiles add `profile_units` for each stage: how many stars
        of which kind lie how far out tells the size of a cluster of few stars.
    """
    x = _conv(x, widths[0], 5, stride=2, name=f"{prefix}stem")
    profiles = []
    for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        x = _stage(basic_block, x, width, n_blocks, number=stage, name=f"{prefix}stage{stage + 1}")
        if profile_channels and stage < PROFILED_STAGES:
            name = f"{prefix}profile{stage + 1}"
            kinds = _conv(x, profile_channels, 1, stride=1, name=f"{name}_kinds")
            profiles.append(ring_features(kinds, profile_units, name=name))
    pools = [
        GaussianPooling(sigma, name=f"{prefix}pool_{i}") for i, sigma in enumerate(POOL_SIGMAS)
    ]
    everywhere = layers.GlobalAveragePooling2D(name=f"{prefix}pool_all")(x)
    largest = layers.GlobalMaxPooling2D(name=f"{prefix}pool_max")(x)
    return layers.Concatenate(name=f"{prefix}pooled")(
        [*(pool(x) for pool in pools), everywhere, largest, *profiles]
    )


def ring_features(x, units: int, *, softening: float = 0.0, name: str):
    """Sum a map in rings around its middle, and pass the sums through a dense layer.

    Parameters
    ----------
    x : tensor of float, shape (N, S, S, C)
    units : int
        Of the dense layer.
    softening : float
        Of the asinh stretch that `x` went through; 0: it is linear.
    name : str
        Prefix of the layers' names.

    Returns
    -------
    tensor of float, shape (N, units)
    """
    x = RingPhotometry(ring_edges(x.shape[1]), softening, name=f"{name}_rings")(x)
    x = layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)
    return layers.Dense(units, activation="relu", name=f"{name}_dense")(x)


def paper1(x, *, widths: Sequence[int], blocks: Sequence[int]):
    """Build the small residual network: 3x3 stem, basic blocks, global average.

    Parameters and result as of `compact`; the result has shape (N, widths[-1]).
    """
    x = _conv(x, widths[0], 3, stride=1, name="stem")
    for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        x = _stage(basic_block, x, width, n_blocks, number=stage, name=f"stage{stage + 1}")
    return layers.GlobalAveragePooling2D(name="pooled")(x)


def resnet50(x):
    """Build 49 layers of Paper II: 7x7 stem at full size, pool, bottlenecks, global average.

    The fiftieth is the dense layer before the outputs (``head_layers = 1``).

    Returns
    -------
    tensor of float, shape (N, 1024)
    """
    x = _conv(x, 64, 7, stride=1, name="conv1")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="max_pool")(x)
    for stage, (width, n_blocks) in enumerate(zip(PAPER2_WIDTHS, PAPER2_BLOCKS, strict=True)):
        x = _stage(bottleneck_block, x, width, n_blocks, number=stage, name=f"conv{stage + 2}")
    return layers.GlobalAveragePooling2D(name="avg_pool")(x)


def _stage(block: Callable, x, width: int, n_blocks: int, *, number: int, name: str):
    """Put blocks one behind the other; the first of every stage but that of number 0 halves x."""
    for place in range(n_blocks):
        stride = 2 if place == 0 and number > 0 else 1
        x = block(x, width, stride=stride, name=f"{name}_{place + 1}")
    return x


def basic_block(x, width: int, *, stride: int, name: str):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, fig. 5 left).

    Parameters
    ----------
    x : tensor of float, shape (N, H, W, C)
    width : int
        Channels of the result.
    stride : int
        Of the first convolution and the shortcut.
    name : str
        Prefix of the layers' names.

    Returns
    -------
    tensor of float, shape (N, ceil(H / stride), ceil(W / stride), width)
    """
    inner = _conv(x, width, 3, stride=stride, name=f"{name}a")
    inner = _conv(inner, width, 3, stride=1, name=f"{name}b", activation=False)
    return _joined(x, inner, width, stride, name)


def bottleneck_block(x, width: int, *, stride: int, name: str):
    """1x1, 3x3, 1x1 with a quarter of the channels inside (He et al. 2016, fig. 5 right).

    Parameters and result as of `basic_block`.
    """
    inner = _conv(x, width // 4, 1, stride=1, name=f"{name}a")
    inner = _conv(inner, width // 4, 3, stride=stride, name=f"{name}b")
    inner = _conv(inner, width, 1, stride=1, name=f"{name}c", activation=False)
    return _joined(x, inner, width, stride, name)


def _joined(x, inner, width: int, stride: int, name: str):
    """Add the shortcut, projected where the shape changes."""
    if x.shape[-1] != width or stride > 1:
        x = _conv(x, width, 1, stride=stride, name=f"{name}_shortcut", activation=False)
    x = layers.Add(name=f"{name}_add")([x, inner])
    return layers.ReLU(name=f"{name}_out")(x)


def _conv(x, width: int, size: int, *, stride: int, name: str, activation: bool = True):
    """Convolution, batch norm and (mostly) a rectifier."""
    x = layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=0.98, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


@keras.saving.register_keras_serializable(package="cluster_cnn")
class GaussianPooling(layers.Layer):
    """Average over the map with a Gaussian weight around its middle.

    Parameters
    ----------
    sigma : float
        Width in units of the map's larger side.

    Notes
    -----
    From (N, H, W, C) to (N, C).  A cluster stands in the middle of its stamp; a plain average
    cannot tell it from the field around.
    """

    def __init__(self, sigma: float, **options) -> None:
        super().__init__(**options)
        self.sigma = float(sigma)

    def call(self, x):
        """Return the weighted means."""
        weight = gaussian_weight(x.shape[1], x.shape[2], self.sigma)
        return ops.einsum("nhwc,hw->nc", x, ops.convert_to_tensor(weight, dtype=x.dtype))

    def compute_output_shape(self, shape):
        """Drop height and width."""
        return (shape[0], shape[3])

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "sigma": self.sigma}


def gaussian_weight(height: int, width: int, sigma: float) -> np.ndarray:
    """Return a centred Gaussian that sums to 1, shape (height, width), float32."""
    y = np.arange(height) - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    scale = 2 * (sigma * max(height, width)) ** 2
    weight = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / scale)
    return (weight / weight.sum()).astype(np.float32)


@keras.saving.register_keras_serializable(package="cluster_cnn")
class RingPhotometry(layers.Layer):
    """Light in concentric rings, band by band: what photometry would see, inside the network.

    Parameters
    ----------
    edges_px : sequence of float
        Rising outer radii of the rings around the middle of the stamp.
    softening : float
        Of the asinh stretch that the input went through; 0: it is linear.

    Notes
    -----
    From (N, H, W, B) to (N, R * B): ``arcsinh(sum / sqrt(n_pix))`` of each ring, in units of the
    fixed scale of the stamps.
    """

    def __init__(self, edges_px: Sequence[float], softening: float, **options) -> None:
        super().__init__(**options)
        self.edges_px = tuple(float(edge) for edge in edges_px)
        self.softening = float(softening)

    def call(self, x):
        """Return the stretched sums."""
        height, width, n_bands = x.shape[1:]
        if self.softening > 0:
            grown = ops.exp(x)  # several times as fast as ops.sinh on TensorFlow
            x = 0.5 * self.softening * (grown - 1.0 / grown)
        weight = ring_weights(height, width, self.edges_px).reshape(-1, height * width)
        weight = ops.convert_to_tensor(weight, dtype=x.dtype)
        sums = ops.matmul(weight, ops.reshape(x, (-1, height * width, n_bands)))
        return ops.reshape(ops.arcsinh(sums), (-1, len(self.edges_px) * n_bands))

    def compute_output_shape(self, shape):
        """Return (N, R * B)."""
        return (shape[0], len(self.edges_px) * shape[3])

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "edges_px": self.edges_px,
            "softening": self.softening,
        }


def ring_weights(height: int, width: int, edges_px: Sequence[float]) -> np.ndarray:
    """Return ``1 / sqrt(n_pix)`` inside each ring and 0 outside.

    Parameters
    ----------
    height, width : int
        Of the stamp; the rings are around its middle.
    edges_px : sequence of float, length R
        Rising outer radii; the first ring is a disk.

    Returns
    -------
    ndarray of float32, shape (R, height, width)
        0 throughout for a ring that holds no pixel centre.
    """
    y = np.arange(height) - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    radius = np.hypot(y[:, None], x[None, :])
    ring = np.searchsorted(np.asarray(edges_px, float), radius, side="left")
    inside = ring[None] == np.arange(len(edges_px))[:, None, None]
    n_pixels = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    return (inside / np.sqrt(n_pixels)).astype(np.float32)


def ring_edges(stamp_size: int) -> tuple[float, ...]:
    """Return radii in pixels, dense in the middle, up to half of the stamp's side."""
    half = stamp_size / 2
    radii = [1.0, 2.0, 3.0, 4.5, 6.5, 9.0, 13.0, 18.0, 26.0, 36.0, 50.0, 70.0]
    return (*(radius for radius in radii if radius < 0.95 * half), half)
