"""Bias, scatter and coverage of errors whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from cluster_cnn.evaluation import (
    class_scores,
    improvement,
    parameter_scores,
    visibility_scores,
)
from cluster_cnn.metrics import (
    cell_table,
    covariance_ellipse,
    coverage,
    error_statistics,
    largest_bias,
    table_edges,
)

GAUSS = ndtri((np.arange(2000) + 0.5) / 2000)
"""Evenly drawn from a Gaussian of sigma 1."""


def test_scatter_is_sigma_without_the_bias_and_outliers_do_not_count():
    numbers = error_statistics(0.1 + 0.2 * GAUSS)
    assert numbers["bias"] == pytest.approx(0.1, abs=1e-3)
    assert numbers["scatter"] == pytest.approx(0.2, rel=5e-3)
    assert numbers["rmse"] == pytest.approx(np.hypot(0.1, 0.2), rel=5e-3)
    wild = np.concatenate([0.2 * GAUSS, np.full(20, 50.0)])
    assert error_statistics(wild)["scatter"] == pytest.approx(0.2, rel=0.03)
    assert error_statistics(wild)["rmse"] > 4


def test_few_objects_have_no_numbers_and_nan_is_left_out():
    few = error_statistics(np.zeros(19))
    assert np.isnan(few["scatter"]) and few["n"] == 19
    assert error_statistics(np.append(np.ones(20), np.nan))["n"] == 20


def test_coverage_counts_what_lies_inside():
    truth = np.array([0.0, 1.0, 2.0, np.nan])
    assert coverage(truth, truth - 1, np.array([1.0, 0.5, 2.0, 9])) == pytest.approx(2 / 3)
    assert np.isnan(coverage(np.empty(0), np.empty(0), np.empty(0)))


def test_cells_hold_their_lower_edges_and_the_last_its_upper():
    age = np.repeat([7.0, 8.0, 9.0], 30)
    mass = np.full(90, 3.0)
    error = np.repeat([0.1, -0.2, 0.3], 30)
    cells = cell_table(error, age, mass, [7.0, 8.0, 9.0], [2.0, 3.0])
    assert [c["n"] for c in cells] == [30, 60]
    assert cells[0]["bias"] == pytest.approx(0.1)
    assert largest_bias(cells, oldest=8.0) == pytest.approx(0.1)
    assert largest_bias(cells, oldest=9.0) == pytest.approx(0.1)  # the other: 0.05
    assert np.isnan(largest_bias([], oldest=9.0))


def test_table_edges_stop_at_the_values_and_leave_no_sliver():
    values = np.array([6.6, 9.5])
    almost = np.array([6.5999, 9.52])
    np.testing.assert_allclose(table_edges(almost, (8.0,)), [6.6, 8.0, 9.5])
    np.testing.assert_allclose(table_edges(values, (6.6, 7.2, 9.0, 9.45, 10)), [6.6, 7.2, 9.0, 9.5])


def test_the_ellipse_leaves_outliers_out():
    rng = np.random.default_rng(1)
    points = rng.multivariate_normal([7.0, 3.0], [[0.04, 0.01], [0.01, 0.09]], 2000)
    mean, covariance = covariance_ellipse(np.concatenate([points, [[20.0, 30.0]] * 5]))
    np.testing.assert_allclose(mean, [7.0, 3.0], atol=0.02)
    np.testing.assert_allclose(covariance, [[0.04, 0.01], [0.01, 0.09]], atol=0.01)


def test_parameters_are_scored_overall_and_in_bins():
    n = len(GAUSS)
    truth = np.stack([np.linspace(6.6, 9.5, n), np.full(n, 3.0), np.full(n, np.log10(0.5))], 1)
    medians = truth + np.stack([0.1 * GAUSS, 0.2 * GAUSS, np.zeros(n)], 1)
    intervals = np.stack([medians - 0.1, medians + 0.1], axis=2)
    snr = np.where(np.arange(n) % 4 == 0, 30.0, 3.0)
    truth[0] = np.nan
    names = ("log_age", "log_mass", "log_radius")
    scores = parameter_scores(names, truth, medians, intervals, snr)
    assert scores["log_age"]["n"] == n - 1
    assert scores["log_age"]["coverage68"] == pytest.approx(0.6827, abs=0.01)
    # Half as wide as it should be: 38.3 per cent.
    assert scores["log_mass"]["coverage68"] == pytest.approx(0.383, abs=0.01)
    assert scores["log_mass"]["bright"]["n"] == (snr[1:] > 20).sum()
    assert sum(row["n"] for row in scores["log_age"]["by_age"]) == n - 1
    assert {row["n"] for row in scores["log_age"]["by_radius"]} == {0, n - 1}
    no_intervals = parameter_scores(names, truth, medians, None, snr)
    assert "coverage68" not in no_intervals["log_age"]
    half = {"log_age": {"scatter": 0.2}}
    assert improvement({"log_age": {"scatter": 0.13}}, half)["log_age"] == pytest.approx(35.0)


def test_classes_have_truth_in_rows():
    is_cluster = np.array([True, True, True, False])
    p = np.array([0.9, 0.8, 0.2, 0.4])
    scores = class_scores(is_cluster, p, np.zeros(4))
    assert scores["confusion"] == [[1, 0], [1, 2]]
    assert scores["accuracy"]["cluster"] == pytest.approx(200 / 3)
    assert class_scores(is_cluster, np.full(4, np.nan), np.zeros(4)) == {}
    assert class_scores(np.ones(4, bool), p, np.zeros(4)) == {}


def test_visibility_is_scored_where_it_is_known():
    log_snr = np.append(np.zeros(100), np.nan)
    scores = visibility_scores(log_snr, np.full(101, 0.1), np.full(101, 0.2))
    assert scores["bias"] == pytest.approx(0.1) and scores["coverage68"] == 1.0
