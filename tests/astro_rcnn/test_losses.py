"""astro_rcnn.losses: by hand, and against a second implementation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import referee
from keras import ops

from astro_rcnn import losses

pytestmark = pytest.mark.backend


def test_smooth_l1_by_hand():
    found = losses.smooth_l1(np.array([0, 0.5, -0.5, 1, -3], np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(found), [0, 0.125, 0.125, 0.5, 2.5])


def test_anchor_class_loss_averages_over_anchors_that_are_not_neutral():
    match = np.array([[1, -1, 0, 0]], np.int32)
    # Certain of background; log 2 where both are equal; the neutral ones would cost 100.
    logits = np.array([[[0, 0], [50, 0], [0, 100], [100, 0]]], np.float32)
    assert float(losses.anchor_class_loss(match, logits)) == pytest.approx(np.log(2) / 2)


def test_anchor_box_loss_looks_at_positive_anchors_only():
    match = np.array([[1, -1, 0]], np.int32)
    target, found = np.zeros((1, 3, 4), np.float32), np.full((1, 3, 4), 9, np.float32)
    found[0, 0] = [0.5, 0, 0, 3]  # (0.125 + 2.5) / 4
    assert float(losses.anchor_box_loss(match, target, found)) == pytest.approx(2.625 / 4)


def test_box_loss_takes_the_deltas_of_the_true_class():
    deltas = np.full((1, 2, 3, 4), 9, np.float32)
    deltas[0, 0, 2] = 1.5  # 1.5 - 0.5
    ids = np.array([[2, 0]], np.int32)
    assert float(losses.box_loss(ids, np.zeros((1, 2, 4), "f4"), deltas)) == pytest.approx(1.0)


def test_mask_loss_takes_the_mask_of_the_true_class_and_clips():
    masks = np.full((1, 2, 2, 2, 3), 0.5, np.float32)
    masks[0, 0, :, :, 1] = [[0.5, 1.0], [0.0, 0.25]]
    truth = np.zeros((1, 2, 2, 2), np.float32)
    truth[0, 0] = [[1, 1], [1, 0]]
    # -log: 1/2 -> log 2, 1 -> 0, 0 clipped to 1e-7 -> 7 log 10, 1 - 1/4 -> log 4/3.
    expected = (np.log(2) + 0 + 7 * np.log(10) + np.log(4 / 3)) / 4
    found = losses.mask_loss(np.array([[1, 0]], np.int32), truth, masks)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_class_loss_counts_what_it_is_told_to():
    logits = np.array([[[0, 0, 0], [0, 50, 0], [0, 0, 50]]], np.float32)
    ids = np.array([[1, 1, 0]], np.int32)
    every = float(losses.class_loss(ids, logits, np.ones((1, 3), bool)))
    assert every == pytest.approx((np.log(3) + 0 + 50) / 3)
    two = losses.class_loss(ids, logits, np.array([[True, True, False]]))
    assert float(two) == pytest.approx(np.log(3) / 2)


def test_losses_of_nothing_are_zero():
    none = np.zeros((1, 3), np.int32)
    values = [
        losses.anchor_class_loss(none, np.ones((1, 3, 2), "f4")),
        losses.anchor_box_loss(none, np.ones((1, 3, 4), "f4"), np.zeros((1, 3, 4), "f4")),
        losses.class_loss(none, np.ones((1, 3, 3), "f4"), np.zeros((1, 3), bool)),
        losses.box_loss(none, np.ones((1, 3, 4), "f4"), np.zeros((1, 3, 3, 4), "f4")),
        losses.mask_loss(none, np.ones((1, 3, 2, 2), "f4"), np.full((1, 3, 2, 2, 3), 0.5, "f4")),
    ]
    assert [float(value) for value in values] == [0.0] * 5


def test_anchor_losses_agree_with_the_referee(rng):
    match = rng.integers(-1, 2, (2, 30)).astype(np.int32)
    logits, target, deltas = (rng.normal(0, 2, (2, 30, k)).astype(np.float32) for k in (2, 4, 4))
    of_class, of_box = referee.losses(match, logits, target, deltas)
    assert float(losses.anchor_class_loss(match, logits)) == pytest.approx(of_class, rel=1e-5)
    assert float(losses.anchor_box_loss(match, target, deltas)) == pytest.approx(of_box, rel=1e-5)


def test_head_losses_agree_with_the_referee(rng):
    ids = np.zeros((2, 10), np.int32)
    ids[0, :3], ids[1, :4] = rng.integers(1, 3, 3), rng.integers(1, 3, 4)
    used = rng.uniform(size=(2, 10)) > 0.2
    logits = rng.normal(0, 2, (2, 10, 3)).astype(np.float32)
    target, deltas = (rng.normal(size=(2, 4, *k)).astype(np.float32) for k in ((4,), (3, 4)))
    truth = (rng.uniform(size=(2, 4, 6, 6)) > 0.5).astype(np.float32)
    masks = rng.uniform(size=(2, 4, 6, 6, 3)).astype(np.float32)
    expected = referee.head_losses(ids, used, logits, target, deltas, truth, masks)
    found = (
        losses.class_loss(ids, logits, used),
        losses.box_loss(ids[:, :4], target, deltas),
        losses.mask_loss(ids[:, :4], truth, masks),
    )
    np.testing.assert_allclose([float(value) for value in found], expected, rtol=1e-5)


def test_weight_decay_leaves_out_gamma_and_beta():
    dense, norm = keras.layers.Dense(2), keras.layers.BatchNormalization()
    dense.build((None, 1))
    norm.build((None, 3))
    dense.set_weights([np.array([[1.0, 3.0]]), np.array([2.0, 0.0])])
    # (1 + 9) / 2 + (4 + 0) / 2 = 7; gamma is 1 thrice.
    found = losses.weight_decay(dense.trainable_variables + norm.trainable_variables, 0.1)
    assert float(found) == pytest.approx(0.7)
    assert float(losses.weight_decay([], 0.1)) == 0.0
