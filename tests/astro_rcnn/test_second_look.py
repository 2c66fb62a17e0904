"""The second look at the class of a detection: cut-outs, weighing, training, the command."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from backends import compiled, numpy
from tiny_network import TINY_MODEL, blob_scene, write_blobs

from astro_io.errors import ConfigError, DatasetError
from astro_io.weights import resolve
from astro_rcnn import refine
from astro_rcnn.config import ModelConfig
from astro_rcnn.detection_layer import without_doubles
from astro_rcnn.detector import Detector
from astro_rcnn.model import build_model
from astro_rcnn.second_look import cut_outs, decide_again, in_chunks, look_again
from astro_rcnn.second_look_fit import (
    LookFinder,
    Looks,
    LookSettings,
    collect,
    fit_second_look,
    true_classes,
)
from astro_rcnn.weights_file import load_into, read_weights, save_weights

pytestmark = pytest.mark.backend

SIDE = 9
LOOKING = replace(TINY_MODEL, second_look_px=SIDE, min_confidence=0.0)


def test_cut_outs_hold_the_pixels_around_a_point_and_sky_outside():
    images = np.arange(2 * 12 * 10 * 2, dtype=np.float32).reshape(2, 12, 10, 2)
    centres = np.array([[(5.5, 4.5), (5.99, 4.0)], [(0.2, 9.9), (50.0, -3.0)]], np.float32)
    cut = numpy(compiled(lambda i, c: cut_outs(i, c, 5))(images, centres))
    assert cut.shape == (2, 2, 5, 5, 2)
    np.testing.assert_array_equal(cut[0, 0], images[0, 3:8, 2:7])
    np.testing.assert_array_equal(cut[0, 1], cut[0, 0])
    np.testing.assert_array_equal(cut[1, 0, 2:, :3], images[1, :3, 7:])
    assert not cut[1, 0, :2].any() and not cut[1, 0, :, 3:].any()
    np.testing.assert_array_equal(cut[1, 1, 2, 2], images[1, 11, 0])  # held to the image


def found_three():
    """A star that may be a galaxy, a sure galaxy, a star that is hardly a source; one row free."""
    star, galaxy, far, none = (2, 2, 6, 6), (3, 3, 5, 5), (7, 7, 9, 9), (0, 0, 0, 0)
    boxes = [[none, star, galaxy], [none, far, far], [none, star, star], [none, none, none]]
    return {
        "boxes": np.array([[star, far, star, none]], np.float32),
        "class_ids": np.array([[1, 2, 1, 0]], np.int32),
        "scores": np.array([[0.9, 0.8, 0.3, 0.0]], np.float32),
        "probabilities": np.array(
            [[(0.0, 0.9, 0.1), (0.1, 0.1, 0.8), (0.6, 0.3, 0.1), (0, 0, 0)]], np.float32
        ),
        "class_boxes": np.array([boxes], np.float32),
        "roi_index": np.array([[4, 5, 6, 0]], np.int32),
        "is_full": np.array([False]),
    }


def looked_at(factors=((1.0, 1.0),) * 4):
    """Look again at the three; each class's probability is worth so many times as much."""
    images, centres = np.zeros((1, 16, 16, 2), np.float32), np.full((1, 4, 2), 8, np.float32)
    added, found = np.log(np.array(factors, np.float32)), found_three()
    again = look_again(lambda _: added, images, centres, found["probabilities"], side=SIDE)
    return decide_again(found, again, found["class_boxes"])


@pytest.mark.parametrize("n_used", [0, 3, 4, 7, 10])
def test_only_rows_in_use_are_looked_at(n_used):
    first, second = np.arange(20.0).reshape(2, 10), np.arange(40.0).reshape(2, 10, 2)

    def run(first, second, n):
        return in_chunks(lambda a, b: (-a - 1, 2 * b + 1), (first, second), n, size=4)

    new = compiled(run)(np.float32(first), np.float32(second), np.int32(n_used))
    n = min(10, 4 * int(np.ceil(n_used / 4)))
    np.testing.assert_array_equal(numpy(new[0])[:, :n], -first[:, :n] - 1)
    np.testing.assert_array_equal(numpy(new[1])[:, :n], 2 * second[:, :n] + 1)
    np.testing.assert_array_equal(numpy(new[0])[:, n:], first[:, n:])
    np.testing.assert_array_equal(numpy(new[1])[:, n:], second[:, n:])


