"""Where galaxies lie and what irregular ones look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from astro_io.errors import ConfigError
from simulate.clustering import gather
from simulate.config import GalaxyConfig, load_preset
from simulate.galaxies import draw_galaxies
from simulate.irregulars import draw_irregular
from simulate.population_config import ClusteringConfig, SpectraConfig

GRID = {"size": 128, "step_px": 0.5, "centre_px": (32.0, 32.0)}


def _gathered(rng: np.random.Generator, fraction: float, n: int = 4000):
    config = ClusteringConfig(fraction=fraction, radius_arcsec=20.0)
    x, y, z = rng.uniform(0, 9000, n), rng.uniform(0, 9000, n), rng.uniform(0.1, 2.0, n)
    return (x, y, z), gather(rng, config, x=x, y=y, redshift=z, pixel_scale_arcsec=0.5)


def _pairs(x: np.ndarray, y: np.ndarray, low: float, high: float) -> int:
    distance = np.hypot(x[:, None] - x[None, :], y[:, None] - y[None, :])
    return int(((distance > low) & (distance < high)).sum()) // 2


def test_companions_share_the_redshift_of_a_neighbour(rng: np.random.Generator):
    (x, _, _), (new_x, new_y, new_z) = _gathered(rng, 0.3)
    moved = np.flatnonzero(new_x != x)
    assert len(moved) == pytest.approx(0.3 * 4000, rel=0.1)
    for i in moved[:50]:
        distance = np.hypot(new_x - new_x[i], new_y - new_y[i])
        assert (new_z[distance < 40.5] == new_z[i]).sum() >= 2  # 20 arcsec are 40 px


def test_close_pairs_are_more_than_chance_and_fall_with_distance(rng: np.random.Generator):
    (x, y, _), (new_x, new_y, _) = _gathered(rng, 0.4)
    # companions within R: (R / 40 px)^1.2 of 1600; chance pairs: n^2 / 2 * pi R^2 / area
    expected = 1600 * (10.0 / 40.0) ** 1.2
    excess = _pairs(new_x, new_y, 0.0, 10.0) - _pairs(x, y, 0.0, 10.0)
    assert excess == pytest.approx(expected, rel=0.35)


def test_no_clustering_leaves_every_galaxy_in_place(rng: np.random.Generator):
    before, after = _gathered(rng, 0.0)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [len(a) for a in _gathered(rng, 0.5, n=0)[1]] == [0, 0, 0]


def test_irregular_has_unit_flux_and_no_symmetry(rng: np.random.Generator):
    light = draw_irregular(rng, **GRID, half_light_radius_px=8.0, axis_ratio=0.8, angle_rad=0.3)
    assert light.sum() == pytest.approx(1.0)
    assert light.min() >= 0.0
    turned = np.roll(light[::-1, ::-1], (1, 1), axis=(0, 1))  # half a turn about the centre
    assert abs(light - turned).sum() > 0.4


def test_irregular_has_about_the_size_asked_for():
    y, x = np.indices((128, 128)) * 0.5 - 32.0
    half = []
    for seed in range(20):
        light = draw_irregular(
            np.random.default_rng(seed),
            **GRID,
            half_light_radius_px=6.0,
            axis_ratio=1.0,
            angle_rad=0.0,
        )
        half.append(light[np.hypot(y, x) < 6.0].sum())
    assert 0.35 < np.median(half) < 0.65


def _galaxies(rng: np.random.Generator, **changes):
    config = replace(GalaxyConfig(faint_mag=26.5), **changes)
    return draw_galaxies(
        rng,
        config,
        n=4000,
        box=(0.0, 0.0, 500.0, 500.0),
        bands=("g", "r", "z"),
        red_fraction=0.3,
        size_factor=1.0,
    )


def test_irregulars_are_young_galaxies_without_arms(rng: np.random.Generator):
    assert not _galaxies(rng).is_irregular.any()
    galaxies = _galaxies(rng, irregular_fraction=1.0, arms_fraction=0.5)
    irregular = galaxies.is_irregular
    # about half of the young 80 to 90 %
    assert 0.3 < irregular.mean() < 0.5
    g_r = galaxies.mag[:, 0] - galaxies.mag[:, 1]
    assert np.median(g_r[irregular]) < np.median(g_r[~irregular])
    assert galaxies.bulge_fraction[irregular].mean() < 0.1
    assert galaxies.arms_fraction[irregular].mean() > 0.4


def test_spectra_keep_the_magnitudes_of_the_count_band():
    tracks, spectra = (
        _galaxies(np.random.default_rng(1), spectra=section) for section in (None, SpectraConfig())
    )
    # r, the count band, is drawn before any colour; the others follow the spectra
    np.testing.assert_allclose(tracks.mag[:, 1], spectra.mag[:, 1])
    assert abs(np.median(tracks.mag - spectra.mag, axis=0)).max() < 0.4


def test_band_without_track_asks_for_spectra():
    from simulate.field import make_field

    config = load_preset("decam", ("survey.bands=u,g,r", "survey.height=64", "survey.width=64"))
    with pytest.raises(ConfigError, match=r"bands: u need the sections \[galaxies.spectra\]"):
        make_field(config, seed=1, index=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"fraction": 1.0}, "fraction: expected 0 up to 1"), ({"radius_arcsec": 0.0}, "above 0")],
)
def test_impossible_clustering_is_refused(settings, message: str):
    with pytest.raises(ConfigError, match=message):
        ClusteringConfig(**settings)
