import json

import numpy as np
import pytest

from astro_io.errors import ImageError
from astro_io.fits_read import read_image
from astro_io.normalize import METHODS, BandStatistics, measure_statistics, normalize


def sky(rng, shape=(120, 90, 2), level=(100.0, -3.0), sigma=(5.0, 0.2)) -> np.ndarray:
    return rng.normal(level, sigma, shape).astype(np.float32)


def one_band(values, method="zscore", **options) -> tuple[float, float]:
    statistics = measure_statistics(np.asarray(values)[..., None], None, method, **options)
    return float(statistics.center[0]), float(statistics.scale[0])


def test_paper_statistics_are_mean_and_standard_deviation():
    # mean (1 + 2 + 3 + 6) / 4 = 3; variance (4 + 1 + 0 + 9) / 4 = 3.5
    center, scale = one_band(np.array([[1.0, 2.0], [3.0, 6.0]], np.float32), "paper")
    assert center == 3.0
    assert scale == pytest.approx(np.sqrt(3.5), rel=1e-15)


def test_robust_statistics_recover_each_band_of_pure_sky(rng):
    statistics = measure_statistics(sky(rng, (500, 400, 2)), None)
    # standard error of the median 1.25 sigma / sqrt(200 000) = 0.003 sigma
    assert statistics.center == pytest.approx([100.0, -3.0], abs=0.06)
    assert statistics.center[1] == pytest.approx(-3.0, abs=0.0024)
    np.testing.assert_allclose(statistics.scale, [5.0, 0.2], rtol=0.015)


def test_statistics_agree_with_astropy_sigma_clipping(rng):
    from astropy.stats import mad_std, sigma_clip

    pixels = sky(rng, (200, 300, 1), (100.0,), (5.0,))
    pixels[20:60, 100:140] += 40.0
    clipped = sigma_clip(pixels, sigma=3, maxiters=20, stdfunc="mad_std", masked=False)
    clipped = clipped[np.isfinite(clipped)]
    center, scale = one_band(pixels[..., 0])
    assert center == pytest.approx(np.median(clipped), abs=0.05)
    assert scale == pytest.approx(mad_std(clipped), rel=0.02)


def test_one_saturated_star_does_not_move_robust_statistics(rng):
    pixels = sky(rng)[..., 0]
    before = one_band(pixels)
    y, x = np.mgrid[-60:60, -45:45]
    pixels = np.minimum(pixels + 1e6 * np.exp(-(y**2 + x**2) / 18), 6e4).astype(np.float32)
    after = one_band(pixels)
    assert after[0] == pytest.approx(before[0], abs=0.1 * before[1])
    assert after[1] == pytest.approx(before[1], rel=0.03)


@pytest.mark.parametrize("sigma", [1.0, 1.7, 2.0, 5.0])
def test_sky_of_few_integer_levels_is_measured_between_the_levels(rng, sigma):
    pixels = np.rint(rng.normal(1000.3, sigma, (400, 400)))
    center, scale = one_band(pixels.astype(np.uint16).astype(np.float32))
    assert center == pytest.approx(1000.3, abs=0.03 * sigma + 0.02)
    assert scale == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.04)


def test_bad_and_non_finite_pixels_are_left_out(rng):
    pixels = sky(rng)
    expected = measure_statistics(pixels[:, 30:], None)
    bad = np.zeros(pixels.shape[:2], bool)
    bad[:, :20] = True
    pixels[:, :20] = 1e8
    pixels[:, 20:25] = np.nan
    pixels[:, 25:30] = np.inf
    found = measure_statistics(pixels, bad)
    np.testing.assert_array_equal(found.center, expected.center)
    np.testing.assert_array_equal(found.scale, expected.scale)


def test_bad_pixels_of_one_band_leave_the_other_alone(rng):
    pixels = sky(rng)
    bad = np.zeros(pixels.shape, bool)
    bad[:60, :, 1] = True
    found = measure_statistics(pixels, bad)
    assert found.center[0] == measure_statistics(pixels, None).center[0]
    assert found.center[1] == measure_statistics(pixels[60:], None).center[1]


