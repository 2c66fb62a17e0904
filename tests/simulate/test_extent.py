"""The reach of a source: known profiles."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.extent import light_radius, sersic_b
from simulate.psf import Psf
from simulate.sources import Sources


def _sources(n: int, disk_radius: float) -> Sources:
    one, zero = np.ones(n), np.zeros(n)
    return Sources(
        class_id=np.full(n, 2, dtype=np.int32),
        x=zero,
        y=zero,
        mag=np.zeros((n, 1)),
        bulge_fraction=np.zeros((n, 1)),
        arms_fraction=np.zeros((n, 1)),
        bulge_radius_arcsec=zero,
        disk_radius_arcsec=np.full(n, disk_radius),
        bulge_index=one,
        bulge_axis_ratio=one,
        disk_axis_ratio=one,
        angle_rad=zero,
        structure_seed=np.zeros(n, dtype=np.int64),
        is_irregular=np.zeros(n, dtype=bool),
    )


def _radius(flux, disk_radius: float, *, n_sigma: float = 1.0, peak: float = 1.0) -> np.ndarray:
    flux = np.atleast_1d(flux).astype(float)[:, None]
    return light_radius(
        _sources(len(flux), disk_radius),
        flux,
        (Psf(fwhm_px=2.0, beta=4.0),),
        pixel_scale_arcsec=1.0,
        sky_sigma=np.array([1.0]),
        n_sigma=n_sigma,
        peak_fraction=peak,
    )


def test_half_of_an_exponential_lies_within_its_b():
    assert sersic_b(np.array([1.0]))[0] == pytest.approx(1.67835, rel=1e-5)


def test_disk_ends_where_it_meets_the_noise():
    # centre: F b^2 / (2 pi R^2) with R^2 = 20^2 + 1; level 1 at r = R / b * ln(centre)
    size = np.hypot(20.0, 1.0)
    centre = 1e6 * 1.67835**2 / (2 * np.pi * size**2)
    expected = size / 1.67835 * np.log(centre)
    assert _radius(1e6, 20.0)[0] == pytest.approx(expected, rel=0.05)


def test_brighter_sources_reach_farther():
    assert (np.diff(_radius([1e2, 1e3, 1e4, 1e5], 5.0)) > 0).all()


def test_faint_source_is_followed_to_its_peak_fraction():
    # far below the noise; 0.004 of the peak lies ln(250) scale lengths out
    scale = np.hypot(20.0, 1.0) / 1.67835
    radius = _radius(1e-3, 20.0, peak=0.004)[0]
    assert radius == pytest.approx(scale * np.log(250.0), rel=0.08)


def test_bright_star_is_followed_along_the_wings_of_the_psf():
    psf = Psf(fwhm_px=2.0, beta=4.0)
    wings = 1e6 * 3.0 / (np.pi * psf.scale_px**2)  # times (1 + r^2 / a^2)^-4
    expected = psf.scale_px * np.sqrt(wings**0.25 - 1.0)
    assert _radius(1e6, 0.0)[0] == pytest.approx(expected, rel=0.05)
