"""Detector and optics effects, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.cosmic_rays import draw_cosmic_rays
from simulate.saturation import bleed, clip
from simulate.spikes import add_halo, add_spikes


def test_surplus_runs_up_and_down_its_column():
    image = np.zeros((7, 3))
    image[3, 1] = 50.0
    result, saturated = bleed(image, 10.0)
    # 40 too many: 20 either way fill two pixels each
    np.testing.assert_array_equal(result[:, 1], [0, 10, 10, 10, 10, 10, 0])
    assert not result[:, [0, 2]].any()
    np.testing.assert_array_equal(saturated, result == 10.0)


def test_bleeding_keeps_the_charge_away_from_the_edge():
    image = np.random.default_rng(0).uniform(0.0, 4.0, (400, 20))
    image[200, :] = np.linspace(0.0, 300.0, 20)
    result, _ = bleed(image, 5.0)
    assert result.max() <= 5.0
    np.testing.assert_allclose(result.sum(axis=0), image.sum(axis=0))


def test_bleeding_past_the_edge_is_lost():
    image = np.zeros((3, 1))
    image[0, 0] = 100.0
    np.testing.assert_array_equal(bleed(image, 10.0)[0][:, 0], [10.0, 10.0, 10.0])


def test_bleeding_leaves_its_input_alone():
    image = np.full((3, 3), 20.0)
    bleed(image, 10.0)
    assert (image == 20.0).all()


def test_clip_makes_no_trail():
    image = np.zeros((5, 5))
    image[2, 2] = 50.0
    result, saturated = clip(image, 10.0)
    assert result.sum() == 10.0
    assert saturated.sum() == 1


def test_cosmic_rays_are_few_bright_pixels(rng: np.random.Generator):
    charge = draw_cosmic_rays(rng, (100, 200), n=5)
    assert charge.shape == (100, 200)
    assert charge.min() == 0.0
    assert 5 <= np.count_nonzero(charge) < 400
    assert not draw_cosmic_rays(rng, (100, 200), n=0).any()


def test_four_spikes_stand_at_right_angles():
    image = np.zeros((201, 201))
    add_spikes(image, x=100.0, y=100.0, flux=1e6, angle_deg=0.0, width_px=1.0, noise=1.0)
    arms = [image[100, 140], image[100, 60], image[140, 100], image[60, 100]]
    np.testing.assert_allclose(arms, arms[0])
    assert arms[0] > 20 * image[140, 140]


def test_spike_angle_runs_from_x_to_y():
    image = np.zeros((201, 201))
    add_spikes(image, x=100.0, y=100.0, flux=1e6, angle_deg=30.0, width_px=1.0, noise=1.0)
    along = image[100 + 25, 100 + 43]  # 50 px at 30 degrees
    assert along > 10 * image[100 + 43, 100 + 25]


def test_faint_star_has_no_spikes():
    image = np.zeros((50, 50))
    add_spikes(image, x=25.0, y=25.0, flux=1.0, angle_deg=0.0, width_px=1.0, noise=10.0)
    assert not image.any()


def test_star_off_the_image_adds_only_what_reaches_in():
    image = np.zeros((60, 60))
    add_halo(image, x=-30.0, y=30.0, flux=1e6, radius_px=10.0, noise=1.0)
    assert image[30, 0] > image[30, 20] > 0.0


def test_halo_holds_its_flux():
    image = np.zeros((1201, 1201))
    add_halo(image, x=600.0, y=600.0, flux=1e6, radius_px=5.0, noise=1e-5)
    # the profile holds r^2 / (r^2 + a^2) of its light inside r: 0.99993 at 600 px
    assert image.sum() == pytest.approx(1e6, rel=2e-3)
