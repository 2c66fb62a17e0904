"""The scatter of pixels: what is in another unit, and what is not."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cluster_stamps import BANDS, make_stamps, tiny_model

from cluster_cnn.calibration import Calibration
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.model import build_model
from cluster_cnn.noise import NoiseRange, NoiseWatch, quiet_noise
from cluster_cnn.normalise import measure_scale
from cluster_cnn.parameter_task import ParameterTask
from cluster_cnn.predictor import Predictor


def test_the_quietest_part_counts(rng):
    stamps = rng.normal(0, [2.0, 6.0], (3, 80, 80, 2))
    stamps[0, :, :60] += rng.normal(0, 50.0, (80, 60, 2))  # a cluster over three quarters
    stamps[1, ..., 0] = np.nan
    stamps[2, :40] = np.nan
    noise = quiet_noise(stamps, np.array([2.0, 2.0]))
    # The least of several blocks of 400 pixels: some per cent below the truth.
    np.testing.assert_allclose(noise[0], [0.95, 2.85], rtol=0.1)
    assert np.isnan(noise[1, 0]) and noise[1, 1] == pytest.approx(2.8, rel=0.1)
    np.testing.assert_allclose(noise[2], [0.93, 2.8], rtol=0.1)
    assert quiet_noise(np.zeros((0, 80, 80, 2)), np.ones(2)).shape == (0, 2)
    assert np.isnan(quiet_noise(np.zeros((1, 80, 80, 2)), np.ones(2))).all(), "no data"


def known_range(rng) -> NoiseRange:
    """Scatter of 1 to 2 in the first band, 1 to 4 in the second."""
    return NoiseRange.of(rng.uniform(1.0, [2.0, 4.0], (4000, 2)))


def test_stamps_outside_of_the_range_of_training_are_found(rng):
    limits = known_range(rng)
    assert limits.levels[0] == pytest.approx(1.0, abs=0.01)
    noise = np.array([[1.5, 3.0], [0.7, 3.0], [1.5, 5.2], [np.nan, 3.0], [2.4, 0.9]])
    # A quarter beyond either end is allowed: 0.8 to 2.5, and 0.8 to 5.
    assert limits.is_outside(noise).tolist() == [False, True, True, False, False]
    again = NoiseRange.from_list(limits.to_list())
    np.testing.assert_allclose(again.levels, limits.levels, rtol=1e-4)


def test_nothing_is_found_where_nothing_was_learnt():
    few = NoiseRange.of(np.ones((20, 2)))
    assert not few.is_known and not few.is_outside(np.full((3, 2), 1e6)).any()
    assert not NoiseRange.from_list(None).is_known
    watch = NoiseWatch(few, BANDS)
    watch.look(np.full((30, 2), 1e6))
    assert watch.judge() == ""
    values = Calibration.identity(2).to_dict()
    assert values.pop("noise") is None
    assert not Calibration.from_dict(values).noise.is_known, "weights from before"


def test_a_mosaic_is_judged_by_its_usual_stamp(rng):
    watch = NoiseWatch(known_range(rng), BANDS)
    watch.look(rng.uniform(1.0, [2.0, 4.0], (30, 2)))
    assert watch.judge() == ""
    for _ in range(2):
        watch.look(rng.uniform(1.0, [2.0, 4.0], (30, 2)) * [1.0, 3.0])
    said = watch.judge()
    assert re.search(r"F814W (2\.[6-9]|3\.)", said) and "F475W" not in said
    assert "same unit" in said
    assert watch.judge() == "", "the next mosaic begins anew"


def test_stamps_in_another_unit_are_flagged_row_by_row_and_all_together(rng):
    """Counts instead of counts a second: a thousand times brighter."""
    stamps, _ = make_stamps(300, seed=1)
    config = tiny_model()
    scale = measure_scale(stamps, bands=BANDS)
    predictor = Predictor.from_model(build_model(config), config=config, scale=scale)
    limits = NoiseRange.of(predictor.noise_of(stamps))
    predictor.calibration = Calibration(levels=predictor.calibration.levels, noise=limits)
    task = ParameterTask(predictor)
    flag = int(CandidateFlag.OUT_OF_RANGE)
    assert not (task.measure(stamps[:40], {})[1] & flag).any()
    assert task.judge() == (0, "")
    assert (task.measure(stamps[:40] * 1000, {})[1] & flag).all()
    flags, reason = task.judge()
    assert flags == flag and "same unit (electrons a second)" in reason
