"""Stamps: the Fourier renderer against GalSim's own drawing."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from simulate.psf import Psf
from simulate.sources import Sources
from simulate.stamps import StampRenderer, stamp_size

PSFS = (Psf(fwhm_px=2.4, beta=2.5), Psf(fwhm_px=4.0, beta=3.5, g1=0.03))


def _source(**changes) -> Sources:
    values = {
        "class_id": [2],
        "x": [70.3],
        "y": [41.8],
        "mag": [[20.0, 20.0]],
        "bulge_fraction": [[0.3, 0.6]],
        "arms_fraction": [[0.0, 0.0]],
        "bulge_radius_arcsec": [0.4],
        "disk_radius_arcsec": [1.0],
        "bulge_index": [3.0],
        "bulge_axis_ratio": [0.8],
        "disk_axis_ratio": [0.5],
        "angle_rad": [0.7],
        "structure_seed": [11],
        "is_irregular": [False],
    }
    values.update(changes)
    return Sources(**{name: np.array(value) for name, value in values.items()})


def _renderer(shifts: np.ndarray | None = None) -> StampRenderer:
    return StampRenderer(PSFS, 0.25, np.zeros((2, 2)) if shifts is None else shifts)


def _centroid(plane: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(plane.shape)
    return float((plane * y).sum() / plane.sum()), float((plane * x).sum() / plane.sum())


def test_galaxy_equals_galsim_drawing():
    flux = np.array([1000.0, 3000.0])
    (y1, x1), stamp = _renderer().draw(_source(), 0, flux, 60.0)
    shear = {q: galsim.Shear(q=q, beta=0.7 * galsim.radians) for q in (0.8, 0.5)}
    for b, psf in enumerate(PSFS):
        bulge_share = (0.3, 0.6)[b]
        bulge = galsim.Sersic(3.0, half_light_radius=1.6 * np.sqrt(0.8)).shear(shear[0.8])
        disk = galsim.Exponential(half_light_radius=4.0 * np.sqrt(0.5)).shear(shear[0.5])
        galaxy = flux[b] * (bulge_share * bulge + (1.0 - bulge_share) * disk)
        image = galsim.ImageF(stamp.shape[1], stamp.shape[0], scale=1.0)
        centre = galsim.PositionD(70.3 - x1 + 1.0, 41.8 - y1 + 1.0)
        galsim.Convolve(galaxy, psf.profile()).drawImage(image, center=centre)
        np.testing.assert_allclose(stamp[..., b], image.array, atol=2e-3 * image.array.max())
        assert stamp[..., b].sum() == pytest.approx(flux[b], rel=2e-3)


def test_star_is_the_psf_at_its_position():
    star = _source(disk_radius_arcsec=[0.0], bulge_radius_arcsec=[0.0])
    (y1, x1), stamp = _renderer().draw(star, 0, np.array([50.0, 80.0]), 40.0)
    for b, flux in enumerate((50.0, 80.0)):
        assert stamp[..., b].sum() == pytest.approx(flux, rel=1e-3)
        y, x = _centroid(stamp[..., b])
        assert y + y1 == pytest.approx(41.8, abs=0.02)
        assert x + x1 == pytest.approx(70.3, abs=0.02)


def test_band_shift_moves_one_band_alone():
    star = _source(disk_radius_arcsec=[0.0], bulge_radius_arcsec=[0.0])
    shifts = np.array([[0.0, 0.0], [0.4, -0.3]])
    flux = np.array([1.0, 1.0])
    _, plain = _renderer().draw(star, 0, flux, 40.0)
    _, moved = _renderer(shifts).draw(star, 0, flux, 40.0)
    np.testing.assert_allclose(moved[..., 0], plain[..., 0], atol=1e-7)
    before, after = _centroid(plain[..., 1]), _centroid(moved[..., 1])
    assert after[0] - before[0] == pytest.approx(0.4, abs=0.01)
    assert after[1] - before[1] == pytest.approx(-0.3, abs=0.01)


def test_arms_keep_flux_and_break_symmetry():
    smooth = _source(disk_radius_arcsec=[3.0])
    spiral = _source(disk_radius_arcsec=[3.0], arms_fraction=[[0.6, 0.3]])
    flux = np.array([1000.0, 1000.0])
    _, plain = _renderer().draw(smooth, 0, flux, 120.0)
    _, arms = _renderer().draw(spiral, 0, flux, 120.0)
    np.testing.assert_allclose(arms.sum(axis=(0, 1)), flux, rtol=5e-3)
    assert abs(arms - plain)[..., 0].sum() > 0.1 * flux[0]


@pytest.mark.parametrize(("radius", "size"), [(1.0, 16), (6.0, 16), (6.1, 24), (400.0, 1024)])
def test_stamp_size_holds_the_radius(radius: float, size: int):
    assert stamp_size(radius) == size


def test_size_of_a_stamp_does_not_change_its_pixels():
    flux = np.array([1.0, 1.0])
    (y1, x1), small = _renderer().draw(_source(), 0, flux, 30.0)
    (v1, u1), large = _renderer().draw(_source(), 0, flux, 120.0)
    part = large[y1 - v1 : y1 - v1 + small.shape[0], x1 - u1 : x1 - u1 + small.shape[1]]
    np.testing.assert_allclose(small, part, atol=3e-3 * large.max())
