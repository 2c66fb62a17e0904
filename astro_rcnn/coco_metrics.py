"""Average precision the COCO way: all images pooled, by pycocotools.

Beside the paper's own scores, for comparison with other detectors.  Differences: detections of all
images are ranked together, 101 recall levels, size classes by *mask* area (limits 16^2 and 32^2 px
as in the paper, since 32^2 and 96^2 would leave hardly a source "large").
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astro_rcnn.metrics import LARGE_ABOVE_PX2, SMALL_BELOW_PX2, mask_iou

AREA_RANGES_PX2 = {
    "all": [0.0, 1e10],
    "S": [0.0, SMALL_BELOW_PX2],
    "M": [SMALL_BELOW_PX2, LARGE_ABOVE_PX2],
    "L": [LARGE_ABOVE_PX2, 1e10],
}
"""Mask areas of the size classes; limits count on both sides, as in COCO."""

MAY_MATCH_IOU = 0.45
"""Pairs below can match at none of COCO's thresholds, 0.5 and more."""

PART_MEMBERS = 50
"""Detections and truth in a part of an image, about."""

MIN_MAX_DETECTIONS = 300
"""COCO looks at 100 detections an image; star fields have more sources than that."""


@dataclass
class CocoCollector:
    """Collects truth and detections as run-length codes, image by image, each in parts.

    Attributes
    ----------
    images, truth, detections : list of dict
        Records in COCO's form.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    detections: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        shape: tuple[int, int],
        truth: tuple[np.ndarray, Sequence[np.ndarray], np.ndarray],
        detections: tuple[np.ndarray, Sequence[np.ndarray], np.ndarray, np.ndarray],
        *,
        ignored: np.ndarray | None = None,
    ) -> None:
        """Add one image.

        Parameters
        ----------
        shape : tuple of int
            Height and width.
        truth : tuple
            Mask boxes (G, 4), masks, class ids (G,).
        detections : tuple
            Mask boxes (D, 4), masks, class ids (D,), scores (D,). Empty masks are kept: they
            match nothing.
        ignored : ndarray of bool, shape (G,), optional
            Truth that does not count; COCO knows it as a crowd.
        """
        is_crowd = np.zeros(len(truth[1]), int) if ignored is None else np.asarray(ignored, int)
        overlap = mask_iou(detections[0], detections[1], truth[0], truth[1])
        may_match = (overlap >= MAY_MATCH_IOU) | ((overlap > 0) & (is_crowd[None, :] > 0))
        for found, true in independent_parts(may_match):
            image_id = len(self.images) + 1
            self.images.append({"id": image_id, "height": shape[0], "width": shape[1]})
            records = _records(shape, image_id, *_taken(truth, true), first_id=len(self.truth) + 1)
            for record, crowd in zip(records, is_crowd[true].tolist(), strict=True):
                self.truth.append({**record, "iscrowd": crowd})
            chosen = _taken(detections[:3], found)
            records = _records(shape, image_id, *chosen, first_id=len(self.detections) + 1)
            for record, score in zip(records, detections[3][found].tolist(), strict=True):
                self.detections.append({**record, "score": score})


def independent_parts(may_match: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide detections and truth into parts that cannot match across.

    COCOeval compares every detection of an image with every truth, in Python, ten times over: of
    a field with thousands of sources it takes hours. Parts given as images of their own give the
    same matches, and all images are ranked together anyway.

    Parameters
    ----------
    may_match : ndarray of bool, shape (D, G)

    Yields
    ------
    found, true : ndarray of int
        Indices of detections and of truth; each occurs once. At least one part comes.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_found, n_true = may_match.shape
    rows, columns = np.nonzero(may_match)
    edges = (rows, n_found + columns)
    size = n_found + n_true
    graph = coo_array((np.ones(len(rows), bool), edges), shape=(size, size))
    groups = connected_components(graph, directed=False)[1]
    # whole groups, bundled until a part has so many members
    counts = np.bincount(groups, minlength=1)
    part_of_group = (np.cumsum(counts) - counts) // PART_MEMBERS
    parts = part_of_group[groups]
    for part in np.unique(parts) if size else [0]:
        members = np.flatnonzero(parts == part)
        yield members[members < n_found], members[members >= n_found] - n_found


def _taken(
    fields: tuple[np.ndarray, Sequence[np.ndarray], np.ndarray], index: np.ndarray
) -> tuple[np.ndarray, Sequence[np.ndarray], np.ndarray]:
    """Take rows of mask boxes, masks and class ids."""
    boxes, masks, class_ids = fields
    return boxes[index], [masks[i] for i in index], class_ids[index]


def _records(
    shape: tuple[int, int],
    image_id: int,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray],
    class_ids: np.ndarray,
    *,
    first_id: int,
) -> list[dict[str, Any]]:
    """Encode the masks of one image as full-size run-length codes."""
    from pycocotools import mask as coco_mask

    frame = np.zeros(shape, np.uint8, order="F")
    records = []
    for i, ((y1, x1, y2, x2), mask) in enumerate(zip(boxes, masks, strict=True)):
        frame[y1:y2, x1:x2] = mask
        records.append(
            {
                "id": first_id + i,
                "image_id": image_id,
                "category_id": int(class_ids[i]),
                "segmentation": coco_mask.encode(frame),
                "area": float(np.count_nonzero(mask)),
            }
        )
        frame[y1:y2, x1:x2] = 0
    return records


def coco_scores(collected: CocoCollector, class_names: Sequence[str]) -> dict[str, dict]:
    """Run COCOeval on what was collected.

    Parameters
    ----------
    collected : CocoCollector
    class_names : sequence of str
        Background first.

    Returns
    -------
    dict
        For each class and ``all`` (the mean over classes that occur): ``AP``, ``AP50``,
        ``AP75``, ``AP_S``, ``AP_M``, ``AP_L`` (mean over IoU, unlike the paper's) and ``AR``,
        in per cent; NaN without such a source.
    """
    from pycocotools.cocoeval import COCOeval

    categories = [{"id": i, "name": name} for i, name in enumerate(class_names) if i > 0]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(collected.images, categories, collected.truth)
        found = _index(collected.images, categories, collected.detections)
        run = COCOeval(truth, found, "segm")
        run.params.areaRng = list(AREA_RANGES_PX2.values())
        run.params.areaRngLbl = list(AREA_RANGES_PX2)
        run.params.maxDets = [_most_per_image(collected)]
        run.evaluate()
        run.accumulate()
    precision = _without_missing(run.eval["precision"][..., 0])  # IoU, recall, class, size
    recall = _without_missing(run.eval["recall"][..., 0])  # IoU, class, size
    rows = {
        category["name"]: _row(precision[:, :, k], recall[:, k])
        for k, category in enumerate(categories)
    }
    keys = next(iter(rows.values()))
    rows["all"] = {key: _finite_mean(np.array([row[key] for row in rows.values()])) for key in keys}
    return rows


def _index(images: list, categories: list, annotations: list) -> Any:
    """Make a COCO object without a file; unlike ``loadRes`` it takes an empty list."""
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = {"images": images, "categories": categories, "annotations": annotations}
    index.createIndex()
    return index


def _most_per_image(collected: CocoCollector) -> int:
    """Return a limit on detections an image that leaves none out."""
    per_image = np.bincount([record["image_id"] for record in collected.detections] or [0])
    return max(MIN_MAX_DETECTIONS, int(per_image.max()))


def _without_missing(values: np.ndarray) -> np.ndarray:
    """Turn COCO's -1, "no such source", into NaN."""
    return np.where(values < 0, np.nan, values)


def _row(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """Scores of one class from precision (IoU, recall, size) and recall (IoU, size)."""
    by_iou = 100.0 * precision[..., 0].mean(axis=1)
    row = {"AP": float(by_iou.mean()), "AP50": float(by_iou[0]), "AP75": float(by_iou[5])}
    for k, label in enumerate(AREA_RANGES_PX2):
        if label != "all":
            row[f"AP_{label}"] = float(100.0 * precision[..., k].mean())
    row["AR"] = float(100.0 * recall[..., 0].mean())
    return row


def _finite_mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN of none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
