"""Counts, colours, redshifts and sizes of the drawn populations."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.config import GalaxyConfig, StarConfig
from simulate.galaxies import draw_galaxies
from simulate.sources import count_ratio, draw_counts, join
from simulate.stars import draw_stars, magnitudes_in_bands

BOX = (0.0, 0.0, 100.0, 200.0)


def test_counts_rise_with_the_slope_asked_for(rng: np.random.Generator):
    mag = draw_counts(
        rng, 200_000, bright_mag=16.0, faint_mag=22.0, slopes=(0.3, 0.3), break_mag=30.0
    )
    bright, faint = np.sum((mag > 19) & (mag < 20)), np.sum((mag > 21) & (mag < 22))
    assert faint / bright == pytest.approx(10.0 ** (0.3 * 2.0), rel=0.03)


def test_count_ratio_of_a_power_law_is_its_integral():
    # N(<m) ~ 10^(0.5 m): one magnitude more holds 10^0.5 times as many
    ratio = count_ratio(5.0, 20.0, 21.0, (0.5, 0.5), 30.0)
    assert ratio == pytest.approx(10.0**0.5, rel=1e-2)


def test_faint_slope_is_flatter_than_the_bright_one(rng: np.random.Generator):
    mag = draw_counts(
        rng, 300_000, bright_mag=16.0, faint_mag=26.0, slopes=(0.6, 0.2), break_mag=21.0
    )
    number = np.histogram(mag, bins=[17, 18, 19, 24, 25, 26])[0]
    assert np.log10(number[1] / number[0]) == pytest.approx(0.6, abs=0.1)
    assert np.log10(number[4] / number[3]) == pytest.approx(0.2, abs=0.03)


def test_i_lies_between_r_and_z():
    mag = magnitudes_in_bands(np.array([20.0]), np.array([1.0]), np.array([0.4]), ("g", "i", "z"))
    np.testing.assert_allclose(mag, [[21.0, 19.78, 19.6]])


def test_star_colours_follow_the_locus(rng: np.random.Generator):
    stars = draw_stars(rng, StarConfig(), n=4000, box=BOX, bands=("g", "r", "z"))
    g_r, r_z = stars.mag[:, 0] - stars.mag[:, 1], stars.mag[:, 1] - stars.mag[:, 2]
    sun_like = (g_r > 0.35) & (g_r < 0.45)
    assert np.median(r_z[sun_like]) == pytest.approx(0.17, abs=0.05)
    assert g_r.max() < 1.75  # M dwarfs saturate in g-r ...
    assert np.percentile(r_z, 99) > 1.6  # ... and not in r-z
    assert (stars.class_id == 1).all()
    assert stars.x.max() < 200.0
    assert stars.y.max() < 100.0


def test_no_star_is_a_valid_draw(rng: np.random.Generator):
    assert len(draw_stars(rng, StarConfig(), n=0, box=BOX, bands=("g", "r", "z"))) == 0


def _galaxies(rng: np.random.Generator, red_fraction: float, n: int = 5000):
    return draw_galaxies(
        rng,
        GalaxyConfig(red_decline_per_mag=0.0),
        n=n,
        box=BOX,
        bands=("g", "r", "z"),
        red_fraction=red_fraction,
        size_factor=1.0,
    )


def test_galaxy_sizes_follow_miller_2013(rng: np.random.Generator):
    galaxies = _galaxies(rng, 0.0)
    near = abs(galaxies.mag[:, 1] - 0.3 - 24.0) < 0.1
    # exp(-1.145 - 0.269 * (24 - 23)) arcsec scale length, times 1.678
    assert np.median(galaxies.disk_radius_arcsec[near]) == pytest.approx(0.408, rel=0.08)


def test_count_band_magnitudes_obey_the_limits(rng: np.random.Generator):
    r = _galaxies(rng, 0.5).mag[:, 1]
    assert r.min() > 15.0
    assert r.max() < 26.5 + 1e-9


def test_old_galaxies_are_redder_and_rounder_in_profile(rng: np.random.Generator):
    old, young = _galaxies(rng, 1.0), _galaxies(rng, 0.0)
    assert (
        np.median(old.mag[:, 0] - old.mag[:, 1])
        > np.median(young.mag[:, 0] - young.mag[:, 1]) + 0.4
    )
    assert not old.arms_fraction.any()
    assert old.bulge_fraction.mean() > 2 * young.bulge_fraction.mean()


def test_light_shares_add_to_at_most_one(rng: np.random.Generator):
    galaxies = _galaxies(rng, 0.3)
    assert (galaxies.bulge_fraction + galaxies.arms_fraction <= 1.0 + 1e-9).all()
    assert (galaxies.bulge_fraction >= 0.0).all()


def test_thin_disks_seen_edge_on_keep_their_thickness(rng: np.random.Generator):
    ratio = _galaxies(rng, 0.3).disk_axis_ratio
    assert 0.25 <= ratio.min() < 0.3
    assert ratio.max() <= 1.0


def test_join_keeps_the_order(rng: np.random.Generator):
    one, two = _galaxies(rng, 0.5, n=2), _galaxies(rng, 0.5, n=3)
    both = join([one, two])
    assert len(both) == 5
    np.testing.assert_array_equal(both.x, [*one.x, *two.x])
