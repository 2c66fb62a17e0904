from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_rcnn.detector import Detector, let_through
from astro_rcnn.model import build_model
from astro_rcnn.weights_file import save_weights

IMAGE = (np.random.default_rng(2).normal(size=(64, 96, 3)) * 5).astype(np.float32)


def test_more_detections_need_more_regions_and_anchors():
    """Thirty detections: sixty regions of at least 120 anchors; it looks at 200 anyway."""
    settings = let_through(TINY_MODEL, 30)
    assert (settings.max_detections, settings.post_nms_inference) == (30, 60)
    assert settings.pre_nms_limit == 200


def test_fewer_detections_do_not_blind_the_network():
    assert let_through(TINY_MODEL, 3) == replace(TINY_MODEL, max_detections=3)


@pytest.fixture
def weights(tmp_path):
    """A file of a tiny network that takes everything for a source."""
    model = build_model(replace(TINY_MODEL, min_confidence=0.0, drops_background=False), seed=0)
    path = tmp_path / "tiny.weights.h5"
    save_weights(model, path)
    return path


def test_the_limit_is_said_and_known_to_the_result(weights):
    few = Detector.load(weights, max_detections=2)
    many = Detector.load(weights, max_detections=2000)
    assert few.describe()["max_detections"] == "2"
    found = few.detect(IMAGE)
    assert len(found) == 2 and found.is_full
    assert not many.detect(IMAGE).is_full


def test_every_class_of_a_source_is_listed_where_that_is_asked_for(weights):
    best = Detector.load(weights, max_detections=5).detect(IMAGE)
    both = Detector.load(weights, max_detections=5, other_classes_below=0.5).detect(IMAGE)
    assert (np.diff(both.scores) <= 0).all() and len(both) == 10
    is_best = both.probabilities[:, 1:].argmax(axis=1) + 1 == both.class_ids
    np.testing.assert_array_equal(both.take(is_best).boxes, best.boxes)
    others = both.take(~is_best)
    own = others.probabilities[np.arange(len(others)), others.class_ids]
    np.testing.assert_array_equal(others.scores, own)
