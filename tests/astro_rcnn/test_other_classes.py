"""Detections of the less probable classes of a source."""

from __future__ import annotations

import numpy as np

from astro_rcnn.other_classes import with_other_classes

SMALL, LARGE, FAR, NONE = (2, 2, 4, 4), (0, 0, 6, 6), (7, 7, 9, 9), (0, 0, 0, 0)


def found_two() -> dict[str, np.ndarray]:
    """A galaxy that may be a star, and a sure star; a row that is not in use."""
    class_boxes = [[NONE, LARGE, SMALL], [NONE, FAR, FAR], [NONE, NONE, NONE]]
    return {
        "boxes": np.array([[SMALL, FAR, NONE]], np.float32),
        "class_ids": np.array([[2, 1, 0]], np.int32),
        "scores": np.array([[0.6, 0.95, 0.0]], np.float32),
        "probabilities": np.array([[(0.1, 0.3, 0.6), (0.04, 0.95, 0.01), NONE[:3]]], np.float32),
        "class_boxes": np.array([class_boxes], np.float32),
        "is_full": np.array([False]),
    }


def test_a_less_probable_class_has_its_own_box_and_score():
    listed = with_other_classes(found_two(), least=0.05, below=0.5)
    assert listed["class_ids"].tolist() == [[1, 2, 1]]
    np.testing.assert_allclose(listed["scores"], [[0.95, 0.6, 0.3]])
    np.testing.assert_array_equal(listed["boxes"][0], [FAR, SMALL, LARGE])
    np.testing.assert_allclose(listed["probabilities"][0, 2], (0.1, 0.3, 0.6))
    assert not listed["is_full"][0]


def test_what_is_too_unlikely_or_too_likely_is_not_listed():
    assert with_other_classes(found_two(), least=0.05, below=0.3)["class_ids"].tolist() == [[1, 2]]
    everything = with_other_classes(found_two(), least=0.0, below=0.5)
    assert everything["class_ids"].tolist() == [[1, 2, 1, 2]]


def test_a_class_without_a_box_is_not_listed():
    found = found_two()
    found["class_boxes"][0, 0, 1] = (3, 3, 3, 5)
    assert with_other_classes(found, least=0.05, below=0.5)["class_ids"].tolist() == [[1, 2]]


def test_images_of_different_number_are_padded_and_empty_ones_stay_empty():
    two = {k: np.concatenate([v, np.zeros_like(v)]) for k, v in found_two().items()}
    listed = with_other_classes(two, least=0.05, below=0.5)
    assert listed["class_ids"].tolist() == [[1, 2, 1], [0, 0, 0]]
    assert not listed["boxes"][1].any() and not listed["scores"][1].any()
    none = {k: v[1:] for k, v in two.items()}
    assert with_other_classes(none, least=0.05, below=0.5)["boxes"].shape == (1, 0, 4)
