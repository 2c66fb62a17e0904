from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from detection_fields import detections_of, disk, gaussian, simple_wcs, sky_image

from astro_io.catalog import Flag, catalog_columns
from astro_rcnn.detections import Detections
from astro_rcnn.measure import measure_sources

SHAPE = (120, 160)


def noisy(rng, *sources, sigma=1.0, level=0.0, shape=SHAPE):
    return level + sum(sources, np.zeros(shape)) + rng.normal(0, sigma, shape)


def measured(planes, masks, class_ids=None, **options):
    fields = {"bands": ("g", "r", "z")[: len(planes)]}
    for name in ("bad", "wcs", "unit", "zeropoint_mag", "saturation"):
        if name in options:
            fields[name] = options.pop(name)
    return measure_sources(sky_image(planes, **fields), detections_of(masks, class_ids), **options)


def has(row, flag):
    return bool(row["flags"] & flag)


def test_flux_is_the_light_inside_the_mask_without_the_sky(rng):
    # A disk of 441 pixels holds 1 - exp(-441 / (2 pi 4^2)) = 98.756 % of a round Gaussian.
    sources = [gaussian(SHAPE, 70, 50, flux=flux, a=4) for flux in (4e4, 8e4)]
    planes = [noisy(rng, source, level=1000) for source in sources]
    table = measured(planes, [disk(SHAPE, 70, 50, 12)])
    assert table["n_pix"][0] == 441
    for band, flux in (("g", 4e4), ("r", 8e4)):
        error = table[f"flux_err_{band}"][0]
        assert error == pytest.approx(21, rel=0.1)  # sqrt(441) sigma
        assert table[f"flux_{band}"][0] == pytest.approx(0.98756 * flux, abs=4 * error)


def test_magnitude_follows_from_flux_and_zero_point(rng):
    source = gaussian(SHAPE, 70, 50, flux=1e4, a=2)
    table = measured(
        [noisy(rng, source), noisy(rng, source)],
        [disk(SHAPE, 70, 50, 10)],
        zeropoint_mag=(22.5, None),
        unit=("nmgy", "adu"),
    )
    # 22.5 - 2.5 log10(10000) = 12.5; its error 1.0857 x relative flux error.
    assert table["mag_g"][0].value == pytest.approx(12.5, abs=0.01)
    relative = (table["flux_err_g"] / table["flux_g"]).value
    assert table["mag_err_g"].value == pytest.approx(1.0857 * relative, rel=1e-3)
    assert np.isnan(table["mag_r"][0])
    assert [str(table[f"flux_{band}"].unit) for band in "gr"] == ["nmgy", "adu"]


def test_errors_are_honest(rng):
    """Pulls of flux and position over 300 sources in pure noise scatter by one sigma."""
    shape, sigma = (600, 760), 3.0
    places = [(20 + 40 * i + 0.3, 15 + 30 * j + 0.4) for i in range(18) for j in range(19)]
    truth = np.zeros(shape)
    stamp = np.zeros((31, 31))
    for n, (x, y) in enumerate(places):
        corner_y, corner_x = int(y) - 15, int(x) - 15
        stamp = gaussian((31, 31), x - corner_x, y - corner_y, flux=900 + 5 * n, a=2)
        truth[corner_y : corner_y + 31, corner_x : corner_x + 31] += stamp
    masks = [disk(shape, x, y, 5) for x, y in places]
    table = measured([truth + rng.normal(50, sigma, shape) for _ in range(2)], masks)
    expected = np.array([truth[mask].sum() for mask in masks])
    pull = (table["flux_g"] - expected) / table["flux_err_g"]
    assert np.std(pull) == pytest.approx(1, abs=0.12)  # 3 sigma of 342 draws
    assert np.mean(pull) == pytest.approx(0, abs=0.17)
    for axis, column in (("x", 0), ("y", 1)):
        position = np.array([place[column] for place in places])
        pull = (table[axis].value - position) / table[f"{axis}_err"].value
        assert np.std(pull) == pytest.approx(1, abs=0.15)
        assert np.mean(pull) == pytest.approx(0, abs=0.17)


def test_photon_noise_is_added_where_the_gain_is_known(rng):
    source = gaussian(SHAPE, 70, 50, flux=1e5, a=3)
    masks = [disk(SHAPE, 70, 50, 12)]
    planes = [noisy(rng, source), noisy(rng, source)]
    table = measured(planes, masks, gain_e=(4.0, None))
    # sqrt(n_pix + flux / gain) = sqrt(441 + 25000)
    assert table["flux_err_g"][0] == pytest.approx(np.sqrt(441 + 1e5 / 4), rel=0.02)
    assert table["flux_err_r"][0] == pytest.approx(np.sqrt(441), rel=0.1)


