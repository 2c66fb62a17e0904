import numpy as np
import pytest
from astropy.wcs import WCS, Sip

from astro_io.errors import ImageError
from astro_io.image import SkyImage


def make_image(height: int = 4, width: int = 6, **changes) -> SkyImage:
    """Return an image whose pixel (y, x, b) is 100 b + 10 y + x."""
    y, x, b = np.mgrid[0:height, 0:width, 0:3]
    fields = {
        "pixels": (100 * b + 10 * y + x).astype(np.float32),
        "bad": np.zeros((height, width, 3), bool),
        "bands": ("g", "r", "z"),
        "unit": ("DN", "nJy", ""),
        "zeropoint_mag": (27.0, 31.4, None),
        "saturation": (None, 5e4, 6e4),
        "name": "field",
    }
    return SkyImage(**(fields | changes))


def tan_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [197.0, -1.5]
    wcs.wcs.crpix = [3.0, 2.0]
    wcs.wcs.cdelt = [-0.262 / 3600, 0.262 / 3600]
    return wcs


def test_shape_is_height_then_width():
    assert make_image(4, 6).shape == (4, 6)


def test_select_reorders_every_field_that_has_one_value_a_band():
    image = make_image().select(("z", "g"))
    assert image.bands == ("z", "g")
    assert image.unit == ("", "DN")
    assert image.zeropoint_mag == (None, 27.0)
    assert image.saturation == (6e4, None)
    assert image.pixels[1, 2].tolist() == [212.0, 12.0]


def test_select_names_the_missing_band_and_what_is_there():
    with pytest.raises(
        ImageError, match=r"field: expected bands g, i; found g, r, z. Add i, or use weights"
    ):
        make_image().select(("g", "i"))


def test_cutout_keeps_pixels_bands_and_sky_positions():
    image = make_image(wcs=tan_wcs())
    part = image.cutout(1, 2, 3, 6)
    assert part.shape == (2, 4)
    assert part.pixels[0, 0, 0] == 12.0
    assert part.saturation == image.saturation
    sky = image.wcs.pixel_to_world_values(5, 2)
    np.testing.assert_allclose(part.wcs.pixel_to_world_values(3, 1), sky, rtol=0, atol=1e-12)


def test_binned_adds_blocks_up_and_keeps_sky_positions():
    """Blocks of pixel (y, x, b) = 100 b + 10 y + x; the fifth row fills no block."""
    bad = np.zeros((5, 6, 3), bool)
    bad[0, :2, 0] = bad[0:2, 2:4, 1] = True
    image = make_image(5, 6, wcs=tan_wcs(), bad=bad).binned(2)
    assert image.shape == (2, 3)
    assert image.pixels[1, 2, 2] == 4 * 200 + (24 + 25 + 34 + 35)
    assert image.pixels[0, 0, 0] == 2 * (10 + 11)  # the good half stands for the whole
    assert image.bad[0, 1, 1] and image.bad.sum() == 1 and image.pixels[0, 1, 1] == 0
    assert image.saturation == (None, 2e5, 2.4e5)
    assert image.pixel_scale_arcsec == pytest.approx(0.524, rel=1e-6)
    here, there = image.wcs.pixel_to_world(1, 0), tan_wcs().pixel_to_world(2.5, 0.5)
    assert here.separation(there).arcsec < 1e-6


@pytest.mark.parametrize("kind", ["CD", "PC", "SIP"])
def test_binned_keeps_sky_positions_whatever_the_header_has(kind):
    wcs = tan_wcs()
    matrix = np.array([[-0.8, 0.6], [0.6, 0.8]]) * 0.262 / 3600
    if kind == "PC":
        wcs.wcs.cdelt, wcs.wcs.pc = [1.0, 1.0], matrix
    else:
        wcs = WCS({**dict(tan_wcs().to_header()), **_cd_cards(matrix)})
    if kind == "SIP":
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        terms = np.zeros((4, 4))
        terms[2, 0], terms[1, 1], terms[0, 3] = 2e-5, -1e-5, 3e-9
        wcs.sip = Sip(terms, terms.T.copy(), None, None, wcs.wcs.crpix)
    wcs.array_shape = 400, 300
    image = make_image(400, 300, wcs=wcs).binned(3)
    x, y = np.array([0.0, 50.0, 99.0]), np.array([0.0, 131.0, 70.0])
    there = wcs.pixel_to_world(3 * x + 1, 3 * y + 1)
    assert image.wcs.pixel_to_world(x, y).separation(there).arcsec.max() < 1e-6
    assert image.wcs.array_shape == (133, 100)


def _cd_cards(matrix: np.ndarray) -> dict[str, float]:
    return {f"CD{i + 1}_{j + 1}": matrix[i, j] for i in range(2) for j in range(2)}


def test_binning_by_one_changes_nothing_and_too_much_is_refused():
    image = make_image(4, 6)
    assert image.binned(1) is image
    with pytest.raises(ImageError, match="field: 4x6 px cannot be binned 5 x 5"):
        image.binned(5)


def test_cutout_outside_the_image_is_refused():
    with pytest.raises(ImageError, match=r"cut-out \[0:5, 0:6\] is not inside 4x6 px"):
        make_image(4, 6).cutout(0, 0, 5, 6)


def test_pixel_scale_is_in_arcsec():
    assert make_image(wcs=tan_wcs()).pixel_scale_arcsec == pytest.approx(0.262)
    assert make_image().pixel_scale_arcsec is None


def test_unknown_units_zero_points_and_saturation_are_filled_in():
    image = make_image(unit=(), zeropoint_mag=(), saturation=())
    assert image.unit == ("", "", "")
    assert image.zeropoint_mag == image.saturation == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((4, 6), np.float32)}, r"expected pixels of shape \(H, W, bands\)"),
        ({"bands": ("g", "r")}, "3 planes but band names g, r"),
        ({"bad": np.zeros((6, 4, 3), bool)}, r"bad-pixel mask has shape \(6, 4, 3\)"),
    ],
)
def test_fields_that_disagree_are_refused(changes, message):
    with pytest.raises(ImageError, match=message):
        make_image(**changes)
