"""A second look at the class of each detection, at the pixels themselves.

The first head sees a region through a pyramid of features, pooled to 7 x 7: sharp enough to find a
source, too coarse to tell a faint star from a small galaxy. This one sees the normalised pixels
around the middle of a detection, as the classical separation of stars and galaxies does (how
concentrated is the light, what colour has it), and weighs the classes of source against each
other. How probable a source is at all stays as it was: asked that too, it knew simulated fields
better than the first head, and real sky worse (docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import keras
import numpy as np
from keras import layers, ops

from astro_rcnn.boxes import box_area
from astro_rcnn.detection_layer import keep_rows

LAYER_PREFIX = "look_"
"""How the names of its layers begin."""

CHUNK = 64
"""So many detections are looked at twice at once."""

_TINY = 1e-6
_WIDTHS = (16, 32, 48)

Tensor = TypeVar("Tensor")


def without_second_look(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave the tensors of a second look out of those of a network, by their names."""
    return {name: value for name, value in tensors.items() if not name.startswith(LAYER_PREFIX)}


def second_look_head(*, side: int, n_bands: int, n_classes: int) -> keras.Model:
    """Build the network; with its random start it changes nothing.

    Parameters
    ----------
    side : int
        Of a cut-out in pixels.
    n_bands, n_classes : int
        Classes with background.

    Returns
    -------
    keras.Model
        From cut-outs (K, side, side, B) and log-probabilities (K, C) to what is added to those
        of the classes of source, float32, (K, C - 1).
    """
    pixels = layers.Input((side, side, n_bands), name="look_pixels")
    first = layers.Input((n_classes,), name="look_first")
    x = pixels
    for i, width in enumerate(_WIDTHS):
        stride = 2 if i else 1
        x = layers.Conv2D(
            width, 3, stride, padding="same", activation="relu", name=f"look_conv{i}a"
        )(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"look_conv{i}b")(x)
    x = layers.Flatten(name="look_flat")(x)
    x = layers.Dense(64, activation="relu", name="look_dense1")(x)
    x = layers.Concatenate(name="look_both")([x, first])
    x = layers.Dense(32, activation="relu", name="look_dense2")(x)
    added = layers.Dense(
        n_classes - 1, kernel_initializer="zeros", dtype="float32", name="look_logits"
    )(x)
    return keras.Model([pixels, first], added, name="second_look")


def cut_outs(images, centres, side: int):
    """Cut squares of whole pixels around points.

    Parameters
    ----------
    images : tensor, shape (N, H, W, B)
    centres : tensor of float, shape (N, D, 2)
        y, x in pixels, the corner of the image at 0.
    side : int

    Returns
    -------
    tensor, shape (N, D, side, side, B)
        Zeros outside of the image, which is the sky of a normalised one.
    """
    half = side // 2
    _, height, width, n_bands = images.shape
    padded = ops.pad(images, [(0, 0), (half, half), (half, half), (0, 0)])
    corner = ops.cast(ops.floor(centres), "int32")
    steps = ops.arange(side, dtype="int32")
    y = ops.clip(corner[..., 0], 0, height - 1)[..., None] + steps
    x = ops.clip(corner[..., 1], 0, width - 1)[..., None] + steps
    index = y[..., :, None] * (width + 2 * half) + x[..., None, :]
    n_found = centres.shape[1]
    flat = ops.reshape(padded, (-1, (height + 2 * half) * (width + 2 * half), n_bands))
    taken = ops.take_along_axis(flat, ops.reshape(index, (-1, n_found * side * side, 1)), axis=1)
    return ops.reshape(taken, (-1, n_found, side, side, n_bands))


def log_probabilities(probabilities):
    """Return the logarithms of probabilities (..., C), those of nearly nothing held at 1e-6."""
    return ops.log(ops.maximum(ops.cast(probabilities, "float32"), _TINY))


def look_again(head, images, centres, probabilities, *, side: int):
    """Weigh the classes of source of some detections again.

    Parameters
    ----------
    head : keras.Model
        `second_look_head`.
    images : tensor, shape (N, H, W, B)
        Normalised pixels.
    centres : tensor, shape (N, D, 2)
        Of the detections, y, x in pixels.
    probabilities : tensor, shape (N, D, C)
        By the first head.
    side : int
        Of a cut-out.

    Returns
    -------
    tensor, shape (N, D, C)
    """
    n_found, n_bands, n_classes = centres.shape[1], images.shape[3], probabilities.shape[2]
    pixels = ops.reshape(cut_outs(images, centres, side), (-1, side, side, n_bands))
    first = ops.reshape(log_probabilities(probabilities), (-1, n_classes))
    shares = ops.softmax(first[:, 1:] + head([pixels, first]), axis=-1)
    shares = ops.reshape(shares, (-1, n_found, n_classes - 1))
    source = ops.sum(probabilities[..., 1:], axis=-1, keepdims=True)
    return ops.concatenate([probabilities[..., :1], source * shares], axis=-1)


def decide_again(found, probabilities, class_boxes):
    """Choose class, box, score and order of detections by new probabilities and boxes.

    Parameters
    ----------
    found : dict of tensor
        As `astro_rcnn.detection_layer.refine_detections` returns it for D detections an image.
    probabilities : tensor, shape (N, D, C)
    class_boxes : tensor, shape (N, D, C, 4)

    Returns
    -------
    dict of tensor
        The same keys.
    """
    scores = ops.max(probabilities[..., 1:], axis=-1)
    class_ids = 1 + ops.cast(ops.argmax(probabilities[..., 1:], axis=-1), "int32")
    boxes = ops.take_along_axis(class_boxes, class_ids[..., None, None], axis=2)[:, :, 0]
    is_kept = ops.logical_and(found["class_ids"] > 0, box_area(boxes) > 0.0)
    columns = {
        "boxes": boxes,
        "class_ids": class_ids,
        "scores": scores,
        "probabilities": probabilities,
        "class_boxes": class_boxes,
    }
    return keep_rows({**found, **columns}, is_kept)


def in_chunks(function, rows, n_used, *, size: int = CHUNK):
    """Replace the first rows of some tensors by a function of them, so many at a time.

    There is room for many more detections than most images hold: what nobody uses costs nothing.

    Parameters
    ----------
    function : callable
        From tensors (N, size, ...) to as many of the same shapes.
    rows : tuple of tensor, shapes (N, D, ...)
    n_used : int tensor
        Rows from here on stay, but for the rest of a chunk.
    size : int

    Returns
    -------
    tuple of tensor
    """
    n_rows = rows[0].shape[1]

    def advance(start, *values):
        index = ops.minimum(start + np.arange(size, dtype=np.int32), n_rows - 1)
        new = function(*(ops.take(value, index, axis=1) for value in values))
        position = np.arange(n_rows, dtype=np.int32) - start
        is_own = ops.logical_and(position >= 0, position < size)
        back = ops.clip(position, 0, size - 1)
        replaced = (
            ops.where(
                ops.reshape(is_own, (1, n_rows, *[1] * (len(old.shape) - 2))),
                ops.take(chunk, back, axis=1),
                old,
            )
            for old, chunk in zip(values, new, strict=True)
        )
        return (start + size, *replaced)

    start = ops.zeros((), "int32")
    return ops.while_loop(lambda start, *_: start < n_used, advance, (start, *rows))[1:]
