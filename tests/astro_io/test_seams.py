from dataclasses import dataclass

import numpy as np
import pytest

from astro_io.seams import mask_similarity, resolve_seams
from astro_io.tiles import plan_tiles


@dataclass
class Found:
    """Detections of all tiles, as a survey collects them."""

    boxes: np.ndarray
    masks: list[np.ndarray]
    scores: np.ndarray
    tile_index: np.ndarray
    source: np.ndarray
    is_whole: np.ndarray

    def resolve(self, tiles) -> np.ndarray:
        similarity = mask_similarity(self.boxes, self.masks, self.tile_index, tiles)
        return resolve_seams(self.boxes, self.scores, self.tile_index, tiles, similarity)


def detect(rng, tiles, centres, radii, *, jitter_px=0.7) -> Found:
    """Play the network: each tile sees every source as a disc, a little displaced, and cut."""
    rows = []
    for index, tile in enumerate(tiles):
        for source, ((y, x), radius) in enumerate(zip(centres, radii, strict=True)):
            dy, dx = rng.uniform(-1, 1, 2) * min(jitter_px, 0.2 * radius)
            row = _seen(tile, y + dy, x + dx, radius * rng.uniform(0.95, 1.05))
            if row is not None:
                rows.append((*row, rng.uniform(0.5, 1), index, source))
    boxes, masks, whole, scores, tile_index, sources = zip(*rows, strict=True)
    return Found(
        boxes=np.array(boxes),
        masks=list(masks),
        scores=np.array(scores),
        tile_index=np.array(tile_index),
        source=np.array(sources),
        is_whole=np.array(whole),
    )


def _seen(tile, y, x, radius):
    """Return box, mask and whether the disc is whole; None if the tile sees no pixel of it."""
    ny, nx = np.mgrid[
        int(y - radius) - 1 : int(y + radius) + 3, int(x - radius) - 1 : int(x + radius) + 3
    ]
    disc = (ny - y) ** 2 + (nx - x) ** 2 <= radius**2
    height, width = tile.image_shape
    in_image = (ny >= 0) & (nx >= 0) & (ny < height) & (nx < width)
    in_tile = (ny >= tile.y1) & (nx >= tile.x1) & (ny < tile.y2) & (nx < tile.x2)
    seen = disc & in_tile
    if not seen.any():
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    mask = seen[box[0] : box[2], box[1] : box[3]]
    is_whole = seen.sum() == (disc & in_image).sum()
    return box + np.array([ny[0, 0], nx[0, 0]] * 2), mask, is_whole


def scatter(rng, shape, n, spacing_px):
    """Return up to n places in the image, no two nearer than `spacing_px`."""
    places: list[np.ndarray] = []
    for place in rng.uniform((0, 0), np.subtract(shape, 1), (20 * n, 2)):
        if len(places) < n and all(np.hypot(*(place - p)) > spacing_px for p in places):
            places.append(place)
    return np.array(places)


@pytest.mark.parametrize("tile", [64, 100, 128, 200, 400])
@pytest.mark.parametrize("shape", [(300, 300), (333, 170)])
def test_each_source_survives_once_whatever_the_tile_size(rng, shape, tile):
    centres = scatter(rng, shape, 80, 14.0)
    radii = rng.uniform(2.0, 6.5, len(centres))
    tiles = plan_tiles(shape, tile=tile, overlap=32)
    found = detect(rng, tiles, centres, radii)
    kept = found.resolve(tiles)
    np.testing.assert_array_equal(np.sort(found.source[kept]), np.arange(len(centres)))
    assert found.is_whole[kept].all()


@pytest.mark.parametrize("overlap", [16, 33, 50])
def test_each_source_survives_once_whatever_the_overlap(rng, overlap):
    centres = scatter(rng, (300, 260), 80, 14.0)
    tiles = plan_tiles((300, 260), tile=110, overlap=overlap)
    found = detect(rng, tiles, centres, np.full(len(centres), 4.0))
    kept = found.resolve(tiles)
    np.testing.assert_array_equal(np.sort(found.source[kept]), np.arange(len(centres)))


