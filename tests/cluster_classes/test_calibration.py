from __future__ import annotations

import numpy as np
import pytest

from cluster_cnn.classes.calibration import (
    NOISE_MARGIN,
    ClassCalibration,
    fit_class_temperature,
    mean_probabilities,
)
from cluster_cnn.noise import NoiseRange


def test_mean_probabilities_by_hand():
    """Members say 1/4, 3/4 and 1/2, 1/2: on average 3/8, 5/8."""
    logits = np.log([[[1.0, 3.0]], [[1.0, 1.0]]])
    np.testing.assert_allclose(mean_probabilities(logits), [[3 / 8, 5 / 8]])


def test_temperature_of_overconfident_logits_is_found(rng):
    """Labels drawn from softmax(z), logits given as 3 z: temperature 3."""
    z = rng.normal(0, 1.5, (20_000, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    assert fit_class_temperature(3 * z[None], labels) == pytest.approx(3.0, rel=0.06)


def test_temperature_looks_through_known_label_noise(rng):
    z = rng.normal(0, 2, (20_000, 2))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    truth = (rng.random(len(p)) > p[:, 0]).astype(int)
    confusion = np.array([[0.8, 0.2], [0.3, 0.7]])
    labels = (rng.random(len(p)) > confusion[truth, 0]).astype(int)
    assert fit_class_temperature(2 * z[None], labels, confusion) == pytest.approx(2.0, rel=0.1)
    assert fit_class_temperature(2 * z[None], labels) > 2.5  # noise taken for doubt


def test_without_stamps_nothing_changes():
    assert fit_class_temperature(np.zeros((1, 0, 4)), np.zeros(0, int)) == 1.0
    empty = ClassCalibration()
    again = ClassCalibration.from_dict(empty.to_dict())
    assert again.largest_distance == np.inf
    np.testing.assert_array_equal(again.distance(np.ones((3, 5))), 0)


def test_weights_from_before_order_and_noise_were_learnt_are_read():
    values = ClassCalibration().to_dict()
    assert values.pop("order") is None
    assert values.pop("distances_kpc") == [None, None]
    assert values.pop("noise") is None
    again = ClassCalibration.from_dict(values)
    assert again.order is None and not again.noise.is_known
    assert again.is_far(np.array([18.0, np.nan, -1.0])).tolist() == [False, False, True]


def test_distance_that_no_training_object_has_is_far():
    """4 to 20 Mpc, a factor of 1.5 to either side; 18 was meant in Mpc."""
    calibration = ClassCalibration(distances_kpc=(4000.0, 20000.0))
    again = ClassCalibration.from_dict(calibration.to_dict())
    distances = np.array([18.0, -5.0, 0.0, 2600.0, 2700.0, 29000.0, 31000.0, np.nan])
    wanted = [True, True, True, True, False, False, True, False]
    assert again.is_far(distances).tolist() == wanted


def test_noise_round_trips(rng):
    noise = NoiseRange.of(rng.uniform(1, 2, (300, 2)), margin=NOISE_MARGIN)
    again = ClassCalibration.from_dict(ClassCalibration(noise=noise).to_dict()).noise
    np.testing.assert_allclose(again.levels, noise.levels, rtol=1e-4)
    # By a factor of two may stamps differ.
    odd = again.is_outside(np.array([[0.6, 1.5], [0.4, 1.5], [1.5, 3.9], [1.5, 4.1]]))
    assert odd.tolist() == [False, True, False, True]
