"""Stars of the Milky Way: densities, colours, binaries."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import ConfigError
from simulate.milky_way import (
    _initial_mass_function,
    draw_milky_way,
    main_sequence_magnitudes,
    star_density,
)
from simulate.population_config import MilkyWayConfig
from simulate.sources import Sources

BOX = (0.0, 0.0, 1000.0, 2000.0)


def _draw(rng: np.random.Generator, *, multiplicity: float = 0.0, resolution: float = 0.4):
    config = MilkyWayConfig(
        latitude_deg=(60.0, 60.0), longitude_deg=(90.0, 90.0), multiplicity=multiplicity
    )
    return draw_milky_way(
        rng,
        config,
        area_arcmin2=800.0,
        box=BOX,
        bands=("g", "r", "z"),
        limits_mag=(15.0, 24.0),
        resolution_arcsec=resolution,
        pixel_scale_arcsec=0.25,
    )


def _density(latitude: float, longitude: float = 90.0) -> float:
    return star_density(latitude_deg=latitude, longitude_deg=longitude, limits_mag=(15.0, 24.0))


def test_density_at_the_galactic_pole_is_the_observed_one():
    # about 2 stars per square arcmin to r = 24 (e.g. Robin et al. 2003; Juric et al. 2008)
    assert 1.2 < _density(90.0) < 3.0


def test_density_rises_towards_plane_and_centre():
    assert _density(20.0) > 2 * _density(45.0) > 2.2 * _density(90.0)
    assert _density(45.0, 0.0) > _density(45.0, 180.0)
    assert _density(90.0, 0.0) == pytest.approx(_density(90.0, 180.0))


def test_number_drawn_is_the_expected_one(rng: np.random.Generator):
    expected = 800.0 * _density(60.0)
    assert abs(len(_draw(rng)) - expected) < 4 * np.sqrt(expected)


def test_mass_function_is_continuous_with_kroupas_slopes():
    assert _initial_mass_function(0.499) == pytest.approx(_initial_mass_function(0.501), rel=0.01)
    slope = np.log(_initial_mass_function(1.0) / _initial_mass_function(0.6)) / np.log(1.0 / 0.6)
    assert slope == pytest.approx(-2.3)


def test_sun_has_its_own_magnitudes():
    g, r, z = main_sequence_magnitudes(np.array([1.0]), ("g", "r", "z"))[0]
    # Willmer 2018: AB, absolute
    assert g == pytest.approx(5.11, abs=0.1)
    assert r == pytest.approx(4.65, abs=0.1)
    assert z == pytest.approx(4.51, abs=0.1)


def test_stars_follow_the_locus_within_the_limits(rng: np.random.Generator):
    stars = _draw(rng)
    g_r, r_z = stars.mag[:, 0] - stars.mag[:, 1], stars.mag[:, 1] - stars.mag[:, 2]
    sun_like = (g_r > 0.40) & (g_r < 0.52)
    assert np.median(r_z[sun_like]) == pytest.approx(0.22, abs=0.08)
    assert np.percentile(g_r, 99) < 1.7
    assert np.percentile(r_z, 95) > 1.3
    assert stars.mag[:, 1].min() > 14.8
    assert stars.mag[:, 1].max() < 24.2
    assert (stars.class_id == 1).all()
    assert stars.x.min() >= 0 and 1000 < stars.x.max() <= 2000


def test_companions_are_resolved_or_add_their_light():
    def draw(multiplicity: float, resolution: float) -> Sources:
        rng = np.random.default_rng(5)
        return _draw(rng, multiplicity=multiplicity, resolution=resolution)

    single, blended, apart = draw(0.0, 1e9), draw(1.0, 1e9), draw(1.0, 0.4)
    assert len(single) == len(blended) < len(apart)
    gain = single.mag[:, 1] - blended.mag[:, 1]
    assert gain.min() > 0.0
    assert gain.max() < 2.5 * np.log10(2.0) + 0.3  # at most twins, and the scatter of colours
    n_pairs = len(apart) - len(single)
    assert 0.02 < n_pairs / len(single) < 0.4
    dy = apart.y[len(single) :, None] - apart.y[None, : len(single)]
    dx = apart.x[len(single) :, None] - apart.x[None, : len(single)]
    assert 0.25 * np.hypot(dy, dx).min() > 0.4 or n_pairs > 20
    nearest = 0.25 * np.hypot(dy, dx).min(axis=1)
    assert np.median(nearest) < 5.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"latitude_deg": (0.0, 30.0)}, "expected 5 to 90"), ({"multiplicity": 1.5}, "found 1.5")],
)
def test_impossible_setting_is_refused(settings, message: str):
    with pytest.raises(ConfigError, match=message):
        MilkyWayConfig(**settings)
