"""astro_rcnn.targets: what the network should say, against a second implementation."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import referee
from backends import compiled, numpy, quick

from astro_rcnn.anchors import pyramid_anchors
from astro_rcnn.targets import anchor_targets, region_targets

pytestmark = pytest.mark.backend

STD = np.array([0.1, 0.1, 0.2, 0.2])
# Whole-number boxes and these ratios have areas without rounding, so that ties are ties.
ANCHORS = pyramid_anchors((64, 64), levels=(3, 4), scales=(8.0, 16.0), ratios=(0.25, 1.0, 4.0))


def whole_boxes(rng, n: int, side: int = 64) -> np.ndarray:
    corner = rng.integers(0, side - 8, (n, 2))
    end = np.minimum(corner + rng.integers(4, 24, (n, 2)), side)
    return np.concatenate([corner, end], 1).astype(np.float32)


def truth(rng, n_images: int, n_slots: int):
    """Return class ids and boxes: a full image, one half full, and one without a source."""
    ids, boxes = np.zeros((n_images, n_slots), np.int32), np.zeros((n_images, n_slots, 4), "f4")
    for image, n in enumerate(np.linspace(n_slots, 0, n_images).astype(int)):
        boxes[image, :n] = whole_boxes(rng, n)
        ids[image, :n] = rng.integers(1, 3, n)
    return ids, boxes


def label(gt_boxes, priority, n_sampled: int = 40, compiler=quick):
    options = {"n_sampled": n_sampled, "positive_iou": 0.5, "negative_iou": 0.3}
    targets = partial(anchor_targets, **options, box_std=tuple(STD))
    match, deltas = compiler(targets)(ANCHORS, gt_boxes, priority)
    return numpy(match), numpy(deltas)


@pytest.mark.parametrize("n_sampled", [6, 40, 10_000])
def test_anchor_targets_agree_with_the_referee(rng, n_sampled):
    _, gt_boxes = truth(rng, 3, 6)
    priority = rng.permuted(np.tile(np.arange(len(ANCHORS)) / len(ANCHORS), (3, 1)), axis=1)
    match, deltas = label(gt_boxes, priority.astype(np.float32), n_sampled)
    assert np.isfinite(deltas).all()
    for n in range(3):
        expected, moves = referee.anchor_targets(
            ANCHORS.astype(float), gt_boxes[n].astype(float), priority[n], n_sampled, 0.5, 0.3, STD
        )
        np.testing.assert_array_equal(match[n], expected)
        where = expected == 1
        np.testing.assert_allclose(deltas[n][where], moves[where], atol=1e-4)


def test_half_of_the_sampled_anchors_at_most_are_positive(rng):
    gt_boxes = whole_boxes(rng, 30)[None]
    match, _ = label(gt_boxes, rng.uniform(size=(1, len(ANCHORS))).astype(np.float32), 10)
    assert (match == 1).sum() == 5 and (match == -1).sum() == 5


def test_a_source_that_no_anchor_fits_still_has_its_best_one():
    gt_boxes = np.array([[[20, 20, 22, 22], [0, 0, 0, 0]]], np.float32)  # IoU 4 / 64 at best
    match, _ = label(gt_boxes, np.zeros((1, len(ANCHORS)), np.float32) + 0.5, 10_000)
    best = referee.iou_table(ANCHORS, gt_boxes[0, :1])[:, 0]
    np.testing.assert_array_equal(match[0] == 1, best == best.max())


def test_an_image_without_a_source_is_all_background():
    match, deltas = label(np.zeros((1, 4, 4), np.float32), np.full((1, len(ANCHORS)), 0.5, "f4"))
    assert (match <= 0).all() and (match == -1).sum() >= 40
    assert np.isfinite(deltas).all()


def test_compiling_does_not_change_the_labels(rng):
    """The best anchor of a source is found by comparing overlaps for equality."""
    _, gt_boxes = truth(rng, 3, 6)
    gt_boxes = gt_boxes + rng.uniform(0, 1, gt_boxes.shape).astype(np.float32) * (gt_boxes > 0)
    priority = rng.uniform(size=(3, len(ANCHORS))).astype(np.float32)
    expected, _ = label(gt_boxes, priority, compiler=lambda function: function)
    found, _ = label(gt_boxes, priority, compiler=compiled)
    np.testing.assert_array_equal(found, expected)


def regions(rng, gt_boxes, n: int) -> np.ndarray:
    """Proposals: some near each true box, some anywhere, some padding; in units of 64 px."""
    rows = []
    for boxes in gt_boxes:
        real = boxes[boxes[:, 2] > 0]
        near = np.repeat(real, 3, axis=0) + rng.uniform(-2, 2, (3 * len(real), 4))
        far = whole_boxes(rng, n - len(near) - 4)
        rows.append(np.concatenate([near, far, np.zeros((4, 4))]))
    return (np.stack(rows) / 64).astype(np.float32)


def choose(proposals, ids, gt_boxes, masks, priority, **options) -> dict[str, np.ndarray]:
    targets = partial(region_targets, box_std=tuple(STD), positive_iou=0.5, **options)
    found = quick(targets)(proposals, ids, gt_boxes, masks, priority)
    return {name: numpy(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("n_rois", "is_tied", "is_exact"), [(9, False, False), (30, True, True), (60, False, True)]
)
def test_region_targets_agree_with_the_referee(rng, n_rois, is_tied, is_exact):
    ids, gt_boxes = truth(rng, 3, 6)
    proposals = regions(rng, gt_boxes, 40)
    gt_boxes = gt_boxes / 64
    masks = (rng.uniform(size=(3, 6, 8, 8)) > 0.4).astype(np.uint8)
    priority = rng.permuted(np.tile(np.arange(40) / 40, (3, 1)), axis=1).astype(np.float32)
    options = {"n_rois": n_rois, "positive_fraction": 0.33, "mask_size": 5}
    options |= {"is_negative_count_tied": is_tied, "is_alignment_exact": is_exact}
    found = choose(proposals, ids, gt_boxes, masks, priority, **options)
    assert all(np.isfinite(value).all() for value in found.values())
    for n in range(3):
        rois, class_ids, used, deltas, targets = referee.region_targets(
            proposals[n],
            ids[n],
            gt_boxes[n],
            masks[n],
            priority[n],
            n_rois=n_rois,
            fraction=0.33,
            positive_iou=0.5,
            std=STD,
            size=5,
            is_tied=is_tied,
            is_exact=is_exact,
        )
        np.testing.assert_array_equal(found["class_ids"][n], class_ids)
        np.testing.assert_array_equal(found["is_used"][n], used)
        np.testing.assert_allclose(found["rois"][n], rois, atol=1e-6)
        k = (class_ids > 0).sum()
        np.testing.assert_allclose(found["deltas"][n, :k], deltas[:k], atol=2e-4)
        # Sampled values of one half round either way.
        assert np.count_nonzero(found["masks"][n, :k] != targets[:k]) <= 0.005 * targets[:k].size


@pytest.mark.parametrize("is_exact", [False, True])
def test_fewer_proposals_than_slots_leave_slots_empty(is_exact):
    ids, gt_boxes = np.array([[1]], np.int32), np.array([[[0.2, 0.2, 0.6, 0.6]]], np.float32)
    proposals = np.array([[[0.2, 0.2, 0.6, 0.6], [0.7, 0.7, 0.9, 0.9]]], np.float32)
    found = choose(
        proposals,
        ids,
        gt_boxes,
        np.ones((1, 1, 8, 8), np.uint8),
        np.array([[0.3, 0.9]], np.float32),
        n_rois=10,
        positive_fraction=0.4,
        mask_size=4,
        is_negative_count_tied=False,
        is_alignment_exact=is_exact,
    )
    assert found["is_used"][0].tolist() == [True, *[False] * 3, True, *[False] * 5]
    assert found["class_ids"][0].tolist() == [1, *[0] * 9]
    np.testing.assert_allclose(found["deltas"][0], 0, atol=1e-6)
    if is_exact:
        # A proposal that is the true box has the whole mask. Without exact alignment rounding may
        # cost the last row, as it does in the reference, whose numbers depend on it.
        np.testing.assert_array_equal(found["masks"][0, 0], np.ones((4, 4)))


def test_a_region_with_the_centre_of_a_source_holds_it_too():
    """A star whose proposal has the size of a galaxy: a quarter of its box."""
    ids, gt_boxes = np.array([[1]], np.int32), np.array([[[0.4, 0.4, 0.6, 0.6]]], np.float32)
    centred, aside, tiny = [0.45, 0.45, 0.55, 0.55], [0.4, 0.4, 0.5, 0.5], [0.48, 0.48, 0.52, 0.52]
    arguments = (
        np.array([[centred, aside, tiny]], np.float32),
        ids,
        gt_boxes,
        np.ones((1, 1, 8, 8), np.uint8),
        np.array([[0.9, 0.8, 0.7]], np.float32),
    )
    options = {"n_rois": 10, "positive_fraction": 0.4, "mask_size": 4}
    options |= {"is_negative_count_tied": False, "is_alignment_exact": True}
    without = choose(*arguments, **options)
    assert without["class_ids"].sum() == 0 and without["is_used"].sum() == 3
    found = choose(*arguments, **options, concentric_iou=0.1)
    assert found["class_ids"][0].tolist() == [1, *[0] * 9] and found["is_used"].sum() == 3
    np.testing.assert_allclose(found["rois"][0, 0], centred)
    np.testing.assert_allclose(
        found["deltas"][0, 0], np.log(2) / 0.2 * np.r_[0, 0, 1, 1], atol=1e-5
    )
    np.testing.assert_array_equal(found["masks"][0, 0], np.ones((4, 4)))
