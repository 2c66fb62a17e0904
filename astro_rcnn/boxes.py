"""Box arithmetic: IoU, encode and decode, clip, non-maximum suppression. ``keras.ops``, no layers.

Boxes are ``(y1, x1, y2, x2)``. Two frames occur: pixels, and a normalised one in which the corners
of the image are 0 and 1: ``(box - [0, 0, 1, 1]) / ([H, W, H, W] - 1)`` for the released weights,
``box / [H, W, H, W]`` for networks with exact alignment.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

# exp() of a larger size ratio would make boxes 62.5 times their anchor: nonsense, and inf later.
MAX_LOG_RATIO = float(np.log(1000.0 / 16.0))
_SUPPRESSED = -1.0


def normalize_boxes(boxes, shape: tuple[int, int], *, is_exact: bool = False):
    """Pixel boxes to the normalised frame of an image of `shape` (H, W).

    `is_exact` divides by H and W instead of the released weights' rule, under which a box of
    8 pixels is 7 units high.
    """
    scale, offset = _frame(shape, is_exact)
    return (boxes - offset) / scale


def denormalize_boxes(boxes, shape: tuple[int, int], *, is_exact: bool = False):
    """Inverse of `normalize_boxes`, without rounding."""
    scale, offset = _frame(shape, is_exact)
    return boxes * scale + offset


def _frame(shape: tuple[int, int], is_exact: bool) -> tuple[np.ndarray, np.ndarray]:
    height, width = shape
    scale = np.array([height, width, height, width], np.float32)
    if is_exact:
        return scale, np.zeros(4, np.float32)
    return scale - 1.0, np.array([0, 0, 1, 1], np.float32)


def box_iou(first, second):
    """Intersection over union of every pair.

    Parameters
    ----------
    first : tensor, shape (..., A, 4)
    second : tensor, shape (..., G, 4)
        Same frame as `first`. Empty boxes overlap nothing.

    Returns
    -------
    tensor, shape (..., A, G)
    """
    y1 = ops.maximum(first[..., :, None, 0], second[..., None, :, 0])
    x1 = ops.maximum(first[..., :, None, 1], second[..., None, :, 1])
    y2 = ops.minimum(first[..., :, None, 2], second[..., None, :, 2])
    x2 = ops.minimum(first[..., :, None, 3], second[..., None, :, 3])
    intersection = ops.maximum(y2 - y1, 0.0) * ops.maximum(x2 - x1, 0.0)
    union = box_area(first)[..., :, None] + box_area(second)[..., None, :] - intersection
    return ops.where(union > 0.0, intersection / ops.where(union > 0.0, union, 1.0), 0.0)


def box_area(boxes):
    """Area of boxes of shape (..., 4), in the frame's unit squared."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def encode_boxes(anchors, boxes):
    """Deltas ``(dy, dx, log dh, log dw)`` that turn `anchors` into `boxes`.

    Both have shape (..., 4) and positive size; Ren et al. 2015 (Faster R-CNN), eq. 2.
    """
    height, width, y, x = _centre_form(anchors)
    box_height, box_width, box_y, box_x = _centre_form(boxes)
    return ops.stack(
        [
            (box_y - y) / height,
            (box_x - x) / width,
            ops.log(box_height / height),
            ops.log(box_width / width),
        ],
        axis=-1,
    )


def decode_boxes(anchors, deltas):
    """Apply deltas to anchors: the inverse of `encode_boxes`.

    Size ratios are held under `MAX_LOG_RATIO`.
    """
    height, width, y, x = _centre_form(anchors)
    y = y + deltas[..., 0] * height
    x = x + deltas[..., 1] * width
    height = height * ops.exp(ops.minimum(deltas[..., 2], MAX_LOG_RATIO))
    width = width * ops.exp(ops.minimum(deltas[..., 3], MAX_LOG_RATIO))
    y1, x1 = y - 0.5 * height, x - 0.5 * width
    return ops.stack([y1, x1, y1 + height, x1 + width], axis=-1)


def clip_boxes(boxes, window):
    """Clip boxes (..., 4) to ``window`` = y1, x1, y2, x2 (numbers, or a tensor (..., 4))."""
    window = ops.convert_to_tensor(window, dtype=boxes.dtype)
    low = ops.concatenate([window[..., :2], window[..., :2]], axis=-1)
    high = ops.concatenate([window[..., 2:], window[..., 2:]], axis=-1)
    return ops.maximum(ops.minimum(boxes, high), low)


def non_max_suppression(boxes, scores, *, max_boxes: int, iou_threshold: float):
    """Greedy non-maximum suppression of one image.

    TensorFlow's kernel serves the TensorFlow backend; elsewhere a loop of `max_boxes` steps gives
    the same answer. No gradient passes: stop it before.

    Parameters
    ----------
    boxes : tensor, shape (A, 4)
    scores : tensor, shape (A,)
        Boxes with a negative score are left out.
    max_boxes : int
        Rows of the answer.
    iou_threshold : float
        Boxes that overlap a better one by more are dropped.

    Returns
    -------
    indices : int32 tensor, shape (max_boxes,)
        Best first; 0 where there is none.
    is_valid : bool tensor, shape (max_boxes,)
    """
    if keras.backend.backend() == "tensorflow":
        return _native_suppression(boxes, scores, max_boxes, iou_threshold)
    return loop_suppression(boxes, scores, max_boxes, iou_threshold)


