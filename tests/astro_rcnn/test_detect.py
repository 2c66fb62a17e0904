from __future__ import annotations

import re
import subprocess
import sys
import time

import numpy as np
import pytest
from detection_fields import ThresholdDetector, random_field, write_folder

import astro_rcnn.survey as survey
from astro_io.catalog import read_catalog
from astro_rcnn import detect

# printf numbers | sha256sum
SHA256 = "f3c7807d475073ba009bf4801b2d934e9f0126cb96dd19a27dbffcae23a7f5a3"


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """A registry with one file of weights, and a detector without network in place of it."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "grz.weights.h5").write_bytes(b"numbers")
    (folder / "registry.toml").write_text(
        f'[threshold]\nfile = "grz.weights.h5"\nbands = ["g", "r", "z"]\nsha256 = "{SHA256}"\n'
    )
    monkeypatch.setenv("ASTRO_WEIGHTS_DIR", str(folder))
    monkeypatch.setattr(survey, "load_network", lambda config: ThresholdDetector())
    survey._loaded.clear()


@pytest.fixture
def folder(tmp_path, rng):
    return write_folder(tmp_path / "field", random_field(rng, (100, 120), 8)[0])


def run(*arguments):
    return detect.main([*map(str, arguments), "--weights", "threshold", "--no-overlay"])


def test_help_is_quick_and_needs_no_keras():
    program = (
        "import sys\n"
        "for name in ('keras', 'tensorflow', 'jax', 'torch', 'dask', 'distributed'):\n"
        "    sys.modules[name] = None\n"
        "from astro_rcnn.detect import main\n"
        "main(['--help'])\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    for flag in (
        "--output", "--weights", "--bands", "--min-score", "--nms", "--tile", "--overlap",
        "--max-detections", "--scheduler", "--engine", "--align", "--format", "--no-overlay",
        "--overwrite", "--seed", "--quiet", "--verbose", "--debug",
    ):  # fmt: skip
        assert flag in done.stdout
    assert seconds < 3  # 0.15 s on an idle machine


def test_importing_the_survey_loads_no_network_library():
    program = (
        "import sys, astro_rcnn.survey, astro_rcnn.measure, astro_rcnn.overlay\n"
        "assert not {'keras', 'tensorflow', 'jax', 'distributed', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_image_gives_one_line_and_exit_0(folder, tmp_path, capsys):
    assert run(folder, "--output", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert re.fullmatch(
        r"1 image done: 8 sources \(\d star, \d galaxy\), [\d.]+ s, in .*out\n", out
    )
    assert len(read_catalog(tmp_path / "out" / "field.catalog.fits")) == 8


def test_the_same_line_again_skips(folder, tmp_path, capsys):
    run(folder, "--output", tmp_path / "out")
    capsys.readouterr()
    assert run(folder, "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("0 images done, 1 finished before, ")


def test_one_bad_image_of_two_is_exit_1(folder, tmp_path, capsys):
    (tmp_path / "bad.fits").write_bytes(b"no image")
    assert run(folder, tmp_path / "bad.fits", "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1 image done, 1 failed: 8 sources")
    assert "bad.fits" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.fits"], "nowhere.fits: no such file or folder"),
        (["{folder}", "--tile", "64", "--overlap", "64"], "Change --tile or --overlap"),
        (["{folder}", "--min-score", "7"], "--min-score: expected a number from 0 to 1"),
        (["{folder}", "--max-detections", "0"], "--max-detections: expected at least 1, found 0"),
        (["{folder}", "{folder}"], "would both be written as field.*"),
        (["{folder}", "--bands", "g,r"], "expected bands g, r, z of threshold; found g, r."),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(folder, tmp_path, capsys, arguments, message):
    arguments = [argument.format(folder=folder) for argument in arguments]
    assert run(*arguments, "--output", tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_weights_are_refused_by_name(folder, tmp_path, capsys):
    arguments = [str(folder), "--output", str(tmp_path / "out"), "--weights", "thresh-old"]
    assert detect.main(arguments) == 2
    assert "unknown weights 'thresh-old'; did you mean 'threshold'?" in capsys.readouterr().err


def test_results_in_the_way_are_refused_before_anything_is_loaded(
    folder, tmp_path, capsys, monkeypatch
):
    run(folder, "--output", tmp_path / "out")
    monkeypatch.setattr(survey, "load_network", lambda config: pytest.fail("loaded"))
    assert run(folder, "--output", tmp_path / "out", "--overlap", 32) == 2
    assert "made from other files or with other settings" in capsys.readouterr().err


def test_an_unfit_image_is_refused_before_the_network_is_loaded(tmp_path, rng, capsys, monkeypatch):
    monkeypatch.setattr(survey, "load_network", lambda config: pytest.fail("loaded"))
    two = write_folder(tmp_path / "two", [rng.normal(5, 1, (40, 50)) for _ in "gr"], "gr")
    assert run(two, "--output", tmp_path / "out") == 2
    assert "two: expected bands g, r, z of threshold; found g, r." in capsys.readouterr().err


def test_bands_may_be_given_in_any_order(folder, tmp_path):
    assert run(folder, "--output", tmp_path / "out", "--bands", "z,g,r") == 0
    names = read_catalog(tmp_path / "out" / "field.catalog.fits").colnames
    assert [name for name in names if re.fullmatch("flux_[grz]", name)] == [
        "flux_g", "flux_r", "flux_z",
    ]  # fmt: skip


def test_the_limit_for_crowded_fields_reaches_the_network(folder, tmp_path, monkeypatch):
    asked = []
    load = lambda config: asked.append(config.max_detections) or ThresholdDetector()  # noqa: E731
    monkeypatch.setattr(survey, "load_network", load)
    assert run(folder, "--output", tmp_path / "out", "--max-detections", "3000") == 0
    assert asked == [3000]


def test_a_band_given_twice_is_refused(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(folder, "--output", tmp_path / "out", "--bands", "g,g,r")
    assert stop.value.code == 2
    assert "expected names such as g,r,z, each once" in capsys.readouterr().err


def test_named_files_make_an_image(tmp_path, rng):
    folder = write_folder(tmp_path / "night", random_field(rng, (80, 90), 4)[0])
    spec = ",".join(f"{band}={folder}/img_{band}.fits" for band in "grz")
    assert run(spec, "--output", tmp_path / "out") == 0
    assert len(read_catalog(tmp_path / "out" / "night.catalog.fits")) == 4


def test_weights_given_as_a_file_are_known_by_their_hash(folder, tmp_path):
    path = tmp_path / "weights" / "grz.weights.h5"
    for weights in ("threshold", str(path)):
        arguments = [str(folder), "--output", str(tmp_path / "out"), "--no-overlay"]
        assert detect.main([*arguments, "--weights", weights]) == 0  # the second time skipped
    meta = read_catalog(tmp_path / "out" / "field.catalog.fits").meta
    assert meta["weights"] == "threshold"
    assert meta["weights_sha256"] == SHA256


def test_decals_demo_tile_end_to_end(shared_data, tmp_path):
    tile = shared_data / "sky" / "decals_dr7_ra197.860_dec-1.413"
    assert detect.main([str(tile), "--output", str(tmp_path), "--weights", "threshold"]) == 0
    name = tile.name
    table = read_catalog(tmp_path / f"{name}.catalog.fits")
    assert 60 < len(table) < 130  # SEP finds 94 in r
    assert np.all(np.isfinite(table["ra"]) & np.isfinite(table["snr"]))
    assert (tmp_path / f"{name}.overlay.png").read_bytes()[:4] == b"\x89PNG"
