"""A network that learns to see what another one sees: the loss, and runs that use it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny_network import TINY_MODEL, tiny_run, write_blobs

from astro_io.errors import ConfigError
from astro_rcnn.losses import imitation_loss
from astro_rcnn.model import build_model
from astro_rcnn.named_weights import named_variables
from astro_rcnn.trainer import train
from astro_rcnn.weights_file import read_weights, save_weights

pytestmark = [pytest.mark.backend, pytest.mark.usefixtures("eager_steps")]


def test_the_distance_is_in_units_of_the_scatter():
    wanted = [np.array([0.0, 2.0], "f4").reshape(1, 1, 1, 2), np.full((1, 1, 1, 2), 3.0, "f4")]
    assert_allclose(float(imitation_loss(wanted, wanted)), 0.0)
    # Scatter 1 about a mean of 1; a constant misses by as much, and 0 by twice that.
    assert_allclose(float(imitation_loss([wanted[0] * 0 + 1], wanted[:1])), 1.0)
    assert_allclose(float(imitation_loss([wanted[0] * 0], wanted[:1])), 2.0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.h5"
    save_weights(build_model(TINY_MODEL, seed=9), path)
    return path


def test_a_run_comes_nearer_to_its_teacher_and_does_not_hold_it(teacher, tmp_path):
    dataset = write_blobs(tmp_path / "blobs.h5", 4)
    config = tiny_run(dataset, imitate=str(teacher), steps_per_epoch=8)
    config = replace(config, model=replace(TINY_MODEL, trunk_widths=(6, 6, 8, 8, 8)))
    output = tmp_path / "run"
    weights = train(config, output, resume=False, overwrite=False, verbose=0)
    with (output / "history.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert 0 < rows[1]["imitation"] < rows[0]["imitation"]
    parts = ("rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask", "imitation")
    assert rows[0]["loss"] > sum(rows[0][name] for name in parts) * 0.99
    _, tensors, _ = read_weights(weights)
    assert set(tensors) == set(named_variables(build_model(config.model)))


def test_another_pyramid_is_refused_by_name(teacher, tmp_path):
    config = tiny_run(write_blobs(tmp_path / "blobs.h5", 2), imitate=str(teacher))
    config = replace(config, model=replace(TINY_MODEL, normalization="zscore"))
    with pytest.raises(ConfigError, match="expected the same normalization, asinh; found zscore"):
        train(config, tmp_path / "run", resume=False, overwrite=False, verbose=0)