def test_class_box_score_and_order_follow_the_second_look():
    seen = looked_at([(1 / 9, 3.0), *[(1.0, 1.0)] * 3])
    seen = {name: numpy(value) for name, value in seen.items()}
    # 0.9 / 9 against 0.1 * 3: a galaxy of 0.75, behind that of 0.8.
    assert seen["class_ids"].tolist() == [[2, 2, 1, 0]]
    np.testing.assert_allclose(seen["scores"], [[0.8, 0.75, 0.3, 0]], atol=1e-5)
    np.testing.assert_array_equal(seen["boxes"][0, 1], (3, 3, 5, 5))
    assert seen["roi_index"].tolist() == [[5, 4, 6, 0]]
    np.testing.assert_allclose(seen["probabilities"][0, 1], (0, 0.25, 0.75), atol=1e-5)
    assert not seen["is_full"][0] and not seen["boxes"][0, 3:].any()


def test_how_probably_it_is_a_source_stays():
    seen = looked_at([(5.0, 1.0), (1.0, 9.0), (1.0, 3.0), (1.0, 1.0)])
    seen = {name: numpy(value) for name, value in seen.items()}
    # The order is that of the new scores; each still has the background that it had.
    background = np.sort(seen["probabilities"][0, :3, 0])
    np.testing.assert_allclose(background, (0.0, 0.1, 0.6), atol=1e-6)
    np.testing.assert_allclose(seen["probabilities"][0, :3].sum(axis=1), 1, atol=1e-5)


def test_of_two_in_one_place_the_better_stays():
    seen = looked_at()
    alone = {name: numpy(value) for name, value in without_doubles(seen, fraction=0.25).items()}
    assert alone["class_ids"].tolist() == [[1, 2, 0, 0]]  # the third lay where the first lies
    np.testing.assert_allclose(alone["scores"], [[0.9, 0.8, 0, 0]], atol=1e-5)
    assert not alone["boxes"][0, 2:].any()
    assert without_doubles(seen, fraction=0.0) is seen


def without_box_deltas(config, deltas=(0.0,) * 12):
    """Return a network whose class head moves each class's box by the same, whatever it sees."""
    model = build_model(config, seed=3)
    last = model.class_head.get_layer("mrcnn_bbox_fc")
    last.kernel.assign(0.0 * last.kernel)
    last.bias.assign(deltas)
    return model


def test_an_untrained_second_look_changes_no_class():
    """Nor a box that the first head leaves where it is."""
    plain = without_box_deltas(replace(LOOKING, second_look_px=0))
    looking = without_box_deltas(LOOKING)
    named = {w.path: w for w in plain.weights}
    for weight in looking.weights:
        if weight.path in named:
            weight.assign(named[weight.path])
    scene = blob_scene([(20.0, 30.0, 1.3), (44.0, 12.0, 2.6)])
    expected, seen = (Detector(m).detect(scene.image.pixels) for m in (plain, looking))
    assert len(expected) > 0
    np.testing.assert_allclose(seen.boxes, expected.boxes, atol=1e-4)
    np.testing.assert_allclose(seen.probabilities, expected.probabilities, atol=1e-5)


def test_boxes_of_all_classes_are_fitted_once_more():
    """By the deltas of their own class: a star's moves down by a tenth of its height."""
    model = without_box_deltas(LOOKING, [0] * 4 + [1.0, 0, 0, 0] + [0, 0, np.log(2) / 0.2, 0])
    pyramid = model.pyramid(np.zeros((1, 64, 64, 3), np.float32))
    boxes = np.zeros((1, 2, 3, 4), np.float32)
    boxes[0, 0] = (0.2, 0.2, 0.4, 0.4)
    moved = numpy(model.fit_boxes(pyramid, boxes, np.float32([[0, 0, 0.44, 1]]), (64, 64)))
    np.testing.assert_allclose(moved[0, 0, 0], boxes[0, 0, 0])  # background
    np.testing.assert_allclose(moved[0, 0, 1], (0.22, 0.2, 0.42, 0.4), atol=1e-6)
    np.testing.assert_allclose(moved[0, 0, 2], (0.1, 0.2, 0.44, 0.4), atol=1e-6)  # at the window
    assert not moved[0, 1].any()


