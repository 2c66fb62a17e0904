"""The catalogue: schema, units, files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from astro_io import catalog as module
from astro_io.catalog import (
    COLUMNS,
    FLAG_MEANINGS,
    Flag,
    catalog_columns,
    catalog_format,
    check_storable,
    new_catalog,
    parse_unit,
    read_catalog,
    write_catalog,
)
from astro_io.errors import BackendError, CatalogError, InputNotFoundError, OutputExistsError

SUFFIXES = [".fits", ".ecsv", ".parquet", ".vot"]


def filled(n=3, unit="nJy"):
    table = new_catalog(n, ("g", "r"), unit=unit)
    table["class"] = np.array(["star", "galaxy", "star"][:n], dtype="U6")
    table["x"] = np.linspace(0.1, 9.9, n) * u.pix
    table["ra"] = np.linspace(197.8, 197.9, n) * u.deg
    if n:
        table["flux_g"][0] = -1.5 * table["flux_g"].unit if table["flux_g"].unit else -1.5
    table["flags"][:1] = int(Flag.EDGE | Flag.NEGATIVE_FLUX)
    table.meta.update(
        weights="compact-grz-v1",
        threshold=0.5,
        note="it's a 'long' story & " * 12,
        nested={"a": [1, 2.5, None, True], "é": "ü"},
    )
    return table


def same(one, other):
    assert one.colnames == other.colnames
    meanings = catalog_columns(other.meta["bands"])
    for name in one.colnames:
        a, b = one[name], other[name]
        assert a.unit == b.unit, name
        assert a.info.description == (b.info.description or meanings[name].meaning), name
        assert a.dtype.kind == b.dtype.kind and a.dtype.itemsize <= b.dtype.itemsize, name
        values = (np.asarray(getattr(c, "value", c)) for c in (a, b))
        np.testing.assert_array_equal(*values, err_msg=name)
    assert one.meta == other.meta


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n", [0, 3])
def test_every_format_brings_back_columns_units_meanings_and_metadata(tmp_path, suffix, n):
    table = filled(n)
    path = write_catalog(tmp_path / f"a.catalog{suffix}", table)
    same(read_catalog(path), table)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("unit", ["electron", "DN", "nanomaggy", "ELECTRONS / S", "furlong?", ""])
def test_units_outside_the_standards_survive(tmp_path, suffix, unit):
    table = filled(unit=unit)
    back = read_catalog(write_catalog(tmp_path / f"a{suffix}", table))
    assert back["flux_g"].unit == table["flux_g"].unit
    assert back.meta["flux_unit"] == [unit, unit]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("nJy", u.nJy),
        ("ELECTRONS", u.electron),
        ("electrons/s", u.electron / u.s),
        ("counts", u.ct),
        ("DN", u.DN),
        ("adu", u.adu),
        ("nanomaggies", u.nmgy),
        ("", None),
        ("1", None),
        ("furlong?", None),
    ],
)
def test_units_are_read_as_people_write_them(text, unit):
    assert parse_unit(text) == unit


def test_all_columns_of_the_contract_are_there_with_units():
    table = new_catalog(2, ("g", "z"), unit=("nJy", "electron"))
    promised = (
        "source_id class score p_star p_galaxy x y ra dec ra_err dec_err bbox_y1 bbox_x1 bbox_y2 "
        "bbox_x2 n_pix flux_g flux_err_g mag_g flux_z flux_err_z mag_z a b theta "
        "half_light_radius snr parent_id n_blend blend_fraction flags"
    )
    assert set(promised.split()) <= set(table.colnames)
    assert (table["flux_g"].unit, table["flux_err_z"].unit) == (u.nJy, u.electron)
    assert (table["x"].unit, table["ra"].unit, table["mag_g"].unit) == (u.pix, u.deg, u.mag)
    assert table["source_id"].tolist() == [1, 2] and table["n_blend"].tolist() == [1, 1]
    assert np.isnan(table["flux_g"].value).all()
    assert all(table[name].info.description for name in table.colnames)
    assert table["x"].dtype == COLUMNS["x"].dtype == "float64"


def test_a_column_that_was_replaced_is_documented_all_the_same(tmp_path):
    table = new_catalog(1, ("g",))
    table["mag_g"] = [21.5] * u.mag
    back = read_catalog(write_catalog(tmp_path / "a.fits", table))
    assert back["mag_g"].info.description == "AB magnitude of flux_g, if calibrated"


def test_flags_are_distinct_bits_and_each_is_explained():
    bits = [int(flag) for flag in Flag]
    assert bits == [1 << i for i in range(len(bits))]
    assert set(FLAG_MEANINGS) == set(Flag)
    assert Flag(3) == Flag.EDGE | Flag.SATURATED


def test_fits_header_documents_columns_flags_and_metadata(tmp_path):
    path = write_catalog(tmp_path / "a.fits", filled())
    with fits.open(path) as hdus:
        assert hdus[0].data is None and len(hdus) == 2
        header = hdus[1].header
    assert (header["FLAG0"], header["FLAG8"]) == ("EDGE", "NEGATIVE_FLUX")
    assert header.comments["FLAG0"].startswith("1: the mask touches the edge")
    assert header["WEIGHTS"] == "compact-grz-v1"
    column = next(i for i in range(1, 99) if header[f"TTYPE{i}"] == "ra")
    assert (header[f"TUNIT{column}"], header[f"TFORM{column}"]) == ("deg", "D")
    assert header[f"TCOMM{column}"] == "right ascension of the centroid"


def test_fits_catalogue_is_readable_by_plain_astropy(tmp_path):
    table = QTable.read(write_catalog(tmp_path / "a.fits", filled()), hdu=1)
    assert table["ra"].unit == u.deg and len(table) == 3
    assert list(table["class"]) == ["star", "galaxy", "star"]


def test_writing_twice_needs_overwrite_and_leaves_nothing_beside(tmp_path):
    path = write_catalog(tmp_path / "a.fits", filled(1))
    with pytest.raises(OutputExistsError, match=r"a\.fits exists\. Pass --overwrite"):
        write_catalog(path, filled())
    write_catalog(path, filled(), overwrite=True)
    assert len(read_catalog(path)) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.fits"]


def test_format_follows_the_suffix_unless_given(tmp_path):
    assert catalog_format("x.catalog.fits") == "fits"
    assert catalog_format("x.VOT") == "votable"
    with pytest.raises(CatalogError, match=r"x\.txt: unknown kind of catalogue; .*\.fits, \.ecsv"):
        catalog_format("x.txt")
    with pytest.raises(
        CatalogError, match="expected format fits, ecsv, parquet, votable; found 'x"
    ):
        write_catalog(tmp_path / "a.fits", filled(), "xls")
    path = write_catalog(tmp_path / "a.txt", filled(), "ecsv")
    assert len(read_catalog(path, "ecsv")) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unreadable_file_is_named(tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(b"not a catalogue" * 9)
    with pytest.raises(CatalogError, match=rf"bad\{suffix}: not a readable"):
        read_catalog(path)
    with pytest.raises(InputNotFoundError, match="none.*: no such catalogue"):
        read_catalog(tmp_path / f"none{suffix}")


def test_fits_without_a_table_is_refused(tmp_path):
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(CatalogError, match="no binary table in it"):
        read_catalog(tmp_path / "image.fits")


def test_missing_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def no_module(name):
        raise ImportError(name)

    monkeypatch.setattr("astro_io.catalog_files.importlib.import_module", no_module)
    with pytest.raises(BackendError, match="Install it .pip install pyarrow., or use --format"):
        write_catalog(tmp_path / "a.parquet", filled())
    assert list(tmp_path.iterdir()) == []
    assert module.SUFFIXES["parquet"] == ".parquet"


def test_columns_that_a_format_cannot_hold_are_named_before_the_work():
    table = QTable({"a": [1.0, 2.0], "cube": np.zeros((2, 3, 2)), "mag": [1.0, 2.0] * u.ABmag})
    check_storable(table[["a", "cube"]], "fits")
    check_storable(table[:0], "fits")
    with pytest.raises(CatalogError, match=r"pos.csv: .* found cube .*come back with shape"):
        check_storable(table, "votable", name="pos.csv")