@pytest.mark.parametrize("radius", [20.0, 40.0, 55.0])
def test_source_larger_than_the_overlap_survives_once_and_most_complete(rng, radius):
    tiles = plan_tiles((400, 400), tile=160, overlap=32)
    for place in scatter(rng, (400, 400), 25, 10.0):
        found = detect(rng, tiles, place[None], [radius])
        kept = found.resolve(tiles)
        assert len(kept) == 1
        pixels = np.array([mask.sum() for mask in found.masks])
        # discs differ by 5 % in radius from tile to tile, so by 20 % in area
        assert pixels[kept[0]] >= 0.8 * pixels.max()


def test_ownership_alone_would_double_or_lose_them(rng):
    # The reason of this module: jitter around a border at 48 (pixel edge 47.5 of centres).
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[20, 45, 27, 52], [20, 44, 27, 51]])  # centres 48 in tile 1, 47 in tile 0
    twice = resolve_seams(boxes, [0.9, 0.8], [1, 0], tiles, lambda i, j: 1.0)
    # centre edges 48.5 and 47.5: 16.5 px from the left edge 32, 16.5 px from the right edge 64
    assert twice.tolist() == [0]  # equally deep, so the better score
    never = resolve_seams(boxes, [0.9, 0.8], [0, 1], tiles, lambda i, j: 1.0)
    assert never.tolist() == [0]


def test_survivor_is_the_one_deeper_in_its_tile_whatever_the_score():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[20, 40, 27, 47], [20, 41, 27, 48]])  # 20.5 px and 12.5 px from the edge
    assert resolve_seams(boxes, [0.6, 0.99], [0, 1], tiles, lambda i, j: 1.0).tolist() == [0]


def test_whole_source_is_preferred_to_a_cut_one():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    # Tile 0 sees columns 20 to 64 (cut at 64), tile 1 columns 36 to 66, whole; the first is
    # deeper in its tile (22 px against 19).
    boxes = np.array([[10, 20, 30, 64], [10, 36, 30, 66]])
    assert resolve_seams(boxes, [0.9, 0.5], [0, 1], tiles, lambda i, j: 1.0).tolist() == [1]


def test_detection_at_the_seam_without_partner_survives():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    box = [[20, 49, 27, 56]]  # centre 52, owned by tile 1, found by tile 0 only
    assert resolve_seams(box, [0.7], [0], tiles, lambda i, j: 0.0).tolist() == [0]


def test_detection_far_from_what_its_tile_owns_is_left_to_the_owner():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    box = [[20, 57, 24, 61]]  # centre 58.5, 11 px beyond the border of tile 0
    assert resolve_seams(box, [0.9], [0], tiles, lambda i, j: 0.0).tolist() == []
    assert resolve_seams(box, [0.9], [1], tiles, lambda i, j: 0.0).tolist() == [0]


def test_close_pair_on_a_seam_stays_a_pair(rng):
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    for _ in range(30):
        y, x = rng.uniform(10, 50), rng.uniform(42, 54)
        angle = rng.uniform(0, np.pi)
        pair = np.array([[y, x], [y + 5 * np.sin(angle), x + 5 * np.cos(angle)]])
        found = detect(rng, tiles, pair, [3.0, 3.5], jitter_px=0.5)
        assert sorted(found.source[found.resolve(tiles)]) == [0, 1]


def test_detections_of_one_tile_are_never_joined():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[20, 40, 30, 50], [20, 41, 30, 51], [20, 42, 30, 52]])
    kept = resolve_seams(boxes, [0.9, 0.8, 0.7], [0, 0, 1], tiles, lambda i, j: 1.0)
    assert len(kept) == 2


def test_the_most_alike_are_joined_first():
    # 2 could be 0 or 1; it is more like 1, though 0 is listed first.
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[20, 46, 30, 56], [20, 44, 30, 54], [20, 38, 30, 48]])
    alike = {frozenset((0, 2)): 0.6, frozenset((1, 2)): 0.9}
    kept = resolve_seams(
        boxes, [0.5, 0.5, 0.9], [1, 1, 0], tiles, lambda i, j: alike[frozenset((i, j))]
    )
    assert kept.tolist() == [0, 2]


