"""Columns, flags and galleries of the task; figures on disk."""

from __future__ import annotations

import json
from argparse import Namespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from class_stamps import make_stamps, tiny_model, write_set

from astro_io.errors import ConfigError, OutputExistsError, WeightsError
from cluster_cnn import evaluate, predict
from cluster_cnn.band_order import learn_band_order
from cluster_cnn.classes import evaluation, figures
from cluster_cnn.classes.calibration import NOISE_MARGIN, ClassCalibration
from cluster_cnn.classes.networks import build_class_model
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.classes.task import GALLERY_COLUMNS, ClassTask
from cluster_cnn.classes.weights_file import save_class_weights
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.noise import NoiseRange
from cluster_cnn.normalise import measure_scale
from cluster_cnn.stamp_coverage import has_middle
from cluster_cnn.tasks import open_task
from cluster_cnn.weights_file import named_variables


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of one member: what they say is of no matter here."""
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.weights.h5", ClassCalibration())


def write_weights(path, calibration):
    stamps, _ = make_stamps(40, seed=1)
    model = build_class_model(tiny_model(), seed=1)
    save_class_weights(
        path,
        [{name: v.numpy() for name, v in named_variables(model).items()}],
        config=tiny_model(),
        scale=measure_scale(stamps, bands=("F555W", "F814W")),
        calibration=calibration,
        metadata={"zeropoint_mag": {"F555W": 25.8, "F814W": 25.1}, "pixel_scale_arcsec": 0.0396},
    )
    return path


@pytest.fixture
def task(weights):
    return open_task(weights)


def test_weights_tell_their_task(task, weights):
    assert isinstance(task, ClassTask)
    assert task.bands == ("F555W", "F814W")
    assert task.stamp_size == 32
    assert task.pixel_scale_arcsec == 0.0396
    assert task.zeropoint_mag["F814W"] == 25.1
    assert task.facts["task"] == "classes"
    assert len(task.facts["weights_sha256"]) == 64
    with pytest.raises(WeightsError, match="asked for 'parameters'"):
        open_task(weights, "parameters")
    with pytest.raises(ConfigError, match="expected one of parameters, classes"):
        open_task(weights, "colours")


def test_columns_are_what_is_measured(task):
    stamps, _ = make_stamps(6, seed=3)
    values, flags = task.measure(stamps, {"distance_kpc": np.full(6, 8000.0)})
    assert list(values) == list(task.columns())
    np.testing.assert_allclose(values["p_class_1"] + values["p_class_4"], 1)
    np.testing.assert_allclose(values["p_cluster"], values["p_class_1"])
    np.testing.assert_array_equal(values["is_cluster"], values["p_class_1"] >= 0.5)
    wanted = np.where(values["p_class_1"] > values["p_class_4"], 1, 4)
    np.testing.assert_array_equal(values["class"], wanted)
    assert (flags == 0).all()
    assert (values["entropy"] <= np.log(2) + 1e-9).all()


def test_bands_in_the_wrong_order_are_flagged_row_by_row_and_together(tmp_path):
    learnt, _ = make_stamps(400, seed=1)  # F814W is twice as bright
    order = learn_band_order(learnt, unit=1.0)
    task = open_task(write_weights(tmp_path / "order.weights.h5", ClassCalibration(order=order)))
    stamps, _ = make_stamps(40, seed=2)
    right = task.measure(stamps, {})[1]
    assert (right & CandidateFlag.BAND_ORDER == 0).all()
    assert task.judge() == (0, "")
    swapped = task.measure(stamps[..., ::-1], {})[1]
    assert (swapped & CandidateFlag.BAND_ORDER > 0).mean() > 0.5
    flags, reason = task.judge()
    assert flags == CandidateFlag.BAND_ORDER
    assert "F555W like F814W, F814W like F555W" in reason


def test_fluxes_in_another_unit_are_flagged_row_by_row_and_together(tmp_path):
    stamps, _ = make_stamps(300, seed=1)
    plain = ClassPredictor.load(write_weights(tmp_path / "plain.weights.h5", ClassCalibration()))
    noise = NoiseRange.of(plain.noise_of(stamps), margin=NOISE_MARGIN)
    task = open_task(write_weights(tmp_path / "noise.weights.h5", ClassCalibration(noise=noise)))
    flag = int(CandidateFlag.OUT_OF_RANGE)
    assert not (task.measure(stamps[:40], {})[1] & flag).any()
    assert task.judge() == (0, "")
    assert (task.measure(stamps[:40] * 10, {})[1] & flag).all()
    flags, reason = task.judge()
    assert flags == flag and "same unit" in reason


def test_distance_in_another_unit_is_flagged(tmp_path):
    calibration = ClassCalibration(distances_kpc=(4000.0, 20000.0))
    task = open_task(write_weights(tmp_path / "far.weights.h5", calibration))
    stamps, _ = make_stamps(3, seed=2)
    flags = task.measure(stamps, {"distance_kpc": np.array([8000.0, 8.0, np.nan])})[1]
    assert flags.tolist() == [0, CandidateFlag.OUT_OF_RANGE, 0]


def test_stamp_without_data_has_no_class(task):
    stamps, _ = make_stamps(3, seed=3)
    stamps[1] = np.nan
    values, flags = task.measure(stamps, {})
    assert values["class"][1] == 0
    assert values["is_cluster"].tolist()[1] == task.columns()["is_cluster"].missing == -1
    assert np.isnan(values["p_class_1"][1])
    assert flags[1] == CandidateFlag.NO_RESULT
    assert flags[0] == flags[2] == 0


@pytest.mark.parametrize("side", [2, 20])
def test_stamp_without_its_middle_has_no_class(task, side):
    stamps, _ = make_stamps(3, seed=3)
    hole = np.s_[16 - side // 2 : 16 + side // 2]
    stamps[1, hole, hole] = np.nan
    stamps[2, hole, hole, 0] = np.nan  # the other band has data
    values, flags = task.measure(stamps, {})
    assert (values["class"] > 0).tolist() == [True, False, True]
    assert flags[1] == CandidateFlag.NO_RESULT
    assert np.isnan(values["p_cluster"][1])


def test_middle_by_hand():
    """Four pixels of an even stamp, five of an odd one: a cross."""
    for side, middle in ((4, [(1, 1), (1, 2), (2, 1), (2, 2)]),
                         (5, [(1, 2), (2, 1), (2, 2), (2, 3), (3, 2)])):  # fmt: skip
        for kept in middle:
            stamp = np.ones((1, side, side, 2))
            for y, x in middle:
                stamp[:, y, x] = np.nan
            assert not has_middle(stamp)[0]
            stamp[0, *kept, 1] = 7.0
            assert has_middle(stamp)[0]


def test_gallery_keeps_the_surest_and_the_most_doubtful(task, tmp_path):
    stamps, _ = make_stamps(40, seed=4)
    entropies = []
    for part in (stamps[:25], stamps[25:]):
        values, _ = task.measure(part, {})
        entropies.append((values["class"], values["entropy"]))
    chosen, entropy = (np.concatenate(v) for v in zip(*entropies, strict=True))
    class_id = 1 if (chosen == 1).sum() > 15 else 4
    own = np.sort(entropy[chosen == class_id])
    kept = task._gallery[class_id]
    _, sure = kept.sorted(False)
    _, doubtful = kept.sorted(True)
    assert len(sure) == GALLERY_COLUMNS
    assert sure[0].endswith(f"H {own[0]:.2f}")
    assert doubtful[0].endswith(f"H {own[-1]:.2f}")
    task.finish(tmp_path / "result.fits")
    files = task.beside(tmp_path / "result.fits")
    assert [path.name for path in files] == ["result.class_1.png", "result.class_4.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in files)


def test_evaluation_writes_scores_and_figures(weights, tmp_path):
    dataset = write_set(tmp_path / "set.h5", 60, seed=6)
    args = Namespace(
        weights=weights,
        dataset=[dataset],
        held_out=False,
        output=tmp_path / "scores",
        overwrite=False,
        limit=50,
        ablation=True,
        within=[],
        no_baseline=False,
        baseline_training=[],
    )
    table, line = evaluation.evaluate_weights(args)
    metrics = json.loads((args.output / "metrics.json").read_text())
    assert metrics["classes"]["n"] == 50
    assert metrics["scores"]["accuracy"] == round(metrics["classes"]["accuracy"], 1)
    assert set(metrics["ablation"]) == {"all bands", "F555W", "F814W"}
    human = metrics["human_labels"]
    assert 0 < human["accuracy"] < 100
    assert f"| human-like labels | {human['accuracy']:.1f} | {human['per_class']['1']:.1f}" in table
    assert metrics["members"]["n_runs"] == 1
    assert metrics["members"]["accuracy"][0] == pytest.approx(metrics["classes"]["accuracy"])
    assert "without F814W" in table and "photometry, three apertures" in table
    # Blobs and points differ in concentration, and in nothing that one aperture tells surely.
    baseline = metrics["baseline"]
    assert baseline["trained_on"] == "itself, 5-fold"
    assert baseline["apertures"]["accuracy"] > 85 > baseline["integrated"]["accuracy"] + 5
    assert f"{metrics['classes']['accuracy']:.1f} % of 50" in line
    for name in ("confusion.png", "entropy.png", "ablation.png"):
        assert (args.output / name).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(OutputExistsError, match="--overwrite"):
        evaluation.evaluate_weights(args)


def test_the_baseline_learns_from_a_set_that_is_named(weights, tmp_path):
    other = write_set(tmp_path / "other.h5", 80, seed=7)
    dataset = write_set(tmp_path / "set.h5", 40, seed=6)
    options = {"baseline_training": [other]}
    predictor = ClassPredictor.load(weights)
    metrics = evaluation.evaluate_classes(predictor, [dataset], tmp_path / "scores", **options)
    assert metrics["baseline"]["trained_on"] == "80 stamps of other.h5"
    assert metrics["baseline"]["apertures"]["accuracy"] > 85
    metrics = evaluation.evaluate_classes(
        predictor, [dataset], tmp_path / "scores", has_baseline=False
    )
    assert "baseline" not in metrics
    assert "photometry" not in evaluation.scorecard(metrics)


def one_line_of(capsys, code) -> str:
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--within", "log_age=6,7"], "--within: only for weights that give parameters"),
        (
            ["--held-out", "--baseline-training", "a.h5"],
            "--baseline-training and --held-out: one of them at most",
        ),
        (
            ["--no-baseline", "--baseline-training", "a.h5"],
            "--baseline-training and --no-baseline: one of them at most",
        ),
    ],
)
def test_evaluate_refuses_flags_that_say_nothing(weights, tmp_path, capsys, flags, expected):
    line = ["--weights", str(weights), "--dataset", "a.h5", "--output", str(tmp_path / "scores")]
    assert expected in one_line_of(capsys, evaluate.main([*line, *flags, "-q"]))


def test_predict_refuses_an_extinction_for_classes(weights, tmp_path, capsys):
    Table({"x": [1.0], "y": [2.0]}).write(tmp_path / "pos.csv")
    line = ["m.fits", "--catalog", str(tmp_path / "pos.csv"), "--weights", str(weights), "-q"]
    error = one_line_of(
        capsys, predict.main([*line, "--av", "0.3", "--output", str(tmp_path / "out.fits")])
    )
    assert "--av: these weights have no use for it (expected one of distance_kpc)" in error


def test_networks_of_the_paper_are_told_no_distance(task):
    model = {"network": "resnet18", "normalization": "zscore", "background": "none"}
    task.predictor.config = tiny_model(**model, crop_size=24, image_size=32)
    assert task.may_know == ()
    task.predictor.config = tiny_model()
    assert task.may_know == ("distance_kpc",)


def test_galleries_are_not_written_over(weights, tmp_path, capsys):
    Table({"x": [20.0], "y": [20.0]}).write(tmp_path / "pos.csv")
    rng = np.random.default_rng(1)
    names = [tmp_path / f"img_{band}.fits" for band in ("F555W", "F814W")]
    for name in names:
        fits.writeto(name, rng.normal(0, 1, (40, 40)).astype(np.float32))
    mine = tmp_path / "out.class_4.png"
    mine.write_bytes(b"mine")
    line = [str(tmp_path), "--catalog", str(tmp_path / "pos.csv"), "--weights", str(weights)]
    line += ["--output", str(tmp_path / "out.fits"), "-q"]
    error = one_line_of(capsys, predict.main(line))
    assert "out.class_4.png exists. Pass --overwrite" in error
    assert mine.read_bytes() == b"mine" and not (tmp_path / "out.fits").exists()
    assert predict.main([*line, "--no-gallery"]) == 0
    assert mine.read_bytes() == b"mine"
    assert predict.main([*line, "--overwrite"]) == 0
    assert mine.read_bytes()[:4] == b"\x89PNG"


def test_two_missing_bands_are_too_many_for_the_paper():
    """Three bands of Wei's network: one may lack, two may not."""
    config = tiny_model(
        bands=("a", "b", "c"),
        network="resnet18",
        normalization="zscore",
        background="none",
        crop_size=24,
        image_size=32,
    )
    predictor = ClassPredictor.__new__(ClassPredictor)
    predictor.config = config
    stamps = np.arange(3 * 32 * 32 * 3, dtype=float).reshape(3, 32, 32, 3)
    stamps[1, ..., 0] = np.nan
    stamps[2, ..., :2] = np.nan
    np.testing.assert_array_equal(predictor.is_usable(stamps), [True, True, False])
    predictor.config = tiny_model(bands=("a", "b", "c"))
    assert predictor.is_usable(stamps).all()
    assert not predictor.is_usable(np.ones((1, 32, 32, 3))).any()  # the same everywhere


def test_picture_of_a_stamp_is_within_range_whatever_it_holds(rng):
    stamp = rng.normal(size=(16, 16, 5))
    stamp[3, 4, 2] = np.nan
    stamp[..., 0] = np.nan
    for shown in (stamp, np.full((8, 8, 2), np.nan), np.zeros((8, 8, 1))):
        picture = figures.picture(shown)
        assert picture.shape == (*shown.shape[:2], 3)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() <= 1
