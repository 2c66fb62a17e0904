"""Engines against each other, on a network small enough to translate in a test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import BackendError, ConfigError
from astro_rcnn import engine
from astro_rcnn.detect import _parser
from astro_rcnn.detector import Detector
from astro_rcnn.engine import ENGINES, cache_folder, check_engine, install_engine
from astro_rcnn.model import build_model

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None or keras.backend.backend() != "tensorflow",
    reason="needs openvino (pip install openvino) and the TensorFlow backend",
)

# All that the heads call a source, however unsure: a network of random weights is unsure.
MODEL = replace(TINY_MODEL, min_confidence=0.0)
SHAPES = [(64, 96), (96, 64), (50, 70)]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep translated networks out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield cache_folder()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(8)
    return [rng.normal(100, 10, (*shape, 3)).astype(np.float32) for shape in SHAPES]


def detector(name: str, *, seed: int = 1) -> Detector:
    model = build_model(MODEL, seed=seed)
    install_engine(model, name)
    return Detector(model)


@needs_openvino
def test_openvino_finds_what_keras_finds_in_images_of_any_shape(images):
    expected = detector("keras").detect_batch(images)
    found = detector("openvino").detect_batch(images)
    assert [len(part) for part in found] == [len(part) for part in expected]
    assert min(len(part) for part in found) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.class_ids, theirs.class_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)
        same = [
            np.array_equal(box, other) and np.array_equal(mask, truth)
            for box, other, mask, truth in zip(
                ours.mask_boxes, theirs.mask_boxes, ours.masks, theirs.masks, strict=True
            )
        ]
        assert np.mean(same) > 0.9  # one pixel at probability 0.5 may fall to either side


@needs_openvino
def test_an_earlier_result_outlives_the_next_run(images):
    tiles = detector("openvino")
    first, second = images[0], images[0][::-1]
    alone = tiles.detect(first)
    kept = alone.boxes.copy(), alone.scores.copy()
    tiles.detect(second)
    np.testing.assert_array_equal(alone.boxes, kept[0])
    np.testing.assert_array_equal(tiles.detect(first).scores, kept[1])


@needs_openvino
def test_a_translation_is_kept_and_new_weights_get_their_own(cache):
    network = build_model(MODEL, seed=2).rpn
    file = engine.translate(network)
    written = file.stat().st_mtime_ns
    assert engine.translate(network) == file
    assert file.stat().st_mtime_ns == written
    weight = network.weights[0]
    weight.assign(weight + 1e-3)
    other = engine.translate(network)
    assert other.parent != file.parent
    assert other.parent.parent == file.parent.parent == cache
    assert not list(cache.glob(".part-*"))


@needs_openvino
def test_a_damaged_translation_says_what_to_delete():
    network = build_model(MODEL, seed=3).rpn
    file = engine.translate(network)
    file.write_text("not a network")
    with pytest.raises(BackendError, match=rf"Delete the folder {file.parent} and run again\."):
        engine.OpenVINONetwork(network)


@needs_openvino
def test_brain_floats_agree_to_their_precision():
    abilities = engine._openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in abilities:
        pytest.skip("this processor has no brain-float arithmetic")
    network = build_model(MODEL, seed=4).features
    image = np.random.default_rng(0).normal(size=(1, 64, 32, 3)).astype(np.float32)
    exact = [keras.ops.convert_to_numpy(level) for level in network(image)]
    rough = engine.OpenVINONetwork(network, precision="bf16")(keras.ops.convert_to_tensor(image))
    assert len(rough) == len(exact)
    for ours, theirs in zip(rough, exact, strict=True):
        difference = np.abs(np.asarray(ours) - theirs).max()
        assert 0 < difference < 0.05 * np.abs(theirs).max()  # 8 bits, a dozen layers


@needs_openvino
def test_openvino_is_imported_without_a_report_to_its_makers(tmp_path):
    program = (
        "import os, sys\n"
        "from astro_rcnn.engine import _openvino\n"
        "_openvino()\n"
        "assert 'openvino' in sys.modules and 'CI' not in os.environ"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path), "KERAS_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()  # its identifier of this user


def test_the_import_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("CI", "mine")
    with engine._without_usage_reports():
        assert os.environ["CI"] == "true"
    assert os.environ["CI"] == "mine"


def test_unknown_engine_is_refused_before_weights_are_read():
    with pytest.raises(ConfigError, match="expected one of keras, openvino, openvino-bf16"):
        Detector.load("no-such-weights", engine="onnx")


def test_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs OpenVINO \(pip install openvino\)"):
        check_engine("openvino")


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: name)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(BackendError, match="TensorFlow backend; found jax. Set KERAS_BACKEND"):
        check_engine("openvino")
    check_engine("keras")


def test_brain_floats_are_refused_where_the_processor_has_none(monkeypatch):
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setattr(engine, "_openvino", lambda: SimpleNamespace(Core=lambda: core))
    monkeypatch.setattr(engine, "find_spec", lambda name: name)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(BackendError, match="no brain-float arithmetic; use --engine openvino"):
        check_engine("openvino-bf16")
    check_engine("openvino")


def test_the_command_offers_every_engine():
    flag = next(action for action in _parser()._actions if action.dest == "engine")
    assert tuple(flag.choices) == ENGINES
