"""Outputs: targets, their weights, and the posterior that raw outputs stand for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from cluster_stamps import tiny_model

from astro_io.config import load_config
from cluster_cnn import heads, losses
from cluster_cnn.config import TrainConfig
from cluster_cnn.model import build_model

VALUES = np.array([[3.0, -0.5], [2.0, -1.0], [np.nan, np.nan]])
IS_CLUSTER = np.array([True, True, False])
LOG_SNR = np.array([1.0, -np.inf, -np.inf])


def test_targets_are_scaled_and_weights_leave_out_what_says_nothing():
    config = tiny_model()
    targets, weights = heads.make_targets(config, VALUES, IS_CLUSTER, LOG_SNR)
    # log_mass 2..4 and log_radius -1..0 become -1..1.
    np.testing.assert_allclose(targets["parameters"][:2], [[0, 0], [-1, -1]])
    assert weights["parameters"].tolist() == [1, 1, 0]
    assert targets["is_cluster"].ravel().tolist() == [1, 1, 0]
    assert weights["is_cluster"].tolist() == [1, 1, 1]
    assert weights["log_snr"].tolist() == [1, 0, 0]
    # log S/N 1 in -0.5..3.5.
    assert targets["log_snr"][0, 0] == pytest.approx(-0.25)


def test_faint_clusters_do_not_teach_parameters_where_asked():
    log_snr = np.log10([30.0, 3.0, 1.0])
    _, weights = heads.make_targets(tiny_model(), VALUES, IS_CLUSTER, log_snr, min_snr=5.0)
    assert weights["parameters"].tolist() == [1, 0, 0]


def test_bins_are_numbered_first_parameter_slowest():
    config = tiny_model(head="bins")
    targets, _ = heads.make_targets(config, VALUES, IS_CLUSTER, LOG_SNR)
    # log_mass 3.0 of 2..4 in 8 bins: bin 4; log_radius -0.5 of -1..0 in 4 bins: bin 2.
    assert targets["parameters_0"][:2].tolist() == [4 * 4 + 2, 0]
    # log S/N 1 of -0.5..3.5 in 6 bins: bin 2.
    assert targets["log_snr"][0] == 2
    apart = tiny_model(head="bins", joint=(("log_radius",), ("log_mass",)))
    targets, _ = heads.make_targets(apart, VALUES, IS_CLUSTER, LOG_SNR)
    assert targets["parameters_0"][0] == 2 and targets["parameters_1"][0] == 4


def test_sizes_of_outputs():
    assert heads.output_sizes(tiny_model()) == {
        "parameters": 3 * (1 + 2 + 3),
        "is_cluster": 1,
        "log_snr": 2,
    }
    bins = heads.output_sizes(tiny_model(head="bins", has_class=False))
    assert bins == {"parameters_0": 8 * 4, "log_snr": 6}
    assert heads.output_sizes(tiny_model(head="point"))["parameters"] == 2


@pytest.mark.backend
def test_a_mixture_becomes_a_posterior_in_units_of_the_parameters():
    config = tiny_model(n_components=1)
    raw = np.zeros((1, losses.mixture_size(2, 1)), np.float32)
    raw[0, 1:3] = 0.5, -0.5
    raw[0, 3:5] = math.log(10.0), math.log(5.0)
    posterior = heads.posterior_of(config, {"parameters": raw}, None)
    # Half ranges 1 and 0.5: means 3 + 0.5, -0.5 - 0.25; sigmas about 0.1 and 0.5 * 0.2.
    np.testing.assert_allclose(posterior.mean(), [[3.5, -0.75]], atol=1e-5)
    sigma = np.sqrt(np.diagonal(posterior.covariance()[0]))
    np.testing.assert_allclose(sigma, [0.1, 0.1], rtol=0.15)


def test_points_take_the_spread_that_calibration_measured():
    config = tiny_model(head="point")
    spread = np.array([[0.04, 0.0], [0.0, 0.01]])
    outputs = {"parameters": np.array([[0.0, 0.0]], np.float32)}
    posterior = heads.posterior_of(config, outputs, spread)
    np.testing.assert_allclose(posterior.covariance()[0], spread)
    np.testing.assert_allclose(posterior.mean(), [[3.0, -0.5]])


def test_bins_become_a_grid_and_a_visibility():
    config = tiny_model(head="bins")
    logits = np.full((1, 32), -50.0, np.float32)
    logits[0, 4 * 4 + 2] = 0.0
    posterior = heads.posterior_of(config, {"parameters_0": logits}, None)
    np.testing.assert_allclose(posterior.mean(), [[3.125, -0.375]], atol=1e-6)
    raw = np.full((1, 6), -50.0, np.float32)
    raw[0, 2] = 0.0
    mean, sigma = heads.visibility_of(config, raw)
    assert mean[0] == pytest.approx(-0.5 + 2.5 * 4 / 6) and sigma[0] < 1e-6


@pytest.mark.backend
def test_views_of_a_mixture_are_averaged_densities():
    config = tiny_model()
    rng = np.random.default_rng(1)
    raw = [rng.normal(size=(4, 18)).astype(np.float32) for _ in range(2)]
    features = [np.full((4, 2), 1.0), np.full((4, 2), 3.0)]
    views = [{"parameters": r, "features": f} for r, f in zip(raw, features, strict=True)]
    joined = heads.join_views(config, views)
    assert (joined["features"] == 2.0).all()
    values = np.tile([[3.0, -0.4]], (4, 1))
    posteriors = [heads.posterior_of(config, view, None) for view in (*views, joined)]
    raw_cdf = [p._raw(values[:, :, None]) for p in posteriors]
    np.testing.assert_allclose(raw_cdf[2], (raw_cdf[0] + raw_cdf[1]) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        posteriors[2].mean(), (posteriors[0].mean() + posteriors[1].mean()) / 2, rtol=1e-4
    )


def test_views_of_bins_are_averaged_probabilities():
    config = tiny_model(head="bins")
    logits = np.log(np.array([[0.9, 0.1], [0.5, 0.5]]))
    views = [{"log_snr": row[None] + shift} for row, shift in zip(logits, (0, 7), strict=True)]
    joined = heads.join_views(config, views)
    np.testing.assert_allclose(np.exp(joined["log_snr"]), [[0.7, 0.3]])
    assert heads.join_views(config, views[:1])["log_snr"] is views[0]["log_snr"]


@pytest.mark.parametrize(
    ("name", "n_weights"),
    [
        ("cluster_phat", 1_071_195),
        ("cluster_phat3", 1_059_483),
        ("cluster_paper1", 291_571),
        ("cluster_paper2", 9_887_699),
    ],
)
def test_the_shipped_configurations_can_be_built(name, n_weights):
    path = Path(__file__).resolve().parents[2] / "configs" / f"{name}.toml"
    config = load_config(TrainConfig, path).model
    model = build_model(config)
    assert set(model.output_names) == set(heads.output_sizes(config))
    assert model.count_params() == n_weights
