"""astro_rcnn.fpn: the feature pyramid."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import referee
from backends import numpy

from astro_rcnn.fpn import feature_pyramid

pytestmark = pytest.mark.backend


def test_the_pyramid_agrees_with_the_referee(rng):
    """Levels 2 to 4 of a trunk that reaches 3: sums of upsampled maps; level 4 is every second."""
    inputs = {k: keras.layers.Input((None, None, k), name=str(k)) for k in (1, 2, 3)}
    model = keras.Model(list(inputs.values()), feature_pyramid(inputs, width=5, levels=(2, 3, 4)))
    kernels = {}
    for layer in model.layers:
        for variable in layer.weights:
            kernels[layer.name, variable.name] = rng.normal(size=variable.shape).astype(np.float32)
            variable.assign(kernels[layer.name, variable.name])
    maps = {
        k: rng.normal(size=(1, 32 // 2**k, 48 // 2**k, k)).astype(np.float32) for k in (1, 2, 3)
    }
    found = [numpy(level) for level in model(list(maps.values()))]

    def convolve(x, name):
        return referee.convolve(x, kernels[name, "kernel"], kernels[name, "bias"])

    top = convolve(maps[3][0], "fpn_c3p3")
    fine = convolve(maps[2][0], "fpn_c2p2") + top.repeat(2, axis=0).repeat(2, axis=1)
    expected = [convolve(fine, "fpn_p2"), convolve(top, "fpn_p3")]
    expected.append(expected[1][::2, ::2])
    for level, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(level[0], wanted, atol=1e-4)
