"""The network as a whole: wiring, its two halves, weights files, fewer bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cluster_stamps import BANDS, PARAMETERS, make_stamps, tiny_model, tiny_run, write_set

from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_io.tensor_file import read_format
from cluster_cnn.calibration import Calibration
from cluster_cnn.config import ModelConfig, OptimizerConfig, TrainConfig, bin_edges
from cluster_cnn.data import ClusterSequence, StampSource, measure_source_scale
from cluster_cnn.head_refinement import refine_head
from cluster_cnn.model import build_model, make_optimizer, split_model, with_features
from cluster_cnn.normalise import measure_scale
from cluster_cnn.weights_file import (
    FORMAT,
    assign_strictly,
    named_variables,
    read_weights,
    save_weights,
    take_bands,
)


def stamps(n=3):
    return np.random.default_rng(1).normal(size=(n, 16, 16, 2)).astype(np.float32)


def outputs(model, x):
    return {name: np.asarray(value) for name, value in model.predict_on_batch(x).items()}


def test_the_same_seed_gives_the_same_start_and_another_another():
    a, b, c = (build_model(tiny_model(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])
    assert np.abs(a.get_weights()[0] - c.get_weights()[0]).max() > 0.01


@pytest.mark.backend
@pytest.mark.parametrize(
    "changes",
    [{}, {"head_layers": 3, "dropout": 0.2}, {"head_layers": 1, "profile_channels": 4}],
)
def test_trunk_and_head_together_are_the_network(changes):
    config = tiny_model(**changes)
    model = build_model(config)
    trunk, head = split_model(model, config)
    whole = outputs(model, stamps())
    parts = outputs(head, np.asarray(trunk.predict_on_batch(stamps())))
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5)
    assert outputs(with_features(model), stamps())["features"].shape == (3, 24)


def test_the_dense_layers_alone_can_be_trained(tmp_path):
    """The trunk stays as it is, and the validation loss falls."""
    path = write_set(tmp_path / "set.h5", 600, seed=1)
    config = replace(tiny_run(path), head_epochs=6, head_learning_rate=3e-3)
    source = StampSource([path], bands=BANDS, stamp_size=16)
    scale = measure_source_scale(source, config.model)
    training, validation = (
        ClusterSequence(
            source, rows, config.model, scale, batch_size=32, augmentation=shuffle, shuffle=shuffle
        )
        for rows, shuffle in ((np.arange(500), True), (np.arange(500, 600), False))
    )
    model = build_model(config.model, seed=1)
    trunk, _ = split_model(model, config.model)
    before = [v.copy() for v in trunk.get_weights()]
    losses = refine_head(model, config, training, validation)
    assert len(losses) >= 2 and min(losses[1:]) < losses[0] - 0.3
    for old, new in zip(before, trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    source.close()


def save(path, model, config):
    scale = measure_scale(make_stamps(50, seed=1)[0], bands=config.bands)
    save_weights(
        path,
        model,
        config=config,
        scale=scale,
        calibration=Calibration.identity(2),
        metadata={"pixel_scale_arcsec": 0.05},
        dtype="float32",
    )


@pytest.mark.backend
def test_a_weights_file_alone_rebuilds_the_network(tmp_path):
    config = tiny_model()
    model = build_model(config, seed=3)
    save(tmp_path / "a.weights.h5", model, config)
    assert read_format(tmp_path / "a.weights.h5") == FORMAT
    weights = read_weights(tmp_path / "a.weights.h5")
    assert weights.config == config and weights.metadata["pixel_scale_arcsec"] == 0.05
    again = build_model(weights.config)
    assign_strictly(again, weights.tensors, where="a")
    for name, value in outputs(model, stamps()).items():
        np.testing.assert_allclose(outputs(again, stamps())[name], value, rtol=1e-5)


def test_weights_of_another_network_name_the_tensor(tmp_path):
    config = tiny_model()
    model = build_model(config)
    tensors = {name: np.asarray(v) for name, v in named_variables(model).items()}
    short = {name: value for name, value in tensors.items() if name != "head/kernel"}
    with pytest.raises(WeightsError, match="head/kernel is missing from the file"):
        assign_strictly(model, short, where="x.h5")
    wrong = {**tensors, "head/kernel": np.zeros((3, 3))}
    with pytest.raises(WeightsError, match=r"head/kernel has shape \(3, 3\), expected"):
        assign_strictly(model, wrong, where="x.h5")
    (tmp_path / "no.h5").write_text("nothing")
    with pytest.raises(WeightsError, match="not a readable weights file"):
        read_weights(tmp_path / "no.h5")
    with pytest.raises(InputNotFoundError):
        read_weights(tmp_path / "none.h5")
    assert read_format(tmp_path / "no.h5") == ""


def test_a_network_of_fewer_bands_starts_from_one_of_more():
    """Where the other band is dark, both say the same."""
    two, one = tiny_model(), tiny_model(bands=("F814W",))
    model = build_model(two, seed=4)
    tensors = {name: np.asarray(v) for name, v in named_variables(model).items()}
    tensors["photometry_bn/moving_mean"] = np.where(
        np.arange(len(tensors["photometry_bn/moving_mean"])) % 2 == 0, 0.0, 0.3
    ).astype(np.float32)
    assign_strictly(model, tensors, where="two")
    small = build_model(one)
    taken = take_bands(tensors, bands=two.bands, wanted=one.bands, where="two")
    assign_strictly(small, taken, where="one")
    x = stamps()
    x[..., 0] = 0.0
    for name, value in outputs(model, x).items():
        np.testing.assert_allclose(outputs(small, x[..., 1:])[name], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="F110W is not among them"):
        take_bands(tensors, bands=two.bands, wanted=("F110W",), where="two")


def test_the_learning_rate_warms_up_and_decays():
    config = TrainConfig(optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=10))
    rate = make_optimizer(config, 110)._learning_rate
    values = [float(rate(step)) for step in (0, 5, 10, 60, 110)]
    # Half a cosine from 0.01 to 0.0001: half way they meet at 0.00505.
    np.testing.assert_allclose(values, [0.0, 0.005, 0.01, 0.00505, 0.0001], rtol=1e-3, atol=1e-9)


FINE = tuple(replace(parameter, n_bins=500) for parameter in PARAMETERS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": ("F475W", "F475W")}, "bands must be named once"),
        ({"profile_channels": -1}, "must be positive"),
        ({"blocks": (1,)}, "one number of blocks a stage"),
        ({"stamp_size": 3}, "too small for 2 stages"),
        ({"joint": (("log_mass",),)}, "joint must hold each of"),
        ({"head_layers": 0}, "must be positive"),
        ({"views": 9}, "views must lie in 1..8"),
        ({"softening": 0.0}, "softening must be positive"),
        ({"widths": (8, 0)}, "widths from 1 and blocks from 0 on"),
        ({"blocks": (1, -1)}, "widths from 1 and blocks from 0 on"),
        ({"visibility_low": 4.0}, "visibility_low must be below visibility_high; found 4.0, 3.5"),
        ({"visibility_bins": 1}, "visibility_bins must be at least 2; found 1"),
        ({"head": "bins", "parameters": FINE}, "log_mass, log_radius has 250000 cells, at most"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_model(**changes)


def test_defaults_are_the_shipped_network_for_six_bands():
    config = ModelConfig()
    assert len(config.bands) == 6 and config.stamp_size == 80
    assert config.parameter_names == ("log_age", "log_mass", "av", "log_radius")
    edges = bin_edges(config.parameters[2])
    np.testing.assert_allclose(edges, np.arange(11) * 0.2)
