import numpy as np
import pytest
from astropy.wcs import WCS

from astro_io.align import is_aligned, reference_index, reproject_band, wcs_offset_px

SHAPE = (80, 100)


def tan_wcs(dx=0.0, dy=0.0, *, scale_arcsec=0.262, turn_deg=0.0, frame="ICRS") -> WCS:
    """Return a WCS whose reference pixel is (dx, dy) off the middle of the image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [197.0, 30.0]
    wcs.wcs.crpix = [50.5 + dx, 40.5 + dy]
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale_arcsec / 3600
    wcs.wcs.radesys = frame
    wcs.wcs.set()
    return wcs


def star(y, x, sigma=2.0) -> np.ndarray:
    yy, xx = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    return np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(values) -> tuple[float, float]:
    yy, xx = np.mgrid[0 : values.shape[0], 0 : values.shape[1]]
    light = np.nan_to_num(values)
    return float((yy * light).sum() / light.sum()), float((xx * light).sum() / light.sum())


def test_reference_is_r_or_the_middle_band():
    assert reference_index(("g", "r", "z")) == 1
    assert reference_index(("z", "i", "g", "r")) == 3
    assert reference_index(("F435W", "F555W", "F814W")) == 1
    assert reference_index(("g",)) == 0


def test_offset_is_the_shift_in_pixels():
    typical, largest = wcs_offset_px(tan_wcs(), tan_wcs(0.3, -0.7), SHAPE)
    assert typical == pytest.approx(0.7, abs=1e-6)
    assert largest == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize(
    ("wcs", "expected"),
    [
        (tan_wcs(), True),
        (tan_wcs(0.49, -0.49), True),
        (tan_wcs(0.0, 0.51), False),
        (tan_wcs(0.51, 0.0), False),
        # 0.5 degrees: 0.0087 * 50 = 0.44 px at the far edge
        (tan_wcs(turn_deg=0.5), True),
        # 1.5 degrees: 0.026 * 50 = 1.3 px at the far edge, though half the image is closer
        (tan_wcs(turn_deg=1.5), False),
        (tan_wcs(scale_arcsec=0.3), False),
    ],
)
def test_bands_are_aligned_within_half_a_pixel(wcs, expected):
    assert is_aligned(tan_wcs(), wcs, SHAPE) is expected


def test_other_side_of_the_sky_is_not_aligned():
    far = tan_wcs()
    far.wcs.crval = [17.0, -30.0]
    far.wcs.set()
    assert wcs_offset_px(tan_wcs(), far, SHAPE) == (np.inf, np.inf)
    assert not is_aligned(tan_wcs(), far, SHAPE)


def test_frames_of_reference_are_converted():
    # B1950 and ICRS differ by half a degree in right ascension
    assert not is_aligned(tan_wcs(), tan_wcs(frame="FK4"), SHAPE)
    # J2000 and ICRS differ by 0.02 arcsec
    assert is_aligned(tan_wcs(), tan_wcs(frame="FK5"), SHAPE)


def test_reprojection_puts_a_star_where_the_reference_has_it():
    # the band is shifted by (dx, dy) = (3.3, -1.6): its star sits at (y, x) + (-1.6, 3.3)
    band = star(40 - 1.6, 50 + 3.3)
    moved = reproject_band(band, tan_wcs(3.3, -1.6), tan_wcs(), SHAPE)
    assert moved.dtype == np.float32
    assert moved.shape == SHAPE
    assert centroid(moved) == pytest.approx((40.0, 50.0), abs=0.01)
    assert np.nansum(moved) == pytest.approx(band.sum(), rel=1e-3)


def test_reprojection_leaves_what_the_band_does_not_reach_empty():
    moved = reproject_band(star(40, 50), tan_wcs(10.0, 0.0), tan_wcs(), SHAPE)
    # reference column x is column x + 10 of the band, whose last is 99
    assert np.isnan(moved[:, 90:]).all()
    assert np.isfinite(moved[1:-1, 1:89]).all()


def test_reprojection_conserves_flux_between_pixel_scales():
    fine = star(40, 50, sigma=4.0)
    coarse = reproject_band(fine, tan_wcs(scale_arcsec=0.131), tan_wcs(scale_arcsec=0.262), SHAPE)
    # pixels four times as large hold four times the flux
    assert np.nansum(coarse) == pytest.approx(fine.sum(), rel=2e-2)
    assert np.nanmax(coarse) == pytest.approx(4 * fine.max(), rel=0.05)


def test_bad_pixel_spreads_to_its_neighbours_only():
    band = star(40, 50)
    band[20, 30] = np.nan
    moved = reproject_band(band, tan_wcs(0.6, 0.6), tan_wcs(), SHAPE)
    assert np.isnan(moved[1:-1, 1:-1]).sum() == 4
    assert np.isnan(moved[19:21, 29:31]).all()


def test_blocks_give_the_same_as_the_whole(monkeypatch):
    band = star(33, 61, sigma=5.0)
    whole = reproject_band(band, tan_wcs(2.2, 1.1, turn_deg=3), tan_wcs(), SHAPE)
    monkeypatch.setattr("astro_io.align.BLOCK_PX", 37)
    parts = reproject_band(band, tan_wcs(2.2, 1.1, turn_deg=3), tan_wcs(), SHAPE)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