def test_star_on_a_galaxy_that_only_one_tile_found_is_kept():
    # The galaxy is whole in tile 0; the star lies on its rim in the overlap.
    tiles = plan_tiles((128, 192), tile=128, overlap=64)
    yy, xx = np.mgrid[0:128, 0:192]
    galaxy = (yy - 64) ** 2 + (xx - 70) ** 2 <= 30**2
    star = (yy - 64) ** 2 + (xx - 94) ** 2 <= 4**2
    boxes = np.array([[34, 40, 95, 101], [34, 64, 95, 101], [60, 90, 69, 99]])
    tile_index = np.array([0, 1, 1])
    masks = [
        m[b[0] : b[2], b[1] : b[3]] for m, b in zip((galaxy, galaxy, star), boxes, strict=True)
    ]
    similarity = mask_similarity(boxes, masks, tile_index, tiles)
    # tile 1 begins at column 64 and cuts the galaxy: compared inside tile 1 they are the same
    assert similarity(0, 1) == 1.0
    assert similarity(0, 2) < 0.1
    kept = resolve_seams(boxes, [0.9, 0.9, 0.9], tile_index, tiles, similarity)
    assert kept.tolist() == [0, 2]


def test_source_at_the_corner_of_four_tiles_survives_once(rng):
    tiles = plan_tiles((96, 96), tile=64, overlap=32)
    for _ in range(50):
        centre = rng.uniform(44, 52, (1, 2))
        found = detect(rng, tiles, centre, [5.0], jitter_px=1.0)
        assert len(found.boxes) == 4
        assert len(found.resolve(tiles)) == 1


def test_result_does_not_depend_on_the_order_of_tiles_or_detections(rng):
    shape = (260, 260)
    tiles = plan_tiles(shape, tile=96, overlap=48)
    centres = scatter(rng, shape, 120, 6.0)
    found = detect(rng, tiles, centres, rng.uniform(2, 30, len(centres)), jitter_px=2.0)
    expected = {tuple(found.boxes[i]) for i in found.resolve(tiles)}
    for _ in range(5):
        new_place = rng.permutation(len(tiles))
        shuffled = [tiles[i] for i in np.argsort(new_place)]
        order = rng.permutation(len(found.boxes))
        other = Found(
            boxes=found.boxes[order],
            masks=[found.masks[i] for i in order],
            scores=found.scores[order],
            tile_index=new_place[found.tile_index[order]],
            source=found.source[order],
            is_whole=found.is_whole[order],
        )
        kept = other.resolve(shuffled)
        assert {tuple(other.boxes[i]) for i in kept} == expected
        assert len(kept) == len(expected)


def test_one_tile_keeps_everything_without_comparing():
    tiles = plan_tiles((50, 40), tile=64, overlap=8)
    boxes = np.array([[0, 0, 5, 5], [0, 0, 5, 5], [40, 30, 50, 40]])

    def never(i, j):
        raise AssertionError("compared")

    assert resolve_seams(boxes, [0.5, 0.6, 0.7], [0, 0, 0], tiles, never).tolist() == [0, 1, 2]


def test_nothing_found_is_a_valid_result():
    tiles = plan_tiles((300, 300), tile=128, overlap=32)
    kept = resolve_seams(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), tiles, lambda i, j: 1.0)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_similarity_is_mask_iou_where_nothing_is_cut():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[10, 40, 20, 50], [10, 45, 20, 55]])
    masks = [np.ones((10, 10), bool), np.ones((10, 10), bool)]
    similarity = mask_similarity(boxes, masks, np.array([0, 1]), tiles)
    # shared 10 x 5 = 50, union 150; centres 5 px apart: 1 - 5 / 5 = 0
    assert similarity(0, 1) == pytest.approx(1 / 3)
    assert similarity(1, 0) == similarity(0, 1)


def test_sources_of_few_pixels_are_matched_by_their_centres():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[10, 40, 14, 44], [11, 40, 15, 44]])
    masks = [np.ones((4, 4), bool), np.eye(4, dtype=bool)]
    similarity = mask_similarity(boxes, masks, np.array([0, 1]), tiles)
    # centres 1 px apart, half of 6 px is 3: 1 - 1/3; the masks share 3 of 17 pixels
    assert similarity(0, 1) == pytest.approx(2 / 3)


def test_empty_mask_counts_as_its_box():
    tiles = plan_tiles((64, 96), tile=64, overlap=32)
    boxes = np.array([[10, 40, 20, 50], [10, 40, 20, 50]])
    masks = [np.zeros((10, 10), bool), np.ones((10, 10), bool)]
    assert mask_similarity(boxes, masks, np.array([0, 1]), tiles)(0, 1) == 1.0
