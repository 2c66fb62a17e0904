"""Masks from noiseless truth."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from astro_io.dataset import Scene, Stamp, new_truth_catalog
from astro_io.errors import ConfigError, DatasetError, ImageError
from astro_io.image import SkyImage
from astro_io.truth import MaskRule, blur_mask, in_one_band, mask_from_stamp, scene_masks

SHARP = MaskRule(blur_sigma_px=0.0)


def gaussian_stamp(shape, y, x, sigma=2.0, peaks=(1.0,)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    profile = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return (profile[..., None] * np.asarray(peaks)).astype(np.float32)


def scene_with(stamps, class_ids, shape=(30, 40), bands=("g",), truth="flux", **meta):
    pixels = np.zeros((*shape, len(bands)), np.float32)
    catalog = new_truth_catalog(len(stamps), bands)
    catalog["class_id"] = np.asarray(class_ids, np.int32)
    catalog.meta.update(meta)
    image = SkyImage(pixels=pixels, bands=bands, bad=np.zeros(pixels.shape, bool))
    return Scene(image, catalog, tuple(stamps), truth=truth)


def test_peak_rule_cuts_stars_deeper_than_galaxies():
    # exp(-r^2 / 8) > 0.08 for r^2 < 20.2; > 0.005 for r^2 < 42.4: count the pixels by hand.
    rows, columns = np.mgrid[-12:13, -12:13]
    stamp = gaussian_stamp((25, 25), 12, 12)
    for class_id, limit in ((1, 42.39), (2, 20.21)):
        mask = mask_from_stamp(stamp, class_id, SHARP, bands=("g",))
        assert np.array_equal(mask, rows**2 + columns**2 < limit)


def test_peak_rule_ignores_the_flux_scale():
    stamp = gaussian_stamp((25, 31), 12, 14)
    one = mask_from_stamp(stamp, 2, MaskRule(), bands=("g",))
    assert one.any()
    assert np.array_equal(one, mask_from_stamp(stamp * 1e6, 2, MaskRule(), bands=("g",)))


def test_blur_removes_a_lone_pixel_and_keeps_a_disk():
    lone = np.zeros((11, 11), bool)
    lone[5, 5] = True
    assert not blur_mask(lone, 2.0, 9).any()
    rows, columns = np.mgrid[-10:11, -10:11]
    disk = rows**2 + columns**2 < 50
    # A Gaussian blur of a disk is 0.5 a little inside its edge: 137 of 149 pixels stay.
    blurred = blur_mask(disk, 2.0, 9)
    assert not (blurred & ~disk).any()
    assert int(disk.sum()) == 149 and 130 < int(blurred.sum()) < 149
    assert np.array_equal(blurred, blurred.T) and np.array_equal(blurred, blurred[::-1])


def test_blur_fills_a_hole_but_does_not_leave_the_bounding_box():
    mask = np.zeros((24, 24), bool)
    mask[4:20, 6:18] = True
    mask[11, 11] = False
    blurred = blur_mask(mask, 2.0, 9)
    assert blurred[11, 11]
    blurred[4:20, 6:18] = False
    assert not blurred.any()


@pytest.mark.parametrize(("sigma", "size"), [(2.0, 9), (1.0, 5), (3.3, 15)])
def test_blur_equals_opencv(sigma, size):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(3)
    for density in (0.3, 0.5, 0.7):
        mask = np.pad(rng.random((30, 43)) < density, size)
        expected = cv2.GaussianBlur(mask.astype(np.uint8), (size, size), sigma).astype(bool)
        assert np.array_equal(blur_mask(mask, sigma, size), expected)
    assert 0 < expected.sum() < expected.size


def test_blur_of_a_straight_edge_keeps_it():
    # Weights of 1/256 by hand: 7 17 32 46 52 46 32 17 7; beside the edge 102 of 256 are lit, on
    # it 154, so that it stays where it is.
    mask = np.zeros((30, 30), bool)
    mask[:, 12:] = True
    assert np.array_equal(blur_mask(mask, 2.0, 9)[10:20], mask[10:20])


@pytest.mark.parametrize("size", [(12, 9), (3, 40), (1, 1)])
def test_blur_at_the_edges_of_an_image_equals_opencv(size):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(4)
    for _ in range(10):
        mask = rng.random(size) < 0.6
        expected = cv2.GaussianBlur(mask.astype(np.uint8), (9, 9), 2).astype(bool)
        assert np.array_equal(blur_mask(mask, 2.0, 9, at_edge=(True,) * 4), expected)


def test_default_band_is_g_else_all_bands_weigh_the_same():
    stamp = gaussian_stamp((25, 25), 12, 12, peaks=(1.0, 100.0))
    stamp[..., 1] = np.roll(stamp[..., 1], 5, axis=1)
    only_first = mask_from_stamp(stamp[..., :1], 2, SHARP, bands=("g",))
    assert np.array_equal(mask_from_stamp(stamp, 2, SHARP, bands=("g", "r")), only_first)
    both = mask_from_stamp(stamp, 2, SHARP, bands=("r", "i"))
    rows = np.argwhere(both)
    # Blind to the factor of 100: the two blobs, at columns 12 and 17, are equally wide in it.
    assert rows[:, 1].min() - 12 == -(rows[:, 1].max() - 17)


def test_a_band_without_known_truth_is_left_out():
    stamp = gaussian_stamp((25, 25), 12, 12, peaks=(1.0, 2.0))
    alone = mask_from_stamp(stamp[..., 1:], 2, SHARP, bands=("r",))
    stamp[..., 0] = np.nan
    assert np.array_equal(mask_from_stamp(stamp, 2, SHARP, bands=("g", "r")), alone)


def test_source_without_flux_has_an_empty_mask():
    assert not mask_from_stamp(np.zeros((9, 7, 2)), 1, MaskRule(), bands=("g", "r")).any()


def test_isophote_takes_any_band_above_the_sky_noise():
    stamp = np.zeros((3, 4, 2), np.float32)
    stamp[0, 1, 0] = 2.1
    stamp[2, 3, 1] = 7.0
    stamp[1, 1, 1] = 5.0
    rule = replace(SHARP, kind="isophote", isophote_sigma=1.0)
    mask = mask_from_stamp(stamp, 2, rule, bands=("g", "r"), sky_sigma=np.array([2.0, 6.0]))
    assert np.argwhere(mask).tolist() == [[0, 1], [2, 3]]


def test_isophote_without_sky_noise_says_what_to_do():
    with pytest.raises(ConfigError, match="needs the noise of the sky .sky_sigma.. Give it"):
        mask_from_stamp(np.ones((3, 3, 1)), 1, MaskRule(kind="isophote"), bands=("g",))


def test_unknown_band_is_refused():
    with pytest.raises(ConfigError, match="expected band i; found g, r"):
        mask_from_stamp(np.ones((3, 3, 2)), 1, MaskRule(band="i"), bands=("g", "r"))


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"kind": "magic"}, "expected kind peak or isophote, found 'magic'"),
        ({"star_threshold": 1.0}, "expected star_threshold from 0 up to 1, found 1.0"),
        ({"blur_size_px": 8}, "expected blur_size_px odd and positive, found 8"),
        ({"blur_sigma_px": -1.0}, "expected blur_sigma_px of 0 or more, found -1.0"),
    ],
)
def test_rule_out_of_range_is_refused(setting, text):
    with pytest.raises(ConfigError, match=text):
        MaskRule(**setting)


def test_scene_masks_are_tight_and_in_image_coordinates():
    stamp = np.zeros((7, 9, 1), np.float32)
    stamp[2:5, 3:8] = 1.0
    boxes, masks = scene_masks(scene_with([Stamp((10, 20, 17, 29), stamp)], [2]), SHARP)
    assert boxes.tolist() == [[12, 23, 15, 28]]
    assert boxes.dtype == np.int32
    assert masks[0].shape == (3, 5) and masks[0].all()


def test_stamps_that_stick_out_are_clipped_on_every_side():
    block = np.ones((6, 4, 1), np.float32)
    boxes_in = [(-2, -1, 4, 3), (27, 38, 33, 42), (10, 38, 16, 42)]
    scene = scene_with([Stamp(box, block) for box in boxes_in], [2, 2, 2])
    boxes, masks = scene_masks(scene, SHARP)
    assert boxes.tolist() == [[0, 0, 4, 3], [27, 38, 30, 40], [10, 38, 16, 40]]
    assert [mask.shape for mask in masks] == [(4, 3), (3, 2), (6, 2)]


def test_source_outside_the_image_gets_an_empty_box():
    block = np.ones((4, 4, 1), np.float32)
    outside = [(-9, 3, -5, 7), (40, 3, 44, 7), (3, -4, 7, 0), (3, 40, 7, 44)]
    boxes, masks = scene_masks(scene_with([Stamp(b, block) for b in outside], [1] * 4), SHARP)
    assert not boxes.any()
    assert all(mask.shape == (0, 0) for mask in masks)


def test_scene_without_sources_has_no_masks():
    boxes, masks = scene_masks(scene_with([], []), MaskRule())
    assert boxes.shape == (0, 4) and masks == ()


def test_known_masks_are_taken_as_they_are():
    stamp = np.zeros((5, 5, 1), np.float32)
    stamp[2, 2] = 1.0  # the blur would remove it
    scene = scene_with([Stamp((0, 0, 5, 5), stamp)], [1], truth="mask")
    boxes, _ = scene_masks(scene, MaskRule())
    assert boxes.tolist() == [[2, 2, 3, 3]]


def test_isophote_reads_the_sky_noise_of_the_catalogue():
    stamp = gaussian_stamp((15, 15), 7, 7, peaks=(8.0,))
    rule = replace(SHARP, kind="isophote", isophote_sigma=1.0)
    scene = scene_with([Stamp((5, 5, 20, 20), stamp)], [1], sky_sigma=[4.0])
    # 8 exp(-r^2 / 8) > 4 for r^2 < 5.55: rows from -2 to 2.
    assert scene_masks(scene, rule)[0].tolist() == [[10, 10, 15, 15]]
    with pytest.raises(DatasetError, match="sky_sigma has 2 values for 1 bands"):
        scene_masks(scene_with([Stamp((5, 5, 20, 20), stamp)], [1], sky_sigma=[1, 1]), rule)


def test_the_sky_noise_follows_the_bands_that_are_selected():
    scene = scene_with([], [], (20, 20), ("g", "r", "z"), sky_sigma=[1.0, 2.0, 3.0])
    scene.catalog.meta["seeing_fwhm_px"] = [4.0, 3.0, 2.0]
    part = scene.select(("z", "r"))
    assert part.catalog.meta["sky_sigma"] == [3.0, 2.0]
    assert part.catalog.meta["seeing_fwhm_px"] == [2.0, 3.0]
    assert scene.catalog.meta["sky_sigma"] == [1.0, 2.0, 3.0]
    scene_masks(part, MaskRule(kind="isophote"))


def test_masks_of_a_crowded_scene_take_well_under_a_tenth_of_a_second():
    stamp = gaussian_stamp((40, 40), 20, 20, 4.0, peaks=(1.0, 1.0, 1.0))
    stamps = [Stamp((i, i, i + 40, i + 40), stamp) for i in range(150)]
    scene = scene_with(stamps, [1] * 150, (512, 512), ("g", "r", "z"))
    scene_masks(scene, MaskRule())
    best = min(_seconds(lambda: scene_masks(scene, MaskRule())) for _ in range(3))
    assert best < 0.3  # 0.03 s on a quiet core; generous, for machines under load


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def one_band_scene():
    """Return a source of 3 px in g and 5 px in r, of a third of the power in r (9 and 4.5)."""
    stamp = np.zeros((7, 7, 2), np.float32)
    stamp[2:5, 2:5, 0] = 2.0
    stamp[1:6, 1:6, 1] = 1.2
    scene = scene_with([Stamp((5, 5, 12, 12), stamp)], [2], (30, 40), ("g", "r"), sky_sigma=[2, 2])
    scene.catalog["snr"] = [4.0]
    return scene


def test_one_band_has_its_own_masks_and_signal_to_noise():
    scene = one_band_scene()
    seen = in_one_band(scene, "r", SHARP)
    assert seen.image.bands == ("r",) and seen.truth == "flux"
    assert scene_masks(seen, SHARP)[0].tolist() == [[6, 6, 11, 11]]
    assert scene_masks(in_one_band(scene, "g", SHARP), SHARP)[0].tolist() == [[7, 7, 10, 10]]
    # Power 25 * 0.6^2 = 9 of 9 + 9 * 1^2 = 18.
    assert seen.catalog["snr"][0] == pytest.approx(4.0 / np.sqrt(2.0), rel=1e-6)
    assert scene.catalog["snr"][0] == 4.0
    without = one_band_scene()
    del without.catalog["snr"]
    assert "snr" not in in_one_band(without, "r", SHARP).catalog.colnames


@pytest.mark.parametrize(("rule", "unknown"), [(SHARP, 1), (replace(SHARP, band="g"), None)])
def test_one_band_whose_truth_does_not_serve_has_the_masks_of_the_scene(rule, unknown):
    scene = one_band_scene()
    if unknown is not None:
        scene.stamps[0].pixels[..., unknown] = np.nan
    seen = in_one_band(scene, "r", rule)
    assert seen.truth == "mask" and seen.image.bands == ("r",)
    assert scene_masks(seen, rule)[0].tolist() == [[7, 7, 10, 10]]


def test_one_band_of_an_empty_scene():
    scene = scene_with([], [], (20, 20), ("g", "r"), sky_sigma=[1.0, 2.0])
    assert len(in_one_band(scene, "r", MaskRule())) == 0
    with pytest.raises(ImageError, match="y"):
        in_one_band(scene, "y", MaskRule())
