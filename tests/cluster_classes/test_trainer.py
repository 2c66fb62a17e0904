"""A run from the set to the weights file, and what the ensemble then says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from class_stamps import make_stamps, tiny_model, tiny_run, write_set

from astro_io.errors import ConfigError, DatasetError, OutputExistsError, WeightsError
from cluster_cnn.batches import orient
from cluster_cnn.classes import trainer
from cluster_cnn.classes.config import ClassDataConfig
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.classes.trainer import train_classes
from cluster_cnn.classes.weights_file import read_class_weights
from cluster_cnn.config import OptimizerConfig


def go(config, output, **options):
    settings = {"resume": False, "overwrite": False, "verbose": 0, **options}
    return train_classes(config, output, **settings)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return write_set(folder / "train.h5", 256, seed=1), write_set(folder / "aside.h5", 220, seed=8)


@pytest.fixture(scope="module")
def training(sets):
    return sets[0]


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    """Two members, calibrated on a set of their own."""
    output = tmp_path_factory.mktemp("runs") / "run"
    data = ClassDataConfig(training=(str(sets[0]),), validation=(str(sets[1]),), batch_size=32)
    go(tiny_run(sets[0], epochs=3, steps_per_epoch=32, data=data), output)
    return output


def test_a_tiny_ensemble_tells_blobs_from_points(run):
    stamps, rows = make_stamps(100, seed=2)
    predictor = ClassPredictor.load(run / "tiny.weights.h5")
    said = predictor.predict(stamps, distance_kpc=8000.0)
    assert (said.chosen == rows["class"]).mean() > 0.9
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1)
    assert predictor.n_members == 2
    assert said.is_strange.mean() < 0.1


def test_run_folder_is_complete(run):
    assert {path.name for path in run.iterdir()} == {
        "config.toml",
        "member_0",
        "member_1",
        "scale.json",
        "tiny.entry.toml",
        "tiny.weights.h5",
        "validation.json",
    }
    scores = json.loads((run / "validation.json").read_text())
    assert len(scores["accuracy_of_members"]) == 2
    assert scores["cost_of_members"][0]["stamps_seen"] == 3 * 32 * 32
    assert (run / "member_1" / "history.csv").exists()
    assert not (run / "member_1" / "checkpoints").exists()


def test_weights_round_trip_and_half_precision_changes_little(run):
    weights = read_class_weights(run / "tiny.weights.h5")
    assert weights.config == tiny_model(pixel_scale_arcsec=0.0396)
    assert len(weights.members) == 2
    assert weights.metadata["zeropoint_mag"] == {"F555W": 25.8, "F814W": 25.1}
    assert 0.2 <= weights.calibration.temperature <= 5
    assert weights.calibration.n_stamps == 220
    again = type(weights.calibration).from_dict(weights.calibration.to_dict())
    np.testing.assert_array_equal(again.feature_mean, weights.calibration.feature_mean)
    assert again.largest_distance == weights.calibration.largest_distance


def test_resumed_run_gives_the_weights_of_the_whole_run(training, tmp_path):
    """Two epochs at once against what was there after the first, and the other."""
    config = tiny_run(training, members=1, epochs=2)
    output = tmp_path / "run"

    class Copied(trainer.RunRecorder):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 0:
                shutil.copytree(tmp_path / "whole", output)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "RunRecorder", Copied)
        whole = read_class_weights(go(config, tmp_path / "whole")).members[0]
    with pytest.raises(OutputExistsError, match="--resume"):
        go(config, output)
    resumed = read_class_weights(go(config, output, resume=True)).members[0]
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=2e-3, atol=2e-3, err_msg=name)
    finished = (output / "member_0" / "member.h5").stat().st_mtime_ns
    go(config, output, resume=True)  # nothing is trained again
    assert (output / "member_0" / "member.h5").stat().st_mtime_ns == finished


def test_members_differ(run):
    first, second = read_class_weights(run / "tiny.weights.h5").members
    assert not np.allclose(first["head/kernel"], second["head/kernel"], atol=1e-3)


@pytest.mark.slow
def test_noisy_labels_with_their_confusion_matrix(training, tmp_path):
    """30 % of the labels are wrong; the network is right more often than they are."""
    data = ClassDataConfig(training=(str(training),), batch_size=32, labels="class_human")
    config = tiny_run(training, members=1, epochs=12, data=data, confusion=((0.7, 0.3), (0.3, 0.7)))
    path = go(config, tmp_path / "run")
    stamps, rows = make_stamps(100, seed=3)
    said = ClassPredictor.load(path).predict(stamps)
    right_labels = (rows["class"] == rows["class_human"]).mean()
    assert (said.chosen == rows["class"]).mean() > right_labels + 0.1


def test_trunk_is_taken_from_other_weights_and_a_budget_ends_the_training(training, run, tmp_path):
    init = str(run / "tiny.weights.h5")
    config = tiny_run(training, members=1, epochs=50, budget_s=0.2, init=init)
    config = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-12))
    path = go(config, tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert 0 < scores["cost_of_members"][0]["batches"] < 50 * 8
    first = read_class_weights(init).members[0]
    taken = read_class_weights(path).members[0]
    np.testing.assert_allclose(taken["head/kernel"], first["head/kernel"], atol=1e-3)
    assert not np.allclose(taken["classes/kernel"], first["classes/kernel"], atol=1e-3)
    odd = replace(config, model=tiny_model(widths=(4, 6, 10)))
    with pytest.raises(WeightsError, match="shape"):
        go(odd, tmp_path / "odd")


def test_missing_band_and_no_band(run):
    stamps, _ = make_stamps(60, seed=5)
    predictor = ClassPredictor.load(run / "tiny.weights.h5")
    one_band = stamps.copy()
    one_band[..., 0] = np.nan
    assert np.isfinite(predictor.predict(one_band).probabilities).all()
    said = predictor.predict(np.full_like(stamps[:3], np.nan))
    assert np.isnan(said.probabilities).all()
    assert (said.chosen == 0).all()
    assert np.isnan(said.entropy).all()


def test_zero_stamps_give_zero_rows(run):
    said = ClassPredictor.load(run / "tiny.weights.h5").predict(np.zeros((0, 32, 32, 2)))
    assert len(said) == 0
    assert said.entropy.shape == said.chosen.shape == said.distance.shape == (0,)


def test_all_orientations_give_one_answer_however_a_stamp_lies(run):
    stamps, _ = make_stamps(6, seed=7)
    predictor = ClassPredictor.load(run / "tiny.weights.h5")
    first = predictor.predict(stamps, orientations=8).probabilities
    for number in (1, 5):
        turned = predictor.predict(orient(stamps, number), orientations=8).probabilities
        np.testing.assert_allclose(turned, first, atol=1e-4)


def test_eight_orientations_differ():
    stamp = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    seen = {orient(stamp, number).tobytes() for number in range(8)}
    assert len(seen) == 8
    np.testing.assert_array_equal(orient(stamp, 8), stamp)


def test_strange_stamps_are_flagged(run):
    """Negative ones by their features; those in another unit by their noise."""
    predictor = ClassPredictor.load(run / "tiny.weights.h5")
    stamps, _ = make_stamps(20, seed=9)
    assert predictor.predict(stamps * 1e-3).is_strange.all()
    assert predictor.predict(stamps * 1e3).is_strange.all()
    assert predictor.predict(stamps).is_strange.mean() < 0.2


def test_requests_that_cannot_be_met(training, tmp_path):
    with pytest.raises(ConfigError, match="no training set"):
        go(replace(tiny_run(training), data=ClassDataConfig()), tmp_path / "a")
    with pytest.raises(DatasetError, match="expected classes 2, 3"):
        go(replace(tiny_run(training), model=tiny_model(class_ids=(2, 3))), tmp_path / "b")


@pytest.mark.slow
def test_network_of_the_paper_learns_a_few_stamps_by_heart(training, tmp_path):
    """Both copies, crop, range, blow-up and the joined outputs can be trained."""
    model = tiny_model(
        network="resnet18",
        normalization="zscore",
        background="none",
        crop_size=24,
        image_size=32,
        has_distance=False,
    )
    data = ClassDataConfig(
        training=(str(write_set(tmp_path / "few.h5", 20, seed=4)),),
        batch_size=16,
        augmentation=False,
        band_dropout=0.0,
        flux_jitter=0.0,
        band_jitter=0.0,
    )
    optimizer = OptimizerConfig(
        learning_rate=1e-3, final_fraction=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=0.0
    )
    config = tiny_run(training, members=1, epochs=20, model=model, data=data, optimizer=optimizer)
    path = go(config, tmp_path / "run")
    history = (tmp_path / "run" / "member_0" / "history.csv").read_text().splitlines()
    accuracy = float(history[-1].split(",")[history[0].split(",").index("accuracy")])
    assert accuracy == 1.0
    assert ClassPredictor.load(path).n_members == 1


def test_cost_of_an_interrupted_training_is_counted_on(tmp_path):
    path = tmp_path / "cost.json"
    first = trainer.Budget(0.0)
    first.batches, first.cpu_s, first.wall_s = 7, 50.0, 90.0
    first.keeper(path).on_epoch_end(0)
    again = trainer.Budget(60.0, path)
    again.on_epoch_begin(1)
    again.on_train_batch_end(0)
    facts = again.facts(32)
    assert facts["batches"] == 8 and facts["stamps_seen"] == 256
    assert 50.0 <= facts["cpu_s"] < 60.0
    assert facts["wall_s"] >= 90.0
    assert trainer.Budget(60.0, tmp_path / "none.json").batches == 0


def test_what_comes_between_epochs_costs_nothing(monkeypatch):
    """Batches end at 1 and 3 s, validation lasts to 10, the next epoch's batch ends at 12."""
    times = iter([0.0, 0.0, 1.0, 3.0, 10.0, 12.0])
    now = [0.0]
    monkeypatch.setattr(
        trainer.time, "process_time", lambda: now.__setitem__(0, next(times)) or now[0]
    )
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    budget = trainer.Budget(0.0)
    for call in (budget.on_epoch_begin, *2 * [budget.on_train_batch_end], budget.on_epoch_begin):
        call(0)
    budget.on_train_batch_end(0)
    assert budget.facts(1) == {"batches": 3, "stamps_seen": 3, "cpu_s": 5.0, "wall_s": 5.0}
