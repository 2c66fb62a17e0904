"""The command: a temperature is fitted, stored with the weights, and used to detect."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from tiny_network import TINY_MODEL, write_blobs

from astro_io.weights import resolve
from astro_rcnn import calibrate
from astro_rcnn.calibration import apply_temperature, shift_score
from astro_rcnn.detection_layer import refine_detections
from astro_rcnn.model import build_model
from astro_rcnn.weights_file import read_weights, save_weights

SURE = replace(TINY_MODEL, min_confidence=0.6, temperature=2.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that call every region a source, with their record."""
    folder = tmp_path_factory.mktemp("weights")
    model = build_model(SURE, seed=1)
    logits = model.class_head.get_layer("mrcnn_class_logits")
    logits.kernel.assign(0.0 * logits.kernel)
    logits.bias.assign([0.0, 1.0, 3.0])
    path = folder / "tiny.weights.h5"
    save_weights(model, path)
    (folder / "tiny.entry.toml").write_text(
        '[tiny]\nfile = "tiny.weights.h5"\n[tiny.thresholds]\nmin_confidence = 0.6\n'
    )
    return path


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    dataset = write_blobs(folder / "validation.h5", 2)
    arguments = ["--weights", str(weights), "--dataset", str(dataset), "--output"]
    code = calibrate.main([*arguments, str(folder / "out"), "-q", "--min-score", "0"])
    assert code == 0
    return arguments, folder / "out"


def test_the_temperature_is_stored_with_the_weights(run, weights):
    settings, tensors, metadata = read_weights(run[1] / "tiny.weights.h5")
    fit = metadata["calibration"]
    assert settings.temperature == fit["temperature"] > 1.0  # most of them are wrong
    assert fit["n"] > 0 and fit["error_after"] < fit["error_before"]
    assert fit["dataset"] == "validation.h5" and fit["n_images"] == 2
    for name, value in read_weights(weights)[1].items():
        np.testing.assert_array_equal(tensors[name], value)


def test_the_least_score_moves_along(run):
    """0.6 at temperature 2 was sigmoid(2 ln 1.5) = 9/13 of the scores as they are."""
    settings, _, _ = read_weights(run[1] / "tiny.weights.h5")
    expected = shift_score(9 / 13, settings.temperature)
    assert settings.min_confidence == pytest.approx(expected, abs=1e-4)


def test_the_record_describes_the_new_file(run):
    entry = tomllib.loads((run[1] / "tiny.entry.toml").read_text())["tiny"]
    path, found = resolve(run[1] / "tiny.weights.h5")
    assert found.sha256 == entry["sha256"] and path.name == entry["file"]
    assert entry["thresholds"]["temperature"] > 1.0


def test_results_are_not_overwritten_by_accident(run, capsys):
    arguments, output = run
    assert calibrate.main([*arguments, str(output), "-q"]) == 2
    assert "exists. Pass --overwrite" in capsys.readouterr().err


def test_settings_are_changed_on_the_way(run, tmp_path):
    arguments, _ = run
    options = ["-q", "--min-score", "0", "--set", "max_detections=3"]
    assert calibrate.main([*arguments, str(tmp_path), *options]) == 0
    settings, _, metadata = read_weights(tmp_path / "tiny.weights.h5")
    assert settings.max_detections == 3 and metadata["calibration"]["n"] <= 6


def test_settings_that_the_weights_do_not_fit_are_refused(run, tmp_path, capsys):
    arguments, _ = run
    assert calibrate.main([*arguments, str(tmp_path), "-q", "--set", "fpn_width=17"]) != 0
    assert calibrate.main([*arguments, str(tmp_path), "-q", "--set", "max_detection=1"]) == 2
    assert "max_detections" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_weights_with_a_second_look_are_refused(run, tmp_path, capsys):
    path = tmp_path / "looks.weights.h5"
    save_weights(build_model(replace(SURE, second_look_px=9), seed=1), path)
    arguments = ["--weights", str(path), *run[0][2:], str(tmp_path / "out")]
    assert calibrate.main(arguments) == 2
    assert "looks.weights.h5: expected weights that look once" in capsys.readouterr().err


def test_nothing_to_fit_is_said(weights, tmp_path, capsys):
    dataset = write_blobs(tmp_path / "set.h5", 1)
    arguments = ["--weights", str(weights), "--dataset", str(dataset), "--output", str(tmp_path)]
    assert calibrate.main([*arguments, "-q", "--min-score", "0.99"]) == 2
    assert "no detection in 1 images: nothing to fit" in capsys.readouterr().err


def test_detection_divides_logits_by_the_temperature():
    rois = np.array([[[0.1, 0.1, 0.4, 0.4]]], np.float32)
    logits = np.array([[[0.0, 1.0, 3.0]]], np.float32)
    deltas, window = np.zeros((1, 1, 3, 4), np.float32), np.array([0, 0, 1, 1], np.float32)
    plain, cool = (
        np.asarray(
            refine_detections(
                rois, logits, deltas, window, replace(TINY_MODEL, temperature=t, min_confidence=0.0)
            )["probabilities"][0, 0]
        )
        for t in (1.0, 2.0)
    )
    np.testing.assert_allclose(cool, apply_temperature(plain, 2.0), rtol=1e-5)
    assert json.dumps(float(cool[2])) != json.dumps(float(plain[2]))
