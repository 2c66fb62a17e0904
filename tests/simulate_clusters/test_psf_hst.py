"""HST optics against STScI's encircled energies, TinyTim and GalSim."""

from __future__ import annotations

import csv

import galsim
import numpy as np
import pytest
from astropy.io import fits
from photutils.aperture import CircularAperture
from scipy.special import j0

from simulate.star_clusters.filters import FILTERS
from simulate.star_clusters.psf_hst import (
    diffraction_transfer,
    encircled_energy,
    psf_image,
    transfer_function,
)

UVIS = ("F275W", "F336W", "F438W", "F475W", "F555W", "F606W", "F814W")
ACS = ("F435W", "F475W", "F555W", "F606W", "F814W")


@pytest.mark.parametrize("band", UVIS)
def test_uvis_encircled_energy_is_that_of_stsci(shared_data, band):
    """Radii from one to 50 pixels; the ultraviolet table is wider than TinyTim in the core."""
    path = shared_data / "clusters" / "psf" / "wfc3uvis1_aper_007_syn.csv"
    header, *rows = list(csv.reader(path.read_text().splitlines()))
    radii = np.array([float(name.split("#")[1]) for name in header[2:]])
    measured = np.array(next(row[2:] for row in rows if row[0] == band), dtype=float)
    error = np.abs(encircled_energy(FILTERS[f"WFC3_{band}"], radii) - measured)
    is_ultraviolet = band in ("F275W", "F336W")
    core, beyond = (0.055, 0.025) if is_ultraviolet else (0.025, 0.012)
    assert error[radii < 0.11].max() < core
    assert error[(radii > 0.11) & (radii < 2.0)].max() < beyond


@pytest.mark.parametrize("band", ACS)
def test_acs_energy_within_0012_of_tinytim(shared_data, band):
    """Apertures of 1 to 20 px on both images; TinyTim's holds all of its light within 36 px."""
    with fits.open(shared_data / "clusters" / "psf" / f"ACS_WFC_{band}.fits") as hdus:
        tinytim = hdus[0].data.astype(np.float64)
    row, column = np.unravel_index(tinytim.argmax(), tinytim.shape)
    window = tinytim[row - 4 : row + 5, column - 4 : column + 5]
    shifts = np.arange(-4, 5)
    dy, dx = (window * shifts[:, None]).sum(), (window * shifts).sum()
    centre = (column + dx / window.sum(), row + dy / window.sum())
    model = psf_image(FILTERS[f"ACS_{band}"], size=73, pixel_scale_arcsec=0.0495)
    radii = np.array([1, 2, 3, 5, 10, 20])

    def energy(image: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
        sums = [CircularAperture(xy, r).do_photometry(image)[0][0] for r in (*radii, 35)]
        return np.array(sums[:-1]) / sums[-1]

    error = energy(model, (36, 36)) - energy(tinytim, centre)
    assert abs(error[0]) < 0.03  # within one pixel
    np.testing.assert_allclose(error[1:], 0.0, atol=0.012)


@pytest.mark.parametrize(
    ("band", "fwhm", "energy_04"), [("F110W", 0.130, 0.87), ("F160W", 0.151, 0.85)]
)
def test_ir_width_and_energy_of_the_handbook(band, fwhm, energy_04):
    """Tables 7.5 and 7.7 of the WFC3 Instrument Handbook: width before pixels, light in 0.4"."""
    item = FILTERS[f"WFC3_{band}"]
    k = np.linspace(1e-6, 20.0, 2001)
    spectrum = transfer_function(item, np.zeros_like(k), k, pixel_arcsec=0.0)
    radius = np.linspace(0.0, 0.15, 301)
    profile = np.trapezoid(j0(2 * np.pi * np.outer(radius, k)) * spectrum * k, k, axis=1)
    half = np.interp(-0.5 * profile[0], -profile, radius)
    assert 2 * half == pytest.approx(fwhm, rel=0.05)
    assert encircled_energy(item, np.array([0.4]))[0] == pytest.approx(energy_04, abs=0.025)


def test_pupil_matches_galsim_optics():
    """At 600 nm, along a row and at 30 degrees, in cycles per arcsec."""
    profile = galsim.OpticalPSF(
        lam=600, diam=2.4, obscuration=0.33, nstruts=4, strut_thick=0.011,
        strut_angle=45 * galsim.degrees, oversampling=2, pad_factor=2,
    )  # fmt: skip
    for angle in (0.0, np.pi / 6):
        k = np.linspace(1.0, 18.0, 9)
        ours = diffraction_transfer(600.0, k * np.sin(angle), k * np.cos(angle))
        theirs = [
            profile.kValue(2 * np.pi * q * np.cos(angle), 2 * np.pi * q * np.sin(angle)).real
            for q in k
        ]
        np.testing.assert_allclose(ours, theirs, atol=0.015)


def test_telescope_passes_nothing_beyond_its_diameter():
    """2.4 m / 600 nm is 19.4 cycles per arcsec."""
    k = np.array([0.0, 19.3, 19.5, 40.0])
    passed = diffraction_transfer(600.0, np.zeros(4), k)
    assert passed[0] == pytest.approx(1.0)
    np.testing.assert_allclose(passed[2:], 0.0, atol=1e-12)


@pytest.mark.parametrize("name", FILTERS)
def test_light_is_all_there_and_centred(name):
    item = FILTERS[name]
    assert transfer_function(item, np.zeros(1), np.zeros(1))[0] == pytest.approx(1.0)
    energy = encircled_energy(item, np.array([0.1, 0.5, 2.0, 5.0]))
    assert np.all(np.diff(energy) > 0)
    assert 0.95 < energy[2] < energy[3] < 1.0


def test_image_is_symmetric_and_stretches():
    item = FILTERS["ACS_F814W"]
    image = psf_image(item, size=21, pixel_scale_arcsec=0.05)
    assert image.shape == (21, 21)
    np.testing.assert_allclose(image, image[::-1, ::-1], atol=1e-12)
    assert np.unravel_index(image.argmax(), image.shape) == (10, 10)
    wide = psf_image(item, size=21, pixel_scale_arcsec=0.05, size_factor=1.1)
    assert wide[10, 10] < image[10, 10]