def test_a_detection_is_the_brightest_of_what_lies_at_its_middle():
    scene = blob_scene([(20.0, 30.0, 1.3), (21.0, 30.0, 2.6), (50.0, 50.0, 2.6)])
    scene.catalog["snr"] = [100.0, 5.0, 20.0]
    centres = np.array([[30.5, 21.4], [30.5, 21.49], [50.5, 52.4], [50.5, 53.0], [5.0, 5.0]])
    scene.catalog["half_light_radius"] = [0.0, 1.0, 1.0]
    boxes = np.concatenate([centres - (3, 2), centres + (3, 2)], axis=1)
    assert true_classes(scene, boxes).tolist() == [1, 1, 2, 0, 0]
    assert true_classes(scene, np.zeros((0, 4))).tolist() == []
    # A large box may lie less well: a quarter of it, 2.6 px, here.
    assert true_classes(scene, np.array([[45.5, 47.5, 55.5, 58.5]])).tolist() == [2]
    # A large source is still itself at some distance; here 2.5 of 3 px.
    scene.catalog["half_light_radius"] = [0.0, 1.0, 3.0]
    assert true_classes(scene, boxes).tolist() == [1, 1, 2, 2, 0]


def some_looks(n: int = 600) -> Looks:
    """Points and blobs that the first head takes for galaxies, whatever they are."""
    rng = np.random.default_rng(5)
    class_ids = rng.integers(1, 3, n).astype(np.int32)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    sigma = np.where(class_ids == 1, 1.0, 2.2)[:, None, None]
    blobs = 6 * np.exp(-(y**2 + x**2) / (2 * sigma**2)) + rng.normal(0, 0.5, (n, SIDE, SIDE))
    first = np.log(np.tile(np.float32([0.1, 0.2, 0.7]), (n, 1)))
    aside = np.arange(n) % 5 == 0
    pixels = np.repeat(blobs[..., None], 2, axis=3).astype(np.float16)
    return Looks(pixels, first, class_ids, aside)


