"""Wiring of the networks, and what they are told."""

from __future__ import annotations

import numpy as np
import pytest
from backends import numpy
from class_stamps import BANDS, SIZE, tiny_model

from cluster_cnn.classes.config import ClassModelConfig
from cluster_cnn.classes.layers import BandPresence, BilinearResize, ChannelPart, UnitRange
from cluster_cnn.classes.networks import (
    DISTANCE,
    LOGITS,
    STAMPS,
    build_class_model,
    paper_images,
)

pytestmark = pytest.mark.backend


def inputs(rng, n=2, n_bands=2, size=SIZE):
    stamps = rng.normal(size=(n, size, size, n_bands)).astype(np.float32)
    return {STAMPS: stamps, DISTANCE: np.tile(np.float32([0.1, 1]), (n, 1))}


def test_multiscale_gives_one_logit_a_class(rng):
    model = build_class_model(tiny_model())
    assert numpy(model(inputs(rng))[LOGITS]).shape == (2, 2)
    default = build_class_model(ClassModelConfig())
    assert default.output[LOGITS].shape == (None, 4)
    assert default.count_params() < 300_000


def test_same_seed_same_start_other_seed_other_start(rng):
    x = inputs(rng)
    first, same, other = (build_class_model(tiny_model(), seed=s) for s in (1, 1, 2))
    np.testing.assert_allclose(numpy(first(x)[LOGITS]), numpy(same(x)[LOGITS]), atol=1e-5)
    assert not np.allclose(numpy(first(x)[LOGITS]), numpy(other(x)[LOGITS]), atol=1e-3)


def test_distance_matters_where_it_is_an_input_and_is_none_elsewhere(rng):
    model, x = build_class_model(tiny_model()), inputs(rng)
    nearer = {**x, DISTANCE: np.zeros((2, 2), np.float32)}
    assert not np.allclose(numpy(model(x)[LOGITS]), numpy(model(nearer)[LOGITS]), atol=1e-6)
    assert len(build_class_model(tiny_model(has_distance=False)).inputs) == 1


def test_centre_alone_reaches_every_view(rng):
    """A change in the middle 8 px changes the answer; so does one in a corner (full view)."""
    model, x = build_class_model(tiny_model()), inputs(rng)
    base = numpy(model(x)[LOGITS])
    for place in (SIZE // 2, 1):
        changed = x[STAMPS].copy()
        changed[:, place, place] += 50
        assert not np.allclose(numpy(model({**x, STAMPS: changed})[LOGITS]), base, atol=1e-5)


def test_band_presence_by_hand():
    stamps = np.zeros((2, 3, 3, 2), np.float32)
    stamps[0, 1, 1, 1] = -2.0
    np.testing.assert_array_equal(numpy(BandPresence()(stamps)), [[0, 1], [0, 0]])


def test_unit_range_by_hand():
    stamps = np.zeros((1, 1, 3, 2), np.float32)
    stamps[0, 0, :, 0] = [-2, 0, 6]
    scaled = numpy(UnitRange()(stamps))
    np.testing.assert_allclose(scaled[0, 0, :, 0], [0, 0.25, 1])
    np.testing.assert_array_equal(scaled[..., 1], 0)


def test_channel_part_fills_up_with_zeros():
    stamps = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)
    np.testing.assert_array_equal(numpy(ChannelPart(0, 3)(stamps)).ravel(), [0, 1, 2])
    np.testing.assert_array_equal(numpy(ChannelPart(3, 3)(stamps)).ravel(), [3, 4, 0])


def test_bilinear_resize_by_hand():
    """Two pixels 0, 4 to four: half-pixel centres at -0.25, 0.25, 0.75, 1.25."""
    image = np.array([0, 4], np.float32).reshape(1, 1, 2, 1).repeat(2, axis=1)
    np.testing.assert_allclose(numpy(BilinearResize(4)(image))[0, 0, :, 0], [0, 1, 3, 4], atol=1e-6)


@pytest.mark.parametrize(
    "layer", [BandPresence(name="a"), UnitRange(), ChannelPart(3, 2), BilinearResize(7)]
)
def test_layers_round_trip_and_know_their_shape(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    stamps = np.ones((1, 4, 4, 5), np.float32)
    assert layer.compute_output_shape(stamps.shape) == tuple(numpy(layer(stamps)).shape)


def test_paper_images_are_the_centre_in_three_and_two_bands(rng):
    """Crop 50 of 64: pixel 7 to 57; [0, 1] band by band; the sixth channel is zero."""
    import keras

    config = ClassModelConfig(network="resnet18", normalization="zscore", background="none")
    stamps = rng.normal(size=(1, 64, 64, 5)).astype(np.float32)
    stamps[0, 6, 6] = 1e6  # outside of the centre: no effect
    first, second = (numpy(image) for image in paper_images(keras.ops.array(stamps), config))
    assert first.shape == second.shape == (1, 299, 299, 3)
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.max() > 0.9
    np.testing.assert_array_equal(second[..., 2], 0)
    middle = stamps[0, 7:57, 7:57]
    unit = (middle - middle.min(axis=(0, 1))) / np.ptp(middle, axis=(0, 1))
    # 299 = 50 * 5.98: the centre of result pixel 149 lies between pixels 24 and 25 of the crop.
    np.testing.assert_allclose(
        first[0, 149, 149], unit[24:26, 24:26].mean(axis=(0, 1))[:3], atol=1e-5
    )


def test_paper_network_has_two_copies_and_one_more_matrix(rng):
    config = tiny_model(
        network="resnet18", normalization="zscore", background="none", crop_size=24, image_size=32
    )
    model = build_class_model(config)
    names = {layer.name for layer in model.layers}
    assert {"first.fc", "second.fc", LOGITS} <= names
    assert model.get_layer(LOGITS).kernel.shape == (2000, 2)
    said = numpy(model({STAMPS: inputs(rng, n_bands=len(BANDS))[STAMPS]})[LOGITS])
    assert said.shape == (2, 2)
