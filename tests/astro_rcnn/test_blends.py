from __future__ import annotations

import numpy as np
import pytest
from detection_fields import detections_of, disk, gaussian

from astro_rcnn.blends import (
    blend_fractions,
    blend_groups,
    count_coverage,
    share_light,
    split_layers,
)

SHAPE = (40, 60)


def geometry(masks):
    found = detections_of(masks)
    return found.mask_boxes, found.masks


def rectangle(y1, x1, y2, x2, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def shares_in_frame(light, masks):
    boxes, cut = geometry(masks)
    frames = np.zeros((len(masks), *light.shape))
    for frame, (y1, x1, y2, x2), share in zip(
        frames, boxes, share_light(light, boxes, cut), strict=True
    ):
        frame[y1:y2, x1:x2] = share
    return frames


def test_coverage_counts_the_masks_on_each_pixel():
    coverage = count_coverage(*geometry([rectangle(0, 0, 4, 4), rectangle(2, 3, 6, 9)]), SHAPE)
    assert coverage[0, 0] == 1
    assert coverage[3, 3] == 2
    assert coverage.sum() == 16 + 24


def test_shares_add_up_to_one_on_every_covered_pixel(rng):
    masks = [disk(SHAPE, *rng.uniform(5, 35, 2), rng.uniform(2, 9)) for _ in range(12)]
    frames = shares_in_frame(rng.normal(1, 1, SHAPE).astype(np.float32), masks)
    covered = np.any(masks, axis=0)
    np.testing.assert_allclose(frames.sum(axis=0)[covered], 1.0, rtol=1e-5)
    assert not frames[:, ~covered].any()


def test_share_is_one_where_a_mask_is_alone():
    masks = [rectangle(5, 5, 15, 15), rectangle(5, 10, 15, 20)]
    frames = shares_in_frame(np.ones(SHAPE, np.float32), masks)
    assert (frames[0][5:15, 5:10] == 1).all()
    assert (frames[1][5:15, 15:20] == 1).all()


def test_equal_sources_share_their_pixels_by_symmetry():
    # Two equal Gaussians 8 px apart: the middle column is shared half and half.
    light = gaussian(SHAPE, 20, 20, a=3) + gaussian(SHAPE, 28, 20, a=3)
    masks = [disk(SHAPE, 20, 20, 7), disk(SHAPE, 28, 20, 7)]
    frames = shares_in_frame(light.astype(np.float32), masks)
    assert frames[0][20, 24] == pytest.approx(0.5, abs=0.02)
    assert frames[0][20, 22] > 0.8 > 0.2 > frames[0][20, 26]


def test_a_star_on_a_galaxy_keeps_only_what_stands_above_it():
    shape = (80, 80)
    galaxy = gaussian(shape, 40, 40, flux=1000, a=10)
    star = gaussian(shape, 50, 40, flux=100, a=1.5)
    masks = [disk(shape, 40, 40, 28), disk(shape, 50, 40, 4)]
    frames = shares_in_frame((galaxy + star).astype(np.float32), masks)
    measured = (frames[1] * (galaxy + star)).sum()
    # The disk of 4 px holds 1 - exp(-(4/1.5)^2 / 2) = 97 % of the star, and as much again of
    # the galaxy (1000 / (2 pi 100) exp(-0.5) x 49 px = 47).
    assert measured == pytest.approx(97, abs=3)


def test_the_light_of_a_blend_does_not_depend_on_the_order_of_its_sources(rng):
    light = (
        rng.normal(0, 0.01, SHAPE)
        + gaussian(SHAPE, 20, 20, flux=50)
        + gaussian(SHAPE, 26, 18, flux=20)
    )
    masks = [disk(SHAPE, 20, 20, 6), disk(SHAPE, 26, 18, 4), disk(SHAPE, 23, 24, 3)]
    forward = shares_in_frame(light.astype(np.float32), masks)
    backward = shares_in_frame(light.astype(np.float32), masks[::-1])
    np.testing.assert_array_equal(forward, backward[::-1])


def test_dark_shared_pixels_are_divided_equally():
    masks = [rectangle(5, 5, 15, 15), rectangle(5, 10, 15, 20)]
    frames = shares_in_frame(np.full(SHAPE, -1.0, np.float32), masks)
    np.testing.assert_array_equal(frames[:, 5:15, 10:15], 0.5)


def test_layers_hold_every_mask_whole_and_none_twice(rng):
    masks = [disk(SHAPE, *rng.uniform(5, 35, 2), rng.uniform(2, 9)) for _ in range(15)]
    boxes, cut = geometry(masks)
    seen = []
    for members, labels in split_layers(boxes, cut, SHAPE):
        for member in members:
            np.testing.assert_array_equal(labels == member + 1, masks[member])
        seen.extend(members)
    assert sorted(seen) == list(range(15))


def test_groups_join_overlapping_and_touching_masks():
    masks = [
        rectangle(0, 0, 5, 5),
        rectangle(20, 20, 25, 25),
        rectangle(5, 5, 8, 8),  # touches the first at a corner
        rectangle(23, 23, 30, 30),  # overlaps the second
        rectangle(10, 50, 12, 52),
        rectangle(29, 29, 33, 40),  # overlaps the fourth
    ]
    parents, n_blend = blend_groups(*geometry(masks), SHAPE)
    assert parents.tolist() == [0, 1, 0, 1, 4, 1]
    assert n_blend.tolist() == [2, 3, 2, 3, 1, 3]


def test_masks_one_pixel_apart_are_not_a_blend():
    parents, n_blend = blend_groups(
        *geometry([rectangle(0, 0, 5, 5), rectangle(0, 6, 5, 9)]), SHAPE
    )
    assert parents.tolist() == [0, 1]
    assert n_blend.tolist() == [1, 1]


def test_a_mask_of_two_pieces_joins_what_both_touch():
    masks = [
        rectangle(0, 0, 3, 3) | rectangle(20, 20, 23, 23),
        rectangle(2, 2, 6, 6),
        rectangle(22, 22, 26, 26),
    ]
    assert blend_groups(*geometry(masks), SHAPE)[0].tolist() == [0, 0, 0]


def test_blend_fractions_count_shared_and_touching_pixels():
    # 4 x 6 masks that share two columns; a third touches nothing.
    masks = [rectangle(0, 0, 4, 6), rectangle(0, 4, 4, 10), rectangle(20, 20, 24, 24)]
    shared, contact = blend_fractions(*geometry(masks), SHAPE)
    assert shared.tolist() == pytest.approx([8 / 24, 8 / 24, 0])
    assert contact.tolist() == pytest.approx([12 / 24, 12 / 24, 0])  # one column more


def test_no_source_and_empty_masks_are_fine():
    no_boxes = np.zeros((0, 4), np.int32)
    assert share_light(np.zeros(SHAPE, np.float32), no_boxes, ()) == ()
    assert list(split_layers(no_boxes, (), SHAPE)) == []
    assert [len(part) for part in blend_groups(no_boxes, (), SHAPE)] == [0, 0]
    empty = (np.array([[2, 2, 5, 5]]), (np.zeros((3, 3), bool),))
    assert not share_light(np.ones(SHAPE, np.float32), *empty)[0].any()
    assert blend_groups(*empty, SHAPE)[1].tolist() == [1]
    assert blend_fractions(*empty, SHAPE)[1].tolist() == [0]
