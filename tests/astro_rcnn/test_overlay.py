from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from detection_fields import detections_of, disk, gaussian, simple_wcs, sky_image
from matplotlib.colors import to_rgb
from PIL import Image

from astro_io.errors import OutputExistsError
from astro_rcnn.detections import Detections
from astro_rcnn.overlay import (
    CLASS_COLOURS,
    OverlayStyle,
    _angle_text,
    _compass,
    _plural,
    _round_number,
    draw_overlay,
    mask_outlines,
)
from astro_rcnn.sky_picture import LONGEST_SIDE_PX, channel_bands, picture_scale, render_sky

SHAPE = (120, 200)


@pytest.fixture
def image(rng):
    """A red star at (40, 30) and a blue one at (150, 80); z, r, g from the header's order."""
    red, blue = gaussian(SHAPE, 40, 30, flux=5000, a=3), gaussian(SHAPE, 150, 80, flux=5000, a=3)
    planes = [
        100 + factor * red + (1.2 - factor) * blue + rng.normal(0, 1, SHAPE)
        for factor in (0.2, 0.6, 1.0)
    ]
    return sky_image(planes, name="two_stars", wcs=simple_wcs())


@pytest.fixture
def found():
    return detections_of([disk(SHAPE, 40, 30, 9), disk(SHAPE, 150, 80, 9)], [1, 2])


def drawn(tmp_path, *arguments, **options):
    path = draw_overlay(tmp_path / "x.overlay.png", *arguments, overwrite=True, **options)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(picture, colour, tolerance=60):
    """Return where the picture has nearly this colour."""
    return np.abs(picture - 255 * np.array(to_rgb(colour))).max(axis=-1) < tolerance


# -- pixels to colours ---------------------------------------------------------------------------


def test_sky_is_dark_grey_and_quiet(image):
    sky = render_sky(image)[:, 60:120].astype(float)
    assert 10 < sky.mean() < 50
    assert sky.std(axis=(0, 1)).max() < 12
    assert np.ptp(sky.mean(axis=(0, 1))) < 3  # no tint


def test_the_reddest_band_is_red_whatever_the_order_of_the_bands(image):
    for order in (("g", "r", "z"), ("z", "g", "r")):
        picture = render_sky(image.select(order)).astype(int)
        red_star, blue_star = picture[30, 43], picture[80, 153]
        assert red_star[0] > red_star[2] + 20
        assert blue_star[2] > blue_star[0] + 20


def test_cores_are_bright_and_wings_show(image):
    picture = render_sky(image).astype(int)
    assert picture[30, 40].max() > 180
    assert picture[30, 40].max() > picture[30, 46].max() > picture[30, 70].max() + 15


def test_a_core_a_thousand_times_brighter_does_not_darken_the_rest(image):
    before = render_sky(image)[80, 153].astype(int)
    pixels = image.pixels.copy()
    pixels[28:32, 38:42] = 1e6
    after = render_sky(replace(image, pixels=pixels)).astype(int)
    assert after[30, 40].min() > 250  # white
    assert after[80, 153].max() > 0.5 * before.max()


def test_one_band_is_grey(rng):
    plane = rng.normal(5, 1, SHAPE) + gaussian(SHAPE, 90, 60, flux=900, a=3)
    picture = render_sky(sky_image([plane], bands=("F814W",)))
    assert picture.shape == (*SHAPE, 3)
    assert (np.ptp(picture.astype(int), axis=2) == 0).all()


def test_missing_bands_leave_grey_and_not_a_false_colour(image):
    bad = image.bad.copy()
    bad[:, :100, :2] = True
    pixels = np.where(bad, np.float32(0), image.pixels)
    picture = render_sky(replace(image, bad=bad, pixels=pixels)).astype(int)
    assert np.ptp(picture[30, 42]) <= 2
    assert picture[30, 42].max() > 80


def test_an_image_without_any_good_pixel_is_drawn(tmp_path):
    nothing = sky_image([np.zeros(SHAPE)] * 3, bad=np.ones((*SHAPE, 3), bool))
    assert drawn(tmp_path, nothing, Detections.empty()).max() > 0


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("g", "r", "z"), ((2,), (1,), (0,))),
        (("z", "r", "g"), ((0,), (1,), (2,))),
        (("r",), ((0,), (0,), (0,))),
        (("r", "g"), ((0,), (1, 0), (1,))),
        (("g", "r", "i", "z", "y"), ((4,), (2, 3), (0, 1))),
        (("F160W", "F336W", "F814W"), ((0,), (2,), (1,))),
    ],
)
def test_bands_are_sorted_by_wavelength_into_channels(bands, expected):
    assert channel_bands(bands) == expected


