"""Mosaics: stamps from files on disk, at edges and gaps, with bands missing, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from cluster_mosaics import tan_wcs, write_plane

from astro_io.errors import ImageError, InputNotFoundError
from cluster_cnn import mosaics
from cluster_cnn.flags import FLAG_MEANINGS, CandidateFlag
from cluster_cnn.mosaics import Mosaic
from cluster_cnn.stamp_files import count_missing, write_stamp

EDGE, BAD = CandidateFlag.EDGE, CandidateFlag.BAD_PIXELS
BANDS = ("F475W", "F814W")
HEIGHT, WIDTH = 60, 90


def ramp(offset: float) -> np.ndarray:
    """Return an image whose pixel (y, x) holds ``100 y + x + offset``."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (100 * y + x + offset).astype(np.float32)


@pytest.fixture
def spec(tmp_path):
    a = write_plane(tmp_path / "a.fits", ramp(0.5), BUNIT="electron/s", MAGZERO=26.0)
    b = write_plane(tmp_path / "b.fits", ramp(10000.5), BUNIT="electron/s")
    return f"F475W={a},F814W={b}"


def cut_all(mosaic, x, y, size, **options):
    """Return stamps and flags in the order of the positions; NaN where there is none."""
    stamps = np.full((len(x), size, size, len(mosaic.bands)), np.nan, np.float32)
    flags = mosaic.position_flags(np.asarray(x, float), np.asarray(y, float))
    for batch in mosaic.cut(np.asarray(x, float), np.asarray(y, float), size, **options):
        stamps[batch.rows] = batch.stamps
        flags[batch.rows] |= batch.flags
    return stamps, flags


def test_stamps_are_the_pixels_around_positions(spec):
    with Mosaic(spec, BANDS) as mosaic:
        assert mosaic.shape == (HEIGHT, WIDTH) and mosaic.missing == ()
        assert mosaic.pixel_scale_arcsec == pytest.approx(0.05)
        stamps, flags = cut_all(mosaic, [40.0, 20.4], [30.0, 12.6], 5)
    assert flags.tolist() == [0, 0]
    assert stamps[0, 2, 2].tolist() == [3040.5, 13040.5], "row 30, column 40"
    assert stamps[0, 0, 4].tolist() == [2842.5, 12842.5], "height and width are not swapped"
    assert stamps[1, 2, 2, 0] == 1320.5, "the nearest pixel is (13, 20)"


def test_even_stamps_have_their_middle_between_pixels(spec):
    with Mosaic(spec, BANDS) as mosaic:
        stamps, _ = cut_all(mosaic, [40.5], [30.5], 4)
    # Pixels 39 to 42 and 29 to 32: their middle is 40.5, 30.5.
    assert (stamps[0, 0, 0, 0], stamps[0, 3, 3, 0]) == (2939.5, 3242.5)


def test_edges_are_flagged_and_blank(spec):
    x, y = [0.0, 89.0, 45.0, 45.0, 44.0], [30.0, 30.0, 0.0, 59.0, 30.0]
    with Mosaic(spec, BANDS) as mosaic:
        stamps, flags = cut_all(mosaic, x, y, 5)
    assert flags.tolist() == [EDGE, EDGE, EDGE, EDGE, 0]
    assert np.isnan(stamps[0, :, :2]).all() and np.isfinite(stamps[0, :, 2:]).all()
    assert np.isnan(stamps[2, :2]).all() and stamps[2, 2, 2, 0] == 45.5


def test_positions_without_a_place_are_flagged_and_left_out(spec):
    x = np.array([np.nan, -3.0, 90.0, -0.4, np.inf])
    y = np.full(5, 30.0)
    with Mosaic(spec, BANDS) as mosaic:
        flags = mosaic.position_flags(x, y)
        rows = [row for batch in mosaic.cut(x, y, 5) for row in batch.rows]
    none, off = CandidateFlag.NOT_FINITE, CandidateFlag.OFF_IMAGE
    assert flags.tolist() == [none, off, off, 0, none]
    assert rows == [3]


def test_gaps_and_bands_without_data_are_flagged(tmp_path):
    first, second = ramp(0.5), ramp(0.5)
    first[20:30, 20:30] = np.nan
    second[:, 60:] = 0.0  # not covered
    a, b = write_plane(tmp_path / "a.fits", first), write_plane(tmp_path / "b.fits", second)
    spec = f"F475W={a},F814W={b}"
    with Mosaic(spec, BANDS) as mosaic:
        stamps, flags = cut_all(mosaic, [19.0, 75.0, 60.0, 45.0], [25.0] * 4, 9)
    missing = CandidateFlag.MISSING_BAND
    assert flags.tolist() == [BAD, missing, BAD, 0]
    assert np.isnan(stamps[1, ..., 1]).all() and np.isfinite(stamps[1, ..., 0]).all()


