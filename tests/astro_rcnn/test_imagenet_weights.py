"""astro_rcnn.imagenet_weights: the published trunks give the same features here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import ConfigError, WeightsError
from astro_rcnn.config import ModelConfig
from astro_rcnn.imagenet_weights import (
    PUBLISHED_EPSILON,
    load_imagenet,
    registry_name,
    rescaled_statistics,
)
from astro_rcnn.initial_weights import initialise, initialise_heads
from astro_rcnn.model import build_model
from astro_rcnn.named_weights import named_variables
from astro_rcnn.weights_file import save_weights

SMALL_HEADS = replace(
    ModelConfig(),
    bands=("g", "r", "z"),
    trunk="resnet50",
    fpn_width=8,
    rpn_width=8,
    class_head_width=8,
    mask_head_width=8,
    mask_head_depth=1,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[keras.Model, Path]:
    """A ResNet-50 of keras.applications with made-up statistics, and its file as of Keras 2."""
    keras.utils.set_random_seed(1)
    network = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(61, 61, 3), pooling=None
    )
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("weights") / "resnet50_weights_tf_kernels_notop.h5"
    with h5py.File(path, "w") as file:
        for layer in network.layers:
            group = file.create_group(layer.name)
            for variable in layer.weights:
                if variable.name == "moving_variance":
                    variable.assign(rng.uniform(1e-4, 2.0, variable.shape))
                elif variable.name in ("moving_mean", "beta"):
                    variable.assign(rng.normal(0, 0.1, variable.shape))
                group[f"{layer.name}/{variable.name}:0"] = np.asarray(variable)
    return network, path


@pytest.fixture(scope="module")
def loaded(published) -> tuple[keras.Model, object]:
    model = build_model(SMALL_HEADS, seed=3)
    return model, initialise(model, str(published[1]))


def test_the_trunk_gives_the_same_features(published, loaded, rng):
    """On 61 x 61 px, where both ways of padding the max-pool agree."""
    image = rng.normal(0, 30, (1, 61, 61, 3)).astype(np.float32)
    expected = np.asarray(published[0](image, training=False))
    trunk = loaded[0].features
    features = keras.Model(trunk.inputs[0], trunk.get_layer("res5c_out").output)
    np.testing.assert_allclose(
        np.asarray(features(image, training=False)), expected, rtol=2e-3, atol=2e-3 * expected.std()
    )
    assert expected.std() > 0.1


def test_every_tensor_of_the_trunk_is_loaded_and_nothing_else(published, loaded):
    model, report = loaded
    assert len(report.loaded) == len(published[0].weights) and not report.ignored
    assert len(report.loaded) + len(report.left_out) == len(named_variables(model))
    assert all(name.startswith(("fpn_", "rpn_", "mrcnn_")) for name in report.left_out)


def test_one_missing_tensor_is_named(published, tmp_path):
    path = tmp_path / "resnet50_notop.h5"
    path.write_bytes(published[1].read_bytes())
    with h5py.File(path, "a") as file:
        del file["conv4_block2_3_bn/conv4_block2_3_bn/beta:0"]
    with pytest.raises(WeightsError, match=r"missing in the file: bn4b_branch2c/beta \(1\)"):
        load_imagenet(build_model(SMALL_HEADS), path)


def test_a_classifier_is_refused(tmp_path):
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file["predictions/predictions/kernel:0"] = np.zeros((2, 2))
    with pytest.raises(WeightsError, match="unknown layer predictions; .* without its classifier"):
        load_imagenet(build_model(SMALL_HEADS), tmp_path / "top.h5")


def test_statistics_keep_the_response():
    """gamma / sqrt(v + e): a variance of 0.5 goes to 0.49901001; one of 1e-4 to 0, and gamma up."""
    variance = np.array([0.5, 1e-4], np.float32)
    before = {"bn/gamma": np.array([2.0, 3.0], np.float32), "bn/moving_variance": variance}
    after = rescaled_statistics(before)
    np.testing.assert_allclose(after["bn/moving_variance"], [0.49901001, 0.0], rtol=1e-6)
    np.testing.assert_allclose(after["bn/gamma"][0], 2.0, rtol=1e-6)
    response = before["bn/gamma"] / np.sqrt(variance + PUBLISHED_EPSILON)
    ours = after["bn/gamma"] / np.sqrt(after["bn/moving_variance"] + 1e-3)
    np.testing.assert_allclose(ours, response, rtol=1e-6)


def test_the_compact_trunk_has_no_such_weights():
    assert registry_name("resnet101") == "imagenet-resnet101"
    with pytest.raises(ConfigError, match="no ImageNet weights for the compact trunk"):
        initialise(build_model(TINY_MODEL), "imagenet")


def test_blocks_of_a_random_start_are_their_shortcuts():
    """Unless the statistics are frozen, as for released weights."""
    learning = build_model(replace(SMALL_HEADS, is_batch_norm_frozen=False))
    initialise(learning, "random")
    last = {n: np.asarray(v) for n, v in named_variables(learning).items() if "2c/gamma" in n}
    assert len(last) == 16 and not any(value.any() for value in last.values())
    frozen = build_model(SMALL_HEADS)
    initialise(frozen, "random")
    assert np.asarray(named_variables(frozen)["bn2a_branch2c/gamma"]).all()


def test_heads_of_another_network_are_taken_over(tmp_path):
    """Same pyramid and heads, another trunk; another width is refused by name."""
    other = build_model(TINY_MODEL, seed=5)
    save_weights(other, tmp_path / "other.h5")
    model = build_model(replace(TINY_MODEL, trunk="resnet50"), seed=6)
    before = {name: np.asarray(v) for name, v in named_variables(model).items()}
    report = initialise_heads(model, str(tmp_path / "other.h5"))
    theirs = named_variables(other)
    for name, variable in named_variables(model).items():
        is_head = name.startswith(("fpn_p", "rpn_", "mrcnn_"))
        assert (name in report.loaded) == is_head
        expected = np.asarray(theirs[name]) if is_head else before[name]
        np.testing.assert_array_equal(np.asarray(variable), expected, err_msg=name)
    assert {"fpn_p2/kernel", "mrcnn_mask/kernel"} <= set(report.loaded)
    assert {"fpn_c2p2/kernel", "conv1/kernel"} <= set(report.left_out)
    wider = build_model(replace(TINY_MODEL, mask_head_width=9))
    with pytest.raises(WeightsError, match=r"other\.h5: shape differs: mrcnn_mask_conv1/kernel"):
        initialise_heads(wider, str(tmp_path / "other.h5"))
