"""A catalogue of one's own: positions, fluxes, shapes and what can be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable, Table

from astro_io.dataset import open_dataset
from astro_io.errors import CatalogError, InputNotFoundError
from simulate.config import load_preset
from simulate.field import make_field
from simulate.fields import main
from simulate.source_table import read_source_table

BANDS = ("g", "r", "z")
SMALL = ("survey.height=96", "survey.width=128", "truth.min_snr=0.0", "effects.spikes=false",
         "effects.halo_fraction=[0.0,0.0]", "survey.band_shift_px=[0.0,0.0]")  # fmt: skip


def _rows(**changes) -> Table:
    columns = {
        "x": [30.0, 90.25, 64.0],
        "y": [20.5, 70.0, 48.0],
        "class": ["star", "galaxy", "Galaxy"],
        "mag_g": [20.0, 20.5, 22.0],
        "mag_r": [19.5, 19.5, 21.0],
        "mag_z": [19.0, 19.0, 20.0],
        "half_light_radius_arcsec": [np.nan, 1.2, 0.6],
        **changes,
    }
    return Table({name: values for name, values in columns.items() if values is not None})


def _write(tmp_path: Path, table: Table, name: str = "sources.ecsv") -> Path:
    table.write(tmp_path / name, overwrite=True)
    return tmp_path / name


def _simulate(tmp_path: Path, table: Table, *, index: int = 0, **options):
    sources = read_source_table(_write(tmp_path, table), BANDS, **options)
    return make_field(load_preset("decam", SMALL), seed=1, index=index, table=sources)


def test_exactly_these_sources_are_simulated(tmp_path: Path):
    scene = _simulate(tmp_path, _rows())
    np.testing.assert_array_equal(scene.catalog["class_id"], [1, 2, 2])
    np.testing.assert_allclose(scene.catalog["x"], [30.0, 90.25, 64.0])
    np.testing.assert_allclose(scene.catalog["y"], [20.5, 70.0, 48.0])
    np.testing.assert_array_equal(scene.catalog["catalog_row"], [0, 1, 2])
    for i, stamp in enumerate(scene.stamps):
        # nanomaggies: 22.5 mag is 1
        expected = [10.0 ** (-0.4 * (_rows()[f"mag_{b}"][i] - 22.5)) for b in BANDS]
        np.testing.assert_allclose(stamp.pixels.sum(axis=(0, 1)), expected, rtol=0.03)
    peak = np.unravel_index(scene.image.pixels[..., 1].argmax(), (96, 128))
    assert abs(peak[0] - 20.5) <= 1 and abs(peak[1] - 30.0) <= 1


def test_noise_is_new_in_every_field_and_sources_are_not(tmp_path: Path):
    one, two = _simulate(tmp_path, _rows()), _simulate(tmp_path, _rows(), index=1)
    assert len(one) == len(two) == 3
    assert not np.array_equal(one.image.pixels, two.image.pixels)


def test_rows_of_another_field_are_left_out(tmp_path: Path):
    table = _rows(field=[0, 1, 1])
    assert list(_simulate(tmp_path, table).catalog["catalog_row"]) == [0]
    assert list(_simulate(tmp_path, table, index=1).catalog["catalog_row"]) == [1, 2]
    assert len(_simulate(tmp_path, table, index=2)) == 0


def test_sky_positions_centre_the_field_on_themselves(tmp_path: Path):
    # 10 arcsec of right ascension at 60 degrees are 20 arcsec of the coordinate
    table = _rows(x=None, y=None, ra=[10.0, 10.0 + 20 / 3600, 10.0 - 20 / 3600], dec=[60.0] * 3)
    scene = _simulate(tmp_path, table)
    step = 10.0 / 0.262
    np.testing.assert_allclose(scene.catalog["x"], [63.5, 63.5 - step, 63.5 + step], atol=0.02)
    np.testing.assert_allclose(scene.catalog["y"], 47.5, atol=0.02)
    np.testing.assert_allclose(scene.catalog["ra"], table["ra"], atol=1e-8)


def test_middle_of_the_field_can_be_given(tmp_path: Path):
    table = _rows(x=None, y=None, ra=[359.999, 0.0, 0.001], dec=[0.0] * 3)
    scene = _simulate(tmp_path, table, center_deg=(0.0, 0.001))
    assert scene.catalog["y"][1] == pytest.approx(47.5 - 3.6 / 0.262, abs=0.02)
    # across the meridian without one, the middle is at 0, not at 180 degrees
    assert _simulate(tmp_path, table).catalog["x"][1] == pytest.approx(63.5, abs=0.01)


def test_sources_on_the_other_side_of_the_sky_are_left_out(tmp_path: Path):
    table = _rows(x=None, y=None, ra=[10.0, 100.0, 190.0], dec=[0.0] * 3)
    scene = _simulate(tmp_path, table, center_deg=(10.0, 0.0))
    assert list(scene.catalog["catalog_row"]) == [0]


def test_units_of_columns_are_honoured(tmp_path: Path):
    table = QTable(_rows(half_light_radius_arcsec=[0.0, 0.02, 0.01]))
    table["half_light_radius_arcsec"] = table["half_light_radius_arcsec"] * 1.0
    table["half_light_radius_arcsec"].info.unit = None
    plain = Table(table)
    plain["half_light_radius_arcsec"].unit = "arcmin"
    read = read_source_table(_write(tmp_path, plain), BANDS).sources
    np.testing.assert_allclose(read.disk_radius_arcsec, [0.0, 1.2, 0.6])


def test_lone_sersic_index_makes_one_profile(tmp_path: Path):
    table = _rows(sersic_index=[1.0, 2.04, 4.0], axis_ratio=[1.0, 0.5, 0.7])
    read = read_source_table(_write(tmp_path, table), BANDS).sources
    np.testing.assert_array_equal(read.bulge_fraction[:, 0], [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(read.bulge_index[1:], [2.0, 4.0])
    np.testing.assert_array_equal(read.bulge_radius_arcsec[1:], [1.2, 0.6])
    both = _rows(sersic_index=[1.0, 2.0, 4.0], bulge_fraction=[0.0, 0.3, 0.5])
    read = read_source_table(_write(tmp_path, both), BANDS).sources
    np.testing.assert_array_equal(read.bulge_fraction[:, 1], [0.0, 0.3, 0.5])


def test_band_without_light_is_infinite_magnitude(tmp_path: Path):
    scene = _simulate(tmp_path, _rows(mag_g=[np.inf, 20.5, 22.0]))
    assert scene.stamps[0].pixels[..., 0].sum() == 0.0
    assert scene.stamps[0].pixels[..., 1].sum() > 0.0


@pytest.mark.parametrize("name", ["a.fits", "a.csv", "a.txt", "a.vot"])
def test_any_format_is_read(tmp_path: Path, name: str):
    path = tmp_path / name
    table = _rows(half_light_radius_arcsec=[0.0, 1.2, 0.6])
    table.write(path, format={"txt": "ascii", "vot": "votable"}.get(name[2:]))
    read = read_source_table(path, BANDS).sources
    np.testing.assert_array_equal(read.class_id, [1, 2, 2])


def test_empty_table_is_an_empty_field(tmp_path: Path):
    assert len(_simulate(tmp_path, _rows()[:0])) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mag_z": None}, "no column mag_z; it has x, y, class, mag_g"),
        ({"class": None}, "no column class; it has"),
        ({"x": None}, r"no column x and y \(or ra and dec\)"),
        ({"half_light_radius_arcsec": None}, "no column half_light_radius_arcsec"),
        ({"class": ["star", "comet", "galaxy"]}, "class, row 1: expected star or galaxy"),
        ({"class": None, "class_id": [1, 2, 3]}, "class_id, row 2: expected 1"),
        ({"x": [1.0, np.nan, 3.0]}, r"x, row 1: expected a number \(1 rows are wrong\)"),
        ({"mag_r": [np.nan, 20.0, np.nan]}, r"row 0: expected a magnitude \(2 rows"),
        ({"half_light_radius_arcsec": [0.0, 0.0, 1.0]}, "row 1: expected above 0"),
        ({"axis_ratio": [1.0, 2.0, 1.0]}, "axis_ratio, row 1: expected above 0, up to 1"),
        ({"sersic_index": [1.0, 9.0, 1.0]}, "sersic_index, row 1: expected 0.4 to 6.2"),
        ({"bulge_fraction": [0.0, 0.5, -0.1]}, "bulge_fraction, row 2: expected 0 to 1"),
        ({"field": [0, 1, -1]}, "field, row 2: expected a whole number from 0"),
        ({"mag_g": ["bright", "faint", "?"]}, "column mag_g does not hold numbers"),
        ({"x": None, "ra": [1.0] * 3, "dec": [0, 0, 91.0]}, "dec, row 2: expected -90 to 90"),
    ],
)
def test_bad_catalogue_names_column_and_row(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(CatalogError, match=message):
        read_source_table(_write(tmp_path, _rows(**changes)), BANDS)


def test_masked_value_is_missing(tmp_path: Path):
    table = Table(_rows(), masked=True)
    table["y"].mask = [False, False, True]
    with pytest.raises(CatalogError, match="y, row 2: expected a number"):
        read_source_table(_write(tmp_path, table), BANDS)


def test_unreadable_file_is_one_error(tmp_path: Path):
    (tmp_path / "a.fits").write_bytes(b"no table")
    with pytest.raises(CatalogError, match="no table that astropy reads"):
        read_source_table(tmp_path / "a.fits", BANDS)
    with pytest.raises(InputNotFoundError, match="none.csv: no such file"):
        read_source_table(tmp_path / "none.csv", BANDS)


def _command(tmp_path: Path, *arguments: str) -> int:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    output = str(tmp_path / "a.h5")
    return main(["--preset", "decam", "--output", output, "--quiet", *settings, *arguments])


def test_command_simulates_a_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    catalog = str(_write(tmp_path, _rows()))
    assert _command(tmp_path, "--n", "2", "--catalog", catalog) == 0
    with open_dataset(tmp_path / "a.h5") as dataset:
        assert [len(scene) for scene in dataset] == [3, 3]
        assert list(dataset.read_catalog(1)["catalog_row"]) == [0, 1, 2]
    _write(tmp_path, _rows(x=[31.0, 90.0, 64.0]))
    assert _command(tmp_path, "--n", "3", "--catalog", catalog) == 2
    assert "catalog_sha256" in capsys.readouterr().err


def test_a_set_keeps_its_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    catalog = str(_write(tmp_path, _rows(x=None, y=None, ra=[1.0] * 3, dec=[2.0] * 3)))
    assert _command(tmp_path, "--n", "1", "--catalog", catalog, "--center", "1,2") == 0
    assert _command(tmp_path, "--n", "2", "--catalog", catalog, "--center", "1,2.001") == 2
    assert "center_deg" in capsys.readouterr().err
    assert _command(tmp_path, "--n", "2", "--catalog", catalog, "--center", "1,2") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--center", "1,2"], "--center goes with --catalog"),
        (["--center", "here", "--catalog", "a"], "expected right ascension and declination"),
        (["--center", "1,95", "--catalog", "a"], "expected a declination from -90 to 90"),
        (["--catalog", "none.fits"], "none.fits: no such file"),
    ],
)
def test_bad_request_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert _command(tmp_path, "--n", "1", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0
    assert not (tmp_path / "a.h5").exists()
