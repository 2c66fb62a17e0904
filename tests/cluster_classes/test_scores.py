from __future__ import annotations

import numpy as np
import pytest

from cluster_cnn.classes.scores import (
    calibration_error,
    class_scores,
    confusion_matrix,
    f1_scores,
    row_shares,
    spread_of_runs,
)

IDS = (1, 2, 4)


def test_confusion_rows_are_truth():
    truth, chosen = np.array([1, 1, 2, 4, 4]), np.array([1, 2, 2, 4, 0])
    matrix = confusion_matrix(truth, chosen, IDS)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(row_shares(matrix)[0], [50, 50, 0])
    assert np.isnan(row_shares(np.zeros((2, 2), int))).all()


def test_scores_by_hand():
    truth = np.array([1, 2, 4, 4])
    p = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [np.nan] * 3])
    scores = class_scores(truth, p, np.array([0.1, 0.9, 0.2, np.nan]), IDS)
    assert scores["accuracy"] == 50.0  # the one without an answer counts as wrong
    assert scores["per_class"]["1"] == 100.0
    assert scores["per_class"]["2"] == 0.0
    assert scores["entropy"]["right"] == pytest.approx(0.15)
    assert scores["entropy"]["wrong"] == pytest.approx(0.9)
    assert scores["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.8]).mean())
    assert scores["two_class"] == {"accuracy": 100.0, "completeness": 100.0, "purity": 100.0}


def test_calibration_error_of_honest_and_of_boastful_answers(rng):
    confidence = rng.uniform(0.5, 1.0, 20_000)
    honest = rng.random(20_000) < confidence
    assert calibration_error(honest, confidence) < 0.02
    assert calibration_error(honest, np.ones(20_000)) == pytest.approx(0.25, abs=0.02)
    assert np.isnan(calibration_error(np.zeros(0, bool), np.zeros(0)))


def test_one_class_for_everything_has_a_low_f1():
    """Of 10 objects 4 are of class 2: purity 0.4, completeness 1; 2 x 0.4 / 1.4 = 4 / 7."""
    matrix = np.array([[0, 6, 0], [0, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(f1_scores(matrix), [0, 400 / 7, np.nan])


def test_spread_of_runs_is_that_of_a_sample():
    """90 and 94: mean 92, deviation sqrt(8) = 2.83."""
    runs = [
        {"accuracy": a, "per_class": {"1": a}, "confusion_percent": [[a, 100 - a], [3.0, 97.0]]}
        for a in (90.0, 94.0)
    ]
    spread = spread_of_runs(runs)
    assert spread["accuracy"] == pytest.approx([92.0, 8**0.5])
    assert spread["n_runs"] == 2
    assert spread["confusion_percent"][0][1] == pytest.approx([8.0, 8**0.5])
    assert spread["confusion_percent"][1] == [[3.0, 0.0], [97.0, 0.0]]
    assert spread_of_runs(runs[:1])["accuracy"] == [90.0, 0.0]
