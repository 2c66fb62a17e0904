"""Batches: labels, variation, what a resumed run sees."""

from __future__ import annotations

import numpy as np
import pytest
from class_stamps import BANDS, SIZE, tiny_model, write_set

from astro_io.errors import DatasetError
from cluster_cnn.classes.config import ClassDataConfig
from cluster_cnn.classes.data import ClassSequence, distance_input, label_index, rotate
from cluster_cnn.classes.networks import DISTANCE, LOGITS, STAMPS
from cluster_cnn.data import StampSource, measure_source_scale


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = write_set(tmp_path_factory.mktemp("sets") / "set.h5", 40, seed=1)
    source = StampSource([path], bands=BANDS, stamp_size=SIZE)
    yield source
    source.close()


def sequence(source, *, varied=True, seed=0, model=None, **data):
    model = model or tiny_model()
    scale = measure_source_scale(source, model)
    settings = ClassDataConfig(**{"batch_size": 8, **data})
    return ClassSequence(source, np.arange(40), model, scale, settings, varied=varied, seed=seed)


def test_labels_count_from_zero_and_follow_the_column(source):
    batches = sequence(source, varied=False)
    inputs, targets, weights = batches[0]
    np.testing.assert_array_equal(targets[LOGITS], [0, 1] * 4)
    np.testing.assert_array_equal(weights[LOGITS], 1)
    assert inputs[STAMPS].shape == (8, SIZE, SIZE, 2)
    # 8 Mpc, reference 10 Mpc.
    np.testing.assert_allclose(inputs[DISTANCE], [[np.log10(0.8), 1]] * 8, rtol=1e-5)
    human = sequence(source, varied=False, labels="class_human")
    whole = np.concatenate([human[i][1][LOGITS] for i in range(len(human))])
    wanted = source.column("class_human") == 4
    np.testing.assert_array_equal(whole, wanted)


def test_a_batch_is_a_function_of_seed_epoch_and_number(source):
    first, again = sequence(source), sequence(source)
    again.epoch = first.epoch = 3
    for name in (STAMPS, DISTANCE):
        np.testing.assert_array_equal(first[2][0][name], again[2][0][name])
    other = sequence(source, seed=1)
    other.epoch = 3
    assert not np.array_equal(first[2][0][STAMPS], other[2][0][STAMPS])


def test_distances_stay_with_their_stamps(source):
    """Labels and distances of a shuffled batch belong to the same rows."""
    batches = sequence(source, distance_dropout=0.0)
    batches.distances = np.where(source.column("class") == 4, 20_000.0, 5_000.0)
    inputs, targets, _ = batches[1]
    np.testing.assert_array_equal(inputs[DISTANCE][:, 0] > 0, targets[LOGITS] == 1)


def test_flux_jitter_multiplies_flux(source, rng):
    batches = sequence(source, flux_jitter=0.5, band_jitter=0.0)
    stamps = np.arcsinh(rng.normal(0, 30, (3, 4, 4, 2))).astype(np.float32)
    ratio = np.sinh(batches._jitter(stamps, rng)) / np.sinh(stamps)
    np.testing.assert_allclose(ratio, ratio[:, :1, :1, :1] * np.ones_like(ratio), rtol=1e-3)
    assert np.ptp(ratio[:, 0, 0, 0]) > 0.05


def test_linear_stamps_of_the_paper_are_not_rounded(source):
    model = tiny_model(
        network="resnet18", normalization="zscore", background="none", crop_size=24, image_size=32
    )
    batches = sequence(source, varied=False, model=model)
    scale = batches.scale.statistics
    raw = source.read(np.arange(8))
    wanted = (raw - scale.center) / scale.scale
    np.testing.assert_allclose(batches[0][0][STAMPS], wanted, rtol=1e-4, atol=1e-4)
    assert DISTANCE not in batches[0][0]


def test_odd_labels_are_refused():
    np.testing.assert_array_equal(label_index(np.array([4, 1, 2]), (1, 2, 4)), [2, 0, 1])
    with pytest.raises(DatasetError, match=r"expected classes 1, 4; found 0"):
        label_index(np.array([0, 1]), (1, 4))


def test_unknown_distance_is_told_as_unknown():
    told = distance_input(np.array([1e4, 1e5, np.nan, 0.0]))
    np.testing.assert_allclose(told, [[0, 1], [1, 1], [0, 0], [0, 0]])


@pytest.mark.backend
def test_rotation_by_right_angles_is_exact_and_about_the_middle(rng):
    stamps = rng.normal(size=(2, 9, 9, 2)).astype(np.float32)
    turned = rotate(stamps, np.array([90.0, 180.0]))
    options = [np.rot90(stamps[0], k) for k in (1, 3)]
    assert any(np.allclose(turned[0], option, atol=1e-4) for option in options)
    np.testing.assert_allclose(turned[1], np.rot90(stamps[1], 2), atol=1e-4)


@pytest.mark.backend
def test_zoom_makes_things_larger():
    y, x = np.mgrid[:33, :33] - 16.0
    blob = np.exp(-(x**2 + y**2) / 18)[None, ..., None].astype(np.float32)
    larger = rotate(blob, np.array([30.0]), np.array([2.0]))
    assert larger.sum() == pytest.approx(4 * blob.sum(), rel=0.02)
    assert larger[0, 16, 16, 0] == pytest.approx(1.0, abs=1e-3)
