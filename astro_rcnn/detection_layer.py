"""From classified regions to detections: thresholds, boxes, suppression of doubles."""

from __future__ import annotations

import numpy as np
from keras import ops

from astro_rcnn.boxes import (
    box_area,
    clip_boxes,
    decode_boxes,
    has_concentric_better,
    suppress_each,
)
from astro_rcnn.config import ModelConfig

COLUMNS = ("boxes", "class_ids", "scores", "probabilities", "class_boxes")
"""What is known of each detection, but for ``roi_index``."""


def refine_detections(rois, logits, deltas, window, config: ModelConfig):
    """Turn classified regions into final detections.

    The best class of each region (background among them, or not: ``config.drops_background``)
    moves it by that class's deltas; background and scores under the minimum are dropped (not at 0:
    the filter is then off), as are boxes without area (padding, or outside the window);
    non-maximum suppression, within each class or across classes.

    Parameters
    ----------
    rois : tensor, shape (N, R, 4)
        Normalised frame; rows of zeros are padding.
    logits, deltas : tensor, shapes (N, R, C) and (N, R, C, 4)
    window : tensor, shape (4,) or (N, 4)
        Normalised box of the real image inside the padded one.

    Returns
    -------
    dict of tensor
        ``boxes`` (N, D, 4), ``class_ids`` (N, D), ``scores`` (N, D), ``probabilities``
        (N, D, C), ``class_boxes`` (N, D, C, 4): the box that each class would give the region,
        ``roi_index`` (N, D); zeros in unused rows. ``is_full`` (N,): every row was taken, and
        there may be more.
    """
    probabilities = ops.softmax(ops.cast(logits, "float32") / config.temperature, axis=-1)
    first = 0 if config.drops_background else 1
    class_ids = first + ops.argmax(probabilities[..., first:], axis=-1)
    scores = ops.max(probabilities[..., first:], axis=-1)
    class_boxes = move_boxes(rois, deltas, window, config)
    chosen = ops.cast(class_ids, "int32")[..., None, None]
    boxes = ops.take_along_axis(class_boxes, chosen, axis=2)[:, :, 0]
    keep = ops.logical_and(class_ids > 0, box_area(boxes) > 0.0)
    if config.min_confidence > 0.0:
        # What is a source for sure, of whatever class, is left to the second look.
        sure = ops.sum(probabilities[..., 1:], axis=-1) if config.second_look_px else scores
        keep = ops.logical_and(keep, sure >= config.min_confidence)
    ranked = ops.where(keep, scores, -1.0)
    separate = 0.0 if config.is_nms_class_agnostic else 2.0
    shifted = boxes + separate * ops.cast(class_ids, "float32")[..., None]

    index, is_valid = suppress_each(
        shifted, ranked, max_boxes=config.max_detections, iou_threshold=config.detection_nms_iou
    )
    is_full = ops.all(is_valid > 0, axis=1)
    taken = {
        "boxes": boxes,
        "class_ids": ops.cast(class_ids, "int32"),
        "scores": scores,
        "probabilities": probabilities,
        "class_boxes": class_boxes,
    }
    found = {name: _in_order(value, index) for name, value in taken.items()}
    found = keep_rows({**found, "roi_index": index}, is_valid > 0)
    return {**without_doubles(found, fraction=config.concentric_fraction), "is_full": is_full}


def move_boxes(rois, deltas, window, config: ModelConfig):
    """Move regions by the deltas of each class, to the edge of the image at most.

    Parameters
    ----------
    rois : tensor, shape (N, R, 4)
        Normalised frame.
    deltas : tensor, shape (N, R, C, 4)
        In units of ``config.box_std``.
    window : tensor, shape (4,) or (N, 4)

    Returns
    -------
    tensor, shape (N, R, C, 4)
    """
    deltas = ops.cast(deltas, "float32") * np.array(config.box_std, np.float32)
    boxes = decode_boxes(ops.expand_dims(rois, 2), deltas)
    return clip_boxes(boxes, ops.reshape(window, (-1, 1, 1, 4)))


def without_doubles(found, *, fraction: float):
    """Drop detections that share their centre with a better one.

    Parameters
    ----------
    found : dict of tensor
        As `refine_detections` returns it, best score first.
    fraction : float
        As of `astro_rcnn.boxes.has_concentric_better`; 0 drops none.
    """
    if fraction == 0.0:
        return found
    is_used = found["class_ids"] > 0
    is_double = has_concentric_better(found["boxes"], is_used, fraction=fraction)
    return keep_rows(found, ops.logical_and(is_used, ops.logical_not(is_double)))


def keep_rows(found, is_kept):
    """Return the detections that are kept, best score first, and zeros in the other rows.

    Parameters
    ----------
    found : dict of tensor
        As `refine_detections` returns it.
    is_kept : bool tensor, shape (N, D)
    """
    order = ops.argsort(ops.where(is_kept, -found["scores"], 1.0), axis=1)
    kept = {name: _masked(found[name], is_kept) for name in COLUMNS}
    kept["roi_index"] = found["roi_index"]
    return {**found, **{name: _in_order(value, order) for name, value in kept.items()}}


def _masked(values, is_kept):
    """Zero the rows (N, D, ...) that are not kept."""
    return values * ops.cast(_for_rows(is_kept, values), values.dtype)


def _in_order(values, order):
    """Take rows (N, R, ...) in the order (N, D)."""
    return ops.take_along_axis(values, _for_rows(order, values), axis=1)


def _for_rows(numbers, values):
    """Give numbers (N, D) as many axes as the rows that they are of."""
    return numbers[(..., *[None] * (len(values.shape) - 2))]
