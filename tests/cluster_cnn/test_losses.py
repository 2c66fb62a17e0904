"""Losses against numbers worked out by hand, and scipy as referee."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops
from scipy.stats import multivariate_normal

from cluster_cnn import losses

pytestmark = pytest.mark.backend


def numbers(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), float)


def test_a_mixture_is_as_dense_as_scipy_says(rng):
    n, p, k = 5, 3, 2
    raw = rng.normal(0, 0.7, (n, losses.mixture_size(p, k))).astype(np.float32)
    truth = rng.uniform(-1, 1, (n, p)).astype(np.float32)
    loss = numbers(losses.mixture_loss(truth, raw, n_components=k))
    log_weights, means, factors = (numbers(t) for t in losses.unpack_mixture(raw, p, k))
    np.testing.assert_allclose(np.exp(log_weights).sum(axis=1), 1.0, rtol=1e-5)
    for i in range(n):
        density = sum(
            np.exp(log_weights[i, j])
            * multivariate_normal(means[i, j], np.linalg.inv(factors[i, j] @ factors[i, j].T)).pdf(
                truth[i]
            )
            for j in range(k)
        )
        with_floor = (1 - losses.FLOOR) * density + losses.FLOOR / 2**p
        assert loss[i] == pytest.approx(-math.log(with_floor), rel=1e-4)


def test_one_gaussian_of_unit_width_costs_what_it_should():
    raw = np.zeros((1, losses.mixture_size(1, 1)), np.float32)
    loss = numbers(losses.mixture_loss(np.array([[1.0]], np.float32), raw, n_components=1))
    # Half a squared sigma and half of log(2 pi); the floor of 0.001 / 2 hardly shows.
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    assert loss[0] == pytest.approx(-math.log(0.999 * density + 0.0005), rel=1e-5)


def test_no_outlier_costs_more_than_the_floor():
    raw = np.zeros((1, losses.mixture_size(2, 1)), np.float32)
    raw[0, 3:5] = 4.0  # a narrow peak
    loss = numbers(losses.mixture_loss(np.full((1, 2), 0.9, np.float32), raw, n_components=1))
    assert loss[0] == pytest.approx(-math.log(losses.FLOOR / 4), rel=1e-4)


def test_factors_are_lower_triangles_of_bounded_width():
    raw = np.full((1, losses.mixture_size(2, 1)), 100.0, np.float32)
    _, _, factors = losses.unpack_mixture(raw, 2, 1)
    factor = numbers(factors)[0, 0]
    assert factor[0, 1] == 0.0 and factor[1, 0] == 100.0
    assert factor[0, 0] == pytest.approx(math.exp(losses.LOG_SCALE_BOUND), rel=1e-4)


def test_bins_cost_the_logarithm_of_their_probability():
    logits = np.log(np.array([[0.2, 0.3, 0.5]], np.float32))
    assert numbers(losses.bin_loss(np.array([1]), logits))[0] == pytest.approx(-math.log(0.3))
    assert numbers(losses.bin_loss(np.array([[2]]), logits))[0] == pytest.approx(-math.log(0.5))


def test_points_classes_and_visibility_by_hand():
    point = losses.point_loss(np.array([[0.0, 1.0]]), np.array([[0.5, 3.0]]))
    assert numbers(point)[0] == pytest.approx((0.25 + 4.0) / 2)
    cluster = losses.class_loss(np.array([[1.0], [0.0]]), np.array([[0.0], [math.log(3.0)]]))
    np.testing.assert_allclose(numbers(cluster), [math.log(2), math.log(4)], rtol=1e-5)
    sigma = 2.0
    raw = np.array([[1.0, math.log(sigma)]])
    expected = 0.5 * (2.0 / sigma) ** 2 + math.log(sigma) + 0.5 * math.log(2 * math.pi)
    found = numbers(losses.gaussian_loss(np.array([[3.0]]), raw))[0]
    assert found == pytest.approx(expected, rel=1e-2)  # the bound of the width bends it a little
    narrow = np.array([[0.9, -4.0]])
    far_off = numbers(losses.gaussian_loss(np.array([[-0.9]]), narrow))[0]
    assert far_off == pytest.approx(-math.log(losses.FLOOR / 2), rel=1e-4)
