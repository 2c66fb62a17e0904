"""Point-spread functions: widths, encircled light, spikes, images from files."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits

from astro_io.errors import ConfigError, ImageError, InputNotFoundError
from simulate.config import load_preset
from simulate.psf import ProfilePsf, Psf
from simulate.psf_config import AtmosphereConfig, OpticsConfig, PsfConfig, PsfImageConfig
from simulate.psf_models import draw_psfs, optical_psf, read_psf_image

ACS = OpticsConfig(wavelength_nm=(814.0,), detector_pixel_arcsec=0.0495)


def _optics(scale: float = 0.0495, **changes: float) -> ProfilePsf:
    values = {"roll_deg": 45.0, "defocus_waves": 0.05, "blur_arcsec": 0.022, **changes}
    return optical_psf(ACS, wavelength_nm=814.0, pixel_scale_arcsec=scale, **values)


def _sampled(psf: ProfilePsf, size: int = 73) -> np.ndarray:
    return psf.profile().drawImage(nx=size, ny=size, scale=1.0, method="no_pixel").array


def _encircled(image: np.ndarray, radius_px: float) -> float:
    y, x = np.indices(image.shape)
    cy, cx = np.unravel_index(image.argmax(), image.shape)
    return float(image[np.hypot(y - cy, x - cx) <= radius_px].sum())


def test_profile_psf_measures_its_width():
    assert ProfilePsf(light=galsim.Moffat(beta=3.0, fwhm=4.2)).fwhm_px == pytest.approx(4.2, 0.02)


def test_envelope_of_a_moffat_is_its_profile():
    moffat = Psf(fwhm_px=4.0, beta=2.5)
    envelope = ProfilePsf(light=moffat.profile())
    radius = np.array([10.0, 40.0, 150.0])
    # rings are one pixel wide: the brightest pixel of a ring lies at its inner edge
    ratio = envelope.surface_brightness(radius) / moffat.surface_brightness(radius)
    np.testing.assert_allclose(ratio, 1.0, atol=0.06)


def test_moffat_holds_unit_light():
    moffat = Psf(fwhm_px=3.0, beta=3.0)
    radius = np.arange(0.0, 2000.0, 0.01)
    total = (2 * np.pi * radius * moffat.surface_brightness(radius)).sum() * 0.01
    assert total == pytest.approx(1.0, rel=1e-4)


def test_turbulence_keeps_the_seeing_asked_for(rng: np.random.Generator):
    config = PsfConfig(
        fwhm_arcsec=(0.8, 0.8),
        band_factor=(1.0, 1.2),
        band_scatter=0.0,
        atmosphere=AtmosphereConfig(instrument_fwhm_arcsec=(0.3, 0.3)),
    )
    one, two = draw_psfs(rng, config, pixel_scale_arcsec=0.2, n_bands=2)
    # widths of a Kolmogorov and a Gaussian profile add nearly in quadrature
    assert one.fwhm_px == pytest.approx(4.0, rel=0.06)
    assert two.fwhm_px == pytest.approx(4.8, rel=0.06)


def test_diffraction_grows_with_wavelength():
    config = OpticsConfig(wavelength_nm=(435.0, 1600.0), blur_arcsec=(0.0, 0.0))
    blue, red = draw_psfs(
        np.random.default_rng(0), PsfConfig(optics=config), pixel_scale_arcsec=0.03, n_bands=2
    )
    assert red.fwhm_px > 1.7 * blue.fwhm_px


def test_space_psf_agrees_with_tiny_tim(shared_data: Path):
    path = shared_data / "clusters" / "psf" / "ACS_WFC_F814W.fits"
    if not path.is_file():
        pytest.skip("no TinyTim PSF among the real data")
    real = fits.getdata(path)
    model = _sampled(_optics())
    for radius_px in (1.0, 2.0, 3.0, 5.0, 10.0):
        difference = _encircled(model, radius_px) - _encircled(real, radius_px)
        assert abs(difference) < 0.03, radius_px


def test_spider_makes_four_spikes():
    image = _sampled(_optics(scale=0.03), size=401)
    y, x = np.indices(image.shape) - 200
    angle = np.rad2deg(np.arctan2(y, x)) % 90
    ring = (np.hypot(y, x) > 60) & (np.hypot(y, x) < 180)
    along = image[ring & (abs(angle - 45) < 2)].mean()
    between = image[ring & (abs(angle - 20) < 10)].mean()
    assert along > 5 * between


def test_psf_image_is_read_centred_and_with_unit_flux(tmp_path: Path):
    y, x = np.indices((41, 41))
    star = 7.0 * np.exp(-((x - 21.3) ** 2 + (y - 18.6) ** 2) / (2 * 3.0**2))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(star)]).writeto(tmp_path / "psf.fits")
    config = PsfImageConfig(files=(str(tmp_path / "psf.fits"),), pixel_scale_arcsec=0.1)
    psf = read_psf_image(config.files[0], config, 0.2)
    image = _sampled(psf, size=41)
    assert image.sum() == pytest.approx(1.0, rel=2e-3)
    np.testing.assert_allclose(
        [(image * axis).sum() for axis in (np.indices(image.shape) - 20)], 0.0, atol=0.02
    )
    # 3 px of 0.1 arcsec are 1.5 px of 0.2; FWHM = 2.355 sigma
    assert psf.fwhm_px == pytest.approx(2.355 * 1.5, rel=0.03)
    assert psf.includes_pixel


@pytest.mark.parametrize("content", ["nothing", "text", "dark", "cube"])
def test_unusable_psf_image_says_why(tmp_path: Path, content: str):
    path = tmp_path / "psf.fits"
    if content == "text":
        path.write_text("not a FITS file")
    elif content == "dark":
        fits.PrimaryHDU(np.zeros((5, 5))).writeto(path)
    elif content == "cube":
        fits.PrimaryHDU(np.ones((5, 5, 5))).writeto(path)
    config = PsfImageConfig(files=(str(path),), pixel_scale_arcsec=0.1)
    error = InputNotFoundError if content == "nothing" else ImageError
    message = {
        "nothing": "psf.fits does not exist",
        "text": "cannot be read as FITS",
        "dark": "holds no light",
        "cube": "holds no two-dimensional image",
    }[content]
    with pytest.raises(error, match=message):
        read_psf_image(config.files[0], config, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("psf.optics.wavelength_nm=[814.0]",), "optics.wavelength_nm: expected one value a band"),
        (("psf.image.files=a.fits,b.fits", "psf.image.pixel_scale_arcsec=0.1"), "image.files"),
        (
            ("psf.optics.wavelength_nm=[1.0,1.0,1.0]", "psf.atmosphere.instrument_fwhm_arcsec=0,1"),
            "expected one of atmosphere, optics, image; found atmosphere, optics",
        ),
        (("psf.optics.wavelength_nm=[0.0,1.0,1.0]",), "must be above 0"),
        (("psf.optics.obscuration=1.5", "psf.optics.wavelength_nm=[1.0,1.0,1.0]"), "found 1.5"),
    ],
)
def test_impossible_psf_is_refused(settings: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        load_preset("decam", settings)