def test_position_is_good_to_a_hundredth_of_a_pixel_and_on_the_sky(rng):
    source = gaussian(SHAPE, 100.3, 40.7, flux=1e6, a=2.5)
    wcs = simple_wcs(scale_arcsec=0.25)
    table = measured([noisy(rng, source)], [disk(SHAPE, 100.3, 40.7, 10)], wcs=wcs)
    assert table["x"][0].value == pytest.approx(100.3, abs=0.01)
    assert table["y"][0].value == pytest.approx(40.7, abs=0.01)
    # North up, east left: y steps of 0.25" in Dec, x steps of -0.25" / cos(Dec) in RA.
    dec = 20 + 40.7 * 0.25 / 3600
    ra = 150 - 100.3 * 0.25 / 3600 / np.cos(np.radians(dec))
    assert table["dec"][0].value == pytest.approx(dec, abs=0.0025 / 3600)
    assert table["ra"][0].value == pytest.approx(ra, abs=0.0025 / 3600)
    assert table["ra_err"][0].value == pytest.approx(0.25 * table["x_err"][0].value, rel=1e-3)
    assert table["dec_err"][0].value == pytest.approx(0.25 * table["y_err"][0].value, rel=1e-3)


def test_errors_on_the_sky_turn_with_the_image(rng):
    wcs = simple_wcs(scale_arcsec=0.5)
    wcs.wcs.pc = [[0, 1], [1, 0]]  # x runs north, y runs west
    source = gaussian(SHAPE, 70, 50, flux=1e4, a=6, b=2)
    table = measured([noisy(rng, source)], [disk(SHAPE, 70, 50, 15)], wcs=wcs)
    assert table["dec_err"][0].value == pytest.approx(0.5 * table["x_err"][0].value, rel=1e-3)
    assert table["ra_err"][0].value == pytest.approx(0.5 * table["y_err"][0].value, rel=1e-3)


@pytest.mark.parametrize("theta", [30.0, -60.0, 0.0])
def test_ellipse_has_the_axes_and_angle_of_the_light(rng, theta):
    source = gaussian(SHAPE, 70, 50, flux=1e6, a=5, b=2.5, theta_deg=theta)
    table = measured([noisy(rng, source)], [disk(SHAPE, 70, 50, 22)])
    assert table["a"][0].value == pytest.approx(5, rel=0.02)
    # The pixel adds 1/12 px^2 to each variance: sqrt(2.5^2 + 1/12) = 2.517.
    assert table["b"][0].value == pytest.approx(2.517, rel=0.03)
    assert table["theta"][0].value == pytest.approx(theta, abs=1.0)


def test_half_light_radius_of_a_gaussian_is_1_18_sigma(rng):
    source = gaussian(SHAPE, 70, 50, flux=1e6, a=4)
    table = measured([noisy(rng, source)], [disk(SHAPE, 70, 50, 18)])
    assert table["half_light_radius"][0].value == pytest.approx(1.1774 * 4, rel=0.03)


def test_signal_to_noise_adds_the_bands_in_quadrature(rng):
    source = gaussian(SHAPE, 70, 50, flux=3000, a=3)
    table = measured([noisy(rng, source) for _ in range(3)], [disk(SHAPE, 70, 50, 9)])
    parts = [table[f"flux_{band}"][0] / table[f"flux_err_{band}"][0] for band in "grz"]
    assert table["snr"][0] == pytest.approx(np.sqrt(np.sum(np.square(parts))), rel=1e-5)


def test_blended_sources_get_their_own_light_back(rng):
    one = gaussian(SHAPE, 66, 50, flux=1e5, a=3)
    other = gaussian(SHAPE, 75, 50, flux=5e4, a=3)
    masks = [disk(SHAPE, 66, 50, 8), disk(SHAPE, 75, 50, 8)]
    table = measured([noisy(rng, one, other)], masks)
    union = (one + other)[masks[0] | masks[1]].sum()
    flux = table["flux_g"]
    assert flux.sum() == pytest.approx(union, rel=0.005)
    assert flux[0] == pytest.approx(one[masks[0]].sum(), rel=0.02)
    assert flux[1] == pytest.approx(other[masks[1]].sum(), rel=0.04)
    assert table["x"].value == pytest.approx([66, 75], abs=0.25)
    assert all(has(row, Flag.OVERLAP) for row in table)
    assert table["n_blend"].tolist() == [2, 2]
    assert table["parent_id"].tolist() == [1, 1]


def test_sources_alone_are_their_own_parents(rng):
    sources = [gaussian(SHAPE, x, 50, flux=1e4) for x in (30, 80, 130)]
    table = measured([noisy(rng, *sources)], [disk(SHAPE, x, 50, 6) for x in (30, 80, 130)])
    assert table["parent_id"].tolist() == [1, 2, 3]
    assert table["n_blend"].tolist() == [1, 1, 1]
    assert not table["blend_fraction"].any()
    assert not table["flags"].any()


