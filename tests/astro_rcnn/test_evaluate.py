"""The command, its files and figures; the network is replaced by one that knows the truth."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from evaluation_scenes import BANDS, TruthTeller, random_scene

from astro_io.dataset import DatasetWriter, open_dataset
from astro_rcnn import evaluate


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Return the path of a set of two small scenes."""
    path = tmp_path_factory.mktemp("data") / "test.h5"
    rng = np.random.default_rng(3)
    with DatasetWriter(path, bands=BANDS, attributes={"preset": "tiny", "seed": 3}) as writer:
        for index in range(2):
            writer.write(random_scene(rng, index=index))
    return path


class Loader:
    """Stands for Detector: keeps what it was loaded with."""

    def __init__(self, dataset):
        self.dataset, self.calls = dataset, []

    def load(self, weights, **overrides):
        self.calls.append((weights, overrides))
        return TruthTeller(list(open_dataset(self.dataset)))


def put_in_place_of_the_network(stand_in, monkeypatch):
    """Have the command load `stand_in`, without importing Keras."""
    module = type(sys)("astro_rcnn.detector")
    module.Detector = stand_in
    monkeypatch.setitem(sys.modules, "astro_rcnn.detector", module)
    monkeypatch.setattr("astro_rcnn.detector", module, raising=False)


@pytest.fixture
def loader(dataset, monkeypatch):
    """Return what stands for Detector."""
    stand_in = Loader(dataset)
    put_in_place_of_the_network(stand_in, monkeypatch)
    return stand_in


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """Return the folder, the printed lines and the loader of one run of the command."""
    folder, stand_in, printed = (
        tmp_path_factory.mktemp("run") / "out",
        Loader(dataset),
        io.StringIO(),
    )
    arguments = ["--weights", "w", "--dataset", str(dataset), "--output", str(folder)]
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(printed):
        put_in_place_of_the_network(stand_in, monkeypatch)
        assert evaluate.main([*arguments, "--quiet", "--examples", "1"]) == 0
    return folder, printed.getvalue().splitlines(), stand_in


def test_writes_metrics_tables_and_figures(run):
    folder, _, loader = run
    options = {"min_confidence": 0.05, "max_detections": None, "other_classes_below": 0.5}
    assert loader.calls == [("w", options)]
    assert {path.name for path in folder.iterdir()} == {
        "metrics.json", "truth.fits", "detections.fits", "example_0.png", "precision_recall.png",
        "confusion.png", "completeness.png", "deblending.png", "scores.png",
        "precision_by_iou.png", "bright_stars.png", "large_galaxies.png",
    }  # fmt: skip


def test_metrics_are_those_of_the_contract(run):
    metrics = json.loads((run[0] / "metrics.json").read_text())
    assert metrics["paper"]["combined"]["AP"] == 100
    assert metrics["paper"]["star"]["AP_L"] is None
    assert metrics["weights"] == "truth-teller" and metrics["dataset"] == "test.h5"
    assert metrics["dataset_attributes"] == {"preset": "tiny", "seed": 3}
    assert metrics["sep"]["completeness"]["position"]["all"] > 90


def test_prints_the_table_and_one_line(run):
    folder, printed, _ = run
    assert printed[0].startswith("Average precision")
    assert printed[-1].startswith("2 images, ") and printed[-1].endswith(str(folder))


def test_pictures_are_no_blank_sheets(run):
    from matplotlib.image import imread

    for path in run[0].glob("*.png"):
        picture = imread(path)[..., :3]
        assert min(picture.shape[:2]) > 300, path.name
        assert picture.std() > 0.05, path.name


def test_truth_table_says_what_became_of_each_source(run):
    from astropy.table import Table

    truth = Table.read(run[0] / "truth.fits")
    assert len(truth) == 24
    assert truth["is_found_iou"].all()
    np.testing.assert_array_equal(truth["found_class"], truth["class_id"])


def test_limit_and_no_sep(dataset, loader, tmp_path, capsys):
    code = evaluate.main(
        ["--dataset", str(dataset), "--output", str(tmp_path), "-q", "--limit", "1", "--no-sep"]
    )
    assert code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["n_images"] == 1 and "sep" not in metrics
    assert "SEP" not in capsys.readouterr().out


def test_crowded_fields_may_hold_more_detections(dataset, loader, tmp_path, capsys):
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path), "-q", "--limit", "1"]
    assert evaluate.main([*arguments, "--no-sep", "--max-detections", "3000"]) == 0
    (call,) = loader.calls
    options = {"min_confidence": 0.05, "max_detections": 3000, "other_classes_below": 0.5}
    assert call == ("decam-grz", options)


def test_a_source_may_answer_for_its_best_class_alone(dataset, loader, tmp_path):
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path), "-q", "--limit", "1"]
    assert evaluate.main([*arguments, "--no-sep", "--best-class"]) == 0
    assert loader.calls[0][1]["other_classes_below"] == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["best_class_alone"]


def test_an_earlier_result_is_not_replaced_unasked(dataset, loader, tmp_path, capsys):
    (tmp_path / "metrics.json").write_text("{}")
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path), "-q", "--no-sep"]
    assert evaluate.main(arguments) == 2
    assert "metrics.json exists. Pass --overwrite" in capsys.readouterr().err
    assert not loader.calls
    assert evaluate.main([*arguments, "--overwrite", "--examples", "0"]) == 0


def test_weights_for_any_band_are_scored_on_one(dataset, tmp_path, monkeypatch):
    class OneBand(TruthTeller):
        bands = ("any",)

        def detect(self, pixels, **options):
            assert pixels.shape[-1] == 1
            return super().detect(pixels, **options)

    class Load:
        @staticmethod
        def load(weights, **overrides):
            return OneBand([scene.select(("z",)) for scene in open_dataset(dataset)])

    put_in_place_of_the_network(Load, monkeypatch)
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path), "-q", "--examples", "0"]
    assert evaluate.main([*arguments, "--band", "z"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["paper"]["combined"]["AP"] == 100
    assert metrics["settings"]["band"] == "z"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--min-score", "1.5"], "--min-score: expected 0 to 1; found 1.5"),
        (["--min-score", "0.7"], "--min-score 0.7 is above --operating-score 0.5"),
        (["--limit", "0"], "--limit: expected at least 1; found 0"),
        (["--examples", "-1"], "--examples: expected at least 0; found -1"),
        (["--max-detections", "0"], "--max-detections: expected at least 1; found 0"),
        (["--sep-threshold", "0"], "--sep-threshold: expected above 0; found 0.0"),
        (["--band", "i"], "--band i: expected one of g, r, z"),
    ],
)
def test_senseless_requests_exit_2(dataset, loader, tmp_path, capsys, extra, message):
    code = evaluate.main(["--dataset", str(dataset), "--output", str(tmp_path), "-q", *extra])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()


def test_a_missing_set_exits_2(loader, tmp_path, capsys):
    arguments = ["--dataset", str(tmp_path / "none.h5"), "--output", str(tmp_path / "out"), "-q"]
    assert evaluate.main(arguments) == 2
    assert "none.h5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_loads_no_keras():
    code = (
        "import sys; from astro_rcnn import evaluate\n"
        "try: evaluate.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'matplotlib', 'astropy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--min-score" in done.stdout
    assert time.perf_counter() - start < 5  # a second on an idle machine
