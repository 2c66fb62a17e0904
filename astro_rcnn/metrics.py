"""Scores of detections against truth; numpy only.

Average precision follows Burke et al. 2019, MNRAS 490, 3952: per image and class, detections ranked
by confidence are matched greedily to the truth by mask IoU; precision is read at 51 levels of
recall; the mean over levels is averaged over images.  Where the paper is silent:

* *Interpolated precision.*  The precision at a level is the largest at this recall or beyond, as
  in Pascal VOC and COCO; 0 where the recall is not reached.
* *Images without the class* are left out of its mean.  An image with the class but without
  detections counts as 0.
* *Size classes* follow COCO: truth of another size is ignored, a detection takes truth of the
  right size before ignored truth, detections on ignored truth are ignored, and so are unmatched
  detections whose own box has another size.  An area of exactly 16^2 or 32^2 is "medium".
* *Combined* ranks both classes together; a match needs the same class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 ... 0.95."""

RECALL_STEPS = 50
"""Recall levels 0, 1/50 ... 1: 51 of them."""

SIZES = ("S", "M", "L")
"""Small, medium and large by bounding-box area."""

SMALL_BELOW_PX2, LARGE_ABOVE_PX2 = 16.0**2, 32.0**2
"""Limits of the paper's size classes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredImage:
    """What scoring needs to know of one image with G true sources and D detections.

    Attributes
    ----------
    truth_class : ndarray of int, shape (G,)
        Class of each true source, from 1.
    truth_area : ndarray of float, shape (G,)
        Area of its bounding box, px^2.
    truth_ignored : ndarray of bool, shape (G,)
        Neither asked for nor held against a detection.
    class_ids, scores, areas : ndarray, shape (D,)
        Class, confidence and box area of each detection, best score first.
    iou : ndarray of float32, shape (D, G)
        Mask IoU of every pair, whatever the classes.
    """

    truth_class: np.ndarray
    truth_area: np.ndarray
    truth_ignored: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    iou: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and order."""
        shape = (len(self.scores), len(self.truth_class))
        assert self.iou.shape == shape, f"IoU {self.iou.shape} for {shape}"
        assert np.all(np.diff(self.scores) <= 0), "detections must come best score first"

    def only(self, class_id: int) -> ScoredImage:
        """Return the truth and the detections of one class."""
        return self.take(self.truth_class == class_id, self.class_ids == class_id)

    def take(self, truth: np.ndarray, found: np.ndarray) -> ScoredImage:
        """Return some of the truth and of the detections: ndarrays of bool, shapes (G,), (D,)."""
        return ScoredImage(
            truth_class=self.truth_class[truth],
            truth_area=self.truth_area[truth],
            truth_ignored=self.truth_ignored[truth],
            class_ids=self.class_ids[found],
            scores=self.scores[found],
            areas=self.areas[found],
            iou=self.iou[np.ix_(found, truth)],
        )

    def same_class_iou(self) -> np.ndarray:
        """Return the IoU with 0 for pairs of different class, shape (D, G)."""
        return np.where(self.class_ids[:, None] == self.truth_class[None, :], self.iou, 0.0)


def mask_iou(
    boxes_a: np.ndarray,
    masks_a: Sequence[np.ndarray],
    boxes_b: np.ndarray,
    masks_b: Sequence[np.ndarray],
) -> np.ndarray:
    """Intersection over union of every pair of masks, from cut-outs alone.

    Only pairs whose boxes overlap are looked at, and of those only the shared rectangle.

    Parameters
    ----------
    boxes_a, boxes_b : ndarray of int, shape (A, 4) and (G, 4)
        ``y1, x1, y2, x2`` whole-pixel boxes that the masks fill.
    masks_a, masks_b : sequence of ndarray of bool
        One of shape ``(y2 - y1, x2 - x1)`` a box; all False is allowed and overlaps nothing.

    Returns
    -------
    ndarray of float32, shape (A, G)
    """
    iou = np.zeros((len(masks_a), len(masks_b)), np.float32)
    if iou.size == 0:
        return iou
    n_a = np.array([np.count_nonzero(mask) for mask in masks_a])
    n_b = np.array([np.count_nonzero(mask) for mask in masks_b])
    first, second = np.asarray(boxes_a)[:, None, :], np.asarray(boxes_b)[None, :, :]
    top_left = np.maximum(first[..., :2], second[..., :2])
    bottom_right = np.minimum(first[..., 2:], second[..., 2:])
    for a, b in np.argwhere((bottom_right > top_left).all(axis=2)):
        (y1, x1), (y2, x2) = top_left[a, b], bottom_right[a, b]
        ya, xa = boxes_a[a][:2]
        yb, xb = boxes_b[b][:2]
        part_a = masks_a[a][y1 - ya : y2 - ya, x1 - xa : x2 - xa]
        part_b = masks_b[b][y1 - yb : y2 - yb, x1 - xb : x2 - xb]
        shared = np.count_nonzero(part_a & part_b)
        if shared:
            iou[a, b] = shared / (n_a[a] + n_b[b] - shared)
    return iou


