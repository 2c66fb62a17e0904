"""Blend groups and visible fractions of hand-made masks."""

from __future__ import annotations

import numpy as np

from astro_io.scene import Stamp
from simulate.truth import find_blends, visible_fractions


def _boxes(*boxes: tuple[int, int, int, int]):
    masks = tuple(np.ones((y2 - y1, x2 - x1), bool) for y1, x1, y2, x2 in boxes)
    return np.array(boxes, np.int32).reshape(-1, 4), masks


def test_chain_of_overlaps_is_one_blend():
    boxes, masks = _boxes((0, 0, 4, 4), (3, 3, 8, 8), (7, 7, 9, 9), (20, 20, 22, 22))
    np.testing.assert_array_equal(find_blends((30, 30), boxes, masks), [0, 0, 0, -1])


def test_third_source_over_two_joins_them_all():
    boxes, masks = _boxes((0, 0, 4, 4), (0, 3, 4, 8), (0, 3, 4, 4))
    assert len(set(find_blends((10, 10), boxes, masks))) == 1


def test_boxes_that_touch_do_not_blend():
    boxes, masks = _boxes((0, 0, 4, 4), (0, 4, 4, 8))
    np.testing.assert_array_equal(find_blends((10, 10), boxes, masks), [-1, -1])


def test_separate_groups_have_separate_numbers():
    boxes, masks = _boxes((0, 0, 2, 2), (1, 1, 3, 3), (10, 10, 12, 12), (11, 11, 13, 13))
    np.testing.assert_array_equal(find_blends((20, 20), boxes, masks), [0, 0, 1, 1])


def test_no_source_no_blend():
    boxes, masks = _boxes()
    assert find_blends((5, 5), boxes, masks).shape == (0,)


def test_visible_fraction_is_the_light_where_a_source_is_brightest():
    boxes, masks = _boxes((0, 0, 1, 4), (0, 2, 1, 6))
    light = [np.array([[4.0, 3.0, 2.0, 1.0]]), np.full((1, 4), 5.0)]
    stamps = [
        Stamp(tuple(map(int, box)), plane[..., None].astype(np.float32))
        for box, plane in zip(boxes, light, strict=True)
    ]
    fractions = visible_fractions(np.ones((1, 8), bool), stamps, light, boxes, masks)
    # the first loses its last two pixels, 3 of 10
    np.testing.assert_allclose(fractions, [0.7, 1.0])
    gap = np.ones((1, 8), bool)
    gap[0, 0] = False
    # without its first pixel the first keeps 3 of 10
    np.testing.assert_allclose(visible_fractions(gap, stamps, light, boxes, masks), [0.3, 1.0])
