"""ResNet18 and VGG19-BN against a second implementation with the same random weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch_referee
from backends import numpy

from astro_io.errors import WeightsError
from cluster_cnn import torchvision_networks as networks
from cluster_cnn.torch_weights import (
    assign_torch_tensors,
    from_torch_order,
    load_torch_weights,
    torch_variables,
)

pytestmark = pytest.mark.backend

RESNET18_WEIGHTS, VGG19_BN_WEIGHTS = 11_689_512, 143_678_248
"""Trainable parameters that torchvision publishes for the two networks."""


def value(variable):
    return numpy(keras.ops.copy(variable))


def state_of(model, *, seed=1):
    shapes = {name: shape for name, (_, shape) in torch_variables(model).items()}
    return torch_referee.random_state(shapes, seed=seed)


@pytest.mark.parametrize("size", [64, 75])
def test_resnet18_agrees_with_the_referee(rng, size):
    """75 px: no stage divides evenly, so that lopsided padding would show."""
    model = networks.build_network("resnet18", size=size, n_outputs=10)
    state = state_of(model)
    assign_torch_tensors(model, state, where="referee")
    image = rng.normal(size=(2, size, size, 3)).astype(np.float32)
    wanted = torch_referee.resnet18(state, image.transpose(0, 3, 1, 2).astype(np.float64))
    said = numpy(model(image))
    np.testing.assert_allclose(said, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("size", [64, 100])
def test_vgg19_bn_agrees_with_the_referee(rng, size, monkeypatch):
    """The dense layers are made small; 64 px gives a grid of 2x2 for 7x7 cells, 100 px of 3x3."""
    monkeypatch.setattr(networks, "VGG19_HIDDEN", 32)
    model = networks.build_network("vgg19_bn", size=size, n_outputs=10)
    state = state_of(model)
    assign_torch_tensors(model, state, where="referee")
    image = rng.normal(size=(1, size, size, 3)).astype(np.float32)
    wanted = torch_referee.vgg19_bn(state, image.transpose(0, 3, 1, 2).astype(np.float64))
    said = numpy(model(image))
    np.testing.assert_allclose(said, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_numbers_of_parameters_are_those_published(monkeypatch):
    resnet = networks.build_network("resnet18", size=32)
    assert sum(int(np.prod(v.shape)) for v in resnet.trainable_weights) == RESNET18_WEIGHTS
    monkeypatch.setattr(networks, "VGG19_HIDDEN", 1)
    vgg = networks.build_network("vgg19_bn", size=32)
    n_small = sum(int(np.prod(v.shape)) for v in vgg.trainable_weights)
    # Dense layers of width h: 25088 h + h, h h + h, 1000 h + 1000.
    dense = [25_088 * h + h + h * h + h + 1000 * h + 1000 for h in (1, 4096)]
    assert n_small - dense[0] + dense[1] == VGG19_BN_WEIGHTS


def test_names_are_those_of_torchvision():
    names = list(torch_variables(networks.build_network("resnet18", size=32)))
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_mean",
        "layer4.1.conv2.weight",
        "fc.bias",
    } < set(names)
    assert len(names) == 102  # 122 entries of the published file less 20 counters


def test_dense_layer_behind_the_grid_is_reordered(monkeypatch):
    """PyTorch's input number is channel * 49 + cell, ours cell * 512 + channel."""
    value = np.arange(25_088, dtype=np.float32)[None]
    turned = from_torch_order(value, (25_088, 1))
    cell, channel = 10, 3
    assert turned[cell * 512 + channel, 0] == channel * 49 + cell


def test_file_is_loaded_strictly(tmp_path):
    model = networks.build_network("resnet18", size=32, n_outputs=3)
    state = state_of(model)
    counters = {f"{n[:-11]}num_batches_tracked": np.array(1) for n in state if "running_var" in n}
    path = torch_referee.save_zip(tmp_path / "resnet18.pth", {**state, **counters})
    filled = load_torch_weights(model, path)
    assert set(filled) == set(state)
    kernel = model.get_layer("layer1.0.conv1").kernel
    np.testing.assert_array_equal(
        value(kernel), state["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("bn1.bias"), "1 missing in the file: bn1.bias"),
        (lambda s: s.update(extra=np.zeros(3, np.float32)), "1 not in the network: extra"),
        (lambda s: s.update({"fc.weight": np.zeros((4, 512))}), r"another shape: fc\.weight"),
        (lambda s: s.update({"fc.bias": np.full(3, np.nan)}), r"not finite: fc\.bias"),
    ],
)
def test_odd_files_are_refused_and_fill_nothing(change, said):
    model = networks.build_network("resnet18", size=32, n_outputs=3)
    before = value(model.get_layer("conv1").kernel)
    state = state_of(model)
    change(state)
    with pytest.raises(WeightsError, match=said):
        assign_torch_tensors(model, state, where="a.pth")
    np.testing.assert_array_equal(value(model.get_layer("conv1").kernel), before)


def test_layers_left_out_keep_their_start():
    model = networks.build_network("resnet18", size=32, n_outputs=3)
    start = value(model.get_layer("fc").kernel)
    state = state_of(networks.build_network("resnet18", size=32, n_outputs=7))
    filled = assign_torch_tensors(model, state, where="a", left_out=("fc",))
    assert "fc.weight" not in filled
    np.testing.assert_array_equal(value(model.get_layer("fc").kernel), start)


def test_cell_weights_by_hand():
    """Five pixels in two cells: 0-2 and 2-4, the middle one shared."""
    third = 1 / 3
    np.testing.assert_allclose(
        networks.cell_weights(5, 2), [[third, third, third, 0, 0], [0, 0, third, third, third]]
    )
    np.testing.assert_allclose(networks.cell_weights(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])


def test_adaptive_pooling_round_trips():
    layer = networks.AdaptiveAveragePooling(3, name="pool")
    again = networks.AdaptiveAveragePooling.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    wanted = torch_referee.adaptive_average(image.transpose(0, 3, 1, 2), 3).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(numpy(layer(image)), wanted, rtol=1e-6)
    assert layer.compute_output_shape(image.shape) == (1, 3, 3, 1)


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="'alexnet' is unknown"):
        networks.build_network("alexnet", size=32)
