from itertools import pairwise

import numpy as np
import pytest

from astro_io.errors import ConfigError
from astro_io.tiles import owns, plan_tiles, within_reach


def random_plans(rng, n=150):
    """Yield shape, tile and overlap: images from one pixel to many tiles, any proportion."""
    for _ in range(n):
        tile = int(rng.integers(1, 70))
        yield tuple(rng.integers(1, 200, 2)), tile, int(rng.integers(0, tile))


def test_plan_of_a_known_image():
    # Height 1400: starts 0, 448, 888 (= 1400 - 512, shifted inwards from 896).
    # Borders: (512 + 448) / 2 = 480 and (960 + 888) / 2 = 924.
    tiles = plan_tiles((1400, 512), tile=512, overlap=64)
    assert [(t.y1, t.y2, t.own_y1, t.own_y2) for t in tiles] == [
        (0, 512, 0, 480),
        (448, 960, 480, 924),
        (888, 1400, 924, 1400),
    ]
    assert all((t.x1, t.x2, t.own_x1, t.own_x2) == (0, 512, 0, 512) for t in tiles)


def test_tiles_run_row_by_row_and_slice_the_image():
    tiles = plan_tiles((8, 16), tile=8, overlap=0)
    assert [(t.y1, t.x1) for t in tiles] == [(0, 0), (0, 8)]
    image = np.arange(8 * 16).reshape(8, 16)
    assert image[tiles[1].slices].shape == tiles[1].shape == (8, 8)
    assert image[tiles[1].slices][0, 0] == 8


def test_owned_areas_partition_every_image(rng):
    for shape, tile, overlap in random_plans(rng):
        n_owners = np.zeros(shape, int)
        for t in plan_tiles(shape, tile=tile, overlap=overlap):
            n_owners[t.own_y1 : t.own_y2, t.own_x1 : t.own_x2] += 1
        assert (n_owners == 1).all(), (shape, tile, overlap)


def test_tiles_have_full_size_where_the_image_allows_and_own_what_they_read(rng):
    for shape, tile, overlap in random_plans(rng):
        for t in plan_tiles(shape, tile=tile, overlap=overlap):
            assert t.shape == (min(tile, shape[0]), min(tile, shape[1]))
            assert 0 <= t.y1 <= t.own_y1 < t.own_y2 <= t.y2 <= shape[0]
            assert 0 <= t.x1 <= t.own_x1 < t.own_x2 <= t.x2 <= shape[1]


def test_an_owned_pixel_has_half_the_overlap_of_context(rng):
    for shape, tile, overlap in random_plans(rng):
        for t in plan_tiles(shape, tile=tile, overlap=overlap):
            context = (
                np.inf if t.y1 == 0 else t.own_y1 - t.y1,
                np.inf if t.x1 == 0 else t.own_x1 - t.x1,
                np.inf if t.y2 == shape[0] else t.y2 - t.own_y2,
                np.inf if t.x2 == shape[1] else t.x2 - t.own_x2,
            )
            assert min(context) >= overlap // 2


def test_no_tile_is_superfluous():
    # 960 = 512 + 448 is covered by two tiles exactly; one more pixel needs a third.
    assert len(plan_tiles((512, 960), tile=512, overlap=64)) == 2
    assert len(plan_tiles((512, 961), tile=512, overlap=64)) == 3
    assert len(plan_tiles((100, 300), tile=512, overlap=64)) == 1


def test_every_point_has_one_owner(rng):
    for shape, tile, overlap in random_plans(rng, 40):
        y = rng.uniform(-3, shape[0] + 3, 300)
        x = rng.uniform(-3, shape[1] + 3, 300)
        # every half pixel, where rounding could go either way
        y[:100], x[:100] = np.round(2 * y[:100]) / 2, np.round(2 * x[:100]) / 2
        tiles = plan_tiles(shape, tile=tile, overlap=overlap)
        assert (sum(owns(t, y, x).astype(int) for t in tiles) == 1).all()


def test_ownership_is_of_pixel_centres():
    left, right = plan_tiles((10, 18), tile=10, overlap=2)
    assert (left.own_x2, right.own_x1) == (9, 9)
    # pixel 9 spans 8.5 to 9.5
    assert owns(left, 5, 8.49) and not owns(right, 5, 8.49)
    assert owns(right, 5, 8.5) and not owns(left, 5, 8.5)
    assert owns(left, -4.0, -0.7)
    assert isinstance(owns(left, 5, 5), bool)


def test_reach_grows_inner_borders_only():
    left, right = plan_tiles((10, 18), tile=10, overlap=2)
    x = np.array([6.4, 6.5, 10.4, 10.5])
    assert within_reach(left, 5, x, margin_x_px=2.0).tolist() == [True, True, True, False]
    assert within_reach(right, 5, x, margin_x_px=2.0).tolist() == [False, True, True, True]
    assert within_reach(left, np.array([-99.0]), 3, margin_y_px=0.0).tolist() == [True]


def test_height_and_width_are_not_swapped():
    tiles = plan_tiles((10, 30), tile=10, overlap=0)
    assert [(t.y1, t.x1) for t in tiles] == [(0, 0), (0, 10), (0, 20)]
    assert tiles[0].inner_edges == (-np.inf, -np.inf, np.inf, 10)
    assert tiles[0].image_shape == (10, 30)


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (64, 64), (64, 80), (64, -1)])
def test_overlap_that_leaves_no_step_is_refused(tile, overlap):
    with pytest.raises(ConfigError, match=rf"tile {tile}, overlap {overlap}. Change --tile"):
        plan_tiles((100, 100), tile=tile, overlap=overlap)


def test_image_without_pixels_is_refused():
    with pytest.raises(ConfigError, match="expected an image with pixels, found 0x10"):
        plan_tiles((0, 10), tile=64, overlap=8)


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "grid"),
    [(1400, 512, 64, 64), (3600, 512, 64, 64), (1400, 500, 50, 32), (700, 512, 64, 64)],
)
def test_tiles_on_a_grid_start_at_its_multiples_and_still_cover_the_image(
    length, tile, overlap, grid
):
    tiles = plan_tiles((length, 100), tile=tile, overlap=overlap, grid=grid)
    assert all(t.y1 % grid == 0 for t in tiles)
    assert tiles[0].own_y1 == 0 and tiles[-1].own_y2 == length and tiles[-1].y2 == length
    for before, after in pairwise(tiles):
        assert before.own_y2 == after.own_y1
        assert before.y2 - after.y1 >= overlap
        assert after.y1 < after.own_y1 < before.y2
    # 1400 px: the last tile starts at 896 = 14 * 64 and is 504 px long.
    if length == 1400 and grid == 64:
        assert (tiles[-1].y1, tiles[-1].y2) == (896, 1400)


def test_a_grid_wider_than_the_step_is_ignored():
    same = plan_tiles((100, 100), tile=30, overlap=10, grid=64)
    assert same == plan_tiles((100, 100), tile=30, overlap=10)
