"""Training: a tiny network learns that brightness is mass; runs resume, refuse and record."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from cluster_stamps import make_stamps, tiny_model, tiny_run

from astro_io.config import load_config
from astro_io.errors import ConfigError, DatasetError, OutputExistsError
from astro_io.run_folder import latest_checkpoint
from astro_io.weights import read_registry
from cluster_cnn.config import DataConfig, TrainConfig
from cluster_cnn.predictor import Predictor
from cluster_cnn.trainer import RunRecorder, train
from cluster_cnn.weights_file import read_weights


@pytest.mark.backend
def test_a_tiny_network_learns_mass_from_brightness_and_knows_its_errors(run):
    stamps, rows = make_stamps(400, seed=3)
    estimates = Predictor.load(run).predict(stamps)
    is_cluster = rows["class"] == 1
    truth = np.asarray(rows["log_mass"])[is_cluster]
    low, median, high = estimates.quantiles[is_cluster, 0].T
    assert np.std(truth) > 0.5
    assert np.std(median - truth) < 0.15
    assert 0.55 < np.mean((low < truth) & (truth < high)) < 0.81
    p_cluster = estimates.p_cluster
    assert p_cluster[is_cluster].mean() > p_cluster[~is_cluster].mean() + 0.5
    log_snr = np.log10(rows["snr"][is_cluster])
    assert np.corrcoef(estimates.log_snr[is_cluster], log_snr)[0, 1] > 0.85


def test_a_run_leaves_its_history_settings_and_registry_entry(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.toml", "scale.json", "history.csv", "curves.png", "tensorboard"} < names
    assert load_config(TrainConfig, run / "config.toml").epochs == 2
    lines = (run / "history.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("epoch,")
    assert "val_loss" in lines[0] and "learning_rate" in lines[0]
    entry = read_registry(run / "tiny.entry.toml")["tiny"]
    assert entry.bands == ("F475W", "F814W") and entry.pixel_scale_arcsec == 0.05
    assert entry.training_set == "train.h5" and entry.n_parameters > 1000
    weights = read_weights(run / "tiny.weights.h5")
    assert weights.metadata["zeropoint_mag"] == {"F475W": 26.0, "F814W": 25.0}
    assert weights.config.pixel_scale_arcsec == 0.05
    assert weights.calibration.n_stamps == 240, "four of five of 300"


@pytest.mark.backend
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(sets, tmp_path, monkeypatch):
    small = tiny_model(widths=(4,), blocks=(1,), has_photometry=False)
    config = tiny_run(sets[1], epochs=2, steps_per_epoch=4, model=small)
    whole, parted = tmp_path / "whole", tmp_path / "parted"

    class CopyAfterOne(RunRecorder):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 0:
                shutil.copytree(self.output, parted)

    with monkeypatch.context() as patch:
        patch.setattr("cluster_cnn.trainer.RunRecorder", CopyAfterOne)
        train(config, whole, resume=False, overwrite=False, verbose=0)
    assert latest_checkpoint(parted / "checkpoints")[1] == 1
    train(config, parted, resume=True, overwrite=False, verbose=0)
    a, b = (read_weights(folder / "tiny.weights.h5") for folder in (whole, parted))
    for name, value in a.tensors.items():
        np.testing.assert_allclose(b.tensors[name], value, rtol=2e-3, atol=2e-4, err_msg=name)
    rates = [
        [line.split(",")[-2] for line in (folder / "history.csv").read_text().splitlines()]
        for folder in (whole, parted)
    ]
    assert len(rates[0]) == 3 and rates[0] == rates[1]


def test_a_run_is_not_overwritten_unasked(run, sets):
    with pytest.raises(OutputExistsError, match="holds a run. Pass --resume"):
        train(tiny_run(*sets), run, resume=False, overwrite=False, verbose=0)


def test_what_cannot_train_is_refused_before_anything_is_written(sets, tmp_path):
    output = tmp_path / "run"
    options = {"resume": False, "overwrite": False, "verbose": 0}
    with pytest.raises(ConfigError, match="no training set"):
        train(replace(tiny_run(*sets), data=DataConfig()), output, **options)
    config = tiny_run(*sets)
    odd = replace(config, model=replace(config.model, bands=("F475W", "F336W")))
    with pytest.raises(DatasetError, match="expected bands F475W, F336W; found F475W, F814W"):
        train(odd, output, **options)
    large = replace(config, model=replace(config.model, stamp_size=32))
    with pytest.raises(DatasetError, match="stamps of at least 32 px, found 16x16"):
        train(large, output, **options)
    assert not output.exists()


def test_training_can_start_from_weights_of_the_same_network(run, sets, tmp_path):
    config = tiny_run(*sets, epochs=1, steps_per_epoch=1, init=str(run))
    gentle = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-12))
    train(gentle, tmp_path / "next", resume=False, overwrite=False, verbose=0)
    before = read_weights(run / "tiny.weights.h5").tensors["head/kernel"]
    after = read_weights(tmp_path / "next" / "tiny.weights.h5").tensors["head/kernel"]
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_the_scale_is_measured_once_and_kept(run):
    scale = json.loads((run / "scale.json").read_text())
    assert scale["method"] == "asinh" and scale["background"] == "border"
    np.testing.assert_allclose(scale["statistics"]["scale"], 1.0, atol=0.25)  # noise 1
    assert tomllib.loads((run / "config.toml").read_text())["model"]["widths"] == [8, 12]


def test_half_written_checkpoint_is_not_taken_up(tmp_path):
    (tmp_path / "epoch_0002.h5").touch()
    (tmp_path / ".part-host-7-abc-epoch_0003.h5").touch()
    assert latest_checkpoint(tmp_path) == (tmp_path / "epoch_0002.h5", 2)
    assert latest_checkpoint(tmp_path / "none") is None
