"""Profiles: half-light radii, densities, flattening."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.star_clusters.profiles import (
    draw_offsets,
    eff_radii,
    eff_scale,
    king_radii,
    king_share,
)


def test_eff_scale_by_hand():
    """gamma = 4: the share within r is 1 - 1/(1 + r^2/a^2), one half at r = a."""
    assert eff_scale(2.0, 4.0) == pytest.approx(2.0)
    # gamma = 3: 1 - (1 + r^2/a^2)^-1/2 = 1/2 at r = sqrt(3) a.
    assert eff_scale(1.0, 3.0) == pytest.approx(1 / np.sqrt(3))


@pytest.mark.parametrize("gamma", [2.4, 3.0, 6.0])
def test_half_of_eff_stars_are_within_the_half_light_radius(rng, gamma):
    radii = eff_radii(rng, 40_000, half_light_radius=0.7, gamma=gamma)
    assert np.mean(radii < 0.7) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("concentration", [0.7, 1.5, 2.0])
def test_half_of_king_stars_are_within_the_half_light_radius(rng, concentration):
    radii = king_radii(rng, 40_000, half_light_radius=3.0, concentration=concentration)
    assert np.mean(radii < 3.0) == pytest.approx(0.5, abs=0.01)


def test_king_share_is_the_integral_of_the_surface_density():
    radius = np.linspace(0.0, 10.0, 20_001)
    density = (1 / np.sqrt(1 + radius**2) - 1 / np.sqrt(101.0)) ** 2
    light = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(radius**2 * np.pi) * 2 * density[1:])])
    share = king_share(radius, core=1.0, tidal=10.0)
    np.testing.assert_allclose(share, light / light[-1], atol=2e-3)
    assert share[-1] == 1.0
    assert king_share(np.array([99.0]), core=1.0, tidal=10.0) == 1.0


def test_no_king_star_is_beyond_the_tidal_radius(rng):
    radii = king_radii(rng, 10_000, half_light_radius=1.0, concentration=0.7)
    table = np.linspace(0, 5.1, 2000)
    half = np.interp(0.5, king_share(table, core=1.0, tidal=10**0.7), table)
    assert radii.max() <= 10**0.7 / half * 1.001


def test_flattening_keeps_the_area_and_follows_the_angle(rng):
    dy, dx = draw_offsets(
        rng,
        60_000,
        profile="eff",
        shape=8.0,
        half_light_radius=1.0,
        axis_ratio=0.5,
        angle_rad=np.pi / 2,
    )
    inside = np.hypot(dy * np.sqrt(0.5), dx / np.sqrt(0.5)) < 1.0
    assert np.mean(inside) == pytest.approx(0.5, abs=0.01)
    assert np.median(np.abs(dy)) / np.median(np.abs(dx)) == pytest.approx(2.0, rel=0.05)


def test_no_star_no_offset(rng):
    dy, dx = draw_offsets(rng, 0, profile="king", shape=1.0, half_light_radius=1.0)
    assert dy.shape == dx.shape == (0,)
