"""Star fields: counts, light and fluctuations."""

from __future__ import annotations

import numpy as np
import pytest
from simulate_clusters.conftest import dense_isochrone

from simulate.star_clusters.field_stars import (
    OLD,
    YOUNG,
    build_components,
    build_population,
    draw_field,
    draw_unresolved,
)
from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrone_fit import default_isochrones
from simulate.star_clusters.isochrones import IsochroneGrid

VISIBILITY = np.array([1.0, 1.0])


def population(weights=(1.0,)):
    isochrones = [dense_isochrone(8.0 + i) for i in range(len(weights))]
    return build_population(isochrones, weights, KroupaImf(), VISIBILITY)


def test_light_of_a_population_is_that_of_its_isochrone():
    merged = population((3.0, 1.0))
    expected = 10 ** (-0.4 * dense_isochrone().integrated_magnitudes(KroupaImf()))
    np.testing.assert_allclose(merged.light, expected, rtol=1e-3)
    assert np.all(np.diff(merged.brightness) <= 0)


def test_drawn_stars_and_the_rest_add_up(rng):
    """Mean over many fields: drawn light and smooth light together are mass times light."""
    p = population()
    mass, limit = 2e4, np.quantile(p.brightness, 0.7)
    fields = [draw_field(rng, [p], [mass], faintest=limit, max_stars=10**6) for _ in range(60)]
    drawn = np.array([f.flux.sum(axis=0) for f in fields])
    total = drawn.mean(axis=0) + fields[0].mean
    np.testing.assert_allclose(total, mass * p.light, atol=4 * drawn.std() / np.sqrt(60))
    assert np.abs(total / (mass * p.light) - 1).max() < 0.05
    for f in fields:
        assert f.flux.max(axis=1).min() >= limit


def test_counts_follow_the_mass_function(rng):
    """Stars heavier than 1 solar mass: share of the mass function over its mean mass."""
    imf, p = KroupaImf(), population()
    limit = float(dense_isochrone().fluxes(np.array([1.0])).max())
    share = float(imf.number_below(np.array(5.0)) - imf.number_below(np.array(1.0)))
    expected = 1e4 * share / imf.mean_mass
    counts = [
        len(draw_field(rng, [p], [1e4], faintest=limit, max_stars=10**6).flux) for _ in range(30)
    ]
    assert np.mean(counts) == pytest.approx(expected, rel=0.05)
    assert np.var(counts) == pytest.approx(np.mean(counts), rel=0.6)  # Poisson


def test_limit_rises_where_stars_are_too_many(rng):
    light = draw_field(rng, [population()], [1e6], faintest=0.0, max_stars=500)
    assert len(light.flux) < 600
    assert light.mean.min() > 0


def test_no_mass_no_stars(rng):
    light = draw_field(rng, [population()], [0.0], faintest=0.1, max_stars=100)
    assert light.flux.shape == (0, 2)
    np.testing.assert_array_equal(light.mean, 0.0)
    np.testing.assert_array_equal(draw_unresolved(rng, light, n_cells=9), np.zeros((2, 9)))


def test_smooth_light_has_the_mean_and_the_covariance_of_its_stars(rng):
    p, mass = population(), 1e5
    light = draw_field(rng, [p], [mass], faintest=np.inf, max_stars=10)
    assert len(light.flux) == 0
    n = 200_000
    cells = draw_unresolved(rng, light, n_cells=n)
    np.testing.assert_allclose(cells.sum(axis=1), mass * p.light, rtol=0.02)
    np.testing.assert_allclose(np.cov(cells) * n, light.covariance, rtol=0.03)
    # Second moment by hand: the sum over stars of flux squared.
    number, flux = dense_isochrone().points(KroupaImf(), 3)
    np.testing.assert_allclose(light.covariance[0, 1], mass * number @ (flux[:, 0] * flux[:, 1]))


def test_components_of_the_embedded_isochrones_are_ordered_by_colour():
    grid = default_isochrones().select(("WFC3_F275W", "ACS_F814W"))
    parts = build_components(grid, metallicity=(0.014, 0.02), visibility=np.ones(2))
    colours = [-2.5 * np.log10(p.light[0] / p.light[1]) for p in parts]
    assert colours[OLD] > 3 > colours[YOUNG]
    assert parts[YOUNG].light[1] > 3 * parts[OLD].light[1]  # a young solar mass is brighter


def test_ages_that_the_grid_lacks_take_the_nearest():
    grid = IsochroneGrid((dense_isochrone(9.0, 0.02),))
    parts = build_components(grid, metallicity=(0.004, 0.008), visibility=np.ones(2))
    assert len(parts) == 3
    np.testing.assert_allclose(parts[0].light, parts[2].light)
