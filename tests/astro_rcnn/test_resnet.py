"""astro_rcnn.resnet: the trunks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import referee
from backends import numpy

from astro_rcnn.resnet import BATCH_NORM_EPSILON, batch_norm, compact, resnet

pytestmark = pytest.mark.backend


def build(trunk, n_bands: int = 3, **options) -> keras.Model:
    image = keras.layers.Input((None, None, n_bands))
    return keras.Model(image, trunk(image, **options))


def randomise(model: keras.Model, rng) -> dict[str, np.ndarray]:
    """Give every tensor a random value; return them by ``layer/variable``."""
    values = {}
    for layer in model.layers:
        for variable in layer.weights:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.4, 0.4)
            value = rng.uniform(low, high, variable.shape).astype(np.float32)
            variable.assign(value)
            values[f"{layer.name}/{variable.name}"] = value
    return values


def test_the_compact_trunk_agrees_with_the_referee(rng):
    """Two stages with two blocks; an oblong image of odd sides."""
    model = build(compact, 2, widths=(3, 4), blocks=(2, 1), is_frozen=True)
    tensors = randomise(model, rng)
    image = rng.normal(size=(17, 22, 2)).astype(np.float32)
    found = model(image[None])

    def normalise(x, layer):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return referee.batch_norm(x, *(tensors[f"{layer}/{name}"] for name in names))

    def convolve(x, layer, stride=1):
        return referee.convolve(x, tensors[f"{layer}/kernel"], stride=stride)

    def block(x, name, stride=1, has_projection=False):
        y = convolve(x, f"block{name}_conv1", stride)
        y = np.maximum(normalise(y, f"block{name}_bn1"), 0)
        y = normalise(convolve(y, f"block{name}_conv2"), f"block{name}_bn2")
        if has_projection:
            x = normalise(convolve(x, f"block{name}_conv0", stride), f"block{name}_bn0")
        return np.maximum(x + y, 0)

    x = np.maximum(normalise(convolve(image, "stem_conv", 2), "stem_bn"), 0)
    x = block(block(x, "1a"), "1b")
    np.testing.assert_allclose(numpy(found[1])[0], x, atol=1e-4)
    x = block(x, "2a", stride=2, has_projection=True)
    assert x.shape == (5, 6, 4)
    np.testing.assert_allclose(numpy(found[2])[0], x, atol=1e-4)


def test_resnet_50_has_the_parameters_of_the_published_one():
    """Those of keras.applications, which puts the stride elsewhere but has the same tensors."""
    model = build(resnet, depth="resnet50", is_frozen=True)
    assert model.count_params() == 23_587_712
    shapes = {level: tuple(x.shape[1:]) for level, x in model.output.items()}
    assert shapes == {1: (None, None, 64)} | {k: (None, None, 64 * 2**k) for k in (2, 3, 4, 5)}


def test_frozen_batch_norm_ignores_the_batch_in_training_too(rng):
    """Also inside a network that is called with training=True, which Keras hands down."""
    x = rng.normal(5, 3, (4, 6, 6, 2)).astype(np.float32)
    inputs = keras.layers.Input((6, 6, 2))
    for is_frozen in (True, False):
        layer = batch_norm("norm", is_frozen=is_frozen)
        model = keras.Model(inputs, layer(inputs))
        before = numpy(layer.moving_mean.value + 0.0)
        y = numpy(model(x, training=True))
        is_unchanged = np.allclose(y, x / np.sqrt(1 + BATCH_NORM_EPSILON), atol=1e-4)
        assert is_unchanged == is_frozen
        assert np.allclose(numpy(layer.moving_mean.value + 0.0), before) == is_frozen
        assert len(layer.trainable_variables) == 2