@pytest.mark.parametrize(
    ("shape", "shrink", "magnify"),
    [
        ((512, 512), 1, 2),
        ((225, 225), 1, 4),
        ((400, 300), 1, 3),
        ((1400, 1400), 1, 2),
        ((3600, 3600), 1, 1),
        ((4096, 10), 1, 1),
        ((4097, 4000), 2, 1),
        ((20000, 5000), 5, 1),
    ],
)
def test_small_images_are_magnified_and_huge_ones_averaged(shape, shrink, magnify):
    assert picture_scale(shape) == (shrink, magnify)
    assert max(shape) // shrink * magnify <= LONGEST_SIDE_PX


def test_huge_images_are_averaged_by_whole_pixels(monkeypatch, image):
    monkeypatch.setattr("astro_rcnn.sky_picture.LONGEST_SIDE_PX", 70)
    assert render_sky(image).shape == (40, 66, 3)


# -- outlines and captions -----------------------------------------------------------------------


def test_outlines_hug_the_mask():
    mask = disk((40, 50), 25, 18, 10)
    (line,) = mask_outlines(mask)
    radius = np.hypot(line[:, 0] - 25, line[:, 1] - 18)
    # The outermost pixel centres lie at 10 px, the edge of the mask half a pixel outside.
    assert radius.min() > 9.3
    assert radius.max() < 11.0
    np.testing.assert_array_equal(line[0], line[-1])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_masks_have_an_outline(size):
    assert len(mask_outlines(np.ones((size, size), bool))) == 1


def test_an_empty_mask_has_none_and_a_ring_has_two():
    assert mask_outlines(np.zeros((5, 5), bool)) == []
    assert len(mask_outlines(disk((30, 30), 15, 15, 12) & ~disk((30, 30), 15, 15, 6))) == 2


def test_outlines_are_drawn_where_the_masks_are_in_the_colour_of_the_class(tmp_path, image, found):
    picture = drawn(tmp_path, image, found)
    scale = picture_scale(SHAPE)[1]
    strip = (picture.shape[0] - scale * SHAPE[0]) // 2
    without = drawn(tmp_path, image, Detections.empty())
    changed = (np.abs(picture - without).max(axis=-1) > 30)[strip:-strip][::-1]  # row 0 below
    sky = picture[strip:-strip][::-1]
    for kind, (x, y) in (("star", (40, 30)), ("galaxy", (150, 80))):
        rows, columns = np.nonzero(changed & near(sky, CLASS_COLOURS[kind]))
        assert len(rows) > 50
        assert columns.mean() / scale == pytest.approx(x, abs=1)
        assert rows.mean() / scale == pytest.approx(y, abs=1)


def test_the_picture_has_native_pixels_and_two_strips(tmp_path, image, found):
    picture = drawn(tmp_path, image, found)
    assert picture.shape[1] == 4 * SHAPE[1]
    strips = picture.shape[0] - 4 * SHAPE[0]
    assert 0 < strips < 120


def test_no_detections_no_wcs_and_labels_all_draw(tmp_path, image, found):
    bare = replace(image, wcs=None)
    drawn(tmp_path, bare, Detections.empty())
    plain = drawn(tmp_path, image, found)
    labelled = drawn(tmp_path, image, found, style=OverlayStyle(has_ids=True, has_scores=True))
    assert (plain != labelled).any()


def test_an_existing_picture_is_not_replaced_unasked(tmp_path, image, found):
    (tmp_path / "x.png").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"x.png exists. Pass --overwrite"):
        draw_overlay(tmp_path / "x.png", image, found)


def test_compass_points_north_up_and_east_left(image):
    directions = _compass(image)
    assert directions["N"] == pytest.approx((0, 1), abs=1e-3)
    assert directions["E"] == pytest.approx((-1, 0), abs=1e-3)
    turned = simple_wcs()
    turned.wcs.pc = [[0, -1], [1, 0]]  # x runs north
    assert _compass(replace(image, wcs=turned))["N"] == pytest.approx((1, 0), abs=1e-3)
    assert _compass(replace(image, wcs=None)) is None


@pytest.mark.parametrize(
    ("room", "length", "text"),
    [(16.8, 10, "10″"), (0.7, 0.5, "0.5″"), (65, 60, "1′"), (59, 30, "30″"), (900, 600, "10′")],
)
def test_scale_bar_has_a_round_length(room, length, text):
    assert _round_number(room) == pytest.approx(length)
    assert _angle_text(_round_number(room)) == text


def test_counts_are_in_english():
    assert [_plural("galaxy", 1), _plural("galaxy", 0), _plural("star", 2)] == [
        "galaxy", "galaxies", "stars",
    ]  # fmt: skip
