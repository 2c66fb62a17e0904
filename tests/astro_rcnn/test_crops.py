"""astro_rcnn.crops: symmetries of the square, boxes that hug masks, mini-masks."""

from __future__ import annotations

import numpy as np
import pytest

from astro_rcnn.crops import (
    N_DIHEDRAL,
    Crop,
    dense_masks,
    dihedral_boxes,
    dihedral_crop,
    dihedral_image,
    mini_masks,
    replace_masks,
    tight_box,
)


def random_crop(rng: np.random.Generator, shape: tuple[int, int] = (20, 31), n: int = 5) -> Crop:
    boxes, masks = [], []
    for _ in range(n):
        frame = np.zeros(shape, bool)
        y1, x1 = rng.integers(0, np.array(shape) - 8)
        frame[y1 : y1 + 7, x1 : x1 + 6] = rng.random((7, 6)) < 0.4
        frame[y1 + 3, x1 + 2] = True
        box = tight_box(frame)
        boxes.append(box)
        masks.append(frame[box[0] : box[2], box[1] : box[3]])
    return Crop(
        image=rng.normal(size=(*shape, 2)).astype(np.float32),
        class_ids=rng.integers(1, 3, n).astype(np.int32),
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
    )


def test_tight_box_ends_are_exclusive():
    mask = np.zeros((5, 8), bool)
    mask[1, 3] = mask[2, 6] = True
    assert tight_box(mask) == (1, 3, 3, 7)


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (3, 0)])
def test_tight_box_of_an_empty_mask_is_none(shape):
    assert tight_box(np.zeros(shape, bool)) is None


def test_one_turn_goes_counter_clockwise():
    # top right pixel of 2 x 3 goes to the top left of 3 x 2
    image = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(dihedral_image(image, 1), [[3, 6], [2, 5], [1, 4]])
    # box around the pixel "3": y 0..1, x 2..3; width 3, so y' = 3 - 3 .. 3 - 2
    np.testing.assert_array_equal(
        dihedral_boxes(np.array([[0, 2, 1, 3]]), 1, (2, 3)), [[0, 0, 1, 1]]
    )


def test_elements_four_and_six_are_the_mirrors():
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(dihedral_image(image, 4), image[:, ::-1])
    np.testing.assert_array_equal(dihedral_image(image, 6), image[::-1])


def test_the_eight_elements_differ():
    image = np.arange(9).reshape(3, 3)
    assert len({dihedral_image(image, e).tobytes() for e in range(N_DIHEDRAL)}) == N_DIHEDRAL


def test_unknown_element_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 7; found 8"):
        dihedral_image(np.zeros((2, 2)), 8)


@pytest.mark.parametrize("element", range(N_DIHEDRAL))
def test_dihedral_commutes_with_truth(rng, element):
    """Masks painted on frames and moved = moved masks painted on frames."""
    crop = random_crop(rng)
    moved = dihedral_crop(crop, element)
    np.testing.assert_array_equal(dense_masks(moved), dihedral_image(dense_masks(crop), element))
    np.testing.assert_array_equal(moved.image, dihedral_image(crop.image, element))
    for box, mask in zip(moved.boxes, moved.masks, strict=True):
        assert tight_box(mask) == (0, 0, box[2] - box[0], box[3] - box[1])


@pytest.mark.parametrize("element", range(N_DIHEDRAL))
def test_mini_mask_of_the_moved_is_the_moved_mini_mask(rng, element):
    masks = [rng.random(shape) < 0.5 for shape in [(1, 1), (3, 9), (40, 17), (90, 120)]]
    moved = mini_masks([dihedral_image(mask, element) for mask in masks], 56)
    expected = [dihedral_image(mini, element) for mini in mini_masks(masks, 56)]
    np.testing.assert_array_equal(moved, expected)


def test_mini_mask_by_hand():
    # [1 0] to 4 columns: samples at -1/4 (clamped to 0), 1/4, 3/4, 5/4 (clamped to 1)
    #                     values      1,                  3/4, 1/4, 0
    mini = mini_masks([np.array([[True, False]])], 4)
    np.testing.assert_array_equal(mini[0], np.tile([True, True, False, False], (4, 1)))


def test_one_half_is_outside():
    # [1 0] to 3 columns: samples at 1/2 pixel steps -1/6 -> 0, 1/2, 7/6 -> 1: values 1, 1/2, 0
    mini = mini_masks([np.array([[True, False]])], 3)
    np.testing.assert_array_equal(mini[0, 0], [True, False, False])


def test_mini_mask_agrees_with_scikit_image(rng):
    from skimage.transform import resize

    masks = [rng.random(shape) < 0.6 for shape in [(5, 7), (56, 56), (31, 80)]]
    for mask, mini in zip(masks, mini_masks(masks, 56), strict=True):
        smooth = resize(mask.astype(float), (56, 56), order=1, mode="edge", anti_aliasing=False)
        is_clear = np.abs(smooth - 0.5) > 1e-9
        np.testing.assert_array_equal(mini[is_clear], (smooth > 0.5)[is_clear])


def test_a_mask_that_fills_its_box_stays_full():
    assert mini_masks([np.ones((3, 200), bool)], 56).all()


def test_no_mask_gives_no_mini_mask():
    assert mini_masks([], 56).shape == (0, 56, 56)


def test_replace_masks_leaves_out_what_is_empty(rng):
    crop = random_crop(rng, n=3)
    dense = dense_masks(crop)
    dense[..., 1] = False
    kept = replace_masks(crop, crop.image, dense)
    np.testing.assert_array_equal(kept.class_ids, crop.class_ids[[0, 2]])
    np.testing.assert_array_equal(kept.boxes, crop.boxes[[0, 2]])
    np.testing.assert_array_equal(dense_masks(kept), dense[..., [0, 2]])


def test_replace_masks_of_nothing(rng):
    crop = random_crop(rng, n=0)
    kept = replace_masks(crop, crop.image, dense_masks(crop))
    assert len(kept) == 0 and kept.boxes.shape == (0, 4)
