"""Sets on disk to batches: bands and sizes, seeds, turns, memory of stamps."""

from __future__ import annotations

import numpy as np
import pytest
from cluster_stamps import BANDS, SIZE, make_stamps, tiny_model, write_set

from astro_io.cluster_set import ClusterSetWriter
from astro_io.errors import DatasetError
from cluster_cnn.data import (
    VALIDATION_SHARE,
    ClusterSequence,
    StampSource,
    blank_bands,
    measure_source_scale,
    metadata_of,
    split_rows,
    turn_and_mirror,
)


@pytest.fixture
def path(tmp_path):
    return write_set(tmp_path / "set.h5", 50, seed=1)


def sequence(path, **options):
    model = tiny_model()
    source = StampSource([path], bands=BANDS, stamp_size=SIZE)
    scale = measure_source_scale(source, model)
    return ClusterSequence(source, np.arange(50), model, scale, batch_size=20, **options)


def test_stamps_come_in_the_bands_and_size_asked_for(path, tmp_path):
    other = write_set(tmp_path / "other.h5", 10, seed=2)
    stamps = np.concatenate([make_stamps(50, seed=1)[0], make_stamps(10, seed=2)[0]])
    source = StampSource([path, other], bands=BANDS[::-1], stamp_size=10)
    assert len(source) == 60 and source.margin_px == 3
    found = source.read(np.array([55, 3]))
    np.testing.assert_array_equal(found, stamps[[55, 3], 3:13, 3:13, ::-1])
    moved = source.read(np.array([3]), np.array([[1, -2]]))
    np.testing.assert_array_equal(moved[0], stamps[3, 4:14, 1:11, ::-1])
    assert source.zeropoint_mag == {"F814W": 25.0, "F475W": 26.0}
    assert metadata_of(source)["training_set"] == ["set.h5", "other.h5"]
    assert metadata_of(source)["distance_kpc"] is None
    for reader, distances in zip(source._sets, ([785.0, 785.0], [500.0, 600.0]), strict=True):
        reader.attributes["config"] = {"cluster": {"distance_kpc": distances}}
    assert metadata_of(source)["distance_kpc"] == (500.0, 785.0)
    assert source.parameters(["log_radius"])[0, 0] != source.parameters(["log_radius"])[0, 0]


def write_field(path, *, scale, zeropoints, seed, absent=()):
    attributes = {"pixel_scale_arcsec": scale, "zeropoint_mag": zeropoints}
    attributes["absent_bands"] = list(absent)
    with ClusterSetWriter(path, bands=BANDS, attributes=attributes) as writer:
        writer.append(*make_stamps(4, seed=seed))
    return path


def test_sets_of_several_fields_come_in_one_unit(tmp_path):
    """A zero point brighter by 2.5 mag: one unit of the second set is a tenth of the first's."""
    first = write_field(tmp_path / "a.h5", scale=0.0396, zeropoints=[26.0, None], seed=1)
    second = write_field(tmp_path / "b.h5", scale=0.0398, zeropoints=[28.5, None], seed=2)
    source = StampSource([first, second], bands=BANDS, stamp_size=SIZE)
    assert source.pixel_scale_arcsec == 0.0396 and source.zeropoint_mag == {BANDS[0]: 26.0}
    found, own = source.read(np.array([0, 4])), [make_stamps(4, seed=s)[0][0] for s in (1, 2)]
    np.testing.assert_array_equal(found[0], own[0])
    np.testing.assert_allclose(found[1, ..., 0], own[1][..., 0] / 10, rtol=1e-5)
    np.testing.assert_array_equal(found[1, ..., 1], own[1][..., 1])
    absent = write_field(tmp_path / "c.h5", scale=0.0396, zeropoints=[None, None], seed=3,
                         absent=BANDS[:1])  # fmt: skip
    assert StampSource([first, absent], bands=BANDS, stamp_size=SIZE).zeropoint_mag


@pytest.mark.parametrize(
    ("scale", "zeropoints", "said"),
    [
        (0.0404, [26.0, None], r"pixel_scale_arcsec differs: 0\.0396 in a\.h5, 0\.0404 in b\.h5"),
        (0.0396, [None, None], r"zeropoint_mag differs: F475W has 26\.000 in a\.h5, none in b\.h5"),
    ],
)
def test_fields_that_cannot_be_joined_are_refused(tmp_path, scale, zeropoints, said):
    first = write_field(tmp_path / "a.h5", scale=0.0396, zeropoints=[26.0, None], seed=1)
    second = write_field(tmp_path / "b.h5", scale=scale, zeropoints=zeropoints, seed=2)
    with pytest.raises(DatasetError, match=said):
        StampSource([first, second], bands=BANDS, stamp_size=SIZE)


