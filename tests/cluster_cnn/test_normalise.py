"""From flux to network input: one scale for all, a level for each stamp."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import ImageError
from cluster_cnn.normalise import StampScale, border_level, measure_scale, normalise_stamps

BANDS = ("F475W", "F814W")


def noise(n=40, size=20, sigma=(2.0, 6.0), seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, size, size, 2)) * np.array(sigma) + np.array([100.0, 7.0])


def test_the_scale_is_the_noise_of_each_band_above_its_level():
    scale = measure_scale(noise(), bands=BANDS)
    np.testing.assert_allclose(scale.statistics.scale, [2.0, 6.0], rtol=0.05)
    np.testing.assert_array_equal(scale.statistics.center, [0.0, 0.0])
    common = measure_scale(noise(), bands=BANDS, scale="common")
    np.testing.assert_allclose(common.statistics.scale, np.sqrt(12.0), rtol=0.05)
    kept = measure_scale(noise(), bands=BANDS, background="none")
    np.testing.assert_allclose(kept.statistics.center, [100.0, 7.0], rtol=0.05)


def test_brightness_and_colours_stay():
    scale = measure_scale(noise(), bands=BANDS)
    stamps = np.zeros((2, 20, 20, 2)) + 100.0
    stamps[0, 10, 10] += 20.0, 60.0
    stamps[1, 10, 10] += 200.0, 600.0
    seen = normalise_stamps(stamps, scale)
    expected = np.arcsinh([20.0 / 2.0, 60.0 / 6.0])
    np.testing.assert_allclose(seen[0, 10, 10], expected, rtol=0.05)
    np.testing.assert_allclose(np.sinh(seen[1, 10, 10]), 10 * np.sinh(seen[0, 10, 10]), rtol=1e-4)
    assert (seen[:, 0, 0] == 0).all()


def test_bad_pixels_become_the_background_and_do_not_move_it():
    scale = measure_scale(noise(), bands=BANDS)
    stamps = np.full((1, 20, 20, 2), 50.0)
    stamps[0, 10, 10] = 52.0
    broken = stamps.copy()
    broken[0, 0], broken[0, 5, 5] = np.nan, np.inf
    seen, whole = normalise_stamps(broken, scale), normalise_stamps(stamps, scale)
    assert np.isfinite(seen).all() and (seen[0, 0] == 0).all() and (seen[0, 5, 5] == 0).all()
    np.testing.assert_allclose(seen[0, 10, 10], whole[0, 10, 10])
    masked = normalise_stamps(stamps, scale, bad=np.ones(stamps.shape, bool))
    assert (masked == 0).all()


def test_the_level_is_the_median_of_the_good_border():
    stamps = np.full((3, 20, 20, 1), 4.0)
    stamps[:, 2:-2, 2:-2] = 99.0  # not the border of two pixels
    stamps[1, 0, :19] = np.nan
    stamps[2] = np.nan
    np.testing.assert_array_equal(border_level(stamps).ravel(), [4.0, 4.0, 0.0])
    even = np.zeros((1, 4, 4, 1))
    even[0, 0], even[0, 3] = 1.0, 3.0  # twelve border pixels: 4 x 1, 4 x 0, 4 x 3
    assert border_level(even)[0, 0] == 1.0
    even[0, 0, 0] = np.nan  # eleven: 0 0 0 0 1 [1] 1 3 3 3 3
    assert border_level(even)[0, 0] == 1.0


def test_a_scale_survives_its_dict_and_refuses_other_bands():
    scale = measure_scale(noise(), bands=BANDS, softening=2.0)
    back = StampScale.from_dict(scale.to_dict())
    np.testing.assert_array_equal(back.statistics.scale, scale.statistics.scale)
    assert back.softening == 2.0 and back.method == "asinh"
    with pytest.raises(ImageError, match=r"expected shape \(N, H, W, 2\)"):
        normalise_stamps(np.zeros((1, 4, 4, 3)), scale)
    assert normalise_stamps(np.zeros((0, 4, 4, 2)), scale).shape == (0, 4, 4, 2)