def test_the_network_s_words_are_copied(rng):
    masks = [disk(SHAPE, 30, 50, 6), disk(SHAPE, 80, 40, 6)]
    table = measured([noisy(rng)], masks, class_ids=[1, 2])
    assert table["class"].tolist() == ["star", "galaxy"]
    assert table["p_star"].tolist() == pytest.approx([0.9, 0.05])
    assert table["p_galaxy"].tolist() == pytest.approx([0.05, 0.9])
    assert table["source_id"].tolist() == [1, 2]
    assert [table[f"bbox_{edge}"][1].value for edge in ("y1", "x1", "y2", "x2")] == [34, 74, 47, 87]


def test_no_detection_gives_a_table_with_every_column(rng):
    table = measured([noisy(rng)], [])
    assert len(table) == 0
    assert table.colnames == list(catalog_columns(["g"]))


def test_edge_is_flagged_on_all_four_sides_only(rng):
    height, width = SHAPE
    masks = [
        disk(SHAPE, 0, 50, 4),
        disk(SHAPE, width - 1, 50, 4),
        disk(SHAPE, 80, 0, 4),
        disk(SHAPE, 80, height - 1, 4),
        disk(SHAPE, 80, 60, 4),
    ]
    table = measured([noisy(rng)], masks)
    assert [has(row, Flag.EDGE) for row in table] == [True] * 4 + [False]


def test_pixels_at_the_saturation_level_are_flagged(rng):
    source = gaussian(SHAPE, 70, 50, flux=1e5, a=3)
    plane = np.minimum(noisy(rng, source, level=100), 1000)
    masks = [disk(SHAPE, 70, 50, 10), disk(SHAPE, 20, 20, 5)]
    table = measured([plane], masks, saturation=(1000.0,))
    assert [has(row, Flag.SATURATED) for row in table] == [True, False]


def test_a_flat_top_is_flagged_without_a_saturation_level(rng):
    sources = [gaussian(SHAPE, x, 50, flux=1e5, a=3) for x in (40, 110)]
    plane = noisy(rng, *sources)
    plane[:, :80] = np.minimum(plane[:, :80], 900)
    masks = [disk(SHAPE, x, 50, 10) for x in (40, 110)]
    table = measured([plane], masks)
    assert [has(row, Flag.SATURATED) for row in table] == [True, False]


def test_integer_pixels_are_not_taken_for_saturation(rng):
    source = gaussian(SHAPE, 70, 50, flux=2e6, a=14)
    plane = np.rint(noisy(rng, source, sigma=3))
    assert not has(measured([plane], [disk(SHAPE, 70, 50, 40)])[0], Flag.SATURATED)


def test_a_band_without_pixels_is_flagged_and_nan(rng):
    planes = [noisy(rng, gaussian(SHAPE, 40, 50, flux=1e4, a=3)) for _ in range(2)]
    bad = np.zeros((*SHAPE, 2), bool)
    bad[:, :80, 0] = True
    planes[0][:, :80] = 0
    masks = [disk(SHAPE, 40, 50, 10), disk(SHAPE, 120, 50, 10), disk(SHAPE, 80, 50, 10)]
    table = measured(planes, masks, bad=bad)
    assert [has(row, Flag.MISSING_BAND) for row in table] == [True, False, False]
    assert [has(row, Flag.BAD_PIXELS) for row in table] == [False, False, True]
    assert np.isnan(table["flux_g"][0])
    assert table["flux_r"][0] == pytest.approx(1e4, rel=0.02)
    assert table["x"][0].value == pytest.approx(40, abs=0.1)
    assert np.isfinite(table["snr"]).all()


def test_a_source_without_any_good_pixel_is_kept_at_its_box(rng):
    bad = np.zeros((*SHAPE, 1), bool)
    bad[:, :80] = True
    table = measured([np.where(bad[..., 0], 0, noisy(rng))], [disk(SHAPE, 40, 50, 6)], bad=bad)
    assert (table["x"][0].value, table["y"][0].value) == (40, 50)
    assert np.isnan(table["flux_g"][0])
    assert np.isnan(table["x_err"][0])
    assert table["snr"][0] == 0


def test_an_empty_mask_is_measured_in_its_box_and_flagged(rng):
    source = gaussian(SHAPE, 70, 50, flux=1e4, a=2)
    found = detections_of([disk(SHAPE, 70, 50, 8), disk(SHAPE, 72, 50, 6)])
    found = replace(found, masks=(np.zeros_like(found.masks[0]), found.masks[1]))
    table = measure_sources(sky_image([noisy(rng, source)], bands=("r",)), found)
    assert [has(row, Flag.MASK_EMPTY) for row in table] == [True, False]
    assert table["n_pix"].tolist() == [0, found.masks[1].sum()]
    assert table["flux_r"][0] == pytest.approx(1e4, rel=0.02)
    assert table["flux_r"][1] == pytest.approx((source * disk(SHAPE, 72, 50, 6)).sum(), rel=0.02)