def test_it_learns_what_the_first_head_cannot_see(tmp_path):
    looks = some_looks()
    settings = LookSettings(side=SIDE, epochs=8, batch_size=32, seed=1)
    _, facts = fit_second_look(looks, settings, output=tmp_path)
    expected = 100 * np.mean(looks.class_ids[looks.is_aside] == 2)
    assert facts["right_before"] == pytest.approx(expected, abs=1e-3)
    assert facts["right_after"] > 95 and facts["loss_after"] < 0.3 * facts["loss_before"]
    assert facts["n"] == 120 and facts["n_learnt_from"] == 480
    assert (tmp_path / "second_look.csv").read_text().count("\n") == 9


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that call every region a galaxy, rather, and look at many; with their record."""
    folder = tmp_path_factory.mktemp("weights")
    limits = {"pre_nms_limit": 2000, "post_nms_inference": 800, "max_detections": 300}
    crowded = {"rpn_nms_iou": 0.9, "detection_nms_iou": 0.9, "min_confidence": 0.1}
    model = build_model(replace(TINY_MODEL, **limits, **crowded), seed=1)
    logits = model.class_head.get_layer("mrcnn_class_logits")
    logits.kernel.assign(0.0 * logits.kernel)
    logits.bias.assign([0.0, 1.0, 2.0])
    path = folder / "tiny.weights.h5"
    save_weights(model, path, metadata={"name": "tiny", "steps": 3})
    (folder / "tiny.entry.toml").write_text('[tiny]\nfile = "tiny.weights.h5"\nseed = 4\n')
    return path


@pytest.fixture(scope="module")
def refined(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    dataset = write_blobs(folder / "a.h5", 20, n_sources=8)
    line = ["--weights", str(weights), "--dataset", str(dataset), "--output", str(folder / "out")]
    assert refine.main([*line, "--side", str(SIDE), "--epochs", "2", "-q"]) == 0
    return line, folder / "out"


def test_the_command_adds_the_second_look_and_leaves_the_rest(refined, weights):
    settings, tensors, metadata = read_weights(refined[1] / "tiny.weights.h5")
    before, old, _ = read_weights(weights)
    assert settings == replace(before, second_look_px=SIDE)
    for name, value in old.items():
        np.testing.assert_array_equal(tensors[name], value)
    added = {name.split("/")[0] for name in set(tensors) - set(old)}
    assert added and all(name.startswith("look_") for name in added)
    assert metadata["steps"] == 3 and metadata["second_look"]["sets"] == ["a.h5"]
    detector = Detector.load(refined[1] / "tiny.weights.h5", max_detections=5)
    assert len(detector.detect(blob_scene([(30.0, 30.0, 1.3)]).image.pixels)) <= 5


def test_the_record_goes_along(refined):
    entry = tomllib.loads((refined[1] / "tiny.entry.toml").read_text())["tiny"]
    path, found = resolve(refined[1] / "tiny.weights.h5")
    assert found.sha256 == entry["sha256"] and entry["seed"] == 4 and path.name == entry["file"]


def test_it_is_taught_anew_in_place_of_an_older_one(refined, tmp_path):
    line = refined[0].copy()
    line[1], line[-1] = str(refined[1] / "tiny.weights.h5"), str(tmp_path)
    line += ["--side", "11", "--epochs", "1", "--name", "other", "--min-score", "0.3", "-q"]
    assert refine.main(line) == 0
    settings, tensors, _ = read_weights(tmp_path / "other.weights.h5")
    assert settings.second_look_px == 11 and settings.min_confidence == 0.3
    entry = tomllib.loads((tmp_path / "other.entry.toml").read_text())["other"]
    assert entry["thresholds"]["min_confidence"] == 0.3
    assert entry["file"] == "other.weights.h5"
    assert entry["n_parameters"] == sum(value.size for value in tensors.values())
    model = build_model(settings)
    assert load_into(model, tmp_path / "other.weights.h5").loaded
    assert len(tensors) == len(read_weights(line[1])[1])


def test_it_begins_with_that_of_other_weights(refined, weights, tmp_path, capsys):
    line = [*refined[0][:-1], str(tmp_path), "--side", str(SIDE), "--epochs", "1", "-q"]
    ours = str(refined[1] / "tiny.weights.h5")
    assert refine.main([*line, "--begin-with", ours]) == 0
    _, _, metadata = read_weights(tmp_path / "tiny.weights.h5")
    _, _, before = read_weights(ours)
    now, then = metadata["second_look"], before["second_look"]
    assert now["loss_before"] == pytest.approx(then["loss_after"], rel=1e-3)
    assert now["began_with"] == "tiny.weights.h5" and then["began_with"] == "random"
    for start, message in ((str(weights), "has no second look"), (ours, "shape differs")):
        other = [*line[:-5], "--side", "25", "--overwrite", "--begin-with", start]
        assert refine.main(other) == 2
        assert message in capsys.readouterr().err


def test_training_goes_on_from_such_weights_without_it(refined):
    report = load_into(build_model(TINY_MODEL), refined[1] / "tiny.weights.h5")
    assert report.ignored and all(name.startswith("look_") for name in report.ignored)
    assert not report.left_out


def test_results_are_not_overwritten_by_accident(refined, capsys):
    assert refine.main([*refined[0], "-q"]) == 2
    assert "tiny.weights.h5 exists. Pass --overwrite" in capsys.readouterr().err


def test_too_few_scenes_are_refused(weights, tmp_path):
    from astro_io.dataset import open_dataset

    scenes = open_dataset(write_blobs(tmp_path / "few.h5", 3))
    with pytest.raises(
        DatasetError, match=r"every class set aside; found 0, 0 of star, galaxy in 3 scenes"
    ):
        collect(LookFinder(weights, SIDE), [scenes])


def test_a_cut_out_too_small_is_refused():
    with pytest.raises(ConfigError, match="second_look_px must be 0, or at least 8 pixels"):
        ModelConfig(second_look_px=5)
