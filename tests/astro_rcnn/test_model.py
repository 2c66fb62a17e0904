"""astro_rcnn.model: the parts together, training and inference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from backends import numpy, quick
from tiny_network import TINY_MODEL, TINY_TARGETS

from astro_rcnn.config import ModelConfig
from astro_rcnn.detection_layer import refine_detections
from astro_rcnn.detector import compiled
from astro_rcnn.model import LOSS_NAMES, MaskRCNN, build_model, pyramid_levels
from astro_rcnn.named_weights import named_variables

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    model = build_model(TINY_MODEL, TINY_TARGETS, seed=1)
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return model


def batch(rng, n_images: int = 2, shape=(64, 96), n_bands: int = 3) -> dict[str, np.ndarray]:
    """Two images; the last is without a source."""
    boxes = np.zeros((n_images, 3, 4), np.float32)
    boxes[0, :2] = [[8, 8, 20, 24], [30, 40, 60, 61]]
    return {
        "image": rng.normal(size=(n_images, *shape, n_bands)).astype(np.float32),
        "gt_class_ids": np.array([[1, 2, 0]] + [[0, 0, 0]] * (n_images - 1), np.int32),
        "gt_boxes": boxes,
        "gt_masks": np.ones((n_images, 3, 14, 14), np.uint8),
    }


def losses_of(model: MaskRCNN, inputs: dict[str, np.ndarray]) -> dict[str, float]:
    model.reset_metrics()
    logs = model.test_on_batch(inputs, return_dict=True)
    return {name: float(logs[name]) for name in LOSS_NAMES}


def test_truth_gives_the_five_losses_and_no_truth_detections(network, rng):
    inputs = batch(rng)
    losses = losses_of(network, inputs)
    assert all(np.isfinite(value) and value > 0 for value in losses.values())
    found = compiled(network, network)({"image": inputs["image"]})
    assert found["boxes"].shape == (2, 20, 4) and found["probabilities"].shape == (2, 20, 3)


def test_the_same_seed_gives_the_same_weights():
    kernels = [
        np.asarray(named_variables(build_model(TINY_MODEL, seed=seed))["mrcnn_mask_conv1/kernel"])
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


def test_an_image_without_a_source_costs_only_background(network, rng):
    inputs = batch(rng, 1)
    inputs["gt_class_ids"][:], inputs["gt_boxes"][:] = 0, 0
    losses = losses_of(network, inputs)
    assert losses["rpn_bbox"] == losses["mrcnn_bbox"] == losses["mrcnn_mask"] == 0
    assert losses["rpn_class"] > 0 and losses["mrcnn_class"] > 0


def test_the_total_is_the_weighted_sum_and_decay(rng):
    targets = replace(TINY_TARGETS, loss_weights=(1.0, 2.0, 3.0, 4.0, 5.0), weight_decay=0.5)
    model = build_model(TINY_MODEL, targets)
    parts = dict(zip(LOSS_NAMES, np.array([1.0, 10, 100, 1000, 10000], np.float32), strict=True))
    decay = sum(
        np.mean(np.asarray(variable) ** 2)
        for variable in model.trainable_variables
        if variable.name not in ("gamma", "beta")
    )
    assert float(model.compute_loss(y_pred=parts)) == pytest.approx(54321 + 0.5 * decay, rel=1e-6)


def test_mean_pixel_is_subtracted_band_by_band(rng):
    image = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    plain = build_model(TINY_MODEL)
    shifted = build_model(replace(TINY_MODEL, mean_pixel=(1.0, -2.0, 30.0)))
    for variable, value in zip(shifted.weights, plain.weights, strict=True):
        variable.assign(value)
    expected = compiled(plain, plain.pyramid)(image)
    found = compiled(shifted, shifted.pyramid)(image + np.array([1.0, -2.0, 30.0], np.float32))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(numpy(one), numpy(other), atol=1e-4)


def test_the_pyramid_has_every_level_between_the_outermost():
    config = ModelConfig(rpn_levels=(2, 6), roi_levels=(3, 4), anchor_scales=(8.0, 99.0))
    assert pyramid_levels(config) == (2, 3, 4, 5, 6)


def test_detections_of_eager_and_compiled_agree(network, rng):
    image = rng.normal(0, 3, (1, 64, 96, 3)).astype(np.float32)
    window = np.array([[0, 0, 60, 90]], np.float32)
    eager = network.detect(image, window)
    fast = compiled(network, network.detect)(image, window)
    for name in ("boxes", "class_ids", "scores", "probabilities"):
        np.testing.assert_allclose(numpy(fast[name]), numpy(eager[name]), atol=1e-4, err_msg=name)


def test_compiled_detection_sees_weights_that_change_later(rng):
    model = build_model(TINY_MODEL)
    find = compiled(model, model.detect)
    image = rng.normal(0, 3, (1, 64, 64, 3)).astype(np.float32)
    variables = named_variables(model)
    variables["mrcnn_class_logits/kernel"].assign(np.zeros((16, 3)))
    for bias in ([0.0, 9.0, 0.0], [0.0, 0.0, 9.0]):
        variables["mrcnn_class_logits/bias"].assign(np.array(bias))
        probabilities = numpy(find(image)["probabilities"])[0, 0]
        np.testing.assert_allclose(probabilities, np.exp(bias) / np.exp(bias).sum(), rtol=1e-4)


def test_boxes_of_detections_lie_in_the_window(rng):
    model = build_model(replace(TINY_MODEL, min_confidence=0.0))
    image = rng.normal(0, 3, (2, 64, 96, 3)).astype(np.float32)
    window = np.array([[0, 0, 40, 96], [0, 0, 64, 50]], np.float32)
    found = compiled(model, model.detect)(image, window)
    boxes = model.to_pixels(numpy(found["boxes"]), (64, 96))
    for n in range(2):
        real = boxes[n][numpy(found["class_ids"])[n] > 0]
        assert len(real) > 0
        assert (real >= -1e-3).all()
        assert (real[:, 2:] <= window[n, 2:] + 1e-3).all()
        assert ((real[:, 2:] - real[:, :2]) > 0).all()


def test_limits_grow_with_the_image(network, rng):
    """Twenty detections are meant for 512 x 512 pixels."""
    found = compiled(network, network.detect)(np.zeros((1, 32, 64, 3), np.float32))
    assert found["boxes"].shape == (1, 20, 4)
    found = compiled(network, network.detect)(np.zeros((1, 512, 544, 3), np.float32))
    assert found["boxes"].shape == (1, 40, 4)


def test_a_detection_says_whether_limits_were_reached(rng):
    """128 x 128 pixels have 3,840 anchors; all of them take what they see for a source."""
    image = rng.normal(size=(1, 128, 128, 3)).astype(np.float32)
    for n_anchors, expected in ((200, True), (4000, False)):
        config = replace(TINY_MODEL, pre_nms_limit=n_anchors, min_confidence=1.0)
        model = build_model(config, seed=0)
        last = model.rpn.get_layer("rpn_class_raw")
        last.bias.assign(np.tile([-9.0, 9.0], last.bias.shape[0] // 2))
        found = compiled(model, model.detect)(image)
        assert numpy(found["is_full"]).tolist() == [expected]


# === from classified regions to detections ===


def refine(rois, scores, *, window=(0, 0, 1, 1), **changes) -> dict[str, np.ndarray]:
    """Refine regions whose probabilities are given; no deltas, unless the class is 2: 0.1 down."""
    settings = {"max_detections": 5, "min_confidence": 0.5, "detection_nms_iou": 0.3}
    config = replace(ModelConfig(box_std=(0.1, 0.1, 0.2, 0.2)), **{**settings, **changes})
    rois = np.array([rois], np.float32)
    logits = np.log(np.maximum(np.array([scores], np.float32), 1e-9))
    deltas = np.zeros((1, rois.shape[1], 3, 4), np.float32)
    deltas[:, :, 2, 0] = 1.0
    run = quick(partial(refine_detections, window=np.array(window, "f4"), config=config))
    return {name: numpy(value)[0] for name, value in run(rois, logits, deltas).items()}


STAR, GALAXY, NOTHING = (0.1, 0.8, 0.1), (0.2, 0.2, 0.6), (0.9, 0.05, 0.05)
LEFT, RIGHT = (0.1, 0.1, 0.5, 0.4), (0.1, 0.6, 0.5, 0.9)


def test_a_region_moves_by_the_deltas_of_its_class():
    found = refine([LEFT, RIGHT], [GALAXY, STAR])
    assert found["class_ids"].tolist() == [1, 2, 0, 0, 0]
    np.testing.assert_allclose(found["scores"], [0.8, 0.6, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["boxes"][0], RIGHT, atol=1e-6)
    # A tenth of its height of 0.4 down.
    np.testing.assert_allclose(found["boxes"][1], (0.14, 0.1, 0.54, 0.4), atol=1e-6)
    np.testing.assert_allclose(found["probabilities"][1], GALAXY, atol=1e-6)
    assert found["roi_index"][:2].tolist() == [1, 0]
    assert not found["boxes"][2:].any() and not found["probabilities"][2:].any()


def test_detections_are_full_when_no_row_is_left():
    places = [(0.1, x, 0.2, x + 0.1) for x in (0.0, 0.2, 0.4)]
    assert refine(places, [STAR] * 3, max_detections=2)["is_full"]
    assert refine(places, [STAR] * 3, max_detections=3)["is_full"]  # as far as it knows
    assert not refine(places, [STAR] * 3, max_detections=4)["is_full"]
    concentric = {"concentric_fraction": 0.25, "max_detections": 2}
    found = refine([LEFT, (0.25, 0.2, 0.35, 0.3), RIGHT], [STAR, STAR, STAR], **concentric)
    assert found["is_full"] and np.count_nonzero(found["class_ids"]) == 1


def test_background_and_low_scores_are_dropped():
    assert refine([LEFT, RIGHT], [NOTHING, (0.3, 0.3, 0.4)])["class_ids"].tolist() == [0] * 5
    found = refine([LEFT, RIGHT], [NOTHING, (0.3, 0.3, 0.4)], min_confidence=0.0)
    assert found["class_ids"].tolist() == [2, 0, 0, 0, 0]


def test_a_source_less_likely_than_background_may_count():
    """0.3 for a star, 0.6 for nothing: a detection of score 0.3, where that is wanted."""
    scores = [(0.6, 0.1, 0.3), NOTHING, STAR]
    options = {"min_confidence": 0.2, "drops_background": False}
    found = refine([LEFT, (0.6, 0.1, 0.9, 0.4), RIGHT], scores, **options)
    assert found["class_ids"].tolist() == [1, 2, 0, 0, 0]
    np.testing.assert_allclose(found["scores"][:2], [0.8, 0.3], atol=1e-6)
    np.testing.assert_allclose(found["probabilities"][1], scores[0], atol=1e-6)


@pytest.mark.parametrize(("is_agnostic", "expected"), [(True, [1]), (False, [1, 2])])
def test_overlaps_are_suppressed_across_classes_or_within(is_agnostic, expected):
    found = refine(
        [LEFT, LEFT, LEFT],
        [(0.3, 0.7, 0.0), STAR, GALAXY],
        is_nms_class_agnostic=is_agnostic,
    )
    assert found["class_ids"][found["class_ids"] > 0].tolist() == expected
    assert found["scores"][0] == pytest.approx(0.8)


def test_padding_and_boxes_outside_the_window_are_no_detections():
    """A source in the corner made every row of padding a detection of zero area."""
    rois = [(0, 0, 0, 0), (0, 0, 0, 0), (0.6, 0.6, 0.9, 0.9), LEFT]
    found = refine(rois, [STAR] * 4, window=(0, 0, 0.5, 0.5))
    assert found["class_ids"].tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_allclose(found["boxes"][0], LEFT, atol=1e-6)


def test_of_two_detections_with_one_centre_the_better_stays():
    wide, narrow = (0.1, 0.1, 0.5, 0.5), (0.22, 0.22, 0.36, 0.36)
    rois, scores = [narrow, RIGHT, wide], [STAR, (0.3, 0.7, 0.0), (0.02, 0.98, 0.0)]
    both = refine(rois, scores)
    assert both["roi_index"][:3].tolist() == [2, 0, 1]
    one = refine(rois, scores, concentric_fraction=0.5)
    assert one["roi_index"][:2].tolist() == [2, 1]
    np.testing.assert_allclose(one["scores"], [0.98, 0.7, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(one["boxes"][:2], [wide, RIGHT], atol=1e-6)
