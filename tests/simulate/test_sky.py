"""Sky and noise: means, variances and correlations are the ones asked for."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.sky import (
    add_poisson_noise,
    add_resampled_noise,
    correlated_normal,
    draw_gradient,
)


def test_gradient_has_zero_mean_and_the_height_asked_for(rng: np.random.Generator):
    slope = draw_gradient(rng, (40, 60), peak_to_valley=3.0)
    assert slope.mean() == pytest.approx(0.0, abs=1e-12)
    assert np.ptp(slope) == pytest.approx(3.0)


def test_no_gradient_is_exactly_zero(rng: np.random.Generator):
    assert not draw_gradient(rng, (4, 6), peak_to_valley=0.0).any()


def test_poisson_and_read_noise_add_in_variance(rng: np.random.Generator):
    counts = add_poisson_noise(rng, np.full((300, 300), 50.0), read_noise_e=7.0)
    n = counts.size
    variance = 50.0 + 7.0**2
    assert abs(counts.mean() - 50.0) < 3 * np.sqrt(variance / n)
    assert abs(counts.var() / variance - 1.0) < 3 * np.sqrt(2.0 / n)


def test_negative_light_gives_no_counts(rng: np.random.Generator):
    assert not add_poisson_noise(rng, np.full((5, 5), -1.0), read_noise_e=0.0).any()


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.45, 0.6])
def test_resampled_noise_has_the_correlation_asked_for(
    rng: np.random.Generator, correlation: float
):
    noise = correlated_normal(rng, (600, 500), correlation)
    assert noise.shape == (600, 500)
    assert noise.var() == pytest.approx(1.0, abs=0.02)
    for along in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert along.mean() == pytest.approx(correlation, abs=0.015)


def test_resampled_noise_follows_the_light(rng: np.random.Generator):
    expected = np.full((400, 400), 100.0)
    expected[:, 200:] = 900.0
    noisy = add_resampled_noise(rng, expected, read_noise_e=0.0, correlation=0.2)
    assert noisy[:, :200].std() == pytest.approx(10.0, rel=0.03)
    assert noisy[:, 200:].std() == pytest.approx(30.0, rel=0.03)
