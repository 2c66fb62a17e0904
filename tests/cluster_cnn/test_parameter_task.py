"""Doubts of the task ``parameters``: values that were not taught, bands that are not there."""

from __future__ import annotations

import numpy as np
import pytest
from cluster_stamps import BANDS, make_stamps, tiny_model

from astro_io.errors import ConfigError
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.model import build_model
from cluster_cnn.normalise import measure_scale
from cluster_cnn.parameter_task import ParameterTask
from cluster_cnn.predictor import Predictor

OUT_OF_RANGE = int(CandidateFlag.OUT_OF_RANGE)


@pytest.fixture
def predictor():
    config = tiny_model()
    scale = measure_scale(make_stamps(60, seed=1)[0], bands=BANDS)
    return Predictor.from_model(build_model(config, seed=5), config=config, scale=scale)


def test_known_values_that_were_not_taught_are_refused_or_flagged(predictor):
    task = ParameterTask(predictor)
    task.check_known({"log_radius": -1.0})
    task.check_known({"log_radius": "column"})
    with pytest.raises(ConfigError, match=r"log_radius 0.5: expected a value between -1 and 0"):
        task.check_known({"log_radius": 0.5})
    stamps = make_stamps(3, seed=2)[0]
    _, flags = task.measure(stamps, {"log_radius": np.array([-0.5, 0.5, np.nan])})
    assert (flags & OUT_OF_RANGE).tolist() == [0, OUT_OF_RANGE, 0]


def test_a_missing_band_is_out_of_range_unless_training_knew_such_stamps(predictor):
    stamps = make_stamps(3, seed=2)[0]
    stamps[0, ..., 0] = np.nan
    task = ParameterTask(predictor)
    assert (task.measure(stamps, {})[1] & OUT_OF_RANGE).tolist() == [OUT_OF_RANGE, 0, 0]
    assert task.judge() == (0, "")
    stamps[..., 0] = np.nan
    task.measure(stamps, {})
    flags, reason = task.judge()
    assert flags == OUT_OF_RANGE and reason.startswith("no data in F475W, and the weights")
    assert task.judge() == (0, "")
    predictor.metadata = {"band_dropout": 0.2}
    task = ParameterTask(predictor)
    assert not (task.measure(stamps, {})[1] & OUT_OF_RANGE).any() and task.judge() == (0, "")


def test_the_table_says_for_which_distance_the_weights_are(predictor):
    assert "distance_kpc" not in ParameterTask(predictor).facts
    predictor.metadata = {"distance_kpc": [785.0, 785.0]}
    assert ParameterTask(predictor).facts["distance_kpc"] == [785.0, 785.0]
