"""Trunks and the layers of their own: shapes, rings, pools, the published tables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from cluster_cnn import resnets
from cluster_cnn.config import ModelConfig, ParameterConfig
from cluster_cnn.model import build_model

pytestmark = pytest.mark.backend


def numbers(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), float)


def test_rings_sum_light_at_their_radii():
    # Radii from the middle (2, 2): 1 is the plus of five pixels, 1.5 adds the four diagonals.
    weights = resnets.ring_weights(5, 5, (1.0, 1.5, 2.0))
    assert (weights > 0).sum(axis=(1, 2)).tolist() == [5, 4, 4]
    np.testing.assert_allclose(weights[0].max(), 1 / np.sqrt(5))
    assert (resnets.ring_weights(4, 4, (0.1, 3.0))[0] == 0).all(), "no pixel centre in it"
    edges = resnets.ring_edges(80)
    assert edges[-1] == 40 and list(edges) == sorted(edges)


def test_ring_photometry_undoes_the_stretch_before_it_sums():
    flux = np.zeros((1, 5, 5, 2), np.float32)
    flux[0, 2, 2] = 30.0, -4.0
    flux[0, 2, 3] = 10.0, 0.0
    layer = resnets.RingPhotometry((1.0, 3.0), softening=2.0)
    found = numbers(layer(np.arcsinh(flux / 2.0)))
    expected = np.arcsinh(np.array([40.0, -4.0]) / np.sqrt(5))
    np.testing.assert_allclose(found[0, :2], expected, rtol=1e-5)
    np.testing.assert_allclose(found[0, 2:], 0.0, atol=1e-6)
    linear = resnets.RingPhotometry((1.0, 3.0), softening=0.0)
    np.testing.assert_allclose(numbers(linear(flux))[0, :2], expected, rtol=1e-5)


def test_pools_weigh_the_middle():
    weight = resnets.gaussian_weight(5, 5, 0.2)
    assert weight.sum() == pytest.approx(1.0, abs=1e-6)
    # One sigma, one pixel, from the middle.
    assert weight[2, 3] / weight[2, 2] == pytest.approx(np.exp(-0.5), rel=1e-5)
    image = np.zeros((1, 5, 5, 1), np.float32)
    image[0, 1, 3] = 2.0
    found = numbers(resnets.GaussianPooling(0.2)(image))
    assert found[0, 0] == pytest.approx(2.0 * weight[1, 3], rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [resnets.GaussianPooling(0.3), resnets.RingPhotometry((1.0, 4.0), 0.5)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_survive_their_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(numbers(again(x)), numbers(layer(x)))
    assert layer.compute_output_shape((None, 6, 6, 3)) == (None, numbers(layer(x)).shape[1])


def test_trunks_have_the_shapes_they_say():
    x = keras.Input((80, 80, 6))
    compact = keras.Model(x, resnets.compact(x, widths=(8, 12), blocks=(0, 1)))
    assert compact.output.shape == (None, 4 * 12)
    assert compact.get_layer("stage2_1_out").output.shape == (None, 20, 20, 12)
    told = resnets.compact(
        x, widths=(8, 12, 16), blocks=(0, 1, 1), profile_channels=5, profile_units=7, prefix="b_"
    )
    profiled = keras.Model(x, told)
    assert profiled.output.shape == (None, 4 * 16 + 2 * 7)
    # Nine rings on 40 pixels, seven on 20, of five kinds each.
    rings = [profiled.get_layer(f"b_profile{i}_rings").output.shape[1] for i in (1, 2)]
    assert rings == [9 * 5, 7 * 5]
    paper1 = keras.Model(x, resnets.paper1(x, widths=(8, 12), blocks=(1, 1)))
    assert paper1.output.shape == (None, 12)
    assert paper1.get_layer("stage2_1_out").output.shape == (None, 40, 40, 12)


def test_the_network_of_paper_two_is_that_of_its_table():
    parameters = tuple(
        ParameterConfig(name=name, low=0.0, high=1.0, n_bins=bins)
        for name, bins in (("log_age", 20), ("av", 10), ("log_mass", 14), ("log_radius", 14))
    )
    model = build_model(
        ModelConfig(
            bands=("F336W", "F438W", "F814W"),
            stamp_size=64,
            trunk="resnet50",
            has_photometry=False,
            head="bins",
            head_layers=1,
            parameters=parameters,
            joint=(("log_age", "av", "log_mass"), ("log_radius",)),
        )
    )
    sides = {2: (32, 128), 3: (16, 256), 4: (8, 512), 5: (4, 1024)}
    for stage, (side, width) in sides.items():
        last = {2: 3, 3: 4, 4: 6, 5: 3}[stage]
        assert model.get_layer(f"conv{stage}_{last}_out").output.shape == (None, side, side, width)
    assert model.get_layer("conv1_conv").output.shape == (None, 64, 64, 64)
    dense = [layer.name for layer in model.layers if type(layer).__name__ == "Dense"]
    assert sorted(dense) == sorted(["head", *model.output_names])
    sizes = {name: model.get_layer(name).output.shape[-1] for name in model.output_names}
    assert sizes == {"parameters_0": 2800, "parameters_1": 14, "is_cluster": 1, "log_snr": 20}
    convolutions = [layer for layer in model.layers if "Conv2D" in type(layer).__name__]
    main = [layer for layer in convolutions if "shortcut" not in layer.name]
    assert len(main) == 49, "and one dense layer: 50"
