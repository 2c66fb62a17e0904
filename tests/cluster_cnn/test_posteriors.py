"""Posteriors: quantiles, covariances and conditionals against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from cluster_cnn.grid_posterior import GridPosterior
from cluster_cnn.posteriors import MixturePosterior, correlation
from cluster_cnn.within import peaks, quantiles_within

WIDE = np.array([-50.0, -50.0]), np.array([50.0, 50.0])


def one_gaussian(mean=(1.0, 2.0), covariance=((4.0, 1.2), (1.2, 1.0)), limits=WIDE):
    return MixturePosterior(
        np.ones((1, 1)), np.array([[mean]], float), np.array([[covariance]], float), *limits
    )


def two_gaussians():
    """Two narrow peaks with weights 1/4 and 3/4."""
    means = np.array([[[0.0, 0.0], [4.0, 8.0]]])
    covariances = np.tile(np.diag([0.01, 0.01]), (1, 2, 1, 1))
    return MixturePosterior(np.array([[0.25, 0.75]]), means, covariances, *WIDE)


def grid():
    """One group of two parameters, 2 x 2 bins, and one parameter alone."""
    joint = np.array([[[0.1, 0.2], [0.3, 0.4]]])
    alone = np.array([[0.5, 0.25, 0.25]])
    edges = [np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0]), np.array([10.0, 20.0, 30.0])]
    edges[1] = np.array([0.0, 1.0, 2.0, 3.0])
    return GridPosterior([joint, alone], [(0, 2), (1,)], edges)


def test_quantiles_of_a_gaussian_are_those_of_the_tables():
    quantiles = one_gaussian().quantiles(np.array([0.1586553, 0.5, 0.8413447]))
    np.testing.assert_allclose(quantiles[0, 0], [-1, 1, 3], atol=1e-4)
    np.testing.assert_allclose(quantiles[0, 1], [1, 2, 3], atol=1e-4)


def test_the_range_cuts_and_renormalises():
    # Mean at the lower limit: half of a Gaussian, whose median is at 0.6745 sigma.
    cut = one_gaussian((0.0, 0.0), np.eye(2), (np.array([0.0, -50]), np.array([50.0, 50])))
    assert cut.quantiles(np.array([0.5]))[0, 0, 0] == pytest.approx(0.67449, abs=1e-4)
    assert cut.cdf(np.array([[0.0, 0.0]]))[0].tolist() == [0.0, 0.5]


def test_moments_of_a_mixture_hold_the_distance_of_its_parts():
    posterior = two_gaussians()
    np.testing.assert_allclose(posterior.mean(), [[3.0, 6.0]])
    # Variance 0.01 + 3/16 of the squared distance; covariance 3/16 * 4 * 8.
    np.testing.assert_allclose(posterior.covariance()[0], [[3.01, 6.0], [6.0, 12.01]])
    assert correlation(posterior.covariance())[0, 0, 1] > 0.99


def test_draws_follow_the_mixture(rng):
    draws = two_gaussians().sample(rng, 4000)[0]
    assert draws.shape == (4000, 2)
    assert np.mean(draws[:, 0] > 2) == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(draws.mean(axis=0), [3.0, 6.0], atol=0.2)


def test_a_known_parameter_conditions_a_gaussian():
    # Mean 1 + 1.2 / 1.0 * (3 - 2), variance 4 - 1.2^2 / 1.0.
    given = one_gaussian().given(1, np.array([3.0]))
    np.testing.assert_allclose(given.mean(), [[2.2]])
    np.testing.assert_allclose(given.covariance(), [[[2.56]]])
    other = one_gaussian().given(0, np.array([1.0]))
    np.testing.assert_allclose(other.mean(), [[2.0]])
    np.testing.assert_allclose(other.covariance(), [[[0.64]]])


def test_a_known_parameter_chooses_among_the_parts():
    given = two_gaussians().given(0, np.array([4.0]))
    np.testing.assert_allclose(given.mean(), [[8.0]], atol=1e-6)
    even = two_gaussians().given(0, np.array([2.0]))
    np.testing.assert_allclose(even.mean(), [[6.0]], atol=1e-6)  # as far from both


def test_conditioning_agrees_with_draws(rng):
    covariance = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 1.0]])
    means = np.array([[[0.0, 0, 0], [1.0, 2, 1]]])
    limits = np.full(3, -50.0), np.full(3, 50.0)
    posterior = MixturePosterior(
        np.array([[0.5, 0.5]]), means, np.tile(covariance, (1, 2, 1, 1)), *limits
    )
    draws = posterior.sample(rng, 400_000)[0]
    near = np.abs(draws[:, 1] - 1.2) < 0.05
    given = posterior.given(1, np.array([1.2]))
    np.testing.assert_allclose(given.mean()[0], draws[near][:, [0, 2]].mean(axis=0), atol=0.03)
    expected = np.cov(draws[near][:, [0, 2]], rowvar=False)
    np.testing.assert_allclose(given.covariance()[0], expected, atol=0.05)


def test_grids_have_marginals_and_quantiles_linear_inside_bins():
    posterior = grid()
    # Marginal of parameter 0: 0.3, 0.7; its median lies 2/7 into the second bin.
    assert posterior.quantiles(np.array([0.5]))[0, 0, 0] == pytest.approx(1 + 2 / 7)
    assert posterior.quantiles(np.array([0.25]))[0, 1, 0] == pytest.approx(0.5)
    np.testing.assert_allclose(posterior.mean(), [[1.2, 1.25, 21.0]])
    np.testing.assert_allclose(posterior.cdf(np.array([[0.5, 3.0, 25.0]])), [[0.15, 1.0, 0.7]])
    # E[xy] - E[x] E[y] of the joint group; 0 between groups.
    product = 0.1 * 0.5 * 15 + 0.2 * 0.5 * 25 + 0.3 * 1.5 * 15 + 0.4 * 1.5 * 25
    covariance = posterior.covariance()[0]
    assert covariance[0, 2] == pytest.approx(product - 1.2 * 21)
    assert covariance[0, 1] == 0.0


def test_a_known_parameter_picks_a_bin_of_the_grid():
    given = grid().given(2, np.array([25.0]))
    # Column 0.2, 0.4 of the joint grid; the parameter alone is not touched.
    np.testing.assert_allclose(given.grids[0], [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(given.mean(), [[0.5 / 3 + 1.5 * 2 / 3, 1.25]])
    alone = grid().given(1, np.array([0.5]))
    assert alone.places == [[0, 1]] and len(alone.edges) == 2
    np.testing.assert_allclose(alone.mean(), [[1.2, 21.0]])


def test_draws_from_a_grid_fall_into_its_bins(rng):
    draws = grid().sample(rng, 5000)[0]
    assert np.mean((draws[:, 0] > 1) & (draws[:, 2] > 20)) == pytest.approx(0.4, abs=0.03)
    assert draws[:, 1].max() <= 3.0


def test_a_box_cuts_the_joint_density_not_only_its_own_parameter():
    # Correlation 0.9: below the mean in one is below it in the other.
    posterior = one_gaussian((0.0, 0.0), ((1.0, 0.9), (0.9, 1.0)))
    low, high = np.array([-np.inf, -np.inf]), np.array([np.inf, 0.0])
    half = np.array([0.5])
    found = quantiles_within(posterior, half, low, high, n_draws=40_000)[0][0, :, 0]
    # Half a Gaussian has its median at -0.6745 and its mean at -0.798; the first follows.
    assert found[1] == pytest.approx(-0.6745, abs=0.03)
    assert found[0] == pytest.approx(0.9 * -0.7, abs=0.06)


def test_the_others_follow_into_a_box_that_contradicts_the_pixels():
    # 5 sigma below the mean of the second: there it has an exponential tail, and the first follows.
    posterior = one_gaussian((0.0, 0.0), ((1.0, -0.9), (-0.9, 1.0)))
    low, high = np.array([-np.inf, -np.inf]), np.array([np.inf, -5.0])
    levels = np.array([0.16, 0.5, 0.84])
    (found,), is_contradicted = quantiles_within(posterior, levels, low, high, n_draws=8000)
    assert is_contradicted.all()
    tail = norm.ppf(levels * norm.cdf(-5.0))
    np.testing.assert_allclose(found[1], tail, atol=0.02)
    assert found[0, 1] == pytest.approx(-0.9 * tail[1], abs=0.05)
    width = np.hypot(np.sqrt(1 - 0.81), 0.9 * np.diff(tail[::2])[0] / 2)
    assert np.diff(found[0, ::2])[0] / 2 == pytest.approx(width, rel=0.1)
    np.testing.assert_allclose(peaks(posterior, low, high)[0], [4.5, -5.0], atol=0.15)
    both = quantiles_within(two_gaussians(), levels, *WIDE)
    assert not both[1].any()


def test_a_box_beyond_anything_the_pixels_allow_has_finite_answers():
    box = np.array([40.0, -50.0]), np.array([41.0, 50.0])
    for posterior in (one_gaussian(covariance=1e-4 * np.eye(2)), two_gaussians()):
        (found, *_), is_contradicted = quantiles_within(posterior, np.array([0.16, 0.84]), *box)
        assert is_contradicted.all() and np.isfinite(found).all()
        assert (found[0] >= 40.0).all() and (found[0] <= 41.0).all()
    sides = np.array([0.0, 0.0, 0.0]), np.array([0.5, 3.0, 30.0])
    draws, _ = grid().sample_within(np.random.default_rng(1), 500, *sides)
    assert draws[..., 0].max() <= 0.5 and np.isfinite(draws).all()


def test_levels_of_a_box_may_differ_by_parameter():
    levels = np.array([[0.16, 0.5], [0.5, 0.84]])
    found = quantiles_within(one_gaussian(), levels, *WIDE, n_draws=20_000)[0][0]
    np.testing.assert_allclose(found, [[-1, 1], [2, 3]], atol=0.06)
    assert len(two_gaussians().rows(slice(0, 0))) == 0
    np.testing.assert_allclose(grid().rows(slice(0, 1)).mean(), grid().mean())


def test_no_clusters_are_no_rows():
    empty = MixturePosterior(np.ones((0, 1)), np.zeros((0, 1, 2)), np.zeros((0, 1, 2, 2)), *WIDE)
    assert len(empty) == 0 and empty.quantiles(np.array([0.5])).shape == (0, 2, 1)
    assert empty.given(0, np.empty(0)).mean().shape == (0, 1)


NOTHING = np.full(2, -np.inf), np.full(2, np.inf)


def test_the_peak_of_a_mixture_is_that_of_its_higher_part():
    # Heights are 0.4 / 1 and 0.6 / 16: the lighter part is the higher one, and alone at its place.
    means = np.array([[[0.0, 0.0], [40.0, 8.0]]])
    covariances = np.stack([np.eye(2), 16.0 * np.eye(2)])[None]
    posterior = MixturePosterior(np.array([[0.4, 0.6]]), means, covariances, *WIDE)
    np.testing.assert_allclose(peaks(posterior, *NOTHING), [[0.0, 0.0]], atol=1e-6)
    # Two equal Gaussians closer than two sigma have one peak, half-way.
    means = np.array([[[0.0, 0.0], [1.0, 0.0]]])
    near = MixturePosterior(np.full((1, 2), 0.5), means, np.tile(np.eye(2), (1, 2, 1, 1)), *WIDE)
    np.testing.assert_allclose(peaks(near, *NOTHING), [[0.5, 0.0]], atol=1e-3)


def test_a_peak_keeps_to_the_box_and_to_the_trained_range():
    box = np.array([2.0, -np.inf]), np.array([3.0, np.inf])
    inside = peaks(one_gaussian(covariance=np.eye(2)), *box)
    np.testing.assert_allclose(inside, [[2.0, 2.0]], atol=1e-6)
    # One parameter at its side, the other at its mean given that: 2 + (1.2 / 4) (3 - 1).
    follows = peaks(one_gaussian(), np.array([3.0, -np.inf]), np.array([4.0, np.inf]))
    np.testing.assert_allclose(follows, [[3.0, 2.6]], atol=1e-6)
    cut = one_gaussian((-9.0, 0.0), np.eye(2), (np.array([-1.0, -50]), np.array([50.0, 50])))
    assert peaks(cut, *NOTHING)[0, 0] == -1.0
    far = np.array([40.0, 40.0]), np.array([41.0, 41.0])
    np.testing.assert_array_equal(peaks(one_gaussian(), *far), [[41.0, 40.0]])


@pytest.mark.parametrize("rho", [0.5, 0.98])
def test_free_parameters_follow_to_the_peak_in_a_box(rho):
    covariance = np.array([[1, 0.5, 0.5], [0.5, 1, rho], [0.5, rho, 1]])
    posterior = MixturePosterior(
        np.ones((1, 1)),
        np.zeros((1, 1, 3)),
        covariance[None, None],
        np.full(3, -50.0),
        np.full(3, 50.0),
    )
    for least in (1.0, 3.0):
        box = np.array([least, -np.inf, -np.inf]), np.full(3, np.inf)
        np.testing.assert_allclose(
            peaks(posterior, *box), [[least, least / 2, least / 2]], atol=0.01
        )


def test_draws_of_a_grid_are_uniform_in_what_the_box_leaves_of_a_bin():
    box = np.array([0.4, 0.0, 10.0]), np.array([0.6, 3.0, 20.0])
    draws, _ = grid().sample_within(np.random.default_rng(1), 4000, *box)
    np.testing.assert_allclose(np.quantile(draws[0, :, 0], [0.16, 0.84]), [0.432, 0.568], atol=0.01)


def test_the_peak_of_a_grid_is_the_middle_of_its_fullest_bin():
    places = np.full(3, -np.inf), np.full(3, np.inf)
    np.testing.assert_allclose(peaks(grid(), *places), [[1.5, 0.5, 25.0]])
    box = np.array([0.0, 1.0, 10.0]), np.array([1.0, 3.0, 30.0])
    found = peaks(grid(), *box)[0]
    assert found[0] == 0.5 and found[1] in (1.5, 2.5) and found[2] == 25.0


def test_a_gaussian_without_width_in_a_direction_has_a_peak():
    line = one_gaussian(covariance=((1e6, 1e3), (1e3, 1.0)))
    assert np.isfinite(peaks(line, *NOTHING)).all()
    assert np.isfinite(peaks(line.given(1, np.array([3.0])), *(side[:1] for side in NOTHING))).all()
