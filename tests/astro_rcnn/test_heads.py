"""astro_rcnn.heads: shapes, and the order of what a class owns."""

from __future__ import annotations

import numpy as np
import pytest
from backends import numpy

from astro_rcnn.heads import class_box_head, mask_head

pytestmark = pytest.mark.backend


def test_deltas_are_grouped_by_class():
    head = class_box_head(pool_size=3, width=2, channels=4, n_classes=3, is_frozen=True)
    head.get_layer("mrcnn_bbox_fc").set_weights([np.zeros((4, 12)), np.arange(12.0)])
    logits, deltas = (numpy(output) for output in head(np.ones((5, 3, 3, 2), np.float32)))
    assert logits.shape == (5, 3)
    np.testing.assert_allclose(deltas[4], np.arange(12.0).reshape(3, 4), atol=1e-6)


def test_masks_are_twice_as_fine_as_what_was_pooled_and_probabilities():
    head = mask_head(pool_size=5, width=2, channels=4, depth=2, n_classes=3, is_frozen=False)
    masks = numpy(head(np.random.default_rng(0).normal(0, 9, (2, 5, 5, 2)).astype(np.float32)))
    assert masks.shape == (2, 10, 10, 3)
    assert 0 <= masks.min() < masks.max() <= 1
    bias = np.array([-9.0, 0.0, 9.0])
    head.get_layer("mrcnn_mask").set_weights([np.zeros((1, 1, 4, 3)), bias])
    masks = numpy(head(np.zeros((1, 5, 5, 2), np.float32)))
    np.testing.assert_allclose(masks[0, 0, 0], 1 / (1 + np.exp(-bias)), rtol=1e-5)
