"""astro_rcnn.rpn: scores of anchors, and the proposals made of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import referee
from backends import numpy, quick

from astro_rcnn.anchors import pyramid_anchors
from astro_rcnn.rpn import proposal_network, propose

pytestmark = pytest.mark.backend

OPTIONS = {"box_std": (0.1, 0.1, 0.2, 0.2), "n_before": 30, "iou_threshold": 0.5}


def test_outputs_come_in_the_order_of_the_anchors():
    """A bright cell answers in the rows of the anchors that are centred on it."""
    network = proposal_network(width=1, channels=1, n_ratios=2, stride=1)
    centre = np.zeros((3, 3, 1, 1), np.float32)
    centre[1, 1] = 1
    network.get_layer("rpn_conv_shared").set_weights([centre, np.zeros(1)])
    scores = np.array([0, 1, 0, 2], np.float32).reshape(1, 1, 1, 4)  # (background, source) x ratio
    network.get_layer("rpn_class_raw").set_weights([scores, np.zeros(4)])
    features = np.zeros((1, 4, 6, 1), np.float32)
    features[0, 2, 5] = 1
    logits, deltas = (numpy(output) for output in network(features))
    assert logits.shape == (1, 48, 2) and deltas.shape == (1, 48, 4)
    anchors = pyramid_anchors((32, 48), levels=(3,), scales=(8.0,), ratios=(1.0, 4.0))
    for ratio, score in ((0, 1), (1, 2)):
        (row,) = np.flatnonzero(logits[0, :, 1] == score)
        y, x = (anchors[row, :2] + anchors[row, 2:]) / 2
        assert (y, x) == (16, 40) and row % 2 == ratio


def test_proposals_agree_with_the_referee(rng):
    anchors = pyramid_anchors((64, 64), levels=(3, 4), scales=(8.0, 16.0), ratios=(1.0, 2.0)) / 64
    scores = rng.permuted(np.tile(np.linspace(0, 1, len(anchors)), (2, 1)), axis=1)
    deltas = rng.normal(size=(2, len(anchors), 4)).astype(np.float32)
    run = quick(partial(propose, n_proposals=12, **OPTIONS))
    found = numpy(run(scores.astype(np.float32), deltas, anchors))
    for n in range(2):
        best = np.argsort(-scores[n])[:30]
        moves = deltas[n, best] * np.array(OPTIONS["box_std"])
        boxes = np.clip(
            [referee.decode(a, d) for a, d in zip(anchors[best], moves, strict=True)], 0, 1
        )
        kept = boxes[referee.suppress(boxes, scores[n, best], 12, 0.5)]
        np.testing.assert_allclose(found[n, : len(kept)], kept, atol=1e-5)
        assert not found[n, len(kept) :].any()


def test_fewer_anchors_than_proposals_leave_rows_of_zeros():
    anchors = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    run = quick(partial(propose, n_proposals=5, **OPTIONS))
    found = numpy(run(np.array([[0.2, 0.9]], "f4"), np.zeros((1, 2, 4), "f4"), anchors))
    np.testing.assert_allclose(found[0], [anchors[1], anchors[0], *np.zeros((3, 4))], atol=1e-6)
