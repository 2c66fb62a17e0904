"""astro_rcnn.roi_align: pooling of regions, the reference's way and exactly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import referee
from backends import numpy, quick

from astro_rcnn.roi_align import assign_levels, bin_centres, crop_masks, pyramid_roi_align

pytestmark = pytest.mark.backend


@pytest.fixture
def pyramid(rng) -> list[np.ndarray]:
    """Two images' maps of strides 2, 4 and 8 of 32 x 48 pixels, 3 channels."""
    shapes = [(16, 24), (8, 12), (4, 6)]
    return [rng.normal(size=(2, *shape, 3)).astype(np.float32) for shape in shapes]


def random_regions(rng, n: int) -> np.ndarray:
    """Normalised boxes, two images, some beyond the edge, one empty, one the whole image."""
    corner = rng.uniform(-0.2, 0.8, (2, n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.01, 0.6, (2, n, 2))], -1)
    boxes[:, 0], boxes[:, 1] = 0, (0, 0, 1, 1)
    return boxes.astype(np.float32)


@pytest.mark.parametrize("size", [2, 7])
def test_pooling_agrees_with_the_referee(rng, pyramid, size):
    boxes, level = random_regions(rng, 12), rng.integers(0, 3, (2, 12)).astype(np.int32)
    found = numpy(quick(partial(pyramid_roi_align, size=size))(pyramid, boxes, level))
    for n, r in np.ndindex(2, 12):
        expected = referee.crop_and_resize(pyramid[level[n, r]][n], boxes[n, r].astype(float), size)
        np.testing.assert_allclose(found[n, r], expected, atol=1e-4)


def test_a_region_that_ends_at_the_edge_keeps_its_last_row(pyramid):
    """1 is the last cell's centre; 1 + 1e-7 is rounding, not another place."""
    boxes = np.array([[[0.5, 0.5, 1, 1]], [[0.5, 0.5, 1 + 1e-7, 1 + 1e-7]]], np.float32)
    maps, level = [p[:1].repeat(2, 0) for p in pyramid], np.zeros((2, 1), np.int32)
    found = numpy(quick(partial(pyramid_roi_align, size=3))(maps, boxes, level))
    np.testing.assert_allclose(found[0, 0, 2, 2], pyramid[0][0, -1, -1], rtol=1e-6)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_no_region_gives_no_row(pyramid):
    none = np.zeros((2, 0, 4), np.float32)
    pool = quick(partial(pyramid_roi_align, size=7))
    pooled = numpy(pool(pyramid, none, np.zeros((2, 0), np.int32)))
    assert pooled.shape == (2, 0, 7, 7, 3)


def test_exact_pooling_agrees_with_the_referee(rng, pyramid):
    strides = np.array([2, 4, 8], np.float32)
    cells = np.array([p.shape[1:3] for p in pyramid], np.int32)
    boxes = random_regions(rng, 12) * np.array([32, 48, 32, 48], np.float32)
    level = rng.integers(0, 3, (2, 12)).astype(np.int32)
    frame = quick(partial(bin_centres, n_bins=5))(
        boxes, n_cells=cells[level], cell_px=strides[level]
    )
    pool = quick(partial(pyramid_roi_align, size=5, edge_slack=0.5))
    found = numpy(pool(pyramid, frame, level))
    for n, r in np.ndindex(2, 12):
        k = level[n, r]
        expected = referee.align_exactly(pyramid[k][n], boxes[n, r].astype(float), strides[k], 5)
        np.testing.assert_allclose(found[n, r], expected, atol=1e-4)


def exactly_pooled(image: np.ndarray, box, cell_px: float, size: int) -> np.ndarray:
    boxes = np.array([[box]], np.float32)
    cells = np.array([[image.shape[:2]]], np.int32)

    def pool(image, boxes):
        frame = bin_centres(boxes, size, cells, np.full((1, 1), cell_px, np.float32))
        level = np.zeros((1, 1), np.int32)
        return pyramid_roi_align([image], frame, level, size, edge_slack=0.5)

    return numpy(quick(pool)(image[None, :, :, None], boxes))[0, 0, :, :, 0]


