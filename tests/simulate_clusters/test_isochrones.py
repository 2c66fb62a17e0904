"""Isochrones: interpolation by hand, whole populations, the embedded fit against its grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulate_clusters.conftest import toy_isochrone

from astro_io.errors import ConfigError, InputNotFoundError
from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrone_fit import (
    default_isochrones,
    fit_isochrone,
    load_fit,
    read_grid,
    save_fit,
)
from simulate.star_clusters.isochrone_fit import main as fit_main
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid


def test_magnitudes_are_linear_in_mass(toy):
    """Half way from 0.1 to 5 solar masses is 2.55."""
    np.testing.assert_allclose(toy.magnitudes(np.array([2.55])), [[5.0, 6.0]])


def test_heavier_stars_are_dead_and_lighter_ones_look_like_the_first(toy):
    mag = toy.magnitudes(np.array([5.0001, 0.08]))
    assert np.isinf(mag[0]).all()
    np.testing.assert_allclose(mag[1], [10.0, 11.0])
    np.testing.assert_array_equal(toy.fluxes(np.array([100.0])), [[0.0, 0.0]])


def test_repeated_mass_is_a_step():
    iso = Isochrone(
        log_age=8.0,
        metallicity=0.02,
        filters=("ACS_F814W",),
        m_ini=np.array([1.0, 2.0, 2.0, 3.0]),
        mag=np.array([[4.0], [4.0], [1.0], [1.0]]),
    )
    mag = iso.magnitudes(np.array([1.999, 2.001]))
    assert mag[0, 0] == pytest.approx(4.0)
    assert mag[1, 0] == pytest.approx(1.0)
    assert np.isfinite(iso.magnitudes(np.array([2.0]))).all()


def test_whole_population_is_the_integral_over_the_mass_function(toy):
    imf = KroupaImf()
    mass = np.geomspace(imf.m_min, 5.0, 100_001)
    share = np.diff(imf.number_below(mass)) / imf.mean_mass
    flux = toy.fluxes(np.sqrt(mass[1:] * mass[:-1]))
    expected = -2.5 * np.log10(1e4 * share @ flux)
    np.testing.assert_allclose(toy.integrated_magnitudes(imf, 1e4), expected, atol=0.05)


def test_points_count_the_living(toy):
    imf = KroupaImf()
    number, flux = toy.points(imf)
    assert number.sum() * imf.mean_mass == pytest.approx(imf.number_below(np.array(5.0)))
    assert flux.shape == (len(number), 2)


def test_nearest_takes_metallicity_first_then_age():
    pairs = [(8.0, 0.004), (9.0, 0.004), (8.0, 0.02)]
    grid = IsochroneGrid(tuple(toy_isochrone(*pair) for pair in pairs))
    assert grid.nearest(8.9, 0.005).log_age == 9.0
    assert grid.nearest(8.9, 0.015).metallicity == 0.02
    # The middle of 0.004 and 0.02 in log Z is 0.0089.
    assert grid.nearest(8.0, 0.0088).metallicity == 0.004
    assert grid.nearest(8.0, 0.0091).metallicity == 0.02


def test_select_orders_filters_and_names_missing_ones(toy):
    grid = IsochroneGrid((toy,), "toy.dat")
    assert grid.select(["ACS_F814W"]).isochrones[0].mag[0, 0] == 11.0
    with pytest.raises(ConfigError, match=r"toy.dat: no magnitudes in WFC3_F275W; found ACS_F475W"):
        grid.select(["WFC3_F275W"])


def test_fit_keeps_its_promise_on_a_curve():
    mass = np.linspace(0.1, 5.0, 400)
    mag = np.stack([5 - 6 * np.log10(mass), 5 - 8 * np.log10(mass)], axis=1)
    iso = Isochrone(
        log_age=8.0, metallicity=0.02, filters=("WFC3_F336W", "ACS_F814W"), m_ini=mass, mag=mag
    )
    fit = fit_isochrone(iso)
    assert len(fit.m_ini) < 60
    error = np.abs(fit.magnitudes(mass) - mag).max(axis=1)
    assert error[mag[:, 1] <= 5.5].max() < 0.02
    assert error.max() < 0.06


def test_saved_fit_comes_back_within_half_a_thousandth(tmp_path, toy):
    save_fit(tmp_path / "fit.npz", IsochroneGrid((toy, toy_isochrone(9.0)), "toy"))
    back = load_fit(tmp_path / "fit.npz")
    assert back.name == "toy"
    assert [iso.log_age for iso in back.isochrones] == [8.0, 9.0]
    assert back.filters == toy.filters
    np.testing.assert_allclose(back.isochrones[1].mag, toy.mag, atol=5.1e-4)
    with pytest.raises(InputNotFoundError, match="no such isochrone fit"):
        load_fit(tmp_path / "none.npz")


def test_embedded_isochrones_cover_the_ranges_of_the_presets():
    grid = default_isochrones()
    assert grid.limits() == (6.6, 10.1, 0.004, 0.02)
    assert len(grid.log_ages) == 71
    assert len(grid.isochrones) == 71 * 4
    assert len(grid.filters) == 14
    for iso in grid.isochrones:
        assert np.all(np.diff(iso.m_ini) >= 0)
        assert np.isfinite(iso.mag).all()


def test_embedded_isochrones_follow_the_grid_star_by_star(parsec):
    """0.02 mag, 0.06 for dwarfs, but for masses that float32 cannot tell apart."""
    i814 = parsec.filters.index("ACS_F814W")
    for grid, fit in zip(parsec.isochrones, default_isochrones().isochrones, strict=True):
        assert (grid.log_age, grid.metallicity) == (fit.log_age, fit.metallicity)
        step = np.diff(grid.m_ini) > 3e-7 * grid.m_ini[1:]
        clear = np.r_[True, step] & np.r_[step, True] & (grid.m_ini <= fit.m_ini[-1])
        error = np.abs(fit.magnitudes(grid.m_ini) - grid.mag).max(axis=1)
        is_dwarf = grid.mag[:, i814] > 5.5
        assert error[clear & ~is_dwarf].max() < 0.02
        assert error[clear & is_dwarf].max() < 0.06


def test_embedded_integrated_colours_within_003_mag(parsec):
    """Measured: 0.002 mag rms in every colour, 0.009 mag at most in any magnitude."""
    imf = KroupaImf()
    pairs = zip(parsec.isochrones, default_isochrones().isochrones, strict=True)
    sums = [(a.integrated_magnitudes(imf), b.integrated_magnitudes(imf)) for a, b in pairs]
    difference = np.array([b - a for a, b in sums])
    assert np.abs(difference).max() < 0.015
    colours = np.diff(difference, axis=1)
    assert np.sqrt(np.mean(colours**2, axis=0)).max() < 0.005


def test_embedded_luminosity_function_follows_the_grid(parsec):
    """Brighter than a limit are as many stars as in the grid, to 1 % and 0.02 mag in the limit."""
    imf = KroupaImf()
    i814 = parsec.filters.index("ACS_F814W")

    def count(grid: IsochroneGrid, log_age: float, limit: float) -> float:
        number, flux = grid.nearest(log_age, 0.014).points(imf, per_segment=40)
        return float(number[-2.5 * np.log10(flux[:, i814]) < limit].sum())

    for log_age in (7.0, 8.0, 9.0, 10.0):
        for limit in np.arange(-5.0, 5.0, 1.0):
            exact = count(parsec, log_age, limit)
            assert count(default_isochrones(), log_age, limit - 0.02) <= exact * 1.01
            assert count(default_isochrones(), log_age, limit + 0.02) >= exact * 0.99


def test_fit_command_writes_the_file_and_says_its_size(tmp_path, capsys, shared_data):
    pytest.importorskip("h5py")
    grid = shared_data / "clusters" / "isochrones_hst.h5"
    assert fit_main([str(grid), "--output", str(tmp_path / "new.npz"), "-q"]) == 0
    assert "37843 knots for 148294 rows" in capsys.readouterr().out
    new, old = load_fit(tmp_path / "new.npz"), default_isochrones()
    np.testing.assert_array_equal(new.isochrones[100].mag, old.isochrones[100].mag)


def test_grid_of_another_kind_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stars"] = np.zeros(3)
    with pytest.raises(ConfigError, match="expected filters and ab_minus_vega"):
        read_grid(tmp_path / "a.h5")
    with pytest.raises(InputNotFoundError, match="no such isochrone grid"):
        read_grid(tmp_path / "b.h5")


def test_light_of_an_isochrone_is_its_own_after_others_are_gone():
    """Objects made one after the other often lie at the same address."""
    for shift in np.arange(20.0):
        base = toy_isochrone()
        iso = replace(base, mag=base.mag + shift)
        wanted = 10 ** (-0.4 * iso.integrated_magnitudes(KroupaImf()))
        np.testing.assert_array_equal(iso.light_per_mass, wanted)
        assert iso.light_per_mass is iso.light_per_mass  # worked out once
