from __future__ import annotations

import math

import numpy as np

from astro_rcnn.completeness import (
    NEIGHBOUR_EDGES_PX,
    magnitude_edges,
    match_positions,
    nearest_neighbour,
    percent,
    rate_in_bins,
)


def test_positions_match_within_their_radius():
    truth = np.array([[10.0, 10.0], [20.0, 20.0]])
    # 3 px off: on the radius, a match; 5 px off: outside 3, but inside 6
    found = np.array([[10.0, 13.0], [23.0, 24.0]])
    np.testing.assert_array_equal(match_positions(found, truth, np.array([3.0, 3.0])), [0, -1])
    np.testing.assert_array_equal(match_positions(found, truth, np.array([3.0, 6.0])), [0, 1])


def test_positions_match_one_to_one():
    truth = np.array([[10.0, 10.0]])
    found = np.array([[10.0, 12.0], [10.0, 10.0]])  # the better ranked wins, not the nearer
    np.testing.assert_array_equal(match_positions(found, truth, np.array([3.0])), [0, -1])


def test_unknown_positions_match_nothing():
    truth = np.array([[10.0, 10.0]])
    found = np.array([[np.nan, 10.0]])
    np.testing.assert_array_equal(match_positions(found, truth, np.array([3.0])), [-1])


def test_ignored_truth_is_matched_last():
    truth = np.array([[10.0, 10.0], [10.0, 12.0]])
    found = np.array([[10.0, 10.0], [10.0, 11.0]])
    match = match_positions(found, truth, np.full(2, 3.0), ignored=np.array([True, False]))
    np.testing.assert_array_equal(match, [1, 0])


def test_nearest_neighbour_by_hand():
    # 3-4-5 triangle and a far point: 5, 5, and sqrt(13^2) = 13 from the second
    points = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 17.0]])
    np.testing.assert_allclose(nearest_neighbour(points), [5, 5, 13])
    assert nearest_neighbour(np.zeros((1, 2)))[0] == np.inf
    assert nearest_neighbour(np.zeros((0, 2))).shape == (0,)


def test_rates_in_bins_by_hand():
    values = np.array([20.1, 20.4, 20.5, 21.2, 99.0, np.nan])
    good = np.array([True, False, True, True, True, True])
    count, rate = rate_in_bins(values, good, np.array([20.0, 20.5, 21.0, 21.5]))
    np.testing.assert_array_equal(count, [2, 1, 1])  # 99 and NaN fall out
    np.testing.assert_allclose(rate, [50, 100, 100])


def test_an_empty_bin_has_no_rate():
    count, rate = rate_in_bins(np.zeros(0), np.zeros(0, bool), np.array([0.0, 1.0]))
    assert count[0] == 0 and math.isnan(rate[0])


def test_a_source_alone_falls_into_the_last_bin_of_distances():
    count, _ = rate_in_bins(np.array([np.inf]), np.array([True]), np.array(NEIGHBOUR_EDGES_PX))
    np.testing.assert_array_equal(count, [0] * 8 + [1])


def test_infinity_falls_out_of_closed_bins():
    count, _ = rate_in_bins(np.array([np.inf]), np.array([True]), np.array([0.0, 1.0]))
    assert count[0] == 0


def test_magnitude_edges_hold_all():
    np.testing.assert_allclose(
        magnitude_edges(np.array([20.2, 21.5, np.nan])), [20.0, 20.5, 21.0, 21.5, 22.0]
    )
    assert len(magnitude_edges(np.array([np.nan]))) == 2


def test_percent():
    assert percent(np.array([True, True, True, False])) == 75
    assert math.isnan(percent(np.zeros(0, bool)))