# A Gaussian at a sub-pixel place (pixel edges: the first pixel's centre is 0.5) of 256 x 320 px.
BLOB_Y, BLOB_X = 200.6, 45.3
BLOB_BOX = (BLOB_Y - 40, BLOB_X - 40, BLOB_Y + 40, BLOB_X + 40)


def blob() -> np.ndarray:
    """Its values at the centres of cells of 8 pixels."""
    rows, columns = np.mgrid[4:256:8, 4:320:8]
    distance = (rows - BLOB_Y) ** 2 + (columns - BLOB_X) ** 2
    return np.exp(-distance / (2 * 12.0**2)).astype(np.float32)


def centroid(pooled: np.ndarray) -> tuple[float, float]:
    bins = np.arange(len(pooled)) + 0.5
    return (pooled.sum(1) @ bins) / pooled.sum(), (pooled.sum(0) @ bins) / pooled.sum()


def test_a_source_in_the_middle_of_its_box_is_pooled_into_the_middle():
    """To a hundredth of a bin, wherever in the image and in its cell of 8 pixels it lies."""
    pooled = exactly_pooled(blob(), BLOB_BOX, 8.0, 14)
    assert centroid(pooled) == pytest.approx((7.0, 7.0), abs=0.01)


def test_the_reference_rule_would_not_centre_it():
    """The claim above is one that can fail: matterport's frame puts it elsewhere."""
    box = (np.array(BLOB_BOX) - [0, 0, 1, 1]) / [255, 319, 255, 319]
    pooled = referee.crop_and_resize(blob()[..., None], box, 14)[..., 0]
    y, x = centroid(pooled)
    assert abs(y - 7.0) > 0.2 and abs(x - 7.0) > 0.2


def test_moving_image_and_box_by_one_stride_changes_nothing(rng):
    image = rng.normal(size=(20, 24)).astype(np.float32)
    moved = np.roll(image, (1, 1), axis=(0, 1))
    box = np.array([9.3, 10.1, 40.7, 55.2])
    pooled = exactly_pooled(image, box, 4.0, 7)
    np.testing.assert_allclose(exactly_pooled(moved, box + 4.0, 4.0, 7), pooled, atol=2e-5)


def find_levels(boxes, levels, size, level) -> np.ndarray:
    options = {"levels": levels, "canonical_size": size, "canonical_level": level}
    return numpy(quick(partial(assign_levels, **options))(boxes))


def test_levels_by_hand():
    # Canonical 224 at level 4; twice as large: 5; half: 3; beyond: the outermost.
    sizes = np.array([224, 448, 112, 20, 2000, 224 * 1.4, 224 * 1.42], np.float32)
    boxes = np.stack([np.zeros_like(sizes), np.zeros_like(sizes), sizes, sizes], -1)
    found = find_levels(boxes, (2, 3, 4, 5), 224.0, 4)
    assert (found + 2).tolist() == [4, 5, 3, 2, 5, 4, 5]


def test_levels_agree_with_the_referee(rng):
    boxes = random_regions(rng, 100)[0] * 512
    found = find_levels(boxes, (1, 2, 3), 50.0, 2)
    expected = [referee.level_of(box, (1, 2, 3), 50.0, 2) for box in boxes.astype(float)]
    assert found.tolist() == expected


def test_masks_are_sampled_as_the_referee_does(rng):
    masks = (rng.uniform(size=(6, 8, 8)) > 0.5).astype(np.uint8)
    corner = rng.uniform(-0.2, 0.5, (6, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.3, 0.8, (6, 2))], 1).astype(np.float32)
    boxes[0] = (0, 0, 1, 1)

    def crop(masks, boxes):
        exact = bin_centres(boxes, 5, np.full((1, 2), 8, np.int32), np.full(1, 1 / 8, np.float32))
        return crop_masks(masks, boxes, 5), crop_masks(masks, exact, 5, edge_slack=0.5)

    plain, exact = (numpy(found) for found in quick(crop)(masks, boxes))
    for i, box in enumerate(boxes.astype(float)):
        pixels = masks[i, :, :, None].astype(float)
        expected = referee.crop_and_resize(pixels, box, 5)[..., 0]
        np.testing.assert_allclose(plain[i], expected, atol=1e-4)
        expected = referee.align_exactly(pixels, box, 1 / 8, 5)[..., 0]
        np.testing.assert_allclose(exact[i], expected, atol=1e-4)
