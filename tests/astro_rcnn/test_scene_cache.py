"""astro_rcnn.scene_cache: preparing scenes, cutting crops, keeping to the memory budget."""

from __future__ import annotations

import numpy as np
import pytest
from training_scenes import BANDS, SHARP, block_scene, random_scene

from astro_io.errors import ImageError
from astro_io.normalize import measure_statistics, normalize
from astro_io.truth import scene_masks
from astro_rcnn.crops import tight_box
from astro_rcnn.scene_cache import SceneCache, cut_crop, prepare_scene


def prepare(scene, method="zscore", bands=BANDS, **options):
    return prepare_scene(
        scene, bands=bands, mask_rule=SHARP, method=method, method_parameters={}, **options
    )


def test_masks_survive_packing():
    scene = random_scene(3, 25, (64, 90))
    prepared = prepare(scene)
    boxes, masks = scene_masks(scene, SHARP)
    shown = [i for i, mask in enumerate(masks) if mask.any()]
    np.testing.assert_array_equal(prepared.boxes, boxes[shown])
    for i, source in enumerate(shown):
        np.testing.assert_array_equal(prepared.mask(i), masks[source])
        assert prepared.areas[i] == np.count_nonzero(masks[source])


@pytest.mark.parametrize(
    ("method", "dtype"), [("zscore", np.float32), ("paper", np.int16), ("asinh", np.float16)]
)
def test_images_are_kept_small_and_normalised_by_the_whole_image(method, dtype):
    scene = random_scene(0, 10, (64, 64))
    prepared = prepare(scene, method)
    pixels, bad = scene.image.pixels, scene.image.bad
    expected = normalize(pixels, measure_statistics(pixels, bad, method), method, bad=bad)
    assert prepared.image.dtype == dtype
    tolerance = 0 if method != "asinh" else 1e-3
    np.testing.assert_allclose(prepared.image.astype(np.float32), expected, rtol=tolerance)


def test_bands_come_in_the_order_asked_for():
    scene = random_scene(0, 3, (40, 40))
    turned = prepare(scene, bands=("z", "g")).image
    np.testing.assert_array_equal(turned, prepare(scene).image[..., [2, 0]])


def test_a_missing_band_is_named():
    with pytest.raises(ImageError, match="expected bands g, y; found g, r, z"):
        prepare(block_scene([]), bands=("g", "y"))


def test_faint_truth_is_left_out_and_unknown_stays():
    boxes = [(5, 5, 15, 15), (20, 20, 30, 30), (40, 40, 50, 50)]
    scene = block_scene(boxes, snr=[4.9, 5.0, np.nan])
    np.testing.assert_array_equal(
        prepare(scene, truth_min_snr=5.0).boxes, [(20, 20, 30, 30), (40, 40, 50, 50)]
    )


def test_brightness_is_the_area_where_signal_to_noise_is_unknown():
    scene = block_scene([(5, 5, 15, 15), (20, 20, 28, 28)], snr=[np.nan, 8.0])
    # an L fills three quarters of its box
    np.testing.assert_array_equal(prepare(scene).brightness, [75.0, 48.0])


def test_crop_boxes_hug_their_masks():
    prepared = prepare(random_scene(1, 60, (80, 100)))
    n_objects = 0
    for y1, x1 in [(0, 0), (17, 33), (48, 68)]:
        crop = cut_crop(prepared, y1, x1, (32, 32), max_instances=100)
        n_objects += len(crop)
        for box, mask in zip(crop.boxes, crop.masks, strict=True):
            assert tight_box(mask) == (0, 0, box[2] - box[0], box[3] - box[1])
            assert (box >= 0).all() and (box <= 32).all()
    assert n_objects > 20


def test_an_object_across_the_edge_is_cut_to_what_is_visible():
    # box (10, 10, 20, 20), upper right quarter missing; the crop begins at x = 14.
    # Rows 10..14 hold columns 10..14 only, so column 14 is visible there; rows 15..19 are full.
    prepared = prepare(block_scene([(10, 10, 20, 20)]))
    crop = cut_crop(prepared, 0, 14, (32, 32), max_instances=5)
    np.testing.assert_array_equal(crop.boxes, [[10, 0, 20, 6]])
    expected = np.ones((10, 6), bool)
    expected[:5, 1:] = False
    np.testing.assert_array_equal(crop.masks[0], expected)


def test_a_visible_part_smaller_than_the_box_gets_its_own_box():
    # from x = 16 on only the lower half of the L is left: rows 15..19
    prepared = prepare(block_scene([(10, 10, 20, 20)]))
    crop = cut_crop(prepared, 0, 16, (32, 32), max_instances=5)
    np.testing.assert_array_equal(crop.boxes, [[15, 0, 20, 4]])


@pytest.mark.parametrize(
    ("options", "is_kept"),
    [
        # 20 of 75 mask pixels are visible from x = 16 on
        ({"min_visible_fraction": 20 / 75}, True),
        ({"min_visible_fraction": 0.27}, False),
        ({"min_visible_px": 20}, True),
        ({"min_visible_px": 21}, False),
    ],
)
def test_slivers_are_dropped(options, is_kept):
    prepared = prepare(block_scene([(10, 10, 20, 20)]))
    assert len(cut_crop(prepared, 0, 16, (32, 32), max_instances=5, **options)) == is_kept


def test_the_brightest_are_kept_in_order():
    boxes = [(y, x, y + 6, x + 6) for y in (2, 12, 22) for x in (2, 12)]
    prepared = prepare(block_scene(boxes, snr=[3, 9, 1, 7, 8, 2]))
    crop = cut_crop(prepared, 0, 0, (32, 32), max_instances=3)
    np.testing.assert_array_equal(crop.boxes, [boxes[1], boxes[4], boxes[3]])


def test_a_crop_without_objects():
    prepared = prepare(block_scene([(40, 40, 50, 50)]))
    crop = cut_crop(prepared, 0, 0, (24, 24), max_instances=5)
    assert len(crop) == 0 and crop.boxes.shape == (0, 4) and crop.class_ids.dtype == np.int32


def test_what_lies_beyond_the_scene_is_background():
    prepared = prepare(block_scene([(4, 4, 12, 12)], shape=(20, 24)))
    crop = cut_crop(prepared, 0, 0, (32, 40), max_instances=5)
    assert crop.image.shape == (32, 40, 3)
    assert (crop.image[20:] == 0).all() and (crop.image[:, 24:] == 0).all()
    np.testing.assert_array_equal(crop.image[:20, :24], prepared.image)


def test_cache_keeps_to_its_budget_and_drops_the_oldest():
    scenes = [prepare(block_scene([], index=i)) for i in range(3)]
    cache = SceneCache(lambda i: scenes[i], budget_bytes=2 * scenes[0].nbytes)
    for index in (0, 1, 0, 2):
        assert cache[index] is scenes[index]
    assert len(cache) == 2 and cache.nbytes == 2 * scenes[0].nbytes
    assert cache[0] is scenes[0] and cache.n_loaded == 3
    assert cache[1] is scenes[1] and cache.n_loaded == 4


def test_a_scene_beyond_the_budget_is_used_but_not_kept():
    scene = prepare(block_scene([]))
    cache = SceneCache(lambda i: scene, budget_bytes=scene.nbytes - 1)
    assert cache[0] is scene and len(cache) == 0 and cache.nbytes == 0
