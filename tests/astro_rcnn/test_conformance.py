"""The numbers of the reference Mask R-CNN implementation, met on every backend.

``conformance/README.md`` of the shared data says how they were made and how close to come.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from backends import numpy, quick

from astro_rcnn import losses
from astro_rcnn.boxes import normalize_boxes
from astro_rcnn.config import (
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TargetConfig,
    TrainConfig,
)
from astro_rcnn.detection_layer import refine_detections
from astro_rcnn.detector import compiled
from astro_rcnn.model import LOSS_NAMES, MaskRCNN, build_model
from astro_rcnn.named_weights import LoadReport, named_variables
from astro_rcnn.released_weights import CLASS_LAYERS, load_matterport
from astro_rcnn.targets import region_targets
from astro_rcnn.trainer import compile_for_segment

pytestmark = [pytest.mark.backend, pytest.mark.xdist_group("conformance")]

SHAPE = (512, 512)
CONFIG = ModelConfig(
    post_nms_inference=150, max_detections=100, min_confidence=0.0, is_nms_class_agnostic=False
)


@pytest.fixture(scope="session")
def folder(shared_data) -> Path:
    """Return the folder of the reference's numbers."""
    path = shared_data / "conformance"
    if not path.is_dir():
        pytest.skip(f"the reference's numbers are not at {path}")
    return path


