"""Tables of positions: any format, x,y or ra,dec, with rows that cannot be used."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from cluster_mosaics import tan_wcs

from astro_io.errors import CatalogError, InputNotFoundError
from astro_io.positions import (
    candidates_of,
    find_duplicates,
    pixel_positions,
    read_candidates,
)


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits", "vot", "txt", "parquet"])
def test_any_format_is_read_and_its_columns_stay(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    table = Table({"name": ["a", "b"], "X": [1.5, 2.0], "Y": [3.0, 4.25]})
    path = tmp_path / f"pos.{suffix}"
    options = {"txt": {"format": "ascii"}, "vot": {"format": "votable"}}
    table.write(path, **options.get(suffix, {}))
    found = read_candidates(path)
    assert found.table.colnames == ["name", "X", "Y"] and found.columns == ("X", "Y")
    assert not found.is_sky and len(found) == 2
    np.testing.assert_allclose([found.first, found.second], [[1.5, 2.0], [3.0, 4.25]])


def test_pixels_win_over_sky_unless_columns_are_named():
    table = Table({"x": [1.0], "y": [2.0], "ra": [10.0], "dec": [41.0]})
    assert candidates_of(table).columns == ("x", "y")
    sky = candidates_of(table, columns=("ra", "dec"))
    assert sky.is_sky and sky.second[0] == 41.0
    odd = candidates_of(Table({"col1": [10.0], "col2": [41.0]}), columns=("col1", "col2"))
    assert not odd.is_sky
    assert candidates_of(table, prefers_sky=True).columns == ("ra", "dec")
    assert candidates_of(odd.table, columns=("col1", "col2"), is_sky=True).is_sky


def test_sexagesimal_text_missing_values_and_units_are_understood():
    text = Table({"RA": ["0:40:00", "10.5", "", "no"], "Dec": ["+41:00:00", "41", "41", "41"]})
    found = candidates_of(text)
    # 0h40m is 40/60 of 15 degrees.
    np.testing.assert_allclose(found.first, [10.0, 10.5, np.nan, np.nan])
    masked = Table({"x": MaskedColumn([1.0, 2.0], mask=[False, True]), "y": [1, 2]})
    np.testing.assert_array_equal(candidates_of(masked).first, [1.0, np.nan])
    hours = Table({"ra": [2.0 / 3.0], "dec": [0.5]})
    hours["ra"].unit, hours["dec"].unit = "hourangle", "rad"
    found = candidates_of(hours)
    assert found.first[0] == pytest.approx(10.0)
    assert found.second[0] == pytest.approx(np.degrees(0.5))
    hours["ra"].unit = "h"
    assert candidates_of(hours).first[0] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("columns", "is_sky"),
    [(("RAWX", "RAWY"), False), (("RAJ2000", "DEJ2000"), True), (("_RA.icrs", "_DE.icrs"), True)],
)
def test_columns_of_the_sky_are_known_by_both_names(columns, is_sky):
    table = Table({columns[0]: [10.0], columns[1]: [41.0]})
    assert candidates_of(table, columns=columns).is_sky == is_sky


def test_text_of_excel_and_packed_text_are_read(tmp_path):
    text = b"x,y\n1.5,3\n"
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text))
    for name in ("excel.csv", "packed.csv.gz"):
        found = read_candidates(tmp_path / name)
        assert found.table.colnames == ["x", "y"] and found.first.tolist() == [1.5]


def test_sky_positions_become_pixels_and_the_far_side_has_none():
    table = Table({"ra": [10.0, 10.0, 190.0, np.nan, 10.0], "dec": [41.0, 41.001, -41, 41.0, 99]})
    x, y = pixel_positions(candidates_of(table), tan_wcs())
    # 0.001 degrees are 3.6 arcsec, 72 pixels.
    np.testing.assert_allclose(x[:2], [50.0, 50.0], atol=1e-3)
    np.testing.assert_allclose(y[:2], [40.0, 112.0], atol=1e-3)
    assert np.isnan(x[2:]).all() and np.isnan(y[2:]).all()


def test_pixel_positions_from_one_are_moved():
    x, y = pixel_positions(candidates_of(Table({"x": [1.0], "y": [5.0]})), None, origin=1)
    assert (x[0], y[0]) == (0.0, 4.0)


@pytest.mark.parametrize("origin", [0, 1])
def test_positions_of_sextractor_count_from_one(origin):
    """X_IMAGE and Y_IMAGE always do; plain x and y stay as they are."""
    table = Table({"X_IMAGE": [1.0, 7.5], "Y_IMAGE": [5.0, 1.0]})
    x, y = pixel_positions(candidates_of(table), None, origin=origin)
    assert x.tolist() == [0.0, 6.5] and y.tolist() == [4.0, 0.0]


def test_a_wide_table_of_numbers_is_not_taken_for_legus(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.uniform(0, 100, (5, 40))
    np.savetxt(tmp_path / "plain.txt", rows)
    with pytest.raises(CatalogError, match="or a LEGUS table; found a table without names, and "):
        read_candidates(tmp_path / "plain.txt")
    found = read_candidates(tmp_path / "plain.txt", columns=("col2", "col3"))
    np.testing.assert_allclose(found.first, rows[:, 1])
    names = " ".join(["x", "y", *(f"m{i}" for i in range(38))])
    np.savetxt(tmp_path / "named.txt", rows, header=names)  # behind a '#'
    np.testing.assert_allclose(read_candidates(tmp_path / "named.txt").first, rows[:, 0])


def test_positions_that_are_arrays_are_refused():
    table = Table({"x": np.zeros((3, 2)), "y": np.zeros(3)})
    with pytest.raises(CatalogError, match=r"one number a row in column x; found .* shape \(2,\)"):
        candidates_of(table)


def test_duplicates_are_the_later_rows():
    x = np.array([5.0, 5.2, 9.0, np.nan, 5.0, np.nan])
    y = np.array([5.0, 5.0, 5.0, 1.0, 5.0, 1.0])
    assert find_duplicates(x, y).tolist() == [False, True, False, False, True, False]
    assert find_duplicates(x[:0], y[:0]).shape == (0,)


def test_equal_positions_are_not_compared_pair_by_pair():
    tracemalloc.start()
    is_double = find_duplicates(np.full(8000, 3.0), np.full(8000, 4.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert is_double.tolist() == [False] + [True] * 7999
    assert peak < 10e6, "32 million pairs would take 512 MB"


def test_what_is_no_table_of_positions_is_said(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such table of positions"):
        read_candidates(tmp_path / "none.csv")
    (tmp_path / "a.fits").write_bytes(b"\0\1\2 nonsense")
    with pytest.raises(CatalogError, match="expected a table that astropy reads"):
        read_candidates(tmp_path / "a.fits")
    (tmp_path / "b.csv").write_text("id,lon,lat\n1,2,3\n")
    with pytest.raises(CatalogError, match=r"expected columns x and y.*found id, lon, lat"):
        read_candidates(tmp_path / "b.csv")
    with pytest.raises(CatalogError, match="asked for lon, b"):
        read_candidates(tmp_path / "b.csv", columns=("lon", "b"))
    with pytest.raises(CatalogError, match=r"m31 has no sky coordinates.*Add columns x and y"):
        pixel_positions(candidates_of(Table({"ra": [1.0], "dec": [2.0]})), None, where="m31")


def test_an_empty_table_is_a_table(tmp_path):
    Table({"x": np.empty(0), "y": np.empty(0)}).write(tmp_path / "none.fits")
    found = read_candidates(tmp_path / "none.fits")
    assert len(found) == 0 and pixel_positions(found, None)[0].shape == (0,)
