"""astro_rcnn.named_weights: tensors by name, and filling them strictly."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import WeightsError
from astro_rcnn.model import build_model
from astro_rcnn.named_weights import LoadReport, adapt_bands, assign_strictly, named_variables


def small_network(n_bands: int = 3, n_classes: int = 3) -> keras.Model:
    """A first convolution and a class layer, one of them inside a sub-model."""
    image = keras.layers.Input((4, 4, n_bands))
    inner = keras.Model(image, keras.layers.Conv2D(2, 3, name="conv1")(image), name="features")
    flat = keras.layers.Flatten()(inner(image))
    return keras.Model(image, keras.layers.Dense(n_classes, name="mrcnn_class_logits")(flat))


def tensors_of(model: keras.Model, rng) -> dict[str, np.ndarray]:
    return {n: rng.normal(size=v.shape) for n, v in named_variables(model).items()}


def test_every_tensor_of_a_network_has_its_name():
    names = named_variables(build_model(TINY_MODEL))
    assert {"stem_conv/kernel", "fpn_p2/bias", "rpn_bbox_pred/kernel"} <= set(names)
    assert {"mrcnn_class_bn1/moving_variance", "mrcnn_mask/kernel"} <= set(names)
    assert not any("seed" in name for name in names)


def test_filling_fills_every_tensor(rng):
    model = small_network()
    tensors = tensors_of(model, rng)
    report = assign_strictly(model, tensors, where="a.h5")
    assert set(report.loaded) == set(tensors) and str(report) == "4 tensors loaded"
    for name, variable in named_variables(model).items():
        np.testing.assert_allclose(np.asarray(variable), tensors[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("conv1/bias"),
            r"a\.h5: missing in the file: conv1/bias \(1\)\. The file belongs to another network",
        ),
        (
            lambda t: t.update({"conv9/bias": t.pop("conv1/bias")}),
            r"missing in the file: conv1/bias \(1\); not in the network: conv9/bias \(1\)",
        ),
        (
            lambda t: t.update({"conv1/bias": np.zeros(3)}),
            r"shape differs: conv1/bias: network \(2,\), file \(3,\) \(1\)",
        ),
        (
            lambda t: t.update({"conv1/kernel": np.zeros((3, 3, 3))}),
            r"conv1/kernel: network \(3, 3, 3, 2\), file \(3, 3, 3\)",
        ),
        (
            lambda t: t.update({"conv1/kernel": np.zeros((5, 5, 2, 2))}),
            r"conv1/kernel: network \(3, 3, 3, 2\), file \(5, 5, 2, 2\)",
        ),
        (
            lambda t: t.update({"conv1/bias": np.array([0.0, np.nan])}),
            "conv1/bias holds a value that is not finite",
        ),
    ],
    ids=["missing", "renamed", "misshapen", "misshapen-dims", "misshapen-kernel", "nan"],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_assigned(rng, change, message):
    model = small_network()
    before = [np.asarray(v) for v in model.weights]
    tensors = tensors_of(model, rng)
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        assign_strictly(model, tensors, where="a.h5", band_layer="conv1")
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), old)


def test_layers_left_out_keep_their_start(rng):
    model, other = small_network(n_classes=3), small_network(n_classes=81)
    before = np.asarray(named_variables(model)["mrcnn_class_logits/kernel"])
    report = assign_strictly(
        model, tensors_of(other, rng), where="a.h5", left_out=["mrcnn_class_logits"]
    )
    assert set(report.left_out) == {"mrcnn_class_logits/kernel", "mrcnn_class_logits/bias"}
    assert set(report.ignored) == set(report.left_out)
    assert set(report.loaded) == {"conv1/kernel", "conv1/bias"}
    after = np.asarray(named_variables(model)["mrcnn_class_logits/kernel"])
    np.testing.assert_array_equal(after, before)


def test_a_long_list_of_layers_is_cut_short():
    names = tuple(f"res{i}/{kind}" for i in range(10) for kind in ("kernel", "bias"))
    named = ", ".join(f"res{i}" for i in range(8))
    said = str(LoadReport(left_out=names))
    assert said == f"0 tensors loaded; left out on purpose: {named} and 2 more layers"


@pytest.mark.parametrize("n_bands", [1, 2, 5])
def test_another_number_of_bands_adapts_the_first_kernel(rng, n_bands):
    tensors = tensors_of(small_network(), rng)
    model = small_network(n_bands)
    assign = {"where": "a.h5", "left_out": ["mrcnn_class_logits"]}
    report = assign_strictly(model, tensors, band_layer="conv1", **assign)
    assert report.adapted == (f"conv1/kernel 3 -> {n_bands} bands",)
    assert f"adapted: conv1/kernel 3 -> {n_bands} bands" in str(report)
    kernel = np.asarray(named_variables(model)["conv1/kernel"])
    assert kernel.shape == (3, 3, n_bands, 2)
    # Equal bands are answered alike: the sum over the bands stays.
    np.testing.assert_allclose(kernel.sum(2), tensors["conv1/kernel"].sum(2), atol=1e-5)
    with pytest.raises(WeightsError, match="shape differs: conv1/kernel"):
        assign_strictly(model, tensors, **assign)


def test_adapting_to_the_same_number_of_bands_is_the_mean():
    kernel = np.array([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(adapt_bands(kernel, 3).ravel(), [3, 3, 3])