@pytest.fixture(scope="session")
def weights_file(folder, tmp_path_factory):
    """Yield a file in the released layout with the seeded weights, 255 MB; remove it."""
    spec = importlib.util.spec_from_file_location("make_weights", folder / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("conformance") / "astro_rcnn_decam.h5"
    module.main(path)
    yield path
    path.unlink()


@dataclass
class Network:
    """A network with the seeded weights, and what loading said."""

    model: MaskRCNN
    report: LoadReport
    coco_report: LoadReport


@pytest.fixture(scope="session")
def network(folder, weights_file, tmp_path_factory) -> Network:
    """Build the network once; load a COCO-shaped file, then the seeded weights."""
    model = build_model(CONFIG)
    coco = tmp_path_factory.mktemp("coco") / "mask_rcnn_coco.h5"
    with h5py.File(coco, "w") as file:
        for path, shape in read_layout(folder / "layout_coco_81_classes.txt"):
            file.create_dataset(path, shape, "float32")  # zeros, which take no space
    coco_report = load_matterport(model, coco)
    return Network(model, load_matterport(model, weights_file), coco_report)


def read_layout(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Return path and shape of every dataset that a layout file lists."""
    found = re.findall(r"(\S+/\S+:0)\s+\(([\d, ]*)\)", path.read_text())
    return [(name, tuple(int(n) for n in shape.split(",") if n.strip())) for name, shape in found]


@pytest.fixture(scope="session")
def expected(folder) -> dict[str, np.ndarray]:
    """Return what the reference found in one image."""
    with np.load(folder / "inference.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def found(network, expected) -> dict[str, np.ndarray]:
    """Return what we find in it; the heads look at the reference's own regions too."""
    model = network.model

    def run(image, rois, boxes):
        pyramid = model.pyramid(image)
        logits, deltas = model.score_anchors(pyramid)
        class_logits, class_deltas = model.classify(pyramid, rois, SHAPE)
        detections = model.detect(image)
        del detections["pyramid"]
        return {
            "rpn_class": keras.ops.softmax(logits),
            "rpn_bbox": deltas,
            "rpn_rois": model.propose(logits, deltas, SHAPE, 150),
            "mrcnn_class_logits": class_logits,
            "mrcnn_bbox": class_deltas,
            "mrcnn_mask": model.draw_masks(pyramid, boxes, SHAPE),
            "reg_loss": losses.weight_decay(model.trainable_variables, 1e-4),
            **detections,
        }

    image = expected["image"][None]
    outputs = compiled(model, run)(image, expected["rpn_rois"], expected["detections"][..., :4])
    return {name: numpy(value) for name, value in outputs.items()}


def assert_same_set(first: np.ndarray, second: np.ndarray, tolerance: float) -> None:
    """Check that each row of either has a partner in the other."""
    distance = np.abs(first[:, None] - second[None]).max(-1)
    assert len(first) == len(second)
    assert distance.min(1).max() < tolerance and distance.min(0).max() < tolerance


# === loading ===


def test_every_released_tensor_finds_its_place(network, folder):
    layout = read_layout(folder / "layout_astro_rcnn.txt")
    assert len(network.report.loaded) == len(layout) == 690
    assert network.report.left_out == network.report.adapted == network.report.ignored == ()
    shapes = sorted((path.split("/")[-2], shape) for path, shape in layout)
    variables = named_variables(network.model)
    assert shapes == sorted((n.split("/")[0], tuple(v.shape)) for n, v in variables.items())


def test_a_coco_file_leaves_out_the_layers_of_its_classes_and_says_so(network, folder):
    report = network.coco_report
    left_out = {f"{layer}/{kind}" for layer in CLASS_LAYERS for kind in ("kernel", "bias")}
    assert set(report.left_out) == set(report.ignored) == left_out
    assert len(report.loaded) == len(read_layout(folder / "layout_coco_81_classes.txt")) - 6
    assert "684 tensors loaded; left out on purpose: " in str(report)


# === inference ===


def test_anchors(network, expected):
    anchors = normalize_boxes(network.model.anchors(SHAPE), SHAPE)
    np.testing.assert_allclose(anchors, expected["anchors"][0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("rpn_class", 1e-4), ("rpn_bbox", 1e-4), ("mrcnn_class_logits", 1e-3), ("mrcnn_bbox", 1e-3)],
)
def test_outputs_in_parts_of_the_largest_value(found, expected, name, tolerance):
    limit = tolerance * np.abs(expected[name]).max()
    np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=limit)


def test_proposals(found, expected):
    assert_same_set(found["rpn_rois"][0], expected["rpn_rois"][0], 1e-3)


def test_detections(found, expected):
    columns = [found["boxes"], found["class_ids"][..., None], found["scores"][..., None]]
    detections = np.concatenate(columns, axis=-1)[0]
    n_found = np.count_nonzero(found["class_ids"])
    wanted = expected["detections"][0]
    assert n_found == np.count_nonzero(wanted[:, 4]) == 52
    assert_same_set(detections[:n_found], wanted[:n_found], 1e-3)
    assert not detections[n_found:].any()


def test_boxes_in_pixels(found, expected, network):
    """Rounded to pixels as the reference's detect() returns them."""
    boxes = np.round(network.model.to_pixels(found["boxes"][0, :52], SHAPE))
    assert_same_set(boxes, expected["detect_rois"].astype(float), 1.1)
    distance = np.abs(boxes[:, None] - expected["detect_rois"][None]).max(-1).min(1)
    assert (distance == 0).mean() > 0.9


def test_suppression_across_classes_is_the_one_change_of_astro_rcnn(found, expected):
    agnostic = replace(CONFIG, is_nms_class_agnostic=True)
    names = ("rpn_rois", "mrcnn_class_logits", "mrcnn_bbox")
    window = normalize_boxes(np.array([0, 0, *SHAPE], np.float32), SHAPE)
    refine = quick(partial(refine_detections, window=window, config=agnostic))
    class_ids = numpy(refine(*(expected[name] for name in names))["class_ids"])
    assert np.count_nonzero(class_ids) == 49


def test_masks(found, expected):
    error = np.abs(found["mrcnn_mask"] - expected["mrcnn_mask"])
    assert error.max() < 0.03 and error.mean() < 1e-3


# === training ===


@pytest.fixture(scope="session")
def training(folder) -> dict[str, np.ndarray]:
    """Return the reference's training step on one image with given proposals."""
    with np.load(folder / "training.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def inputs(training) -> dict[str, np.ndarray]:
    """Return its inputs as `MaskRCNN` takes them; the stored image has its mean subtracted."""
    return {
        "image": training["input_image"] + np.float32(CONFIG.mean_pixel[0]),
        "gt_class_ids": training["input_gt_class_ids"],
        "gt_boxes": training["input_gt_boxes"].astype(np.float32),
        "gt_masks": np.moveaxis(training["input_gt_masks"], -1, 1).astype(np.uint8),
    }


def test_region_targets(training, inputs):
    """Rows in any order: the reference shuffles."""
    n_proposals = training["ext_rpn_rois"].shape[1]
    choose = quick(
        partial(
            region_targets,
            n_rois=250,
            positive_fraction=0.33,
            positive_iou=0.5,
            box_std=CONFIG.box_std,
            mask_size=28,
            is_negative_count_tied=True,
        )
    )
    made = choose(
        training["ext_rpn_rois"],
        inputs["gt_class_ids"],
        normalize_boxes(inputs["gt_boxes"], SHAPE).astype(np.float32),
        inputs["gt_masks"],
        np.full((1, n_proposals), 0.5, np.float32),
    )
    made = {name: numpy(value)[0] for name, value in made.items()}
    wanted_rois = training["ext_rois"][0]
    n_used = np.count_nonzero(np.any(wanted_rois != 0, axis=1))
    assert made["is_used"].sum() == n_used == 150
    n_positive = np.count_nonzero(training["ext_target_class_ids"][0])
    assert np.count_nonzero(made["class_ids"]) == n_positive > 20
    for slot in np.flatnonzero(made["is_used"]):
        row = np.abs(wanted_rois - made["rois"][slot]).max(1).argmin()
        np.testing.assert_allclose(made["rois"][slot], wanted_rois[row], atol=1e-6)
        assert made["class_ids"][slot] == training["ext_target_class_ids"][0, row]
        if made["class_ids"][slot]:
            wanted = training["ext_target_bbox"][0, row]
            np.testing.assert_allclose(made["deltas"][slot], wanted, atol=1e-3)
            differs = made["masks"][slot] != training["ext_target_mask"][0, row]
            assert differs.mean() < 0.01


@pytest.fixture(scope="module")
def take_step(network, weights_file, training, inputs, found):
    """Yield what trains the heads for one step. (After `found`: weights change.)

    It returns the five losses, weight decay, their sum and the norm of the gradients before it.
    """
    model = network.model
    config = TrainConfig(
        model=CONFIG,
        optimizer=OptimizerConfig(name="sgd", momentum=0.9, clip_norm=5.0),
        schedule=(StageConfig(until_epoch=10, learning_rate=1e-3, layers="heads"),),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "target_settings", TargetConfig(has_proposal_gradient=True))
        patch.setattr(model, "propose", given_proposals(model.propose, training["ext_rpn_rois"]))
        patch.setattr("astro_rcnn.model.anchor_targets", lambda *_, **__: anchor_truth(training))
        compile_for_segment(model, config, 0, "heads")
        norm = record_gradient_norm(model.optimizer)

        def step() -> np.ndarray:
            model.reset_metrics()
            logs = model.train_on_batch(inputs, return_dict=True)
            five = [float(logs[name]) for name in LOSS_NAMES]
            total = float(logs["loss"])
            return np.array([*five, total - sum(five), total, float(norm.value)])

        yield step


@pytest.fixture(scope="module")
def first_step(take_step) -> np.ndarray:
    """Return what the first step says."""
    return take_step()


def given_proposals(propose, given: np.ndarray):
    """Put the values of given proposals into the place of the network's own.

    The reference's were fed into its finished graph. Gradients had been derived from that graph
    before: the box loss pulls at the proposals that the network itself makes.
    """

    def replaced(*arguments, **options):
        own = propose(*arguments, **options)
        return keras.ops.array(given) + (own - keras.ops.stop_gradient(own))

    return replaced


def anchor_truth(training):
    """Return labels and deltas of all anchors as the reference's data generator drew them."""
    match = training["input_rpn_match"][..., 0]
    deltas = np.zeros((*match.shape, 4), np.float32)
    n_positive = (match == 1).sum()
    deltas[match == 1] = training["input_rpn_bbox"][0][:n_positive]
    return keras.ops.array(match), keras.ops.array(deltas)


def record_gradient_norm(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Have an optimiser keep the global norm of its latest gradients in a variable."""
    norm = optimizer.add_variable((), name="gradient_norm")
    apply = optimizer.apply

    def recording(gradients, trainable_variables=None):
        norm.assign(keras.ops.sqrt(sum(keras.ops.sum(g**2) for g in gradients)))
        return apply(gradients, trainable_variables)

    optimizer.apply = recording
    return norm


def test_the_five_losses(first_step, training):
    names = ("rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask")
    wanted = [training[f"ext_{name}_loss"] for name in names]
    np.testing.assert_allclose(first_step[:5], wanted, rtol=1e-4)


def test_sum_and_gradients_of_the_losses(first_step):
    np.testing.assert_allclose(first_step[6:], [4.95303, 224.66], rtol=1e-3)


def test_weight_decay_of_all_layers(found, training):
    assert found["reg_loss"] == pytest.approx(training["ext_reg_loss"], rel=1e-4)


@pytest.mark.slow
def test_heads_learn_as_the_reference_does(first_step, take_step, training):
    wanted = training["ext_heads_losses_after_steps_1_2_3"]
    steps = np.array([take_step() for _ in wanted])
    np.testing.assert_allclose(steps[:, :5], wanted[:, :5], rtol=1e-3)
    np.testing.assert_allclose(steps[:, 5], wanted[:, 5], atol=2e-6)
    np.testing.assert_allclose(steps[:, 6:], wanted[:, 6:], rtol=1e-3)
