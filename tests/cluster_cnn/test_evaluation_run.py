"""Scores of a network in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cluster_stamps import BANDS, make_stamps, tiny_model, write_set

from astro_io.cluster_set import ClusterSetWriter
from cluster_cnn.evaluation_run import EvaluationSettings, evaluate
from cluster_cnn.model import build_model
from cluster_cnn.noise import NoiseRange
from cluster_cnn.normalise import measure_scale
from cluster_cnn.predictor import Predictor


def test_fluxes_of_a_set_are_brought_to_the_unit_of_the_weights(tmp_path):
    stamps, truth = make_stamps(60, seed=3)
    config = tiny_model()
    predictor = Predictor.from_model(
        build_model(config, seed=5), config=config, scale=measure_scale(stamps, bands=BANDS)
    )
    predictor.metadata = {"zeropoint_mag": dict.fromkeys(BANDS, 25.0)}
    scores = []
    for name, unit, point in (("same", 1.0, 25.0), ("nano", 1000.0, 32.5)):
        attributes = {"zeropoint_mag": [point] * 2, "pixel_scale_arcsec": 0.05}
        with ClusterSetWriter(tmp_path / f"{name}.h5", bands=BANDS, attributes=attributes) as file:
            file.append((unit * stamps).astype(np.float32), truth)
        settings = EvaluationSettings(has_baseline=False)
        metrics = evaluate(predictor, tmp_path / f"{name}.h5", tmp_path / name, settings)
        scores.append(metrics["parameters"]["log_mass"]["scatter"])
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)


def test_stamps_out_of_range_are_those_that_predict_flags(tmp_path):
    """By the scatter of the pixels too: nothing else is known of this network."""
    usual, config = make_stamps(300, seed=1)[0], tiny_model()
    predictor = Predictor.from_model(
        build_model(config, seed=5), config=config, scale=measure_scale(usual, bands=BANDS)
    )
    noise = NoiseRange.of(predictor.noise_of(usual))
    predictor.calibration = replace(predictor.calibration, noise=noise)
    quiet = write_set(tmp_path / "quiet.h5", 60, seed=3, noise=0.2)
    settings = EvaluationSettings(has_baseline=False)
    metrics = evaluate(predictor, quiet, tmp_path / "scores", settings)
    stamps = make_stamps(60, seed=3, noise=0.2)[0]
    assert metrics["out_of_range"] == predictor.predict(stamps).is_strange.mean() > 0.2
