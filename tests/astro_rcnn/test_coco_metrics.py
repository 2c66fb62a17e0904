from __future__ import annotations

import math

import numpy as np
import pytest

from astro_rcnn.coco_metrics import CocoCollector, coco_scores, independent_parts
from astro_rcnn.metrics import ScoredImage, mask_iou, pooled_ranking

NAMES = ("background", "star", "galaxy")
SHAPE = (60, 80)


def squares(*corners, side=8):
    """Return boxes and full masks of squares at (y, x)."""
    boxes = np.array([(y, x, y + side, x + side) for y, x in corners], int).reshape(-1, 4)
    return boxes, [np.ones((side, side), bool)] * len(corners)


def test_perfect_detections_give_100():
    coco = CocoCollector()
    boxes, masks = squares((5, 5), (5, 30), (30, 40))
    classes = np.array([1, 2, 2])
    coco.add(SHAPE, (boxes, masks, classes), (boxes, masks, classes, np.array([0.9, 0.8, 0.7])))
    scores = coco_scores(coco, NAMES)
    for name in ("star", "galaxy", "all"):
        for key in ("AP", "AP50", "AP75", "AP_S", "AR"):
            assert scores[name][key] == pytest.approx(100)
    assert math.isnan(scores["star"]["AP_L"])


def test_no_detection_gives_zero_and_no_truth_nan():
    coco = CocoCollector()
    boxes, masks = squares((5, 5))
    nothing, no_masks = squares()
    coco.add(SHAPE, (boxes, masks, np.array([1])), (nothing, no_masks, nothing[:, 0], np.zeros(0)))
    scores = coco_scores(coco, NAMES)
    assert scores["star"]["AP"] == 0
    assert math.isnan(scores["galaxy"]["AP"])
    assert scores["all"]["AP"] == 0  # the mean over the classes that occur


def test_an_ignored_source_does_not_count():
    coco = CocoCollector()
    boxes, masks = squares((5, 5), (30, 40))
    found, found_masks = squares((5, 5))
    coco.add(
        SHAPE,
        (boxes, masks, np.array([1, 1])),
        (found, found_masks, np.array([1]), np.array([0.9])),
        ignored=np.array([False, True]),
    )
    assert coco_scores(coco, NAMES)["star"]["AP"] == pytest.approx(100)


def test_more_than_100_detections_an_image_count():
    corners = [(4 * row, 4 * column) for row in range(12) for column in range(15)]
    boxes, masks = squares(*corners, side=3)
    classes = np.full(len(corners), 2)
    coco = CocoCollector()
    coco.add(SHAPE, (boxes, masks, classes), (boxes, masks, classes, np.linspace(1, 0.5, 180)))
    assert coco_scores(coco, NAMES)["galaxy"]["AR"] == pytest.approx(100)


def test_pooled_ranking_agrees_with_pycocotools(rng):
    """AP50 from our pooled ranking, read at COCO's 101 levels, equals COCOeval's."""
    coco, images = CocoCollector(), []
    for _ in range(3):
        corners = [(12 * row, 13 * column) for row in range(4) for column in range(6)]
        boxes, masks = squares(*corners)
        shifted = np.clip(boxes + rng.integers(-2, 3, (24, 1)), 0, 1000)
        shifted = np.minimum(shifted, [52, 72, 60, 80])
        shifted[:, 2:] = shifted[:, :2] + 8
        kept = rng.random(24) < 0.8
        scores = np.sort(rng.random(kept.sum()))[::-1]
        ones = np.ones(24, int)
        found_masks = [masks[0]] * int(kept.sum())
        coco.add(SHAPE, (boxes, masks, ones), (shifted[kept], found_masks, ones[kept], scores))
        images.append(
            ScoredImage(
                truth_class=ones,
                truth_area=np.full(24, 64.0),
                truth_ignored=np.zeros(24, bool),
                class_ids=ones[kept],
                scores=scores,
                areas=np.full(kept.sum(), 64.0),
                iou=mask_iou(shifted[kept], found_masks, boxes, masks),
            )
        )
    found, _, n_truth = pooled_ranking(images, 1, 0.5)
    n_true = np.cumsum(found)
    precision = n_true / np.arange(1, len(found) + 1)
    levels = [
        max((p for p, t in zip(precision, n_true, strict=True) if t / n_truth >= r), default=0.0)
        for r in np.linspace(0, 1, 101)
    ]
    ours = 100 * np.mean(levels)
    assert 30 < ours < 95  # a case that can fail
    assert coco_scores(coco, NAMES)["star"]["AP50"] == pytest.approx(ours, abs=1e-6)


def crowded_image(rng, n=60):
    """Squares of 5 to 11 px anywhere, most of them overlapping; detections are shifted ones."""
    corners, sides = rng.integers(0, 48, (n, 2)), rng.integers(5, 12, (n, 1))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    found = np.clip(boxes + rng.integers(-1, 2, (n, 1)), 0, 60)
    found[:, 2:] = found[:, :2] + sides
    masks = tuple(np.ones((int(side), int(side)), bool) for side in sides[:, 0])
    classes, guessed = rng.integers(1, 3, (2, n))
    scores = rng.permutation(n) / n
    return (boxes, masks, classes), (found, masks, guessed, scores), rng.random(n) < 0.2


def test_parts_give_what_whole_images_give(rng, monkeypatch):
    """COCOeval on parts of images, and on images whole; with truth that is ignored."""
    images = [crowded_image(rng) for _ in range(3)]
    scores = []
    for members in (10, 10**9):
        monkeypatch.setattr("astro_rcnn.coco_metrics.PART_MEMBERS", members)
        coco = CocoCollector()
        for truth, found, ignored in images:
            coco.add((60, 60), truth, found, ignored=ignored)
        scores.append((len(coco.images), coco_scores(coco, NAMES)))
    (n_parts, in_parts), (n_whole, whole) = scores
    assert n_whole == 3 and n_parts > 12
    assert 10 < whole["all"]["AP"] < 90
    for name, row in whole.items():
        assert in_parts[name] == pytest.approx(row, abs=1e-9, nan_ok=True)


def test_what_may_match_stays_together():
    may_match = np.zeros((3, 4), bool)
    may_match[0, [1, 2]] = may_match[2, 2] = True
    parts = list(independent_parts(may_match))
    assert len(parts) == 1  # so few members are not worth dividing
    assert sorted(np.concatenate([part[0] for part in parts])) == [0, 1, 2]
    (found, true), *more = independent_parts(np.zeros((0, 0), bool))
    assert len(found) == len(true) == 0 and not more
    chain = np.eye(200, dtype=bool) | np.eye(200, k=1, dtype=bool)
    assert len(list(independent_parts(chain))) == 1
    assert len(list(independent_parts(np.eye(200, dtype=bool)))) == 8  # 400 members by 50