def test_a_band_of_one_value_counts_as_missing(tmp_path):
    second = ramp(0.5)
    second[:, 60:] = 3.0
    a, b = write_plane(tmp_path / "a.fits", ramp(0.5)), write_plane(tmp_path / "b.fits", second)
    with Mosaic(f"F475W={a},F814W={b}", BANDS) as mosaic:
        stamps, flags = cut_all(mosaic, [75.0, 62.0, 30.0], [25.0] * 3, 9)
    assert flags.tolist() == [CandidateFlag.MISSING_BAND, 0, 0]
    assert count_missing(stamps).tolist() == [1, 0, 0]
    write_stamp(tmp_path / "s.fits", stamps[0], BANDS)
    with fits.open(tmp_path / "s.fits") as hdus:
        assert not hdus["F814W"].header["HASDATA"] and not hdus["F814W"].data.any()


def test_a_mosaic_without_a_band_is_refused_or_taken_as_blank(spec):
    bands = ("F336W", *BANDS)
    with pytest.raises(ImageError, match=r"expected bands F336W.*found F475W, F814W.*Add F336W"):
        Mosaic(spec, bands)
    with Mosaic(spec, bands, may_lack_bands=True) as mosaic:
        assert mosaic.missing == ("F336W",)
        assert mosaic.zeropoint_mag == (None, 26.0, None)
        stamps, flags = cut_all(mosaic, [40.0], [30.0], 5)
    assert flags.tolist() == [CandidateFlag.MISSING_BAND]
    assert np.isnan(stamps[..., 0]).all() and stamps[0, 2, 2, 1] == 3040.5
    with pytest.raises(ImageError, match="found none of them"):
        Mosaic(spec, ("F110W",), may_lack_bands=True)


def test_fluxes_are_brought_to_the_zero_points_of_the_weights(spec):
    with Mosaic(spec, BANDS) as mosaic:
        # One magnitude fainter a unit: 2.512 of the wanted units in one of ours.
        factors = mosaic.flux_factors({"F475W": 27.0, "F814W": 25.9})
    np.testing.assert_allclose(factors, [10**0.4, 1.0], rtol=1e-6)


@pytest.mark.parametrize("layout", ["cube", "extensions", "compressed"])
def test_other_layouts_give_the_same_stamps(spec, tmp_path, layout):
    path = tmp_path / f"m.fits{'.fz' if layout == 'compressed' else ''}"
    header = tan_wcs().to_header()
    planes = [ramp(0.5), ramp(10000.5)]
    if layout == "cube":
        header["BANDS"] = "F475W,F814W"
        fits.PrimaryHDU(np.stack(planes), header).writeto(path)
    else:
        kind = fits.ImageHDU
        options = {}
        if layout == "compressed":
            kind, options = fits.CompImageHDU, {"quantize_level": 0, "compression_type": "GZIP_1"}
        hdus = [kind(p, header, name=b, **options) for p, b in zip(planes, BANDS, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    x, y = [3.0, 40.0, 88.0], [50.0, 30.0, 2.0]
    with Mosaic(spec, BANDS) as one, Mosaic(path, BANDS) as other:
        expected, flags = cut_all(one, x, y, 8)
        stamps, other_flags = cut_all(other, x, y, 8)
    np.testing.assert_array_equal(stamps, expected)
    assert flags.tolist() == other_flags.tolist()


def test_the_answer_does_not_depend_on_how_much_is_read_at_a_time(spec, monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-2, 92, 60), rng.uniform(-2, 62, 60)
    with Mosaic(spec, BANDS) as mosaic:
        whole, flags = cut_all(mosaic, x, y, 7)
        monkeypatch.setattr(mosaics, "STRIP_MB", 0.0)
        rows = [batch.rows for batch in mosaic.cut(x, y, 7, batch_size=4)]
        small, small_flags = cut_all(mosaic, x, y, 7, batch_size=4)
    np.testing.assert_array_equal(small, whole)
    assert flags.tolist() == small_flags.tolist()
    assert max(map(len, rows)) <= 4 and len(rows) > 10
    order = np.concatenate(rows)
    assert len(set(order)) == len(order) and (np.diff(y[order]) >= 0).all(), "top to bottom"


def test_memory_stays_small_on_a_large_mosaic(tmp_path):
    import tracemalloc

    path = tmp_path / "large.fits"
    fits.PrimaryHDU(np.zeros((1, 1), np.float32)).writeto(path)
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 8000})
    header["NAXIS2"] = 20000
    with path.open("wb") as file:  # 640 MB, sparse: nothing is written
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-8000 * 20000 * 4 // 2880) * 2880)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 8000, 40), rng.uniform(0, 20000, 40)
    with Mosaic(f"F814W={path}", ("F814W",)) as mosaic:
        tracemalloc.start()
        n_cut = sum(len(batch.rows) for batch in mosaic.cut(x, y, 80))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n_cut == 40
    assert peak < 260e6


