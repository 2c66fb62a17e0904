"""Mask R-CNN's arithmetic a second time: plain numpy, loops, float64, one image at a time.

Nothing here is taken from the package under test; where a choice is free, the priorities that a
caller gives decide, the largest first.
"""

from __future__ import annotations

import math

import numpy as np


def area(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(first, second) -> float:
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    intersection = max(height, 0.0) * max(width, 0.0)
    union = area(first) + area(second) - intersection
    return intersection / union if union > 0 else 0.0


def iou_table(first, second) -> np.ndarray:
    table = np.zeros((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i, j] = iou(one, other)
    return table


def encode(anchor, box) -> list[float]:
    height, width = anchor[2] - anchor[0], anchor[3] - anchor[1]
    y, x = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    box_y, box_x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [
        (box_y - y) / height,
        (box_x - x) / width,
        math.log((box[2] - box[0]) / height),
        math.log((box[3] - box[1]) / width),
    ]


def decode(anchor, delta) -> list[float]:
    height, width = anchor[2] - anchor[0], anchor[3] - anchor[1]
    y = (anchor[0] + anchor[2]) / 2 + delta[0] * height
    x = (anchor[1] + anchor[3]) / 2 + delta[1] * width
    height, width = height * math.exp(delta[2]), width * math.exp(delta[3])
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def suppress(boxes, scores, max_boxes: int, iou_threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if scores[index] < 0 or len(kept) == max_boxes:
            break
        if all(iou(boxes[index], boxes[other]) <= iou_threshold for other in kept):
            kept.append(index)
    return kept


def anchors(shape, strides, scales, ratios) -> np.ndarray:
    rows = []
    for stride, scale in zip(strides, scales, strict=True):
        for y in range(0, shape[0], stride):
            for x in range(0, shape[1], stride):
                for ratio in ratios:
                    height, width = scale / math.sqrt(ratio), scale * math.sqrt(ratio)
                    rows.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    return np.array(rows)


def crop_and_resize(image, box, size: int) -> np.ndarray:
    """Sample (H, W, C) from edge to edge; 0 and 1 are the outermost cell centres; outside 0."""
    height, width, channels = image.shape
    result = np.zeros((size, size, channels))
    for i in range(size):
        y = (box[0] + (box[2] - box[0]) * i / (size - 1)) * (height - 1)
        for j in range(size):
            x = (box[1] + (box[3] - box[1]) * j / (size - 1)) * (width - 1)
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                result[i, j] = bilinear(image, y, x)
    return result


def align_exactly(image, box_px, cell_px: float, size: int) -> np.ndarray:
    """Sample (H, W, C) at bin centres; cell (i, j) is centred at ``(i + 1/2) cell_px``."""
    height, width, channels = image.shape
    result = np.zeros((size, size, channels))
    for i in range(size):
        y = (box_px[0] + (box_px[2] - box_px[0]) * (i + 0.5) / size) / cell_px - 0.5
        for j in range(size):
            x = (box_px[1] + (box_px[3] - box_px[1]) * (j + 0.5) / size) / cell_px - 0.5
            if -0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5:
                result[i, j] = bilinear(
                    image, min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
                )
    return result


def bilinear(image, y: float, x: float) -> np.ndarray:
    top, left = math.floor(y), math.floor(x)
    total = np.zeros(image.shape[2])
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            if row_weight * column_weight > 0:
                total += row_weight * column_weight * image[row, column]
    return total


def level_of(box, levels, canonical_size: float, canonical_level: int) -> int:
    """Return the position in `levels` of the level that a box is pooled from."""
    size = math.sqrt(max(area(box), 1e-12))
    level = canonical_level + round(math.log2(size / canonical_size))
    return levels.index(min(max(level, levels[0]), levels[-1]))


def anchor_targets(anchors_px, gt_boxes, priority, n_sampled, positive_iou, negative_iou, std):
    """Return labels (A,) and deltas (A, 4), zero where the label is not 1."""
    real = [box for box in gt_boxes if area(box) > 0]
    table = iou_table(anchors_px, real)
    label = np.zeros(len(anchors_px), int)
    for a in range(len(anchors_px)):
        best = max(table[a], default=0.0)
        label[a] = 1 if best >= positive_iou else -1 if best < negative_iou else 0
    for g in range(len(real)):
        if table[:, g].max() > 0:
            label[table[:, g] == table[:, g].max()] = 1
    by_priority = sorted(range(len(label)), key=lambda a: -priority[a])
    positives = [a for a in by_priority if label[a] == 1]
    negatives = [a for a in by_priority if label[a] == -1]
    label[positives[n_sampled // 2 :]] = 0
    n_positive = min(len(positives), n_sampled // 2)
    label[negatives[n_sampled - n_positive :]] = 0
    deltas = np.zeros((len(label), 4))
    for a in np.flatnonzero(label == 1):
        box = real[int(table[a].argmax())]
        deltas[a] = np.array(encode(anchors_px[a], box)) / std
    return label, deltas


def region_targets(
    proposals,
    class_ids,
    gt_boxes,
    gt_masks,
    priority,
    *,
    n_rois,
    fraction,
    positive_iou,
    std,
    size,
    is_tied,
    is_exact,
):
    """Return rois, class ids, used flags of all slots; deltas and masks of the positive slots."""
    real = [g for g in range(len(class_ids)) if class_ids[g] > 0]
    by_priority = sorted(range(len(proposals)), key=lambda r: -priority[r])
    positives, negatives = [], []
    for r in by_priority:
        if not np.any(proposals[r]):
            continue
        overlaps = [iou(proposals[r], gt_boxes[g]) for g in real]
        best = max(overlaps, default=0.0)
        if best >= positive_iou:
            positives.append((r, real[int(np.argmax(overlaps))]))
        else:
            negatives.append(r)
    n_slots = max(1, int(n_rois * fraction))
    positives = positives[:n_slots]
    n_negative = n_rois - n_slots
    if is_tied:
        n_negative = min(n_negative, math.floor(len(positives) / fraction) - len(positives))
    negatives = negatives[:n_negative]
    rois, ids = np.zeros((n_rois, 4)), np.zeros(n_rois, int)
    used, deltas = np.zeros(n_rois, bool), np.zeros((n_slots, 4))
    masks = np.zeros((n_slots, size, size))
    for slot, (r, g) in enumerate(positives):
        rois[slot], ids[slot], used[slot] = proposals[r], class_ids[g], True
        deltas[slot] = np.array(encode(proposals[r], gt_boxes[g])) / std
        masks[slot] = mask_target(proposals[r], gt_boxes[g], gt_masks[g], size, is_exact)
    for slot, r in enumerate(negatives, start=n_slots):
        rois[slot], used[slot] = proposals[r], True
    return rois, ids, used, deltas, masks


def mask_target(roi, box, mask, size: int, is_exact: bool) -> np.ndarray:
    height, width = box[2] - box[0], box[3] - box[1]
    local = [
        (roi[0] - box[0]) / height,
        (roi[1] - box[1]) / width,
        (roi[2] - box[0]) / height,
        (roi[3] - box[1]) / width,
    ]
    pixels = mask[..., None].astype(float)
    if is_exact:
        sampled = align_exactly(pixels, local, 1 / len(mask), size)
    else:
        sampled = crop_and_resize(pixels, local, size)
    return np.round(sampled[..., 0])


def entropy(logits, class_id: int) -> float:
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[class_id]


def smooth_l1(difference: float) -> float:
    size = abs(difference)
    return size**2 / 2 if size < 1 else size - 0.5


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def losses(match, anchor_logits, anchor_targets, anchor_deltas):
    """Return the class and box loss of anchors, all arrays of one batch (N, A, ...)."""
    of_class = mean(
        entropy(anchor_logits[n, a], int(match[n, a] == 1)) for n, a in np.argwhere(match != 0)
    )
    of_box = mean(
        smooth_l1(value)
        for n, a in np.argwhere(match == 1)
        for value in anchor_targets[n, a] - anchor_deltas[n, a]
    )
    return of_class, of_box


def head_losses(class_ids, used, logits, target_deltas, deltas, target_masks, masks):
    """Return class, box and mask loss of regions; deltas and masks of the leading slots."""
    of_class = mean(entropy(logits[n, t], class_ids[n, t]) for n, t in np.argwhere(used))
    positive = np.argwhere(class_ids[:, : target_deltas.shape[1]] > 0)
    of_box = mean(
        smooth_l1(value)
        for n, p in positive
        for value in target_deltas[n, p] - deltas[n, p, class_ids[n, p]]
    )
    of_mask = []
    for n, p in positive:
        truth, found = target_masks[n, p], masks[n, p, :, :, class_ids[n, p]]
        found = np.clip(found, 1e-7, 1 - 1e-7)
        of_mask.extend(-np.where(truth == 1, np.log(found), np.log(1 - found)).ravel())
    return of_class, of_box, mean(of_mask)


def convolve(image, kernel, bias=None, *, stride: int = 1) -> np.ndarray:
    """2-D convolution with TensorFlow's "same" padding: (H, W, B) and (k, k, B, C)."""
    k = kernel.shape[0]
    sizes = [-(-side // stride) for side in image.shape[:2]]
    lacking = [
        max((n - 1) * stride + k - side, 0) for n, side in zip(sizes, image.shape, strict=False)
    ]
    padded = np.pad(image, [*((n // 2, n - n // 2) for n in lacking), (0, 0)])
    result = np.zeros((*sizes, kernel.shape[3]))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            window = padded[i * stride : i * stride + k, j * stride : j * stride + k]
            result[i, j] = np.tensordot(window, kernel, axes=3)
    return result if bias is None else result + bias


def batch_norm(x, gamma, beta, mean_, variance, epsilon: float = 1e-3) -> np.ndarray:
    return (x - mean_) / np.sqrt(variance + epsilon) * gamma + beta
