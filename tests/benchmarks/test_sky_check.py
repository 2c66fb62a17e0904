from __future__ import annotations

import numpy as np
import pytest

from astro_io.catalog import new_catalog, write_catalog
from astro_io.fits_read import read_image
from benchmarks import sky_check
from benchmarks.sky_check import Criterion, Sources


def catalogue_of(path, xy, is_star, *, score=0.9):
    """Write a catalogue with sources at these places."""
    table = new_catalog(len(xy), ("g", "r", "z"), unit="nanomaggy")
    table["x"] = np.array(xy, float)[:, 0] << table["x"].unit
    table["y"] = np.array(xy, float)[:, 1] << table["y"].unit
    table["class"] = np.where(is_star, "star", "galaxy")
    table["score"] = np.full(len(xy), score, np.float32)
    write_catalog(path, table)


def test_nearest_by_hand():
    sources = Sources(np.array([[0.0, 0.0], [10.0, 0.0]]), np.zeros(2, bool), np.ones(2))
    index, distance = sources.nearest(np.array([[3.0, 4.0], [9.0, 0.0]]))
    np.testing.assert_array_equal(index, [0, 1])
    np.testing.assert_allclose(distance, [5, 1])


def test_nothing_is_near_an_empty_catalogue():
    index, distance = Sources(np.zeros((0, 2)), np.zeros(0), np.zeros(0)).nearest(np.ones((1, 2)))
    assert index[0] == -1 and distance[0] == np.inf


def test_a_criterion_is_met_on_its_limit():
    assert Criterion("a", 90.0, 90.0).is_met
    assert not Criterion("a", 89.9, 90.0).is_met
    assert Criterion("a", 15.0, 15.0, is_upper=True).is_met
    assert not Criterion("a", float("nan"), 15.0, is_upper=True).is_met
    assert str(Criterion("a", 89.94, 90.0, detail="x")) == "MISS a: 89.9 (at least 90) x"


def test_the_reference_has_73_sources(shared_data):
    image = read_image(shared_data / "sky" / sky_check.DECALS)
    assert len(sky_check.reference_positions(image)) == 73


@pytest.fixture
def decals(shared_data):
    """Return the sky folder, SEP's positions, and the right classes of the six known ones."""
    sky = shared_data / "sky"
    xy = sky_check.counterpart_positions(read_image(sky / sky_check.DECALS))
    stars = Sources(np.array(sky_check.DECALS_STARS_XY), np.zeros(5, bool), np.ones(5))
    return sky, xy, stars.nearest(xy)[1] < 2


def test_the_counterparts_themselves_pass(decals, tmp_path, capsys):
    sky, xy, is_star = decals
    catalogue_of(tmp_path / f"{sky_check.DECALS}.catalog.fits", xy, is_star)
    assert sky_check.main([str(tmp_path), "--sky", str(sky)]) == 0
    printed = capsys.readouterr().out
    assert "MISS" not in printed and "of 73" in printed
    assert "without SEP counterpart: 0.0" in printed


def test_wrong_classes_and_false_detections_fail(decals, tmp_path, capsys):
    sky, xy, _ = decals
    moved = np.concatenate([xy, np.array([[256.0, 160.0]] * len(xy))])  # empty sky
    catalogue_of(tmp_path / f"{sky_check.DECALS}.catalog.fits", moved, np.zeros(len(moved), bool))
    assert sky_check.main([str(tmp_path), "--sky", str(sky)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "ok   SEP sources found" in lines[1]
    assert "MISS detections above 0.5 without SEP counterpart: 50.0" in lines[2]
    assert "MISS five brightest unsaturated stars called stars: 0.0" in lines[3]
    assert "ok   bright elliptical" in lines[4]


def test_an_empty_folder_exits_2(tmp_path, capsys):
    assert sky_check.main([str(tmp_path), "--sky", str(tmp_path)]) == 2
    assert "Run astro_rcnn.detect" in capsys.readouterr().err


def test_sources_listed_twice_count_once():
    rows = np.array([[5.0, 5.0, 1], [5.3, 5.4, 2], [7.0, 5.0, 3], [5.0, 5.9, 4]])
    np.testing.assert_array_equal(sky_check.without_doubles(rows)[:, 2], [1, 3])


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_the_sdss_lists_against_themselves(shared_data, tmp_path, capsys):
    sky = shared_data / "sky"
    rows = sky_check._read_columns(
        sky / sky_check.SDSS / "lsst_dm_detections_rband.csv", ("x", "y", "extendedness")
    )
    catalogue_of(
        tmp_path / f"{sky_check.SDSS}.catalog.fits", rows[:, :2], rows[:, 2] == 0, score=0.4
    )
    sky_check.main([str(tmp_path), "--sky", str(sky)])
    printed = capsys.readouterr().out
    # 287 rows, 25 of them doubles; of the others 2 have no class, 6 more are saturated.
    assert "LSST sources of S/N > 10 found: 100.0 (at least 90) 262 of 262" in printed
    assert "same class as LSST: 100.0 (at least 90) 254 of 254" in printed
    assert "catalogue stars found: 96.9 (at least 90) 62 of 64" in printed  # as its README says
