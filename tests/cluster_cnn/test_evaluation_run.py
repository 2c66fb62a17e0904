"""Scores of a network in memory."""

from __future__ import annotations

from dataclasses import replace

from cluster_stamps import BANDS, make_stamps, tiny_model, write_set

from cluster_cnn.evaluation_run import EvaluationSettings, evaluate
from cluster_cnn.model import build_model
from cluster_cnn.noise import NoiseRange
from cluster_cnn.normalise import measure_scale
from cluster_cnn.predictor import Predictor


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