def test_float32_sums_would_be_wrong_but_ours_are_not(rng):
    pixels = rng.normal(1000, 30, (1024, 1024, 3)).astype(np.float32)
    statistics = measure_statistics(pixels, None, "paper")
    exact = pixels.astype(np.float64)
    np.testing.assert_allclose(statistics.center, exact.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(statistics.scale, exact.std(axis=(0, 1)), rtol=1e-9)


def test_large_image_is_sampled_without_bias(rng, monkeypatch):
    pixels = sky(rng, (300, 500, 2))
    whole = measure_statistics(pixels, None)
    monkeypatch.setattr("astro_io.normalize.MAX_SAMPLE", 20_000)
    sampled = measure_statistics(pixels, None)
    assert not np.array_equal(sampled.center, whole.center)
    np.testing.assert_allclose(sampled.center, whole.center, atol=0.05 * whole.scale.max())
    np.testing.assert_allclose(sampled.scale, whole.scale, rtol=0.05)


def test_good_pixels_that_the_sampling_grid_misses_are_used(rng, monkeypatch):
    monkeypatch.setattr("astro_io.normalize.MAX_SAMPLE", 1000)
    pixels = sky(rng)
    bad = np.ones(pixels.shape[:2], bool)
    bad[1, :] = False
    found = measure_statistics(pixels, bad)
    np.testing.assert_array_equal(found.center, measure_statistics(pixels[1:2], None).center)


@pytest.mark.parametrize("method", METHODS)
def test_network_input_is_unchanged_by_scale_and_offset_of_the_flux(rng, method):
    pixels = sky(rng)
    pixels[40:50, 40:50] += 30.0
    changed = (np.float64([7.5, 0.01]) * pixels + np.float64([-300.0, 12.0])).astype(np.float32)
    one = normalize(pixels, measure_statistics(pixels, None, method), method)
    two = normalize(changed, measure_statistics(changed, None, method), method)
    tolerance = 8.0 if method == "paper" else 1e-3  # 8 of 10 000 a sigma
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=tolerance)


def test_paper_form_rounds_to_ten_thousandths_and_clips_to_int16():
    statistics = BandStatistics(np.array([10.0]), np.array([2.0]))
    flux = np.array([10.0, 12.0, 9.99993, 100.0, -100.0, np.nan], np.float32).reshape(1, 6, 1)
    found = normalize(flux, statistics, "paper")
    # 9.99993: z = -0.000035, times 1e4 = -0.35 -> 0; 100: z = 45 -> above 32767
    assert found.ravel().tolist() == [0.0, 10000.0, 0.0, 32767.0, -32768.0, 0.0]
    assert found.dtype == np.float32


def test_zscore_is_flux_above_sky_in_sigma():
    statistics = BandStatistics(np.array([10.0, 0.0]), np.array([2.0, 0.5]))
    found = normalize(np.array([[[14.0, -1.0]]], np.float32), statistics, "zscore")
    assert found.tolist() == [[[2.0, -2.0]]]


def test_asinh_is_linear_in_the_noise_and_odd():
    statistics = BandStatistics(np.array([10.0]), np.array([2.0]))
    flux = np.array([10.0, 10.02, 9.98, 2010.0], np.float32).reshape(1, 4, 1)
    found = normalize(flux, statistics, "asinh").ravel()
    # z = 0, 0.01, -0.01, 1000; asinh(1000) = ln(2000) = 7.6009
    np.testing.assert_allclose(found, [0.0, 0.01, -0.01, 7.600903], rtol=2e-4)
    softer = normalize(flux, statistics, "asinh", softening=10.0).ravel()
    assert softer[3] == pytest.approx(np.arcsinh(100.0), rel=1e-6)


def test_lupton_keeps_colours_and_compresses_the_mean_of_the_bands():
    statistics = BandStatistics(np.zeros(3), np.ones(3))
    z = np.array([[[30.0, 60.0, 90.0], [0.0, 0.0, 0.0], [-0.5, 0.25, 0.25]]], np.float32)
    found = normalize(z, statistics, "lupton")
    # I = 60: asinh(60) = 4.787561, so 60 becomes 4.787561 and the ratios 1:2:3 stay
    np.testing.assert_allclose(found[0, 0], 4.787561 * np.array([0.5, 1.0, 1.5]), rtol=1e-6)
    assert found[0, 1].tolist() == [0.0, 0.0, 0.0]
    assert found[0, 2].tolist() == [-0.5, 0.25, 0.25]  # I = 0: linear


def test_lupton_of_one_band_is_asinh(rng):
    pixels = sky(rng, (20, 30, 1), (3.0,), (1.0,))
    statistics = measure_statistics(pixels, None)
    np.testing.assert_allclose(
        normalize(pixels, statistics, "lupton"), normalize(pixels, statistics, "asinh"), atol=1e-6
    )