@pytest.mark.parametrize(("n_bands", "expected"), [(1, 50.0), (2, 70.7)])
def test_significance_is_that_of_a_matched_filter(rng, n_bands, expected):
    """A point source of flux F in noise of 1: F / (2 sqrt(pi) 1.8), 1.8 px being its width."""
    shape = (200, 220)
    source = gaussian(shape, 70, 50, flux=50 * 2 * np.sqrt(np.pi) * 1.8, a=1.8)
    planes = [10.0 * noisy(rng, source, shape=shape) + 300 for _ in range(n_bands)]
    masks = [disk(shape, 70, 50, 8), disk(shape, 150, 150, 5)]
    table = measured(planes, masks)
    assert table["significance"][0] == pytest.approx(expected, rel=0.1)
    assert abs(table["significance"][1]) < 4


def test_significance_without_empty_sky_is_not_known(rng):
    shape = (40, 40)
    table = measured([noisy(rng, shape=shape)], [disk(shape, 20, 20, 12)])
    assert np.isnan(table["significance"][0])


def test_negative_flux_is_flagged_and_has_no_magnitude(rng):
    hole = -gaussian(SHAPE, 70, 50, flux=1e4, a=3)
    table = measured([noisy(rng, hole)], [disk(SHAPE, 70, 50, 8)], zeropoint_mag=(25.0,))
    assert has(table[0], Flag.NEGATIVE_FLUX)
    assert table["flux_g"][0] < 0
    assert np.isnan(table["mag_g"][0])
    assert np.isfinite(table["x"][0])


def test_flags_known_before_are_kept(rng):
    masks = [disk(SHAPE, 0, 50, 4)]
    table = measured(
        [noisy(rng, gaussian(SHAPE, 0, 50, flux=1e4))], masks, flags=np.array([int(Flag.SEAM)])
    )
    assert table["flags"][0] == Flag.SEAM | Flag.EDGE


def test_detections_and_image_are_left_as_they_were(rng):
    image = sky_image([noisy(rng)], bands=("g",))
    found = detections_of([disk(SHAPE, 40, 50, 6), disk(SHAPE, 45, 50, 6)])
    before = image.pixels.copy(), [mask.copy() for mask in found.masks]
    measure_sources(image, found)
    np.testing.assert_array_equal(image.pixels, before[0])
    for mask, old in zip(found.masks, before[1], strict=True):
        np.testing.assert_array_equal(mask, old)


def test_no_noise_at_all_still_gives_finite_numbers():
    source = gaussian(SHAPE, 70.25, 50, flux=500, a=3)
    table = measured([source], [disk(SHAPE, 70, 50, 15)])
    assert table["flux_g"][0] == pytest.approx(500, rel=1e-3)
    assert table["x"][0].value == pytest.approx(70.25, abs=1e-3)


def test_detections_without_area_are_nan_not_an_error(rng):
    found = detections_of([disk(SHAPE, 40, 50, 6)])
    nothing = Detections(
        boxes=np.array([[5, 5, 5, 5]], np.float32),
        class_ids=np.array([1], np.int32),
        scores=np.array([0.6], np.float32),
        probabilities=np.array([[0.3, 0.6, 0.1]], np.float32),
        mask_boxes=np.array([[5, 5, 5, 5]], np.int32),
        masks=(np.zeros((0, 0), bool),),
    )
    both = Detections.concatenate([nothing, found])
    table = measure_sources(sky_image([noisy(rng)], bands=("g",)), both)
    assert has(table[0], Flag.MASK_EMPTY)
    assert np.isnan(table["flux_g"][0])
    assert np.isfinite(table["flux_g"][1])


def test_real_decals_tile_has_a_saturated_star_and_sane_colours(shared_data):
    """The star at the left edge is clipped at 10 nmgy in r; SEP finds it at (11, 219)."""
    from astro_io.fits_read import read_image

    image = read_image(shared_data / "sky" / "decals_dr7_ra197.860_dec-1.413")
    masks = [disk(image.shape, 11.5, 218.8, 25), disk(image.shape, 138.1, 254.5, 11)]
    table = measure_sources(image, detections_of(masks, [1, 1]))
    assert [has(row, Flag.SATURATED) for row in table] == [True, False]
    # The unsaturated star: g - r and r - z of a K or M dwarf lie between 0.3 and 2.
    star = table[1]
    assert 18 < star["mag_r"].value < 19.5
    assert 0.3 < (star["mag_g"] - star["mag_r"]).value < 2
    assert star["dec"].value == pytest.approx(-1.413, abs=0.02)
