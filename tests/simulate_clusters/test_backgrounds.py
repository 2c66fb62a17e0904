"""Stamps from real mosaics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

from astro_io.errors import CatalogError, ImageError, InputNotFoundError
from simulate.star_clusters.backgrounds import MosaicBackgrounds
from simulate.star_clusters.config import InstrumentConfig

INSTRUMENT = InstrumentConfig(stamp_px=16)


def write_mosaic(folder: Path, *, scale: float = 0.05, shape=(40, 60), bad=None) -> Path:
    """Write two bands whose pixels tell where they stand: 1000 y + x, and its negative."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [11.0, 41.5], [1.0, 1.0]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    y, x = np.indices(shape)
    pixels = (1000.0 * y + x).astype(np.float32)
    if bad is not None:
        pixels[bad] = np.nan
    folder.mkdir()
    for band, sign in (("F475W", 1), ("F814W", -1)):
        fits.writeto(folder / f"img_{band}.fits", sign * pixels, wcs.to_header())
    return folder


def corner(stamp: np.ndarray) -> tuple[int, int]:
    return divmod(int(stamp[..., 0].min()), 1000)


def test_stamps_are_pieces_in_all_eight_orientations(tmp_path, rng):
    source = MosaicBackgrounds([write_mosaic(tmp_path / "m")], INSTRUMENT)
    seen = set()
    for _ in range(60):
        stamp = source.cut(rng)
        assert stamp.shape == (16, 16, 2)
        np.testing.assert_array_equal(stamp[..., 1], -stamp[..., 0])
        top, left = corner(stamp)
        assert 0 <= top <= 24
        assert 0 <= left <= 44
        steps = (int(stamp[1, 0, 0] - stamp[0, 0, 0]), int(stamp[0, 1, 0] - stamp[0, 0, 0]))
        assert {abs(s) for s in steps} == {1, 1000}
        seen.add(steps)
    assert len(seen) == 8


def test_positions_to_avoid_are_avoided_in_pixels_and_on_the_sky(tmp_path, rng):
    mosaic = write_mosaic(tmp_path / "m")
    Table({"X": [20.0], "Y": [12.0]}).write(tmp_path / "a.csv")
    wcs = WCS(fits.getheader(mosaic / "img_F475W.fits"))
    ra, dec = wcs.all_pix2world([20.0], [12.0], 0)
    Table({"ra": ra, "dec": dec}).write(tmp_path / "b.fits")
    for name in ("a.csv", "b.fits"):
        source = MosaicBackgrounds(
            [mosaic], INSTRUMENT, avoid=[tmp_path / name], avoid_radius_arcsec=0.5
        )
        for _ in range(40):
            top, left = corner(source.cut(rng))
            assert np.hypot(top + 7.5 - 12, left + 7.5 - 20) >= 10


def test_positions_to_avoid_may_be_sexagesimal_or_missing(tmp_path, rng, caplog):
    mosaic = write_mosaic(tmp_path / "m")
    where = SkyCoord.from_pixel(20.0, 12.0, WCS(fits.getheader(mosaic / "img_F475W.fits")))
    ra, dec = where.ra.to_string("hourangle", sep=":"), where.dec.to_string(sep=":")
    Table({"ra": [ra, ""], "dec": [dec, "no"]}).write(tmp_path / "text.csv")
    masked = {
        name: MaskedColumn([0.0, v], mask=[True, False]) for name, v in (("x", 20), ("y", 12))
    }
    Table(masked).write(tmp_path / "masked.fits")
    for name in ("text.csv", "masked.fits"):
        options = {"avoid": [tmp_path / name], "avoid_radius_arcsec": 0.5}
        source = MosaicBackgrounds([mosaic], INSTRUMENT, **options)
        corners = [corner(source.cut(rng)) for _ in range(60)]
        assert min(np.hypot(top + 7.5 - 12, left + 7.5 - 20) for top, left in corners) >= 10
        assert "1 of 2 positions are missing or unreadable; they are not avoided" in caplog.text
        caplog.clear()
        # Nothing is at (0, 0), 10.6 pixels from the middle of the stamp in the corner.
        assert min(top + left for top, left in corners) < 12


def test_pixels_to_avoid_are_of_one_mosaic(tmp_path):
    mosaics = [write_mosaic(tmp_path / name) for name in "mn"]
    Table({"x": [20.0], "y": [12.0]}).write(tmp_path / "a.csv")
    with pytest.raises(CatalogError, match=r"a\.csv: expected ra and dec, for 2 mosaics are given"):
        MosaicBackgrounds(mosaics, INSTRUMENT, avoid=[tmp_path / "a.csv"])
    Table({"x": [20.0], "y": [12.0], "ra": [11.0], "dec": [41.5]}).write(tmp_path / "b.csv")
    MosaicBackgrounds(mosaics, INSTRUMENT, avoid=[tmp_path / "b.csv"])


def test_gaps_are_avoided_and_full_cover_of_gaps_is_said(tmp_path, rng):
    source = MosaicBackgrounds([write_mosaic(tmp_path / "m", bad=np.s_[:, 30:])], INSTRUMENT)
    assert all(corner(source.cut(rng))[1] <= 14 for _ in range(20))
    gaps = MosaicBackgrounds([write_mosaic(tmp_path / "n", bad=np.s_[::8, ::8])], INSTRUMENT)
    with pytest.raises(ImageError, match="no 16 px stamp in 500 tries"):
        gaps.cut(rng)


def test_unfit_mosaics_and_tables_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"expected pixels of 0.05 arcsec, found 0.0396"):
        MosaicBackgrounds([write_mosaic(tmp_path / "a", scale=0.0396)], INSTRUMENT)
    with pytest.raises(ImageError, match="expected at least 16 px a side"):
        MosaicBackgrounds([write_mosaic(tmp_path / "b", shape=(12, 60))], INSTRUMENT)
    good = write_mosaic(tmp_path / "c")
    Table({"name": ["B127"]}).write(tmp_path / "t.csv")
    with pytest.raises(CatalogError, match=r"expected columns x and y .*, or ra and dec .* name"):
        MosaicBackgrounds([good], INSTRUMENT, avoid=[tmp_path / "t.csv"])
    with pytest.raises(InputNotFoundError, match="no such table of positions"):
        MosaicBackgrounds([good], INSTRUMENT, avoid=[tmp_path / "none.csv"])
    three = InstrumentConfig(filters=("ACS_F475W", "WFC3_F160W"), stamp_px=16)
    with pytest.raises(ImageError, match="F160W"):
        MosaicBackgrounds([good], three)