def _native_suppression(boxes, scores, max_boxes: int, iou_threshold: float):
    import tensorflow as tf

    kept = tf.image.non_max_suppression(
        boxes, scores, max_boxes, iou_threshold, score_threshold=0.5 * _SUPPRESSED
    )
    n_kept = tf.shape(kept)[0]
    indices = tf.pad(kept, [[0, max_boxes - n_kept]])
    return tf.ensure_shape(indices, (max_boxes,)), tf.range(max_boxes) < n_kept


def loop_suppression(boxes, scores, max_boxes: int, iou_threshold: float):
    """Do what `non_max_suppression` says in plain ``keras.ops``, one kept box a step."""
    positions = ops.arange(ops.shape(scores)[0])
    slots = ops.arange(max_boxes)

    def keep_best(step, state):
        alive, indices, is_valid = state
        best = ops.argmax(alive)
        is_good = ops.take(alive, best) >= 0.0
        overlap = box_iou(boxes, ops.take(boxes, best, axis=0)[None])[:, 0]
        gone = ops.logical_or(overlap > iou_threshold, positions == ops.cast(best, "int32"))
        here = slots == step
        indices = ops.where(ops.logical_and(here, is_good), ops.cast(best, "int32"), indices)
        is_valid = ops.logical_or(is_valid, ops.logical_and(here, is_good))
        return ops.where(gone, _SUPPRESSED, alive), indices, is_valid

    start = (
        scores,
        ops.zeros((max_boxes,), dtype="int32"),
        ops.zeros((max_boxes,), dtype="bool"),
    )
    _, indices, is_valid = ops.fori_loop(0, max_boxes, keep_best, start)
    return indices, is_valid


def suppress_each(boxes, scores, *, max_boxes: int, iou_threshold: float):
    """Do `non_max_suppression` in each image of a batch.

    Parameters
    ----------
    boxes : tensor, shape (N, A, 4)
    scores : tensor, shape (N, A)
    max_boxes, iou_threshold
        As of `non_max_suppression`.

    Returns
    -------
    indices : int32 tensor, shape (N, max_boxes)
    is_valid : float32 tensor, shape (N, max_boxes)
        1 or 0.
    """

    def suppress(one_image):
        index, is_valid = non_max_suppression(
            *one_image, max_boxes=max_boxes, iou_threshold=iou_threshold
        )
        return index, ops.cast(is_valid, "float32")

    # Side by side where the backend can: a loop over images would gather them on every device.
    each = ops.map if keras.backend.backend() == "tensorflow" else ops.vectorized_map
    return each(suppress, (boxes, scores))


def has_concentric_better(boxes, is_valid, *, fraction: float):
    """Tell boxes that share their centre with a better one.

    A faint source may be found twice, as a star with a wide mask and as a galaxy with a small
    one: their overlap is little, their centre the same.

    Parameters
    ----------
    boxes : tensor, shape (N, D, 4)
        Best score first.
    is_valid : bool tensor, shape (N, D)
    fraction : float
        Centres nearer than this part of the smaller box, along either axis, are the same.

    Returns
    -------
    bool tensor, shape (N, D)
    """
    n_rows = boxes.shape[1]
    is_better = np.tri(n_rows, k=-1, dtype=bool)[None]
    counts = ops.logical_and(is_better, is_valid[:, None, :])
    same = are_concentric(boxes, boxes, fraction=fraction)
    return ops.any(ops.logical_and(same, counts), axis=2)


def are_concentric(boxes, others, *, fraction: float):
    """Tell pairs of boxes with the same centre.

    Parameters
    ----------
    boxes, others : tensor, shapes (N, D, 4) and (N, E, 4)
    fraction : float
        Centres nearer than this part of the smaller box, along either axis, are the same.

    Returns
    -------
    bool tensor, shape (N, D, E)
    """
    height, width, y, x = (value[:, :, None] for value in _centre_form(boxes))
    other_height, other_width, other_y, other_x = (
        value[:, None, :] for value in _centre_form(others)
    )
    is_near_y = ops.abs(y - other_y) < fraction * ops.minimum(height, other_height)
    is_near_x = ops.abs(x - other_x) < fraction * ops.minimum(width, other_width)
    return ops.logical_and(is_near_y, is_near_x)


def _centre_form(boxes):
    height = boxes[..., 2] - boxes[..., 0]
    width = boxes[..., 3] - boxes[..., 1]
    return height, width, boxes[..., 0] + 0.5 * height, boxes[..., 1] + 0.5 * width
