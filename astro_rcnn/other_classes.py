"""Detections of every class that a region may be, for scores that are asked of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def with_other_classes(
    found: Mapping[str, np.ndarray], *, least: float, below: float
) -> dict[str, np.ndarray]:
    """List the less probable classes of each detection too, each with its own box and score.

    Precision and recall of a class are asked over all scores: a source that is a galaxy with 0.7
    and a star with 0.3 answers for either. So score torchvision, Detectron2 and others for COCO
    (a detection for each class of a region); Matterport's Mask R-CNN knows the best one alone.

    Parameters
    ----------
    found : mapping of str to ndarray
        As `astro_rcnn.detection_layer.refine_detections` returns it for N images and D rows.
    least, below : float
        Less probable classes are listed from `least` on where they lie under `below`.

    Returns
    -------
    dict of str to ndarray
        ``boxes`` (N, E, 4), ``class_ids`` (N, E), ``scores`` (N, E) and ``probabilities``
        (N, E, C), best score first, zeros in unused rows; the rest as it was.
    """
    probabilities, class_boxes = found["probabilities"], found["class_boxes"]
    n_images, _, n_classes = probabilities.shape
    ids = np.arange(n_classes)
    is_used = (found["class_ids"] > 0)[..., None]
    is_best = ids == found["class_ids"][..., None]
    has_area = (class_boxes[..., 2:] > class_boxes[..., :2]).all(axis=-1)
    is_likely = (probabilities >= least) & (probabilities < below)
    is_listed = is_used & (ids > 0) & (is_best | (is_likely & has_area))

    scores = np.where(is_best, found["scores"][..., None], probabilities)
    boxes = np.where(is_best[..., None], found["boxes"][:, :, None], class_boxes)
    columns = {
        "boxes": boxes,
        "class_ids": np.broadcast_to(ids.astype(found["class_ids"].dtype), scores.shape),
        "scores": scores.astype(found["scores"].dtype),
        "probabilities": np.repeat(probabilities[:, :, None], n_classes, axis=2),
    }
    is_listed = is_listed.reshape(n_images, -1)
    rank = np.where(is_listed, scores.reshape(n_images, -1), -np.inf)
    order = np.argsort(-rank, axis=1, kind="stable")[:, : is_listed.sum(axis=1).max(initial=0)]
    rows = np.arange(n_images)[:, None]
    listed = {}
    for name, column in columns.items():
        flat = column.reshape(n_images, -1, *column.shape[3:])[rows, order]
        flat[~is_listed[rows, order]] = 0
        listed[name] = flat
    return {**found, **listed}
