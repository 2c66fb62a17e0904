"""astro_rcnn.boxes: IoU, encode and decode, clip, suppression."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import referee
from backends import numpy, quick

from astro_rcnn.boxes import (
    MAX_LOG_RATIO,
    box_iou,
    clip_boxes,
    decode_boxes,
    denormalize_boxes,
    encode_boxes,
    loop_suppression,
    non_max_suppression,
    normalize_boxes,
)

pytestmark = pytest.mark.backend


def random_boxes(rng, n: int, *, side: float = 100.0) -> np.ndarray:
    corner = rng.uniform(0, side, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 40, (n, 2))], 1).astype(np.float32)


def test_iou_of_a_shifted_square_is_one_third():
    # Squares of side 2, shifted by 1: intersection 2, union 4 + 4 - 2 = 6.
    first = np.array([[0, 0, 2, 2]], np.float32)
    second = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(numpy(box_iou(first, second)), [[1 / 3, 1 / 3, 1, 0]], rtol=1e-6)


def test_empty_boxes_overlap_nothing_not_even_themselves():
    boxes = np.array([[0, 0, 0, 0], [3, 3, 3, 8], [0, 0, 9, 9]], np.float32)
    np.testing.assert_array_equal(numpy(box_iou(boxes, boxes)), np.diag([0, 0, 1]))


def test_iou_agrees_with_the_referee(rng):
    first, second = random_boxes(rng, 30), random_boxes(rng, 20)
    second[3] = 0
    found = numpy(box_iou(first[None], second[None]))[0]
    np.testing.assert_allclose(found, referee.iou_table(first, second), atol=1e-5)


def test_deltas_by_hand():
    # The box is as high as the anchor and twice as wide; its centre lies 1 lower and 3 right.
    anchor = np.array([[0, 0, 4, 2]], np.float32)  # centre (2, 1)
    box = np.array([[1, 2, 5, 6]], np.float32)  # centre (3, 4)
    expected = [[1 / 4, 3 / 2, 0, np.log(2)]]
    np.testing.assert_allclose(numpy(encode_boxes(anchor, box)), expected, atol=1e-6)


def test_decode_is_the_inverse_of_encode(rng):
    anchors, boxes = random_boxes(rng, 50), random_boxes(rng, 50)
    deltas = encode_boxes(anchors, boxes)
    np.testing.assert_allclose(numpy(decode_boxes(anchors, deltas)), boxes, atol=2e-4)


def test_coding_agrees_with_the_referee(rng):
    anchors, boxes = random_boxes(rng, 10), random_boxes(rng, 10)
    expected = [referee.encode(a, b) for a, b in zip(anchors, boxes, strict=True)]
    np.testing.assert_allclose(numpy(encode_boxes(anchors, boxes)), expected, atol=1e-5)
    deltas = rng.normal(0, 0.5, (10, 4)).astype(np.float32)
    expected = [referee.decode(a, d) for a, d in zip(anchors, deltas, strict=True)]
    np.testing.assert_allclose(numpy(decode_boxes(anchors, deltas)), expected, rtol=1e-5, atol=1e-3)


def test_decode_keeps_absurd_sizes_finite():
    deltas = np.array([[0, 0, 200, -200]], np.float32)
    y1, x1, y2, x2 = numpy(decode_boxes(np.array([[0, 0, 2, 2]], np.float32), deltas))[0]
    assert y2 - y1 == pytest.approx(2 * np.exp(MAX_LOG_RATIO))
    assert x2 - x1 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("is_exact", [False, True])
def test_the_normalised_frame_and_back(is_exact):
    boxes = np.array([[0, 0, 64, 128], [8, 16, 24, 40]], np.float32)
    frame = normalize_boxes(boxes, (64, 128), is_exact=is_exact)
    # Whole image: corners 0 and 1 in both frames.
    np.testing.assert_allclose(frame[0], [0, 0, 1, 1])
    if is_exact:
        np.testing.assert_allclose(frame[1], [8 / 64, 16 / 128, 24 / 64, 40 / 128])
    else:
        np.testing.assert_allclose(frame[1], [8 / 63, 16 / 127, 23 / 63, 39 / 127])
    np.testing.assert_allclose(denormalize_boxes(frame, (64, 128), is_exact=is_exact), boxes, 1e-6)


def test_clip_holds_boxes_in_one_window_or_one_each():
    boxes = np.array([[[-3, 2, 5, 20]], [[-3, 2, 5, 20]]], np.float32)
    np.testing.assert_array_equal(numpy(clip_boxes(boxes, (0, 0, 4, 9)))[0], [[0, 2, 4, 9]])
    windows = np.array([[[0, 0, 4, 9]], [[6, 0, 9, 1]]], np.float32)
    expected = [[[0, 2, 4, 9]], [[6, 1, 6, 1]]]
    np.testing.assert_array_equal(numpy(clip_boxes(boxes, windows)), expected)


SUPPRESSORS = {
    "chosen": lambda boxes, scores, n, iou: quick(
        partial(non_max_suppression, max_boxes=n, iou_threshold=iou)
    )(boxes, scores),
    "loop": lambda boxes, scores, n, iou: quick(
        partial(loop_suppression, max_boxes=n, iou_threshold=iou)
    )(boxes, scores),
}


@pytest.mark.parametrize("name", SUPPRESSORS)
@pytest.mark.parametrize("iou_threshold", [0.1, 0.3, 0.7])
def test_suppression_agrees_with_the_referee(rng, name, iou_threshold):
    boxes = random_boxes(rng, 80)
    boxes[5:8] = 0
    scores = rng.uniform(-0.3, 1, 80).astype(np.float32)
    scores[20] = scores[21] = 0.5
    index, is_valid = SUPPRESSORS[name](boxes, scores, 25, iou_threshold)
    index, is_valid = numpy(index), numpy(is_valid)
    expected = referee.suppress(boxes, np.where(scores < 0, -1, scores), 25, iou_threshold)
    assert index[is_valid].tolist() == expected
    assert index.shape == is_valid.shape == (25,)
    assert not is_valid[len(expected) :].any() and not index[len(expected) :].any()


@pytest.mark.parametrize("name", SUPPRESSORS)
def test_suppression_by_hand(name):
    # Box 1 overlaps box 0 by 1/3, box 2 is alone, box 3 has a negative score.
    boxes = np.array([[0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 7, 7], [8, 8, 9, 9]], np.float32)
    scores = np.array([0.6, 0.9, 0.3, -1], np.float32)
    index, is_valid = SUPPRESSORS[name](boxes, scores, 4, 0.3)
    assert numpy(index).tolist() == [1, 2, 0, 0]
    assert numpy(is_valid).tolist() == [True, True, False, False]
    # An overlap of exactly the threshold is no more than the threshold.
    boxes = np.array([[0, 0, 2, 2], [0, 0, 1, 2]], np.float32)
    _, is_valid = SUPPRESSORS[name](boxes, scores[:2], 2, 0.5)
    assert numpy(is_valid).tolist() == [True, True]


@pytest.mark.parametrize("name", SUPPRESSORS)
def test_suppression_of_nothing_good_finds_nothing(name):
    boxes, scores = np.zeros((6, 4), np.float32), np.full(6, -1, np.float32)
    _, is_valid = SUPPRESSORS[name](boxes, scores, 3, 0.5)
    assert not numpy(is_valid).any()