def test_a_set_is_brought_to_the_zero_points_of_weights(tmp_path, caplog):
    path = write_field(tmp_path / "a.h5", scale=0.0396, zeropoints=[28.5, None], seed=1)
    source = StampSource([path], bands=BANDS, stamp_size=SIZE)
    source.conform({BANDS[0]: 26.0, BANDS[1]: 25.0}, 0.0397, of="cluster-phat")
    assert source.zeropoint_mag == {BANDS[0]: 26.0}
    found, own = source.read(np.array([0]))[0], make_stamps(4, seed=1)[0][0]
    np.testing.assert_allclose(found[..., 0], own[..., 0] / 10, rtol=1e-5)
    np.testing.assert_array_equal(found[..., 1], own[..., 1])
    assert "no zero point of F814W; taken for that of cluster-phat" in caplog.text
    with pytest.raises(DatasetError, match=r"0\.05 in cluster-phat, 0\.0396 in a\.h5"):
        source.conform({}, 0.05, of="cluster-phat")
    source.conform({}, 0.0, of="weights that do not say")


def test_sets_of_another_kind_are_refused(path, tmp_path):
    odd = tmp_path / "odd.h5"
    with ClusterSetWriter(odd, bands=BANDS, attributes={"pixel_scale_arcsec": 0.04}) as writer:
        writer.append(*make_stamps(5, seed=1))
    with pytest.raises(DatasetError, match="pixel_scale_arcsec differs"):
        StampSource([path, odd], bands=BANDS, stamp_size=SIZE)
    with pytest.raises(DatasetError, match="no set of stamps given"):
        StampSource([], bands=BANDS, stamp_size=SIZE)


def test_a_batch_is_a_function_of_seed_epoch_and_number(path):
    a, b = sequence(path, augmentation=True, seed=3), sequence(path, augmentation=True, seed=3)
    b.epoch = 1
    later = b[0]
    b.epoch = 0
    for index in (2, 0):  # in any order
        for left, right in zip(a[index], b[index], strict=True):
            if isinstance(left, dict):
                assert all((left[name] == right[name]).all() for name in left)
            else:
                np.testing.assert_array_equal(left, right)
    assert np.abs(later[0] - a[0][0]).max() > 0
    other = sequence(path, augmentation=True, seed=4)
    assert np.abs(other[0][0] - a[0][0]).max() > 0


def test_an_epoch_sees_each_stamp_once_and_the_next_goes_on(path):
    shuffled = sequence(path, shuffle=True, steps=5)  # 100 stamps: two rounds of 50
    places = np.concatenate([shuffled._places(0, i) for i in range(5)])
    assert sorted(places[:50]) == list(range(50)) and sorted(places[50:]) == list(range(50))
    assert places[:50].tolist() != sorted(places[:50])
    ordered = sequence(path, shuffle=False)
    assert len(ordered) == 3 and len(ordered[2][0]) == 10


def test_memory_of_stamps_changes_nothing(path):
    without, kept = sequence(path, cache_mb=0.0), sequence(path, cache_mb=0.02)  # some of them
    for epoch in (0, 1):
        without.epoch = kept.epoch = epoch
        np.testing.assert_array_equal(without[1][0], kept[1][0])


def test_turned_stamps_hold_the_same_light_in_eight_ways():
    stamp = np.arange(9.0).reshape(1, 3, 3, 1)
    turned = turn_and_mirror(np.repeat(stamp, 200, axis=0), np.random.default_rng(1))
    ways = {tuple(t.ravel()) for t in turned}
    assert len(ways) == 8 and all(sorted(way) == list(range(9)) for way in ways)


def test_blanked_stamps_keep_a_band():
    stamps = np.ones((500, 2, 2, 3), np.float32)
    blanked = blank_bands(stamps, 0.9, np.random.default_rng(1))
    n_left = (blanked[:, 0, 0] > 0).sum(axis=1)
    assert n_left.min() == 1 and (blanked[:, 0, 0] == blanked[:, 1, 1]).all()
    assert np.mean(n_left == 1) > 0.7 and (stamps == 1).all(), "the argument is not changed"


def test_every_twentieth_stamp_is_set_aside():
    rows, aside = split_rows(100, VALIDATION_SHARE)
    assert aside.tolist() == [0, 20, 40, 60, 80] and len(rows) == 95
    assert split_rows(100, 0.0)[1].size == 0
