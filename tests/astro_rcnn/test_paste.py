"""astro_rcnn.paste: masks on the grid of their box to pixels of the image."""

from __future__ import annotations

import numpy as np
import pytest
from detection_fields import disk

from astro_rcnn.paste import paste_masks


def soft_disk(side: int = 28) -> np.ndarray:
    """A disk that touches the sides of its box, 1/2 at the rim."""
    centres = (np.arange(side) + 0.5) / side - 0.5
    radius = np.hypot(centres[:, None], centres[None])
    return np.clip(0.5 + (0.5 - radius) * side / 2, 0, 1)


def frame(mask_boxes, pasted, shape) -> np.ndarray:
    """Paint one pasted mask on its image."""
    image = np.zeros(shape, bool)
    y1, x1, y2, x2 = mask_boxes[0]
    image[y1:y2, x1:x2] = pasted[0]
    return image


@pytest.mark.parametrize("radius", [3.0, 9.5, 20.0])
@pytest.mark.parametrize(("y", "x"), [(30.0, 40.0), (30.3, 39.6)])
def test_the_mask_of_a_disk_is_the_disk(radius, y, x):
    # Pixel centres at whole numbers: the box of a disk around (y, x) begins at y - r + 1/2.
    box = np.array([[y - radius, x - radius, y + radius, x + radius]]) + 0.5
    painted = frame(*paste_masks(soft_disk()[None], box, (64, 80)), (64, 80))
    expected = disk((64, 80), x, y, radius)
    # Pixels whose centres lie within three quarters of a cell of the rim may fall either way.
    rows, columns = np.indices((64, 80))
    is_clear = np.abs(np.hypot(rows - y, columns - x) - radius) > 0.75 * 2 * radius / 28
    np.testing.assert_array_equal(painted[is_clear], expected[is_clear])
    assert painted.sum() == pytest.approx(expected.sum(), rel=0.04, abs=4)


def test_boxes_partly_outside_keep_the_part_inside():
    shape = (40, 50)
    boxes = np.array([[-6, -8, 14, 12], [30, 40, 50, 60]], np.float32)
    mask_boxes, pasted = paste_masks(np.repeat(soft_disk()[None], 2, 0), boxes, shape)
    for mask_box, mask, box in zip(mask_boxes, pasted, boxes, strict=True):
        painted = frame([mask_box], [mask], shape)
        centre = (box[:2] + box[2:] - 1) / 2
        expected = disk(shape, centre[1], centre[0], 10)
        assert (painted != expected).sum() <= 4


def test_mask_boxes_are_tight():
    mask = np.zeros((1, 4, 4))
    mask[0, 1:3, 2] = 1.0
    mask_boxes, pasted = paste_masks(mask, np.array([[10.0, 20.0, 18.0, 28.0]]), (64, 64))
    # Cells of 2 px: rows 12 to 15, columns 24 and 25.
    assert mask_boxes.tolist() == [[12, 24, 16, 26]]
    assert pasted[0].all() and pasted[0].shape == (4, 2)


def test_a_mask_without_a_pixel_keeps_its_box():
    mask_boxes, pasted = paste_masks(np.zeros((1, 4, 4)), np.array([[1.5, 2, 4, 6.2]]), (9, 9))
    assert mask_boxes.tolist() == [[1, 2, 4, 7]]
    assert pasted[0].shape == (3, 5) and not pasted[0].any()


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (5, 5, 9, 5), (50, 60, 55, 66), (-9, -9, -2, -3), (0, 0, 0, 0)]
)
def test_boxes_without_a_pixel_give_an_empty_mask_inside_the_image(box):
    mask_boxes, pasted = paste_masks(np.ones((1, 4, 4)), np.array([box], float), (40, 50))
    y1, x1, y2, x2 = mask_boxes[0]
    assert 0 <= y1 <= y2 <= 40 and 0 <= x1 <= x2 <= 50
    assert pasted[0].shape == (y2 - y1, x2 - x1) and not pasted[0].any()


def test_no_detection_gives_no_mask():
    mask_boxes, pasted = paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), (40, 50))
    assert mask_boxes.shape == (0, 4) and mask_boxes.dtype == np.int32 and pasted == ()
