import numpy as np

from astro_io.coverage import MIN_AREA_PX, zero_coverage


def test_area_of_zeros_is_missing_and_isolated_zeros_are_not(rng):
    values = rng.normal(0, 1, (60, 80)).astype(np.float32)
    values[10:14, 20:24] = 0.0  # 16 px
    values[40, 50] = values[59, 79] = 0.0
    values[30, 5:20] = 0.0  # 15 px
    missing = zero_coverage(values)
    assert missing.sum() == 16 == MIN_AREA_PX
    assert missing[10:14, 20:24].all()


def test_a_row_at_the_edge_is_missing(rng):
    values = rng.normal(0, 1, (30, 40)).astype(np.float32)
    values[0] = 0.0
    assert zero_coverage(values).sum() == 40


def test_integers_with_a_bias_have_no_true_zero_in_groups(rng):
    values = rng.poisson(1000, (50, 50)).astype(np.float32)
    values[:5, :5] = 0
    values[30, 30] = 0
    assert zero_coverage(values).sum() == 25


def test_zeros_of_a_background_subtracted_integer_image_are_data(rng):
    values = np.rint(rng.normal(0, 2, (100, 100))).astype(np.float32)
    assert (values == 0).mean() > 0.15
    assert not zero_coverage(values).any()


def test_sparse_counts_are_data_and_their_gap_is_missing(rng):
    values = rng.poisson(0.2, (200, 200)).astype(np.float32)
    values[50:110, 80:130] = 0
    missing = zero_coverage(values)
    assert missing[50:110, 80:130].all()
    # zeros that touch the gap may join it, three pixels deep at most on average
    assert missing.sum() < 66 * 56 + 300


def test_sparse_count_rates_are_data_and_their_gap_is_missing(rng):
    rates = (rng.poisson(0.05, (300, 300)) / rng.uniform(1400, 1600, (300, 300))).astype(np.float32)
    rates[:, 200:] = 0.0
    missing = zero_coverage(rates)
    assert missing[:, 205:].all() and missing[:, :195].mean() < 0.01


def test_a_narrow_gap_is_missing_beside_a_wide_one(rng):
    values = rng.normal(0, 1, (200, 200)).astype(np.float32)
    values[:, 150:], values[90:94, :150] = 0.0, 0.0
    missing = zero_coverage(values)
    assert missing[:, 150:].all() and missing[90:94].all() and missing.mean() < 0.27


def test_all_zero_is_missing_everywhere():
    assert zero_coverage(np.zeros((20, 30), np.float32)).all()


def test_non_finite_pixels_do_not_disturb(rng):
    values = rng.normal(0, 1, (30, 30)).astype(np.float32)
    values[5:10] = np.nan
    values[12, 3] = np.inf
    values[20:26, 20:26] = 0
    assert zero_coverage(values).sum() == 36
    assert not zero_coverage(np.full((30, 30), np.nan, np.float32)).any()
