"""Calibration: levels that make intervals cover, temperature, and what is unusual."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from cluster_cnn.calibration import (
    LEVELS,
    Calibration,
    fit_temperature,
    level_table,
    whitening,
)


def test_levels_widen_intervals_that_are_too_narrow():
    # Errors twice as wide as the posterior says: the true 16 % level lies at 2 sigma below.
    z = ndtri((np.arange(20000) + 0.5) / 20000)
    table = level_table(ndtr(2 * z))
    assert np.interp(0.158655, LEVELS, table) == pytest.approx(ndtr(-2.0), abs=2e-3)
    assert np.interp(0.5, LEVELS, table) == pytest.approx(0.5, abs=1e-3)
    assert table[0] == 0.0 and table[-1] == 1.0 and (np.diff(table) >= 0).all()
    np.testing.assert_array_equal(level_table(np.empty(0)), LEVELS)


def test_a_perfect_posterior_keeps_its_levels():
    pit = (np.arange(10000) + 0.5) / 10000
    np.testing.assert_allclose(level_table(pit), LEVELS, atol=2e-3)


def test_temperature_makes_probabilities_come_true():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 2, 20000)
    truth = rng.random(20000) < 1 / (1 + np.exp(-honest))
    assert fit_temperature(3 * honest, truth) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature(honest, np.ones(20000, bool)) == 1.0


def test_whitened_features_of_usual_stamps_are_at_distance_one():
    rng = np.random.default_rng(2)
    features = rng.normal(0, 1, (5000, 4)) @ np.diag([1, 5, 0.2, 2]) + 3
    mean, matrix, limit = whitening(features)
    calibration = Calibration(
        levels=LEVELS[None],
        feature_mean=mean,
        feature_whitening=matrix,
        largest_distance=limit,
    )
    distance = calibration.distance(features)
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(1.0, rel=0.05)
    assert np.mean(distance > limit) == pytest.approx(0.001, abs=5e-4)
    assert calibration.distance(features[:1] + 40)[0] > 5 * limit
    assert whitening(features[:100])[2] == np.inf


def test_levels_where_a_parameter_is_known_fall_back_on_the_others():
    levels = np.stack([LEVELS, LEVELS**2, np.sqrt(LEVELS)])
    calibration = Calibration(levels=levels, known_levels={"av": np.stack([LEVELS, LEVELS**3])})
    half = np.array([0.5])
    np.testing.assert_allclose(calibration.parameter_levels(half).ravel(), [0.5, 0.25, 0.5**0.5])
    np.testing.assert_allclose(calibration.levels_given("av", 1)(half).ravel(), [0.5, 0.125])
    np.testing.assert_allclose(calibration.levels_given("log_age", 0)(half)[0], [0.25])


def test_a_calibration_survives_json():
    calibration = Calibration(
        levels=np.stack([LEVELS, LEVELS**2]),
        known_levels={"av": LEVELS[None]},
        temperature=1.5,
        spread=np.diag([0.1, 0.2]),
        n_stamps=7,
    )
    back = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    np.testing.assert_allclose(back.levels, calibration.levels, atol=1e-6)
    np.testing.assert_allclose(back.known_levels["av"], LEVELS[None], atol=1e-6)
    assert back.temperature == 1.5 and back.n_stamps == 7 and back.largest_distance == np.inf
    np.testing.assert_array_equal(back.spread, np.diag([0.1, 0.2]))
    assert Calibration.from_dict(Calibration.identity(2).to_dict()).feature_mean.size == 0
