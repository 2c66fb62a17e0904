"""Hand-computed scores, and a second implementation as referee."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from astro_rcnn.metrics import (
    ScoredImage,
    confusion_matrix,
    greedy_match,
    image_precision,
    interpolated_precision,
    mask_iou,
    mean_precision,
    paper_scores,
    precision_at_recall,
    roc_curve,
)

STAR, GALAXY = 1, 2


def scored(iou, truth_class, class_ids, scores=None, *, truth_area=None, areas=None, ignored=None):
    """Return a ScoredImage from lists; areas are small, scores fall, unless given."""
    n_found, n_truth = len(class_ids), len(truth_class)
    return ScoredImage(
        truth_class=np.array(truth_class, int),
        truth_area=np.full(n_truth, 100.0) if truth_area is None else np.array(truth_area, float),
        truth_ignored=np.zeros(n_truth, bool) if ignored is None else np.array(ignored),
        class_ids=np.array(class_ids, int),
        scores=np.linspace(0.9, 0.5, n_found) if scores is None else np.array(scores),
        areas=np.full(n_found, 100.0) if areas is None else np.array(areas, float),
        iou=np.array(iou, np.float32).reshape(n_found, n_truth),
    )


def random_image(rng, n_truth=12, n_found=15):
    """Return an image with few large overlaps, many small ones, and both classes."""
    iou = rng.uniform(0, 1, (n_found, n_truth)) * (rng.random((n_found, n_truth)) < 0.3)
    return scored(
        iou,
        rng.integers(1, 3, n_truth),
        rng.integers(1, 3, n_found),
        np.sort(rng.random(n_found))[::-1],
        truth_area=rng.uniform(50, 2000, n_truth),
        areas=rng.uniform(50, 2000, n_found),
    )


# --- mask IoU ---------------------------------------------------------------------------------


def test_mask_iou_of_shifted_squares():
    # 4x4 squares two columns apart: 4 x 2 = 8 shared of 16 + 16 - 8 = 24 pixels
    boxes_a, boxes_b = np.array([[0, 0, 4, 4]]), np.array([[0, 2, 4, 6], [0, 4, 4, 8]])
    full = np.ones((4, 4), bool)
    iou = mask_iou(boxes_a, [full], boxes_b, [full, full])
    np.testing.assert_allclose(iou, [[8 / 24, 0.0]], rtol=1e-6)


def test_mask_iou_equals_that_of_full_frames(rng):
    shape, frames, boxes, masks = (40, 60), [], [], []
    for _ in range(20):
        y1, x1 = rng.integers(0, 30), rng.integers(0, 45)
        mask = rng.random((rng.integers(1, 11), rng.integers(1, 16))) < 0.6
        frame = np.zeros(shape, bool)
        frame[y1 : y1 + mask.shape[0], x1 : x1 + mask.shape[1]] = mask
        frames.append(frame.ravel())
        boxes.append([y1, x1, y1 + mask.shape[0], x1 + mask.shape[1]])
        masks.append(mask)
    flat = np.array(frames, float)
    shared = flat @ flat.T
    union = flat.sum(1)[:, None] + flat.sum(1)[None] - shared
    np.testing.assert_allclose(
        mask_iou(np.array(boxes), masks, np.array(boxes), masks), shared / union, rtol=1e-6
    )


def test_mask_iou_of_nothing():
    empty, box = np.zeros((0, 4), int), np.array([[2, 3, 5, 9]])
    assert mask_iou(empty, [], box, [np.ones((3, 6), bool)]).shape == (0, 1)
    assert mask_iou(box, [np.ones((3, 6), bool)], empty, []).shape == (1, 0)
    # an empty mask overlaps nothing, not even itself
    assert mask_iou(box, [np.zeros((3, 6), bool)], box, [np.zeros((3, 6), bool)])[0, 0] == 0


def test_mask_iou_of_a_crowded_field_is_fast(rng):
    n = 150
    corners = rng.integers(0, 480, (n, 2))
    boxes = np.concatenate([corners, corners + 24], axis=1)
    masks = [np.ones((24, 24), bool)] * n
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        mask_iou(boxes, masks, boxes, masks)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


# --- matching ---------------------------------------------------------------------------------


def test_best_ranked_detection_chooses_first():
    # both like truth 0 best; the first gets it, the second has to take truth 1
    affinity = np.array([[0.6, 0.0], [0.9, 0.55]])
    np.testing.assert_array_equal(greedy_match(affinity, 0.5), [0, 1])


def test_a_duplicate_detection_stays_unmatched():
    np.testing.assert_array_equal(greedy_match(np.array([[0.9], [0.95]]), 0.5), [0, -1])


def test_iou_equal_to_the_threshold_matches():
    np.testing.assert_array_equal(greedy_match(np.array([[0.5], [0.49]]), 0.5), [0, -1])


def test_ignored_truth_is_taken_last_but_is_taken():
    affinity = np.array([[0.6, 0.9], [0.0, 0.8]])
    ignored = np.array([False, True])
    np.testing.assert_array_equal(greedy_match(affinity, 0.5, ignored=ignored), [0, 1])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_matching_nothing(shape):
    np.testing.assert_array_equal(greedy_match(np.zeros(shape), 0.5), np.full(shape[0], -1))


# --- average precision ------------------------------------------------------------------------


def test_interpolated_precision_by_hand():
    # true, false, true of 4: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2.
    # Levels 0 ... 0.24 and 0.25's neighbours up to 0.24 (13 levels: 0, .02 ... .24) see 1;
    # 0.26 ... 0.50 (13 levels) see 2/3; 0.52 ... 1 (25 levels) are not reached.
    curve = interpolated_precision(np.array([True, False, True]), 4)
    np.testing.assert_allclose(curve, [1.0] * 13 + [2 / 3] * 13 + [0.0] * 25)


def test_recall_levels_are_exact():
    # 4 of 5 is recall 0.8 exactly: level 40 (0.80) is reached, level 41 (0.82) is not
    curve = interpolated_precision(np.ones(4, bool), 5)
    assert curve[40] == 1.0 and curve[41] == 0.0


def test_average_precision_by_hand_with_miss_and_duplicate():
    # two stars; detections: hit on star 0, duplicate of star 0, nothing on star 1.
    # recall 1/2 at precision 1: levels 0 ... 0.50 are 26 of 51
    image = scored([[0.9, 0.0], [0.8, 0.0]], [STAR, STAR], [STAR, STAR])
    scores, curves = paper_scores([image], STAR)
    assert scores["AP50"] == pytest.approx(100 * 26 / 51)
    # the duplicate has IoU 0.8, the hit 0.9: found at 0.5 ... 0.9, that is 9 of 10 thresholds
    assert scores["AP"] == pytest.approx(100 * 26 / 51 * 9 / 10)
    assert curves.shape == (10, 51)


def test_perfect_detections_give_100():
    image = scored(np.eye(3), [STAR, GALAXY, GALAXY], [STAR, GALAXY, GALAXY])
    for class_id in (STAR, GALAXY, None):
        scores, _ = paper_scores([image, image], class_id)
        assert scores["AP"] == scores["AP50"] == scores["AP75"] == scores["AP_S"] == 100
        assert math.isnan(scores["AP_M"]) and math.isnan(scores["AP_L"])


def test_an_image_without_the_class_is_left_out_of_its_mean():
    with_star = scored([[1.0]], [STAR], [STAR])
    only_galaxy = scored([[1.0]], [GALAXY], [STAR])  # a false star, too
    scores, _ = paper_scores([with_star, only_galaxy], STAR)
    assert scores["AP50"] == 100
    # combined: 100 in the first; in the second the class is wrong, 0: the mean is 50
    assert paper_scores([with_star, only_galaxy], None)[0]["AP50"] == 50


def test_an_image_without_detections_counts_as_zero():
    found = scored([[1.0]], [STAR], [STAR])
    missed = scored(np.zeros((0, 1)), [STAR], [])
    assert paper_scores([found, missed], STAR)[0]["AP50"] == 50


def test_no_such_source_gives_nan():
    nothing = scored(np.zeros((0, 0)), [], [])
    assert image_precision(nothing, 0.5) is None
    assert np.isnan(mean_precision([nothing], 0.5)).all()
    assert all(math.isnan(value) for value in paper_scores([nothing], STAR)[0].values())


def test_combined_needs_the_same_class():
    wrong = scored([[1.0]], [STAR], [GALAXY])
    assert paper_scores([wrong], None)[0]["AP50"] == 0


def test_size_classes_by_hand():
    # galaxies of 15x15, 20x20 and 40x40 px; the large one is missed, the others are found.
    image = scored(
        [[1, 0, 0], [0, 1, 0]],
        [GALAXY] * 3,
        [GALAXY] * 2,
        truth_area=[225, 400, 1600],
        areas=[225, 400],
    )
    scores, _ = paper_scores([image], GALAXY)
    assert (scores["AP_S"], scores["AP_M"], scores["AP_L"]) == (100, 100, 0)


def test_detections_of_another_size_are_ignored_unless_matched():
    # small truth found by the second detection; the first, unmatched, is large: not held
    # against AP_S, but a false positive for AP50: precision 1/2 at every level
    image = scored([[0.0], [1.0]], [STAR], [STAR, STAR], truth_area=[100], areas=[2000, 100])
    scores, _ = paper_scores([image], STAR)
    assert scores["AP_S"] == 100
    assert scores["AP50"] == pytest.approx(50)


def test_a_large_detection_matched_to_small_truth_counts_as_small():
    image = scored([[0.6]], [STAR], [STAR], truth_area=[100], areas=[2000])
    assert paper_scores([image], STAR)[0]["AP_S"] == 100


@pytest.mark.parametrize(
    ("area", "size"), [(255.9, "S"), (256.0, "M"), (1024.0, "M"), (1024.1, "L")]
)
def test_limits_of_the_size_classes(area, size):
    image = scored([[1.0]], [STAR], [STAR], truth_area=[area], areas=[area])
    scores, _ = paper_scores([image], STAR)
    assert {key for key in "SML" if not math.isnan(scores[f"AP_{key}"])} == {size}


def test_ignored_truth_is_neither_asked_for_nor_held_against():
    # the ignored star is missed in one image and found in the other: no difference
    missed = scored([[1.0, 0.0]], [STAR, STAR], [STAR], ignored=[False, True])
    found = scored(np.eye(2), [STAR, STAR], [STAR, STAR], ignored=[False, True])
    assert paper_scores([missed], STAR)[0]["AP"] == paper_scores([found], STAR)[0]["AP"] == 100


def brute_force_precision(image, threshold):
    """Do what `image_precision` does with loops over pairs and levels, nothing shared."""
    taken, flags = set(), []
    for d in range(len(image.scores)):
        best, best_iou = None, 0.0
        for g in range(len(image.truth_class)):
            same = image.class_ids[d] == image.truth_class[g]
            if g not in taken and same and threshold <= image.iou[d, g] > best_iou:
                best, best_iou = g, image.iou[d, g]
        flags.append(best is not None)
        taken.add(best)
    curve = []
    for level in range(51):
        best = 0.0
        for k in range(1, len(flags) + 1):
            n_true = sum(flags[:k])
            if 50 * n_true >= level * len(image.truth_class):
                best = max(best, n_true / k)
        curve.append(best)
    return curve


def test_average_precision_equals_a_second_implementation(rng):
    for _ in range(20):
        image = random_image(rng)
        for threshold in (0.5, 0.75, 0.95):
            np.testing.assert_allclose(
                image_precision(image, threshold), brute_force_precision(image, threshold)
            )


# --- pooled scores ----------------------------------------------------------------------------


def test_precision_at_recall_by_hand():
    # five stars in two images. By score: true .9, true .8, false .7, true .6, true .5, false .4.
    # Recall 4/5 first at rank 5: precision 4/5 = 80 %.
    first = scored(
        [[1, 0, 0], [0, 0, 0], [0, 1, 0]], [STAR] * 3, [STAR] * 3, scores=[0.9, 0.7, 0.5]
    )
    second = scored([[1, 0], [0, 1], [0, 0]], [STAR] * 2, [STAR] * 3, scores=[0.8, 0.6, 0.4])
    assert precision_at_recall([first, second], STAR) == pytest.approx(80)


def test_precision_at_a_recall_out_of_reach_is_zero():
    image = scored([[1, 0]], [STAR] * 2, [STAR])
    assert precision_at_recall([image], STAR) == 0
    assert math.isnan(precision_at_recall([image], GALAXY))


def test_confusion_by_hand():
    # star found as star, star found as galaxy, galaxy found as galaxy with IoU 0.6 only
    image = scored(
        [[0.9, 0, 0], [0, 0.8, 0], [0, 0, 0.6]],
        [STAR, STAR, GALAXY],
        [STAR, GALAXY, GALAXY],
        scores=[0.9, 0.8, 0.6],
    )
    at_50 = confusion_matrix([image, image], 0.5, n_classes=2)
    np.testing.assert_array_equal(at_50, [[2, 2], [0, 2]])
    np.testing.assert_array_equal(confusion_matrix([image], 0.75, n_classes=2), [[1, 1], [0, 0]])
    np.testing.assert_array_equal(
        confusion_matrix([image], 0.5, n_classes=2, min_score=0.7), [[1, 1], [0, 0]]
    )


def test_confusion_leaves_ignored_truth_out():
    image = scored(np.eye(2), [STAR, GALAXY], [STAR, GALAXY], ignored=[True, False])
    np.testing.assert_array_equal(confusion_matrix([image], 0.5, n_classes=2), [[0, 0], [0, 1]])


def test_roc_by_hand():
    # positives .9 .4, negatives .6 .1: pairs won .9>.6, .9>.1, .4>.1; lost .4<.6: area 3/4
    false_rate, true_rate, area = roc_curve(
        np.array([True, False, True, False]), np.array([0.9, 0.6, 0.4, 0.1])
    )
    np.testing.assert_allclose(false_rate, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(true_rate, [0, 0.5, 0.5, 1, 1])
    assert area == pytest.approx(0.75)


def test_roc_counts_ties_one_half():
    assert roc_curve(np.array([True, False]), np.array([0.5, 0.5]))[2] == pytest.approx(0.5)


def test_roc_without_one_class_has_no_area():
    assert math.isnan(roc_curve(np.array([True, True]), np.array([0.5, 0.6]))[2])
    assert math.isnan(roc_curve(np.zeros(0, bool), np.zeros(0))[2])
