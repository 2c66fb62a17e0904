"""Magnitudes, electrons and noise."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.star_clusters.config import InstrumentConfig, load_preset
from simulate.star_clusters.photometry import Exposure, counts_factor, distance_modulus


def test_distance_modulus_by_hand():
    """10 pc: 0; 1 Mpc: 25; M31 at 785 kpc: 24.474."""
    assert distance_modulus(0.01) == pytest.approx(0.0)
    assert distance_modulus(1000.0) == pytest.approx(25.0)
    assert distance_modulus(785.0) == pytest.approx(24.474, abs=1e-3)


def test_electrons_by_hand():
    """Absolute magnitude 0 at 1 Mpc behind 1 mag of dust is 26: zero point 26 gives 1 a second."""
    factor = counts_factor(np.array([26.0, 28.5]), 1000.0, np.array([1.0, 1.0]))
    np.testing.assert_allclose(factor, [1.0, 10.0])


@pytest.mark.parametrize("preset", ["phat", "phangs"])
def test_zero_points_of_the_presets_follow_from_the_throughputs(shared_data, preset):
    """One electron a second: AB 0 is 3631 Jy on the 45239 cm2 of HST, photon by photon."""
    instrument = load_preset(preset).instrument
    folders = {"ACS": "acs_wfc", "WFC3_F1": "wfc3_ir", "WFC3": "wfc3_uvis"}
    for name, zero in zip(instrument.filters, instrument.zeropoint_mag, strict=True):
        camera = next(value for key, value in folders.items() if name.startswith(key))
        path = shared_data / "clusters" / "filters" / f"{camera}_{name.split('_')[1].lower()}.par"
        if not path.exists():  # WFC3 F438W is not in the folder
            continue
        wavelength, throughput = np.loadtxt(path, usecols=(0, 1), unpack=True)
        photons = 3631e-23 / 6.62607e-27 * np.trapezoid(throughput / wavelength, wavelength)
        assert zero == pytest.approx(2.5 * np.log10(45238.93 * photons), abs=0.05)


def exposure(**changes) -> Exposure:
    config = InstrumentConfig(
        **{
            "exposure_s": (100.0, 400.0),
            "zeropoint_mag": (25.0, 25.0),
            "sky_mag_arcsec2": (20.0, 22.5),
            "dark_e_per_s": (0.0, 0.1),
            "read_noise_e": (3.0, 5.0),
            **changes,
        }
    )
    return Exposure.from_config(config)


def test_variance_by_hand():
    """Sky of 100 and 10 e/s/arcsec2 on 0.0025 arcsec2: 0.25 and 0.025 e/s a pixel.

    First band, no stars: (0.25 x 100 + 9) / 100^2 = 0.0034; with 1 e/s: 0.0134.
    Second band: ((0.025 + 0.1) 400 + 25) / 400^2 = 0.00046875.
    """
    e = exposure()
    np.testing.assert_allclose(e.background_rate, [0.25, 0.125])
    np.testing.assert_allclose(e.variance(np.zeros(2)), [0.0034, 0.00046875])
    np.testing.assert_allclose(e.variance(np.array([1.0, 0.0]))[0], 0.0134)


def test_observed_noise_has_that_variance_and_no_bias(rng):
    e = exposure()
    rate = np.full((200, 200, 2), 0.5)
    stamp = e.observe(rng, rate)
    assert stamp.dtype == np.float32
    expected = e.variance(np.array([0.5, 0.5]))
    np.testing.assert_allclose(stamp.var(axis=(0, 1)), expected, rtol=0.03)
    np.testing.assert_allclose(stamp.mean(axis=(0, 1)), 0.5, atol=4 * np.sqrt(expected.max()) / 200)


def test_blurred_noise_is_smaller_in_a_pixel_and_the_same_in_the_sum(rng):
    plain, blurred = exposure(), exposure(noise_blur_px=(1.0, 1.0))
    rate = np.full((64, 64, 2), 0.5)
    one = plain.observe(np.random.default_rng(3), rate)
    two = blurred.observe(np.random.default_rng(3), rate)
    np.testing.assert_allclose(one.sum(axis=(0, 1)), two.sum(axis=(0, 1)), rtol=1e-4)
    # A Gaussian kernel of 1 px leaves 1 / (4 pi) of the variance.
    ratio = two.var(axis=(0, 1)) / one.var(axis=(0, 1))
    np.testing.assert_allclose(ratio, 1 / (4 * np.pi), rtol=0.15)
    neighbours = np.corrcoef(two[:, 1:, 0].ravel(), two[:, :-1, 0].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-0.25), abs=0.05)


def test_photons_of_the_cluster_alone(rng):
    """On a real background only the cluster's own photons add noise: rate / exposure."""
    e = exposure()
    stamp = e.add_photons(rng, np.full((200, 200, 2), 2.0))
    np.testing.assert_allclose(stamp.var(axis=(0, 1)), [2.0 / 100, 2.0 / 400], rtol=0.03)
    np.testing.assert_array_equal(e.add_photons(rng, np.zeros((8, 8, 2))), 0.0)
