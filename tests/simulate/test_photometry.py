"""Synthetic photometry: flat spectra, known colours, the Lyman break."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import ConfigError
from simulate.photometry import (
    _ab_magnitudes,
    filter_curve,
    forest_opacity,
    galaxy_magnitudes,
    pivot_wavelength,
)


def test_flat_spectrum_has_one_magnitude_in_all_bands():
    # f_nu constant is f_lambda ~ lambda^-2; the local value, before redshift and absorption
    rest = np.linspace(100.0, 2000.0, 20000)
    magnitudes = [_ab_magnitudes(rest, rest**-2.0, *filter_curve(band))[0] for band in "ugrizy"]
    np.testing.assert_allclose(magnitudes, magnitudes[0], atol=2e-3)


@pytest.mark.parametrize(
    ("band", "wavelength"), [("r", 622.0), ("F814W", 805.0), ("F160W", 1537.0)]
)
def test_pivot_wavelengths_are_those_of_the_instruments(band: str, wavelength: float):
    assert pivot_wavelength(band) == pytest.approx(wavelength, rel=0.01)


def test_colours_of_nearby_galaxies_are_those_of_their_type():
    # Fukugita et al. 1995: g-r of E, Sbc and Im at z = 0 are 0.77, 0.50 and 0.2
    types = np.array([1.0, 0.5, 0.0])
    mag = galaxy_magnitudes(types, np.zeros(3), ("g", "r"))
    np.testing.assert_allclose(mag[:, 0] - mag[:, 1], [0.77, 0.50, 0.20], atol=0.06)


def test_break_of_old_galaxies_moves_through_the_bands():
    mag = galaxy_magnitudes(np.ones(2), np.array([0.35, 0.8]), ("g", "r", "i"))
    g_r, r_i = (mag[:, :-1] - mag[:, 1:]).T
    assert g_r[0] > 1.4
    assert r_i[1] > r_i[0] + 0.4


def test_types_between_spectra_are_interpolated():
    mag = galaxy_magnitudes(np.array([0.5, 0.375, 0.25]), np.full(3, 0.4), ("g", "i"))
    g_i = mag[:, 0] - mag[:, 1]
    assert g_i[1] == pytest.approx(0.5 * (g_i[0] + g_i[2]))


def test_bluest_types_go_a_little_beyond_the_spectra():
    mag = galaxy_magnitudes(np.array([0.0, -0.2, -9.0]), np.full(3, 1.0), ("g", "i"))
    g_i = mag[:, 0] - mag[:, 1]
    assert g_i[0] > g_i[1] > g_i[2] > g_i[0] - 1.0


def test_distant_galaxies_drop_out_of_the_blue_bands():
    mag = galaxy_magnitudes(np.array([0.0]), np.array([4.0]), ("u", "g", "r", "i"))[0]
    assert mag[0] - mag[1] > 3.0
    assert 0.7 < mag[1] - mag[2] < 2.5
    assert abs(mag[2] - mag[3]) < 0.4


def test_forest_absorbs_below_lyman_alpha_alone():
    wavelength = np.array([300.0, 450.0, 495.0])
    opacity = forest_opacity(wavelength, 3.0)  # Lyman alpha at 486.3, the limit at 364.8
    # Madau: 0.0036 (450 / 121.567)^3.46 = 0.334
    np.testing.assert_allclose(opacity[1:], [0.334, 0.0], atol=0.002)
    assert opacity[0] > 5.0
    assert not forest_opacity(wavelength, 0.0).any()


def test_no_galaxy_is_fine():
    assert galaxy_magnitudes(np.zeros(0), np.zeros(0), ("g", "r")).shape == (0, 2)


def test_unknown_band_is_named():
    with pytest.raises(ConfigError, match=r"no filter curve for K; expected one of u, g"):
        galaxy_magnitudes(np.zeros(1), np.zeros(1), ("K",))
