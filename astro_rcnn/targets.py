"""What the network should say: targets for anchors and for proposals.

Ren et al. 2015 and He et al. 2017, with the numbers and the order of events of the matterport
implementation. Random choices come from numbers that the caller draws, so functions stay pure.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from astro_rcnn.boxes import are_concentric, box_area, box_iou, encode_boxes
from astro_rcnn.roi_align import bin_centres, crop_masks

# Centres nearer than this part of the smaller box are the same.
CONCENTRIC_FRACTION = 0.25


def anchor_targets(
    anchors,
    gt_boxes,
    priority,
    *,
    n_sampled: int,
    positive_iou: float,
    negative_iou: float,
    box_std: tuple[float, ...],
):
    """Label anchors as source, background or neutral, and say how to move them.

    Parameters
    ----------
    anchors : tensor, shape (A, 4)
        Pixels.
    gt_boxes : tensor, shape (N, G, 4)
        Pixels; rows of zero area are padding.
    priority : tensor, shape (N, A)
        Random numbers in [0, 1): the sample takes the largest.
    n_sampled : int
        Anchors an image that get a label; at most half of them positive.
    positive_iou, negative_iou : float
        At least the first: source, as is the best anchor of each source. Under the second:
        background.
    box_std : tuple of float
        Unit of the deltas.

    Returns
    -------
    match : int32 tensor, shape (N, A)
        1 source, 0 neutral, -1 background.
    deltas : float32 tensor, shape (N, A, 4)
        Meaningful where `match` is 1.
    """
    overlaps = box_iou(anchors[None], gt_boxes)
    is_real = box_area(gt_boxes) > 0.0
    best_iou = ops.max(overlaps, axis=2)
    best_gt = ops.argmax(overlaps, axis=2)
    best_of_gt = ops.max(overlaps, axis=1, keepdims=True)
    is_best = ops.logical_and(overlaps == best_of_gt, best_of_gt > 0.0)
    is_best = ops.any(ops.logical_and(is_best, is_real[:, None]), axis=2)
    is_positive = ops.logical_or(best_iou >= positive_iou, is_best)
    is_negative = ops.logical_and(best_iou < negative_iou, ops.logical_not(is_positive))

    is_positive = _sample(is_positive, priority, n_sampled // 2)
    n_positive = ops.sum(ops.cast(is_positive, "int32"), axis=1, keepdims=True)
    is_negative = _sample(is_negative, priority, n_sampled, n_wanted=n_sampled - n_positive)

    matched = ops.take_along_axis(gt_boxes, best_gt[..., None], axis=1)
    safe = ops.where(is_positive[..., None], matched, anchors[None])
    deltas = encode_boxes(ops.broadcast_to(anchors[None], ops.shape(safe)), safe)
    match = ops.cast(is_positive, "int32") - ops.cast(is_negative, "int32")
    return match, deltas / np.array(box_std, np.float32)


def _sample(is_candidate, priority, limit: int, n_wanted=None):
    """Keep the `n_wanted` (at most `limit`) candidates of highest priority in each row."""
    ranked = ops.where(is_candidate, priority, -1.0)
    k = min(limit, ranked.shape[1])
    best, _ = ops.top_k(ranked, k)
    if n_wanted is None:
        threshold = best[:, -1:]
    else:
        n_wanted = ops.clip(n_wanted, 0, k)
        last = ops.take_along_axis(best, ops.maximum(n_wanted - 1, 0), axis=1)
        threshold = ops.where(n_wanted > 0, last, 2.0)
    return ops.logical_and(is_candidate, ranked >= threshold)


def region_targets(
    proposals,
    gt_class_ids,
    gt_boxes,
    gt_masks,
    priority,
    *,
    n_rois: int,
    positive_fraction: float,
    positive_iou: float,
    box_std: tuple[float, ...],
    mask_size: int,
    is_negative_count_tied: bool,
    is_alignment_exact: bool = False,
    concentric_iou: float = 0.0,
):
    """Choose regions for the heads and say what each should answer.

    Parameters
    ----------
    proposals : tensor, shape (N, R, 4)
        Normalised frame; rows of zeros are padding.
    gt_class_ids : int tensor, shape (N, G)
        0 is padding.
    gt_boxes : tensor, shape (N, G, 4)
        Normalised frame.
    gt_masks : tensor, shape (N, G, M, M)
        Each true mask, resized from its box to M x M.
    priority : tensor, shape (N, R)
        Random numbers in [0, 1).
    n_rois : int
        Regions an image: first ``int(n_rois * positive_fraction)`` slots for sources, then
        slots for background; unused slots hold zeros.
    mask_size : int
        Side of the mask targets.
    is_negative_count_tied : bool
        Take ``n_positive / positive_fraction - n_positive`` negatives rather than fill up.
    is_alignment_exact : bool
        Sample the true masks at bin centres.
    concentric_iou : float
        A region with the centre of a source, to a quarter of the smaller box, and at least this
        overlap is that source too, whatever `positive_iou`. 0: none is.

    Returns
    -------
    dict of tensor
        ``rois`` (N, T, 4), ``class_ids`` (N, T), ``deltas`` (N, P, 4), ``masks``
        (N, P, mask_size, mask_size) for the P leading slots, ``is_used`` (N, T).
    """
    n_positive_slots = max(1, int(n_rois * positive_fraction))
    overlaps = box_iou(proposals, gt_boxes)
    overlaps = ops.where((gt_class_ids > 0)[:, None], overlaps, 0.0)
    if concentric_iou > 0.0:
        overlaps = _raise_concentric(overlaps, proposals, gt_boxes, concentric_iou, positive_iou)
    best_iou = ops.max(overlaps, axis=2)
    is_real = ops.any(ops.abs(proposals) > 0.0, axis=2)
    is_positive = ops.logical_and(is_real, best_iou >= positive_iou)
    is_negative = ops.logical_and(is_real, best_iou < positive_iou)

    positive_index, positive_used = _choose(is_positive, priority, n_positive_slots)
    negative_index, negative_used = _choose(is_negative, priority, n_rois - n_positive_slots)
    if is_negative_count_tied:
        n_positive = ops.sum(ops.cast(positive_used, "float32"), axis=1, keepdims=True)
        n_negative = ops.floor(n_positive * np.float32(1.0 / positive_fraction)) - n_positive
        slots = np.arange(n_rois - n_positive_slots, dtype=np.float32)[None]
        negative_used = ops.logical_and(negative_used, slots < n_negative)

    best_gt = ops.take_along_axis(ops.argmax(overlaps, axis=2), positive_index, axis=1)
    positive_rois = _gather_rows(proposals, positive_index, positive_used)
    negative_rois = _gather_rows(proposals, negative_index, negative_used)
    boxes = ops.take_along_axis(gt_boxes, best_gt[..., None], axis=1)
    class_ids = ops.where(positive_used, ops.take_along_axis(gt_class_ids, best_gt, axis=1), 0)
    unit_box = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    safe_rois = ops.where(positive_used[..., None], positive_rois, unit_box)
    safe_boxes = ops.where(positive_used[..., None], boxes, unit_box)
    deltas = encode_boxes(safe_rois, safe_boxes) / np.array(box_std, np.float32)
    masks = _mask_targets(safe_rois, safe_boxes, gt_masks, best_gt, mask_size, is_alignment_exact)
    return {
        "rois": ops.concatenate([positive_rois, negative_rois], axis=1),
        "class_ids": ops.concatenate(
            [class_ids, ops.zeros_like(negative_index, dtype=class_ids.dtype)], axis=1
        ),
        "is_used": ops.concatenate([positive_used, negative_used], axis=1),
        "deltas": deltas,
        "masks": masks,
    }


def _raise_concentric(overlaps, proposals, gt_boxes, least_iou: float, positive_iou: float):
    """Lift the overlaps (N, R, G) of regions with the centre of a source above `positive_iou`."""
    is_concentric = are_concentric(proposals, gt_boxes, fraction=CONCENTRIC_FRACTION)
    is_concentric = ops.logical_and(is_concentric, overlaps >= least_iou)
    return ops.where(is_concentric, positive_iou + (1.0 - positive_iou) * overlaps, overlaps)


def _choose(is_candidate, priority, n_slots: int):
    """Row indices of at most `n_slots` candidates by priority, and which slots are used."""
    ranked = ops.where(is_candidate, priority, -1.0)
    k = min(n_slots, ranked.shape[1])
    best, index = ops.top_k(ranked, k)
    pad = [[0, 0], [0, n_slots - k]]
    return ops.pad(index, pad), ops.pad(best, pad, constant_values=-1.0) >= 0.0


def _gather_rows(rows, index, is_used):
    return ops.take_along_axis(rows, index[..., None], axis=1) * ops.cast(
        is_used[..., None], rows.dtype
    )


def _mask_targets(rois, boxes, gt_masks, best_gt, mask_size: int, is_alignment_exact: bool):
    """Crop each true mask to its region: both boxes in one frame, the mask fills its box."""
    height = (boxes[..., 2] - boxes[..., 0])[..., None]
    width = (boxes[..., 3] - boxes[..., 1])[..., None]
    scale = ops.concatenate([height, width, height, width], axis=-1)
    origin = ops.concatenate([boxes[..., :2], boxes[..., :2]], axis=-1)
    local = (rois - origin) / scale
    n_slots = best_gt.shape[1]
    side = gt_masks.shape[-1]
    if is_alignment_exact:
        # The mask fills its box: M cells of size 1 / M.
        n_cells = np.full((1, 1, 2), side, np.float32)
        local = bin_centres(local, mask_size, n_cells, np.full((1, 1), 1.0 / side, np.float32))
    chosen = ops.take_along_axis(gt_masks, best_gt[..., None, None], axis=1)
    cropped = crop_masks(
        ops.reshape(chosen, (-1, side, side)),
        ops.reshape(local, (-1, 4)),
        mask_size,
        edge_slack=0.5 if is_alignment_exact else 0.0,
    )
    return ops.round(ops.reshape(cropped, (-1, n_slots, mask_size, mask_size)))