def test_lupton_mean_leaves_out_a_bad_band():
    statistics = BandStatistics(np.zeros(2), np.ones(2))
    bad = np.array([[[False, True]]])
    found = normalize(np.array([[[8.0, 1e9]]], np.float32), statistics, "lupton", bad=bad)
    np.testing.assert_allclose(found.ravel(), [np.arcsinh(8.0), 0.0], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_bad_and_nan_pixels_become_background_and_the_input_is_untouched(rng, method):
    pixels = sky(rng)
    pixels[3, 4, 0] = np.nan
    bad = np.zeros(pixels.shape, bool)
    bad[5, 6, 1] = True
    before = pixels.copy()
    found = normalize(pixels, measure_statistics(pixels, bad, method), method, bad=bad)
    assert found[3, 4, 0] == 0.0
    assert found[5, 6, 1] == 0.0
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(pixels, before)


def test_band_without_good_pixels_is_named():
    pixels = np.zeros((4, 5, 2), np.float32)
    pixels[..., 0] = np.arange(20).reshape(4, 5)
    bad = np.zeros(pixels.shape, bool)
    bad[..., 1] = True
    with pytest.raises(ImageError, match=r"band z: no good pixel"):
        measure_statistics(pixels, bad, bands=("g", "z"))


@pytest.mark.parametrize("method", ["zscore", "paper"])
def test_band_without_scatter_is_named(method):
    with pytest.raises(ImageError, match=r"band g: all 20 good pixels sampled equal 7, so there"):
        one_band(np.full((4, 5), 7.0, np.float32), method, bands=("g",))


def test_empty_bands_pass_on_request_and_normalise_to_zero(rng):
    pixels = np.stack(
        [np.full((9, 9), 7.0), np.full((9, 9), np.nan), rng.normal(size=(9, 9))], axis=-1
    ).astype(np.float32)
    statistics = measure_statistics(pixels, None, allow_empty=True)
    assert statistics.center[:2].tolist() == [7.0, 0.0]
    assert statistics.scale[:2].tolist() == [1.0, 1.0]
    assert not normalize(pixels, statistics)[..., :2].any()


def test_sky_with_one_dominant_value_has_scatter():
    values = np.zeros((10, 10), np.float32)
    values[0, :5] = [1, -1, 2, -2, 1]
    center, scale = one_band(values)
    assert abs(center) < 0.1
    assert 0 < scale < 1


def test_unknown_method_and_wrong_band_number_are_refused():
    statistics = BandStatistics(np.zeros(2), np.ones(2))
    pixels = np.zeros((2, 2, 3), np.float32)
    with pytest.raises(ImageError, match="'minmax' is unknown; choose one of zscore, paper"):
        normalize(pixels, statistics, "minmax")
    with pytest.raises(ImageError, match=r"statistics of 2 bands do not fit pixels of shape"):
        normalize(pixels, statistics)
    with pytest.raises(ImageError, match=r"expected pixels of shape \(H, W, B\), found \(2, 2\)"):
        measure_statistics(pixels[..., 0], None)


def test_statistics_survive_json():
    statistics = BandStatistics(np.array([1.25, 1e-9]), np.array([1 / 3, 4.0]))
    copy = BandStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    np.testing.assert_array_equal(copy.center, statistics.center)
    np.testing.assert_array_equal(copy.scale, statistics.scale)


def test_sdss_counts_with_bias_have_the_sky_of_their_frame(shared_data):
    image = read_image(shared_data / "sky" / "sdss_s82_run6377_field0399")
    statistics = measure_statistics(image.pixels, image.bad)
    # SOFTBIAS 1000 + SKY of the headers, DN: 75.4, 119.79, 91.52
    np.testing.assert_allclose(statistics.center, [1075.4, 1119.8, 1091.5], rtol=0, atol=0.6)
    assert (statistics.scale > 4).all() and (statistics.scale < 7).all()


def test_missing_coverage_does_not_shift_the_sky_of_a_band(shared_data):
    folder = shared_data / "sky" / "decals_grz_cubes"
    whole = read_image(folder / "ra147.457_dec1.093_0.130arcsec_DR5.fits")
    holed = read_image(folder / "ra147.457_dec1.093_0.130arcsec_DR3_BADPIX.fits")
    expected = measure_statistics(whole.pixels, whole.bad)
    found = measure_statistics(holed.pixels, holed.bad)
    assert (np.abs(found.center - expected.center) < expected.scale).all()
    assert (found.scale > 0.4 * expected.scale).all()
