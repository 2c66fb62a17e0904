"""Exchanged bands are found, alone or over a table; right ones are left in peace."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cluster_cnn.band_order import (
    N_MARKS,
    TABLE_GAIN,
    BandOrder,
    OrderWatch,
    band_marks,
    learn_band_order,
    possible_orders,
)

BANDS = ("F336W", "F555W", "F814W")
NOISE = np.array([1.0, 3.0, 3.6])
LEVEL = np.array([0.0, 6.0, 9.0])


def make_stamps(n: int, seed: int, size: int = 32) -> np.ndarray:
    """Return points of three bands: red on average, on a field that is red."""
    rng = np.random.default_rng(seed)
    place = np.arange(size) - (size - 1) / 2
    shape = np.exp(-(place[:, None] ** 2 + place**2) / 8)[..., None]
    colour = rng.normal([0.0, 1.2, 1.6], 0.3, (n, 3))
    peak = np.exp(rng.normal(4, 0.7, (n, 1)) + colour)[:, None, None]
    noise = rng.normal(0, NOISE, (n, size, size, 3))
    level = LEVEL * np.exp(rng.normal(0, 0.3, (n, 1, 1, 1)))
    return (peak * shape + level + noise).astype(np.float32)


@pytest.fixture(scope="module")
def order() -> BandOrder:
    learnt = learn_band_order(make_stamps(600, 1), unit=2.0)
    assert learnt is not None
    return learnt


def test_marks_by_hand():
    """Noise of 2 about 7, unit 2: scatter ln 1, level arcsinh 3.5, nothing in the middle."""
    stamps = np.random.default_rng(0).normal(7, 2, (40, 64, 64, 2)).astype(np.float32)
    stamps[:, ..., 1] = np.nan
    marks = band_marks(stamps, 2.0)
    assert marks.shape == (40, 2, N_MARKS)
    np.testing.assert_allclose(marks[:, 0].mean(axis=0), [0, np.arcsinh(3.5), 0, 0], atol=0.03)
    assert np.isnan(marks[:, 1]).all()


def test_middle_and_ring_are_means_above_the_border():
    """10 within 3 of 64 pixels, 2 from there to 10, on a level of 1 and a chequered ripple."""
    place = np.arange(64) - 31.5
    radius = np.hypot(place[:, None], place)
    ripple = np.where(np.add.outer(np.arange(64), np.arange(64)) % 2, 0.01, -0.01)
    image = 1.0 + ripple + np.where(radius < 3, 10.0, np.where(radius < 10, 2.0, 0.0))
    marks = band_marks(image[None, ..., None].astype(np.float32), 1.0)[0, 0]
    np.testing.assert_allclose(np.sinh(marks[1:]), [1, 10, 2], atol=0.02)


def test_orders_begin_with_the_one_given():
    assert possible_orders(3, (0, 2))[0] == (0, 2)
    assert len(possible_orders(3, (0, 2))) == 6  # 3 * 2
    assert len(set(possible_orders(5, (0, 1, 2, 3, 4)))) == 120
    many = possible_orders(8, tuple(range(8)))
    assert many[1] == tuple(range(7, -1, -1))
    assert len(many) == 2 + 28  # given, reversed, and exchanges of two of eight


def test_density_is_that_of_a_t_distribution():
    """scipy's multivariate t is the referee, up to the constant."""
    from scipy.stats import multivariate_t

    rng = np.random.default_rng(0)
    root = rng.normal(size=(8, 8))
    learnt = BandOrder(unit=1.0, mean=rng.normal(size=8), covariance=root @ root.T + np.eye(8))
    marks = rng.normal(size=(5, 2, 4))
    swapped = marks[:, ::-1].reshape(5, 8)
    mine = learnt._log_density(marks, (1, 0)) - learnt._log_density(marks, (0, 1))
    peer = multivariate_t(learnt.mean, learnt.covariance, df=5)
    np.testing.assert_allclose(mine, peer.logpdf(swapped) - peer.logpdf(marks.reshape(5, 8)))


def test_right_order_is_hardly_ever_doubted(order):
    assert order.doubtful(make_stamps(500, 2)).mean() < 0.01
    watch = OrderWatch(order, BANDS)
    watch.look(make_stamps(500, 2))
    assert watch.judge() == ""


def test_reversed_bands_are_found_in_nearly_every_stamp(order):
    assert order.doubtful(make_stamps(200, 3)[..., ::-1]).mean() > 0.9


def test_table_tells_of_an_exchange_that_a_single_stamp_hides(order):
    stamps = make_stamps(40, 4)[..., [0, 2, 1]]
    assert order.doubtful(stamps).mean() < 0.95
    watch = OrderWatch(order, BANDS)
    for block in np.split(stamps, 4):
        watch.look(block)
    assert "F555W like F814W, F814W like F555W" in watch.judge()
    assert watch.judge() == ""  # begins anew


def test_other_depth_zero_point_and_missing_band_are_borne(order):
    stamps = make_stamps(300, 5) * np.array([0.8, 1.1, 1.0], np.float32)
    stamps += np.random.default_rng(0).normal(0, NOISE, stamps.shape).astype(np.float32)
    stamps[100:, ..., 0] = np.nan
    stamps[:5, 3:6, :, 1] = np.nan
    watch = OrderWatch(order, BANDS)
    assert watch.look(stamps).mean() < 0.02
    assert watch.judge() == ""


def test_a_file_given_for_a_band_that_it_is_not(order):
    """The only file is that of the bluest band, given as the reddest."""
    stamps = np.full((60, 32, 32, 3), np.nan, np.float32)
    stamps[..., 2] = make_stamps(60, 6)[..., 0]
    watch = OrderWatch(order, BANDS)
    watch.look(stamps)
    assert "F814W like F336W" in watch.judge()


def test_stamps_without_data_say_nothing(order):
    empty = np.full((3, 32, 32, 3), np.nan, np.float32)
    watch = OrderWatch(order, BANDS)
    np.testing.assert_array_equal(watch.look(empty), False)
    assert watch.judge() == ""
    assert watch.look(empty[:0]).shape == (0,)


def test_survives_json(order):
    again = BandOrder.from_dict(json.loads(json.dumps(order.to_dict())))
    stamps = make_stamps(20, 7)[..., ::-1]
    mine, other = order.gains(stamps)[0], again.gains(stamps)[0]
    np.testing.assert_allclose(other.gain, mine.gain, rtol=1e-3, atol=1e-2)
    assert again.row_gain == order.row_gain
    assert again.n_stamps == 600


def test_too_little_teaches_nothing():
    assert learn_band_order(make_stamps(50, 1), unit=1.0) is None
    assert learn_band_order(make_stamps(600, 1)[..., :1], unit=1.0) is None


def test_one_stamp_cannot_condemn_a_table(order):
    watch = OrderWatch(order, BANDS)
    watch.look(make_stamps(1, 8)[..., ::-1])
    assert TABLE_GAIN > 10
    assert watch.judge() == ""
