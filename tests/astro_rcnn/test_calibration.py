from __future__ import annotations

import math

import numpy as np
import pytest

from astro_rcnn.calibration import (
    TEMPERATURE_RANGE,
    apply_temperature,
    fit_temperature,
    reliability,
    shift_score,
)


def test_reliability_by_hand():
    # two bins. Low: scores .2 .4, none true: |0 - .3| = .3. High: .6 .8 1, two of three true:
    # |2/3 - .8| = 2/15. Error: (2 x .3 + 3 x 2/15) / 5 = (.6 + .4) / 5 = .2
    scores = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    result = reliability(scores, np.array([False, False, True, False, True]), n_bins=2)
    np.testing.assert_array_equal(result.count, [2, 3])
    np.testing.assert_allclose(result.mean_score, [0.3, 0.8])
    np.testing.assert_allclose(result.accuracy, [0.0, 2 / 3])
    assert result.expected_error == pytest.approx(0.2)


def test_empty_bins_are_nan_and_do_not_count():
    result = reliability(np.array([0.95]), np.array([True]), n_bins=10)
    assert np.isnan(result.accuracy[:9]).all()
    assert result.expected_error == pytest.approx(0.05)


def test_reliability_of_nothing():
    assert math.isnan(reliability(np.zeros(0), np.zeros(0, bool)).expected_error)


def test_temperature_undoes_a_known_sharpening(rng):
    # outcomes drawn from p; the detector reports softmax(2.5 log p): the fit must find T = 2.5
    logits = rng.normal(size=(20000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    outcome = (rng.random((20000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    sharp = p**2.5 / (p**2.5).sum(axis=1, keepdims=True)
    temperature = fit_temperature(sharp, outcome)
    assert temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(apply_temperature(sharp, 2.5), p, rtol=1e-6)


def test_temperature_by_hand():
    # log-odds of (.9, .1) are ln 9; three of four come true, log-odds ln 3 = ln 9 / 2: T = 2
    p = np.tile([0.1, 0.9], (4, 1))
    assert fit_temperature(p, np.array([1, 1, 1, 0])) == pytest.approx(2.0, rel=1e-6)


def test_temperature_one_changes_nothing():
    p = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(apply_temperature(p, 1.0), p)


def test_temperature_of_detections_that_are_always_right_is_the_lowest():
    assert fit_temperature(np.array([[0.2, 0.8]]), np.array([1])) == pytest.approx(
        TEMPERATURE_RANGE[0], rel=1e-6
    )


def test_probability_zero_stays_finite():
    assert np.isfinite(fit_temperature(np.array([[1.0, 0.0]]), np.array([1])))


def test_temperature_of_nothing_is_nan():
    assert math.isnan(fit_temperature(np.zeros((0, 3)), np.zeros(0, int)))


def test_a_limit_moves_with_the_scores():
    # log-odds of .9 are ln 9; halved, ln 3: .75. The scores move as apply_temperature moves them.
    assert shift_score(0.9, 2.0) == pytest.approx(0.75)
    both = apply_temperature(np.array([[0.1, 0.9]]), 2.0)
    np.testing.assert_allclose(both, [[0.25, 0.75]])
    assert shift_score(shift_score(0.65, 0.8), 1.25) == pytest.approx(0.65)
    assert (shift_score(0.0, 3.0), shift_score(1.0, 3.0)) == (0.0, 1.0)
