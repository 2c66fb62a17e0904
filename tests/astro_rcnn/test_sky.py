from __future__ import annotations

import numpy as np
import pytest
from detection_fields import disk, gaussian
from scipy import ndimage

from astro_rcnn.sky import grow_masks, noise_correlation, subtract_sky

NONE = np.zeros((300, 400), bool)


def test_level_and_noise_of_plain_sky(rng):
    sky = subtract_sky(rng.normal(1000, 5, NONE.shape).astype(np.float32), NONE, NONE)
    assert sky.light.mean() == pytest.approx(0, abs=0.1)
    assert sky.sigma.mean() == pytest.approx(5, rel=0.02)
    assert sky.correlation == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(60, 80), (300, 400)])
@pytest.mark.parametrize("level", [99.6, 100.4])
def test_whole_numbers_do_not_move_the_sky(rng, shape, level):
    plane = np.rint(rng.normal(level, 2.0, shape)).astype(np.float32)
    none = np.zeros(shape, bool)
    sky = subtract_sky(plane, none, none)
    assert sky.light.mean() == pytest.approx(0, abs=0.15)
    assert sky.sigma.mean() == pytest.approx(2.04, rel=0.04)


def test_a_gradient_is_followed(rng):
    slope = np.linspace(0, 40, 400)[None, :]
    plane = (rng.normal(100, 2, NONE.shape) + slope).astype(np.float32)
    sky = subtract_sky(plane, NONE, NONE)
    columns = sky.light.mean(axis=0)
    assert abs(columns[50:350]).max() < 2.0  # of 40; one level for all leaves 15


def test_a_galaxy_does_not_raise_the_sky_around_it(rng):
    galaxy = gaussian(NONE.shape, 200, 150, flux=4e5, a=15)
    plane = (rng.normal(0, 1, NONE.shape) + galaxy).astype(np.float32)
    sky = subtract_sky(plane, NONE, grow_masks(disk(NONE.shape, 200, 150, 50)))
    # Within 3.3 sigma: 99.6 % of the light; a sky too high by 0.05 would cost 390 of it.
    inside = disk(NONE.shape, 200, 150, 50)
    assert sky.light[inside].sum() == pytest.approx(4e5 * 0.9961, abs=1500)


def test_bad_pixels_have_no_light_and_no_say(rng):
    plane = rng.normal(10, 1, NONE.shape).astype(np.float32)
    bad = NONE.copy()
    bad[:, :250] = True
    plane[bad] = 0.0
    sky = subtract_sky(plane, bad, NONE)
    assert not sky.light[bad].any()
    assert sky.light[~bad].mean() == pytest.approx(0, abs=0.05)


def test_a_band_without_good_pixels_is_dark_not_nan():
    sky = subtract_sky(np.zeros(NONE.shape, np.float32), ~NONE, NONE)
    assert not sky.light.any()
    assert (sky.sigma == 1).all()


@pytest.mark.parametrize("shape", [(40, 50), (300, 400)])
def test_an_image_full_of_sources_gets_one_finite_level(rng, shape):
    plane = rng.normal(10, 1, shape).astype(np.float32)
    sky = subtract_sky(plane, np.zeros(shape, bool), np.ones(shape, bool))
    assert sky.sigma.mean() == pytest.approx(1, rel=0.1)
    assert np.median(sky.light) == pytest.approx(0, abs=0.1)


def test_an_image_without_noise_has_a_sigma_above_zero():
    plane = gaussian(NONE.shape, 200, 150, flux=100.0).astype(np.float32)
    assert (subtract_sky(plane, NONE, NONE).sigma > 0).all()
    assert (subtract_sky(np.full(NONE.shape, 7, np.float32), NONE, NONE).sigma == 1).all()


def test_correlated_noise_is_noticed(rng):
    # Noise averaged over 3 x 3 pixels: sums over wide blocks scatter as before, single pixels
    # three times less; 8 px blocks with their edges see somewhat under 3.
    noise = ndimage.uniform_filter(rng.normal(0, 3, (600, 600)), 3)
    factor = noise_correlation(noise, np.ones(noise.shape, bool))
    assert 2.4 < factor < 3.0


def test_little_sky_counts_as_uncorrelated(rng):
    assert noise_correlation(rng.normal(0, 9, (40, 40)), np.ones((40, 40), bool)) == 1.0