def test_stamps_are_resampled_to_the_pixels_of_the_weights(spec):
    with Mosaic(spec, BANDS) as mosaic:
        stamps, flags = cut_all(mosaic, [40.0], [30.0], 9, pixel_scale_arcsec=0.1)
        same, _ = cut_all(mosaic, [40.0], [30.0], 9, pixel_scale_arcsec=0.0505)
    assert flags.tolist() == [0]
    # A pixel of 0.1 arcsec holds the light of four; the ramp is linear, so the middle is exact.
    assert stamps[0, 4, 4, 0] == pytest.approx(4 * 3040.5)
    assert stamps[0, 5, 4, 0] - stamps[0, 4, 4, 0] == pytest.approx(4 * 200.0)
    assert same[0, 4, 4, 0] == 3040.5, "one per cent is left alone"


def test_bands_must_lie_on_one_grid(tmp_path, spec):
    moved = tan_wcs()
    moved.wcs.crpix += 2.0
    fits.PrimaryHDU(ramp(0.5), moved.to_header()).writeto(tmp_path / "moved.fits")
    off = f"F475W={tmp_path / 'a.fits'},F814W={tmp_path / 'moved.fits'}"
    with pytest.raises(ImageError, match=r"F814W lies more than half a pixel off"):
        Mosaic(off, BANDS)
    with Mosaic(off, BANDS, must_align=False) as mosaic:
        assert mosaic.shape == (HEIGHT, WIDTH)
    write_plane(tmp_path / "small.fits", ramp(0.0)[:50])
    with pytest.raises(ImageError, match=r"one shape, found F475W 60x90, F814W 50x90 px"):
        Mosaic(f"F475W={tmp_path / 'a.fits'},F814W={tmp_path / 'small.fits'}", BANDS)
    with pytest.raises(InputNotFoundError):
        Mosaic(f"F475W={tmp_path / 'none.fits'}", ("F475W",))


def test_every_flag_is_explained_and_a_bit_of_its_own():
    assert set(FLAG_MEANINGS) == set(CandidateFlag)
    assert all(int(flag).bit_count() == 1 for flag in CandidateFlag)


def test_files_in_the_wrong_order_are_refused(tmp_path):
    """The header of each says which filter it is of."""
    a = write_plane(tmp_path / "a.fits", ramp(0.5), FILTER="F475W")
    b = write_plane(tmp_path / "b.fits", ramp(1.5), FILTER="F814W")
    with Mosaic(f"F475W={a},F814W={b}", BANDS) as mosaic:
        assert mosaic.missing == ()
    with pytest.raises(ImageError, match=r"given as F475W, but is of F814W.*order of the files"):
        Mosaic(f"F475W={b},F814W={a}", BANDS)


def test_one_filter_stands_for_another_when_asked(tmp_path):
    a = write_plane(tmp_path / "a.fits", ramp(0.5), FILTER="F435W")
    b = write_plane(tmp_path / "b.fits", ramp(1.5), FILTER="F814W")
    with pytest.raises(ImageError, match=r"is of F435W.*F438W=F435W=FILE lets"):
        Mosaic(f"F438W={a},F814W={b}", ("F438W", "F814W"))
    with Mosaic(f"F438W=F435W={a},F814W={b}", ("F438W", "F814W")) as mosaic:
        stamps, _ = cut_all(mosaic, [40.0], [30.0], 5)
    assert stamps[0, 2, 2].tolist() == [3040.5, 3041.5]
    with pytest.raises(ImageError, match=r"given as F435W, but is of F814W"):
        Mosaic(f"F438W=F435W={b},F814W={a}", ("F438W", "F814W"))


def test_extensions_of_other_filters_are_refused(tmp_path):
    hdus = [fits.ImageHDU(ramp(k), name=name) for k, name in enumerate(("F435W", "F606W"))]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "m.fits")
    with pytest.raises(ImageError, match="expected bands F475W, F814W; found F435W, F606W"):
        Mosaic(tmp_path / "m.fits", BANDS)
    both = f"F475W=F435W={tmp_path / 'm.fits'},F814W=F606W={tmp_path / 'm.fits'}"
    with Mosaic(both, BANDS) as mosaic:
        assert mosaic.missing == ()


def test_the_same_image_for_two_bands_is_refused(tmp_path):
    a = write_plane(tmp_path / "a.fits", ramp(0.5))
    with pytest.raises(ImageError, match=r"a\.fits given as F475W and as F814W\. Give each"):
        Mosaic(f"F475W={a},F814W={a}", BANDS)


def test_lacking_bands_are_all_named_and_the_way_without_them(tmp_path):
    a = write_plane(tmp_path / "a.fits", ramp(0.5))
    bands = ("F336W", "F475W", "F814W")
    with pytest.raises(ImageError, match=r"Add F336W, F814W, do without \(--missing-bands blank\)"):
        Mosaic(f"F475W={a}", bands)
    with Mosaic(f"F475W={a}", bands, may_lack_bands=True) as mosaic:
        assert mosaic.missing == ("F336W", "F814W")