def greedy_match(
    affinity: np.ndarray, threshold: float, *, ignored: np.ndarray | None = None
) -> np.ndarray:
    """Match detections to truth one to one, best-ranked detection first.

    Each detection takes, of the truth that is still free, the one of largest affinity, provided
    that it reaches the threshold.  Ignored truth is taken only where no other can be.

    Parameters
    ----------
    affinity : ndarray of float, shape (D, G)
        Mask IoU, or another measure of likeness; rows in rank order.
    threshold : float
        Smallest affinity of a match.
    ignored : ndarray of bool, shape (G,), optional
        Truth that does not count.

    Returns
    -------
    ndarray of int64, shape (D,)
        Index of the truth; -1 without a match.
    """
    match = np.full(len(affinity), -1, np.int64)
    # a preference above every affinity puts counting truth first, and keeps the order within
    preference = np.zeros(affinity.shape[1]) if ignored is None else np.where(ignored, 0.0, 1e3)
    rows, columns = np.nonzero(affinity >= threshold)
    wish = affinity[rows, columns] + preference[columns]
    order = np.lexsort((columns, -wish, rows))
    is_taken = np.zeros(affinity.shape[1], bool)
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if match[row] < 0 and not is_taken[column]:
            match[row] = column
            is_taken[column] = True
    return match


