from __future__ import annotations

import math

import numpy as np
import pytest

from astro_rcnn.deblending import (
    clip_box,
    deblending_scores,
    light_inside,
    mask_light,
    purity_of_light,
    scene_light,
)

SHAPE = (4, 6)
ONE = np.ones(1)


def stamp(values):
    """Return a one-band stamp."""
    return np.array(values, np.float32)[..., None]


@pytest.fixture
def two_pixels():
    """Two sources of two pixels in a row; they share the middle one.

    columns      0  1  2
    source 0     3  1  .
    source 1     .  2  2
    total        3  3  2
    """
    boxes = [(1, 0, 2, 2), (1, 1, 2, 3)]
    return scene_light(boxes, [stamp([[3, 1]]), stamp([[2, 2]])], SHAPE, ONE)


def test_total_is_the_sum(two_pixels):
    np.testing.assert_allclose(two_pixels.total[1], [3, 3, 2, 0, 0, 0])


def test_purity_of_light_by_hand(two_pixels):
    # source 0: (9 + 1) / (3x3 + 1x3) = 10/12; source 1: (4 + 4) / (2x3 + 2x2) = 8/10
    np.testing.assert_allclose(purity_of_light(two_pixels), [10 / 12, 8 / 10])


def test_purity_alone_is_one():
    light = scene_light([(0, 0, 1, 2)], [stamp([[5, 1]])], SHAPE, ONE)
    assert purity_of_light(light)[0] == pytest.approx(1)


def test_purity_without_light_in_the_image_is_nan():
    light = scene_light([(9, 9, 10, 11)], [stamp([[5, 1]])], SHAPE, ONE)
    assert math.isnan(purity_of_light(light)[0])


def test_bands_are_added_in_units_of_their_noise():
    # 4/2 + 9/3 = 5; an unknown band counts as nothing
    both = scene_light([(0, 0, 1, 1)], [np.array([[[4, 9]]], np.float32)], SHAPE, np.array([2, 3]))
    assert both.own[0][0, 0] == pytest.approx(5)
    one = scene_light(
        [(0, 0, 1, 1)], [np.array([[[4, np.nan]]], np.float32)], SHAPE, np.array([2, 3])
    )
    assert one.own[0][0, 0] == pytest.approx(2)


def test_stamps_are_cut_to_the_image():
    light = scene_light([(-1, -1, 1, 1)], [stamp([[1, 2], [3, 4]])], SHAPE, ONE)
    np.testing.assert_array_equal(light.boxes[0], [0, 0, 1, 1])
    assert light.total.sum() == 4


def test_light_of_a_mask_by_hand(two_pixels):
    # mask of source 0 that takes columns 0 to 2: own 3 + 1 of total 3 + 3 + 2, all of its own 4
    mask = np.ones((1, 3), bool)
    purity, completeness = mask_light(two_pixels, 0, np.array([1, 0, 2, 3]), mask)
    assert purity == pytest.approx(4 / 8)
    assert completeness == pytest.approx(1)
    # and one that takes column 0 only: pure, but 3 of 4
    purity, completeness = mask_light(two_pixels, 0, np.array([1, 0, 2, 1]), mask[:, :1])
    assert (purity, completeness) == pytest.approx((1, 3 / 4))


def test_no_light_inside_a_mask_elsewhere(two_pixels):
    assert light_inside(two_pixels, 0, np.array([3, 3, 4, 6]), np.ones((1, 3), bool)) == 0
    purity, completeness = mask_light(two_pixels, 0, np.array([3, 3, 4, 6]), np.ones((1, 3), bool))
    assert math.isnan(purity) and completeness == 0


def test_clip_box():
    assert clip_box((-2, 1, 3, 9), SHAPE) == (0, 1, 3, 6)
    y1, x1, y2, x2 = clip_box((7, -5, 9, -2), SHAPE)
    assert (y2 - y1) * (x2 - x1) == 0 and 0 <= y1 <= 4 and 0 <= x1 <= 6


def columns(**values):
    """Return the columns of three blended and one isolated source."""
    base = {
        "rho": [0.5, 0.6, 0.8, 1.0],
        "snr": [50, 50, 5, 50],
        "iou": [0.8, 0.4, 0.0, 0.9],
        "light_purity": [0.9, 0.7, np.nan, 1.0],
        "light_completeness": [1.0, 0.5, np.nan, 1.0],
        "flux_error": [0.1, 0.5, 9.0, 0.0],
    }
    return {name: np.array(values.get(name, column), float) for name, column in base.items()}


def test_deblending_scores_by_hand():
    scores = deblending_scores(columns())
    blended = scores["blended"]
    assert blended["n"] == 3
    assert blended["found"] == pytest.approx(100 / 3)
    assert blended["mean_iou"] == pytest.approx(0.4)  # (.8 + .4 + 0) / 3
    assert blended["light_purity"] == pytest.approx(0.8)
    assert blended["light_completeness"] == pytest.approx(0.75)
    # the third is too faint: errors .1 and .5; percentiles 16 and 84 at .164 and .436
    assert blended["n_flux"] == 2
    assert blended["flux_error_median"] == pytest.approx(0.3)
    assert blended["flux_error_scatter"] == pytest.approx((0.436 - 0.164) / 2)
    assert blended["flux_error_outliers"] == pytest.approx(50)
    assert scores["isolated"]["n"] == 1 and scores["isolated"]["mean_iou"] == 0.9
    assert scores["by_rho"]["n"] == [0, 0, 2, 1, 0, 1]  # .5 belongs to the bin from .5


def test_deblending_scores_of_nothing_are_nan():
    nothing = {name: np.zeros(0) for name in columns()}
    blended = deblending_scores(nothing)["blended"]
    assert blended["n"] == 0
    assert all(math.isnan(blended[key]) for key in blended if not key.startswith("n"))


def test_sources_of_unknown_snr_count():
    scores = deblending_scores(columns(snr=[np.nan] * 4))
    assert scores["blended"]["n_flux"] == 3
