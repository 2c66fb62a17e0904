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
    deltas = ops.cast(deltas, "float32") * np.array(config.box_std, np.float32)
    class_boxes = decode_boxes(ops.expand_dims(rois, 2), deltas)
    class_boxes = clip_boxes(class_boxes, ops.reshape(window, (-1, 1, 1, 4)))
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
    final = ops.take_along_axis(boxes, index[..., None], axis=1)
    if config.concentric_fraction > 0.0:
        doubled = has_concentric_better(final, is_valid > 0, fraction=config.concentric_fraction)
        is_valid = is_valid * ops.cast(ops.logical_not(doubled), "float32")
        n_slots = config.max_detections
        order = ops.argsort(np.arange(n_slots, dtype=np.float32) - n_slots * is_valid, axis=1)
        is_valid = ops.take_along_axis(is_valid, order, axis=1)
        index = ops.take_along_axis(index, ops.cast(order, "int32"), axis=1)
        final = ops.take_along_axis(boxes, index[..., None], axis=1)
    return {
        "boxes": final * is_valid[..., None],
        "class_ids": ops.take_along_axis(ops.cast(class_ids, "int32"), index, axis=1)
        * ops.cast(is_valid, "int32"),
        "scores": ops.take_along_axis(scores, index, axis=1) * is_valid,
        "probabilities": ops.take_along_axis(probabilities, index[..., None], axis=1)
        * is_valid[..., None],
        "class_boxes": ops.take_along_axis(class_boxes, index[..., None, None], axis=1)
        * is_valid[..., None, None],
        "roi_index": index,
        "is_full": is_full,
    }