def interpolated_precision(found: np.ndarray, n_truth: int) -> np.ndarray:
    """Largest precision at or beyond each of 51 levels of recall.

    Parameters
    ----------
    found : ndarray of bool, shape (D,)
        Whether each detection is true, best score first.
    n_truth : int
        Number of true sources, at least 1.

    Returns
    -------
    ndarray of float64, shape (51,)
        At recall 0, 0.02 ... 1; 0 where the recall is not reached.
    """
    if len(found) == 0:
        return np.zeros(RECALL_STEPS + 1)
    n_true = np.cumsum(found)
    precision = n_true / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # recall >= level/50 in whole numbers, so that 4 of 5 is exactly 0.8
    needed = -(-np.arange(RECALL_STEPS + 1) * n_truth // RECALL_STEPS)
    first = np.searchsorted(n_true, needed, side="left")
    return np.append(envelope, 0.0)[first]


def image_precision(
    image: ScoredImage, threshold: float, *, size: str | None = None
) -> np.ndarray | None:
    """Interpolated precision of one image at one IoU; a match needs the same class.

    Parameters
    ----------
    image : ScoredImage
    threshold : float
        Smallest mask IoU of a match.
    size : {"S", "M", "L"}, optional
        Score only sources of this bounding-box area.

    Returns
    -------
    ndarray of float64, shape (51,), or None
        None where the image has no source to be found.
    """
    found, counts, n_truth = _ranked(image, threshold, size)
    return interpolated_precision(found[counts], n_truth) if n_truth else None


def mean_precision(
    images: Sequence[ScoredImage], threshold: float, *, size: str | None = None
) -> np.ndarray:
    """Average `image_precision` over the images that have a source to be found.

    Returns
    -------
    ndarray of float64, shape (51,)
        NaN throughout where no image has one.
    """
    curves = [image_precision(image, threshold, size=size) for image in images]
    counted = [curve for curve in curves if curve is not None]
    return np.mean(counted, axis=0) if counted else np.full(RECALL_STEPS + 1, np.nan)


def paper_scores(
    images: Sequence[ScoredImage], class_id: int | None = None
) -> tuple[dict[str, float], np.ndarray]:
    """Score one row of the paper's table.

    Parameters
    ----------
    images : sequence of ScoredImage
    class_id : int, optional
        One class; None for all classes combined.

    Returns
    -------
    scores : dict
        ``AP``, ``AP50``, ``AP75``, ``AP_S``, ``AP_M``, ``AP_L`` in per cent; NaN where there is
        no such source.
    curves : ndarray of float64, shape (10, 51)
        Precision, averaged over images, for each of `IOU_THRESHOLDS`.

    References
    ----------
    Burke et al. 2019, MNRAS 490, 3952, section 4 and table 1.
    """
    chosen = [image if class_id is None else image.only(class_id) for image in images]
    curves = np.array([mean_precision(chosen, threshold) for threshold in IOU_THRESHOLDS])
    by_iou = 100.0 * curves.mean(axis=1)
    scores = {
        "AP": float(by_iou.mean()),
        "AP50": float(by_iou[IOU_THRESHOLDS.index(0.5)]),
        "AP75": float(by_iou[IOU_THRESHOLDS.index(0.75)]),
    }
    for size in SIZES:
        scores[f"AP_{size}"] = float(100.0 * mean_precision(chosen, 0.5, size=size).mean())
    return scores, curves


def precision_at_recall(
    images: Sequence[ScoredImage], class_id: int, *, recall: float = 0.8, threshold: float = 0.5
) -> float:
    """Largest precision, over all images together, that still has this recall.

    Parameters
    ----------
    images : sequence of ScoredImage
    class_id : int
    recall : float
        Share of the true sources to be found, 0 to 1.
    threshold : float
        Smallest mask IoU of a match.

    Returns
    -------
    float
        Per cent; 0 where no score limit reaches the recall, NaN without a source to be found.
    """
    found, _, n_truth = pooled_ranking(images, class_id, threshold)
    if n_truth == 0:
        return float("nan")
    n_true = np.cumsum(found)
    # a hair less, so that 0.8 of 5, in floating point, asks for 4 and not 5
    enough = n_true >= recall * n_truth - 1e-9
    precision = n_true / np.arange(1, len(found) + 1)
    return float(100.0 * precision[enough].max(initial=0.0))


def pooled_ranking(
    images: Sequence[ScoredImage], class_id: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rank the detections of one class in all images together.

    Returns
    -------
    found : ndarray of bool, shape (D,)
        Whether each detection that counts is true, best score first.
    scores : ndarray of float, shape (D,)
        Their confidences.
    n_truth : int
        Number of true sources of the class.
    """
    found, scores, n_truth = [np.zeros(0, bool)], [np.zeros(0)], 0
    for image in (image.only(class_id) for image in images):
        is_true, counts, n_here = _ranked(image, threshold, None)
        found.append(is_true[counts])
        scores.append(image.scores[counts])
        n_truth += n_here
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return np.concatenate(found)[order], all_scores[order], n_truth


def confusion_matrix(
    images: Sequence[ScoredImage], threshold: float, *, n_classes: int, min_score: float = 0.0
) -> np.ndarray:
    """Count what true sources were taken for; sources are matched whatever their class.

    Parameters
    ----------
    images : sequence of ScoredImage
    threshold : float
        Smallest mask IoU of a match.
    n_classes : int
        Number of classes, background left out.
    min_score : float
        Detections of lower confidence are left out.

    Returns
    -------
    ndarray of int64, shape (n_classes, n_classes)
        Row: truth; column: detection.
    """
    counts = np.zeros((n_classes, n_classes), np.int64)
    for image in images:
        kept = image.scores >= min_score
        match = greedy_match(image.iou[kept], threshold, ignored=image.truth_ignored)
        hit = match >= 0
        hit[hit] = ~image.truth_ignored[match[hit]]
        np.add.at(counts, (image.truth_class[match[hit]] - 1, image.class_ids[kept][hit] - 1), 1)
    return counts


def roc_curve(is_positive: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Receiver operating characteristic of a number that should be large for positives.

    Parameters
    ----------
    is_positive : ndarray of bool, shape (N,)
    values : ndarray of float, shape (N,)
        Equal values share one point of the curve.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray of float64, shape (K,)
        From (0, 0) to (1, 1), as the limit on `values` falls.
    area : float
        Area under the curve: the chance that a positive has the larger value, ties counting one
        half; NaN where a class is missing.
    """
    n_positive = int(np.count_nonzero(is_positive))
    n_negative = len(is_positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0]), float("nan")
    order = np.argsort(-values, kind="stable")
    ranked, truth = values[order], np.asarray(is_positive, bool)[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true_rate = np.append(0.0, np.cumsum(truth)[last_of_ties] / n_positive)
    false_rate = np.append(0.0, np.cumsum(~truth)[last_of_ties] / n_negative)
    steps = np.diff(false_rate)
    return false_rate, true_rate, float((steps * (true_rate[1:] + true_rate[:-1]) / 2).sum())


def _ranked(
    image: ScoredImage, threshold: float, size: str | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Match one image; return which detections are true, which count, and the number of truth."""
    ignored = image.truth_ignored
    if size is not None:
        ignored = ignored | ~_has_size(image.truth_area, size)
    match = greedy_match(image.same_class_iou(), threshold, ignored=ignored)
    hit = match >= 0
    on_ignored = np.zeros(len(match), bool)
    on_ignored[hit] = ignored[match[hit]]
    counts = ~on_ignored
    if size is not None:
        counts &= hit | _has_size(image.areas, size)
    return hit & ~on_ignored, counts, int(np.count_nonzero(~ignored))


def _has_size(area: np.ndarray, size: str) -> np.ndarray:
    """Say which areas (px^2) belong to the size class S, M or L."""
    is_small, is_large = area < SMALL_BELOW_PX2, area > LARGE_ABOVE_PX2
    return {"S": is_small, "M": ~is_small & ~is_large, "L": is_large}[size]
