"""Weights are opened for the task that they were trained for."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import ConfigError, WeightsError
from astro_io.tensor_file import write_tensors
from cluster_cnn import evaluate, tasks, train


def weights_file(path, format):
    write_tensors(path, {"a": np.zeros(2)}, format=format, facts={})
    return path


def test_the_format_of_the_file_tells_the_task(tmp_path):
    ours = weights_file(tmp_path / "a.h5", "cluster-cnn weights 1")
    assert tasks.task_of_weights(ours) == "parameters"
    other = weights_file(tmp_path / "b.h5", "another program 1")
    with pytest.raises(WeightsError, match=r"b\.h5: expected weights of cluster_cnn, found"):
        tasks.task_of_weights(other)


def test_unknown_tasks_are_refused(tmp_path):
    ours = weights_file(tmp_path / "a.h5", "cluster-cnn weights 1")
    with pytest.raises(ConfigError, match="--task weather: expected one of parameters"):
        tasks.open_task(ours, "weather")


def test_every_task_can_be_trained_told_and_scored():
    assert set(tasks.TASKS) == set(tasks.FORMATS.values()) == set(train.TASKS)
    assert set(evaluate.TASKS) == set(tasks.TASKS)
