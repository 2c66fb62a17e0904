"""Sets of stamps: written in blocks, read back in any order, resumed, and refused when unfit."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from astro_io.cluster_set import (
    CLUSTER_COLUMNS,
    ClusterSetReader,
    ClusterSetWriter,
    is_cluster,
)
from astro_io.errors import DatasetError, InputNotFoundError, OutputExistsError

BANDS = ("F475W", "F814W")


def block(n, first=0, shape=(5, 7)):
    rows = {name: np.full(n, 1.5, np.float32) for name in CLUSTER_COLUMNS}
    rows["class"] = np.ones(n, np.int16)
    rows["log_age"] = np.arange(first, first + n, dtype=np.float32)
    stamps = np.zeros((n, *shape, 2), np.float32)
    stamps += rows["log_age"][:, None, None, None]
    stamps[..., 1] += 100
    return stamps, rows


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "set.h5"
    with ClusterSetWriter(path, bands=BANDS, attributes={"seed": 3}, n_planned=7) as writer:
        writer.append(*block(4))
        writer.append(*block(3, first=4))
    return path


def test_blocks_come_back_row_by_row_in_the_order_asked_for(path):
    with ClusterSetReader(path) as reader:
        assert len(reader) == 7 and reader.bands == BANDS and reader.stamp_shape == (5, 7, 2)
        assert reader.attributes == {"seed": 3}
        stamps = reader.read_stamps([6, 0, 6])
        assert stamps.dtype == np.float32 and stamps.shape == (3, 5, 7, 2)
        np.testing.assert_array_equal(stamps[:, 2, 3, 0], [6, 0, 6])
        np.testing.assert_array_equal(stamps[:, 4, 6, 1], [106, 100, 106])
        assert reader.read_stamps(slice(5, None)).shape[0] == 2
        np.testing.assert_array_equal(reader.column("log_age"), np.arange(7.0))


def test_units_and_meanings_survive(tmp_path):
    stamps, rows = block(2)
    table = Table({**rows, "name": np.array(["a", "long name"])})
    table["av"].unit = u.mag
    table["av"].description = "foreground too"
    with ClusterSetWriter(tmp_path / "s.h5", bands=BANDS) as writer:
        writer.append(stamps, table)
    back = ClusterSetReader(tmp_path / "s.h5").table()
    assert back["av"].unit == u.mag and back["av"].description == "foreground too"
    assert back["half_light_radius_arcsec"].unit == u.arcsec
    assert list(back["name"]) == ["a", "long name"]


def test_an_interrupted_set_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "set.h5"
    with ClusterSetWriter(path, bands=BANDS, n_planned=6) as writer:
        writer.append(*block(4))
    with h5py.File(path, "r+") as file:  # a block that was cut short
        file["stamps"].resize(6, axis=0)
    with pytest.raises(DatasetError, match="4 of 6 stamps are complete"):
        ClusterSetReader(path)
    assert len(ClusterSetReader(path, allow_incomplete=True)) == 4
    with ClusterSetWriter(path, bands=BANDS, n_planned=6) as writer:
        assert writer.n_done == 4
        writer.append(*block(2, first=4))
    np.testing.assert_array_equal(
        ClusterSetReader(path).read_stamps(slice(None))[:, 0, 0, 0], range(6)
    )


def test_another_set_is_not_gone_on_with(path):
    with pytest.raises(OutputExistsError, match="seed: seed = 3, now 4"):
        ClusterSetWriter(path, bands=BANDS, attributes={"seed": 4})
    with ClusterSetWriter(path, bands=BANDS, attributes={"seed": 4}, overwrite=True) as writer:
        assert writer.n_done == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, r: (s[..., :1], r), r"expected stamps of shape \(n, H, W, 2\)"),
        (lambda s, r: (s[:, :4], r), r"expected stamps of \(5, 7, 2\); found \(4, 7, 2\)"),
        (lambda s, r: (s, {k: v for k, v in r.items() if k != "av"}), "av missing or new"),
        (lambda s, r: (s, {**r, "extra": r["av"]}), "extra missing or new"),
        (lambda s, r: (s, {**r, "av": r["av"][:1]}), r"column av has shape \(1,\) for 2 stamps"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(tmp_path, change, message):
    with ClusterSetWriter(tmp_path / "s.h5", bands=BANDS) as writer:
        writer.append(*block(2))
        with pytest.raises(DatasetError, match=message):
            writer.append(*change(*block(2)))
        assert writer.n_done == 2


def test_files_that_are_no_set_are_named(tmp_path, path):
    with pytest.raises(InputNotFoundError, match="no such set of stamps"):
        ClusterSetReader(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(DatasetError, match="found some other HDF5 file"):
        ClusterSetReader(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DatasetError, match="not a readable HDF5 file"):
        ClusterSetReader(tmp_path / "text.h5")
    with pytest.raises(DatasetError, match="expected a column mass; found"):
        ClusterSetReader(path).column("mass")


def test_a_reader_survives_pickling(path):
    reader = ClusterSetReader(path)
    reader.read_stamps([0])
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read_stamps([2]), reader.read_stamps([2]))


def test_classes_one_to_three_are_clusters():
    np.testing.assert_array_equal(is_cluster(np.arange(5)), [False, True, True, True, False])


def test_wide_views_and_half_precision_come_back(tmp_path):
    stamps, rows = block(3)
    stamps[0, 0, 0, 0], stamps[1, 0, 0, 0], stamps[2, 0, 0, 1] = np.nan, 1e6, 1.0 / 3.0
    wide = np.full((3, 4, 4, 2), 0.1, np.float32)
    options = {"attributes": {"wide_binning": 4}, "half_precision": True}
    with ClusterSetWriter(tmp_path / "s.h5", bands=BANDS, **options) as writer:
        writer.append(stamps, rows, wide)
        with pytest.raises(DatasetError, match=r"expected wide of \(4, 4, 2\); found None"):
            writer.append(stamps, rows)
        with pytest.raises(DatasetError, match="a wide view for each stamp"):
            writer.append(stamps, rows, wide[:2])
    with ClusterSetReader(tmp_path / "s.h5") as reader:
        assert reader.wide_shape == (4, 4, 2) and reader.wide_binning == 4
        found = reader.read_stamps(slice(None))
        assert found.dtype == np.float32 and reader.read_wide([1]).shape == (1, 4, 4, 2)
    assert np.isnan(found[0, 0, 0, 0]) and found[1, 0, 0, 0] == 65504.0, "the largest of 16 bits"
    assert 0 < abs(float(found[2, 0, 0, 1]) * 3 - 1) < 2.0**-11
    np.testing.assert_array_equal(found[:, 1:], stamps[:, 1:])


def test_a_set_without_wide_views_says_so(path):
    with ClusterSetReader(path) as reader:
        assert reader.wide_shape is None and reader.wide_binning == 0
        with pytest.raises(DatasetError, match="instrument.wide_binning=4"):
            reader.read_wide([0])
