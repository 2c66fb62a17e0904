"""astro_rcnn.trainer: runs that learn, stop, go on exactly, and leave usable files."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from tiny_network import TINY_MODEL, blob_scene, tiny_run, write_blobs
from training_scenes import write_scenes

from astro_io.errors import ConfigError, InputNotFoundError, OutputExistsError, WeightsError
from astro_io.run_folder import append_history, latest_checkpoint
from astro_rcnn.averaging import load_averaged, recalibrate_batch_norm
from astro_rcnn.checkpoint import load_model_state, save_checkpoint
from astro_rcnn.config import OptimizerConfig, StageConfig, TrainConfig
from astro_rcnn.model import build_model
from astro_rcnn.named_weights import named_variables
from astro_rcnn.sequences import make_sequences
from astro_rcnn.train import main as command
from astro_rcnn.trainer import (
    choose_layers,
    compile_for_segment,
    segments,
    train,
    warn_of_precision,
)
from astro_rcnn.weights_file import read_weights

pytestmark = [pytest.mark.backend, pytest.mark.usefixtures("eager_steps")]

REPOSITORY = Path(__file__).resolve().parents[2]

TWO_SEGMENTS = (
    StageConfig(until_epoch=1, learning_rate=3e-3, layers="heads"),
    StageConfig(until_epoch=3, learning_rate=1e-3, final_learning_rate=1e-4),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("sets") / "blobs.h5", 4)


def run(config: TrainConfig, output: Path, **options) -> Path:
    options = {"resume": False, "overwrite": False, "verbose": 0, **options}
    return train(config, output, **options)


@pytest.fixture(scope="module")
def straight(dataset, tmp_path_factory) -> tuple[TrainConfig, Path]:
    """A run of three epochs in two segments, with moving averages and validation."""
    config = tiny_run(dataset, schedule=TWO_SEGMENTS, n_looks=1, keep_checkpoints=0)
    config = replace(config, data=replace(config.data, validation=(str(dataset),)))
    output = tmp_path_factory.mktemp("runs") / "straight"
    run(config, output)
    return config, output


def read_history(output: Path) -> list[dict[str, float]]:
    with (output / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def assert_same_files(first: Path, second: Path) -> None:
    """Compare two HDF5 files tensor by tensor."""
    with h5py.File(first) as one, h5py.File(second) as other:
        found: list[str] = []
        one.visititems(lambda name, item: found.append(name))
        for name in found:
            if isinstance(one[name], h5py.Dataset):
                np.testing.assert_allclose(
                    other[name][()], one[name][()], rtol=1e-6, atol=1e-7, err_msg=name
                )


# === a whole run ===


def test_a_run_leaves_its_files(straight):
    _, output = straight
    names = {path.name for path in output.iterdir()}
    assert names == {
        "checkpoints",
        "config.toml",
        "curves.png",
        "history.csv",
        "looks",
        "tensorboard",
        "tiny.entry.toml",
        "tiny.weights.h5",
    }
    checkpoints = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert checkpoints == ["epoch_0001.h5", "epoch_0002.h5", "epoch_0003.h5"]
    assert len(list((output / "tensorboard").iterdir())) == 3
    looks = sorted(path.name for path in (output / "looks").iterdir())
    assert looks == ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]


def test_history_holds_every_loss_of_every_epoch(straight):
    history = read_history(straight[1])
    assert [row["epoch"] for row in history] == [1, 2, 3]
    losses = {"loss", "rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask"}
    assert losses | {f"val_{name}" for name in losses} <= set(history[0])
    assert all(np.isfinite(list(row.values())).all() for row in history)
    # The rate that the next step would have: the first of the second stage, its cosine at step 3
    # of 0 to 5 (1e-4 + 9e-4 (1 + cos(0.6 pi)) / 2), its last.
    rates = [row["learning_rate"] for row in history]
    np.testing.assert_allclose(rates, [1e-3, 4.11e-4, 1e-4], rtol=1e-3)


def test_the_record_describes_the_weights(straight):
    _, output = straight
    entry = tomllib.loads((output / "tiny.entry.toml").read_text())["tiny"]
    settings, tensors, metadata = read_weights(output / "tiny.weights.h5")
    assert settings == TINY_MODEL and metadata["epoch"] == 3 and metadata["name"] == "tiny"
    assert entry["bands"] == ["g", "r", "z"] and entry["training_set"] == "blobs.h5"
    assert entry["n_parameters"] == sum(tensor.size for tensor in tensors.values())


def test_heads_leave_the_trunk_alone(straight, dataset):
    config, _ = straight
    model = build_model(config.model, config.targets)
    compile_for_segment(model, config, 0, "heads")
    learning = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert all(name.startswith(("fpn_", "rpn_", "mrcnn_")) for name in learning)
    assert {"fpn_c5p5", "rpn_conv_shared", "mrcnn_mask"} <= learning
    compile_for_segment(model, config, 1, "all")
    learning = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert {"stem_conv", "block5a_conv2", "fpn_p2"} <= learning


def test_segments_join_stages_that_train_the_same_layers():
    stages = (
        StageConfig(until_epoch=2, layers="heads"),
        StageConfig(until_epoch=5, layers="heads"),
        StageConfig(until_epoch=7),
        StageConfig(until_epoch=9),
    )
    assert list(segments(stages)) == [(0, 5, "heads"), (5, 9, "all")]


# === going on ===


@pytest.mark.parametrize("epoch", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_goes_on_exactly_from_any_checkpoint(straight, tmp_path, epoch):
    """From the end of a segment, and from the middle of one; later epochs are given up."""
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    for later in range(epoch + 1, 4):
        (copy / "checkpoints" / f"epoch_{later:04d}.h5").write_bytes(b"of an abandoned try")
    (copy / "tiny.weights.h5").unlink()
    run(replace(config, n_looks=0), copy, resume_from=str(epoch))
    for name in ("checkpoints/epoch_0003.h5", "tiny.weights.h5"):
        assert_same_files(output / name, copy / name)
    for one, other in zip(read_history(output), read_history(copy), strict=True):
        del one["seconds"], other["seconds"]
        assert one == pytest.approx(other, rel=1e-5)


def test_a_run_goes_on_elsewhere_from_weights_alone(straight, tmp_path):
    """Packed after epoch 2, without its optimiser: the schedule goes on, not the momenta."""
    config, output = straight
    arguments = ["config.toml", "--output", str(output), "--resume-from", "2"]
    packed = tmp_path / "packed"
    assert command([*arguments, "--pack", str(packed), "--pack-weights-only"]) == 0
    short = replace(config, n_looks=0, data=replace(config.data, validation=()))
    run(short, tmp_path, resume_from=str(packed))
    assert latest_checkpoint(tmp_path / "checkpoints")[1] == 3
    (row,) = read_history(tmp_path)
    assert row["epoch"] == 3 and row["learning_rate"] == pytest.approx(1e-4, rel=0.15)
    averages = np.asarray(read_weights(tmp_path / "tiny.weights.h5")[1]["mrcnn_mask/kernel"])
    whole = np.asarray(read_weights(output / "tiny.weights.h5")[1]["mrcnn_mask/kernel"])
    np.testing.assert_allclose(averages, whole, atol=0.02)  # began at the weights, not at zero


@pytest.mark.parametrize("option", [{}, {"finish": True}])
def test_a_finished_run_ends_elsewhere_from_weights_alone(straight, tmp_path, caplog, option):
    """Without averages, the weights of the newest checkpoint are the result as they are."""
    config, output = straight
    packed = tmp_path / "packed"
    arguments = ["config.toml", "--output", str(output)]
    assert command([*arguments, "--pack", str(packed), "--pack-weights-only"]) == 0
    weights = run(config, tmp_path / "run", resume_from=str(packed), **option)
    assert "packed without averages" in caplog.text
    model = build_model(config.model)
    load_model_state(model, latest_checkpoint(output / "checkpoints")[0])
    kernel = np.asarray(named_variables(model)["mrcnn_mask/kernel"])
    np.testing.assert_allclose(read_weights(weights)[1]["mrcnn_mask/kernel"], kernel, rtol=1e-3)


def interrupted(*_, **__) -> None:
    """Stand for a training that control-C ends in its first step."""
    raise KeyboardInterrupt


def test_a_finished_run_finishes_again_alike(straight, tmp_path):
    """--finish, and --resume of a run that has ended."""
    config, output = straight
    for option in ("finish", "resume"):
        copy = shutil.copytree(output, tmp_path / option)
        (copy / "tiny.weights.h5").unlink()
        run(config, copy, **{option: True})
        assert_same_files(output / "tiny.weights.h5", copy / "tiny.weights.h5")


def test_a_run_is_finished_from_the_epoch_asked_for(straight, tmp_path):
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    epochs = sorted(int(p.stem.split("_")[1]) for p in (copy / "checkpoints").glob("epoch_*.h5"))
    run(config, copy, finish=True, resume_from=str(epochs[0]))
    assert read_weights(copy / "tiny.weights.h5")[2]["epoch"] == epochs[0] < epochs[-1]


def test_statistics_of_a_trunk_that_does_not_learn_stay(straight):
    """At the end of a run whose last stage trains the heads alone."""
    config = straight[0]
    model = build_model(replace(config.model, is_batch_norm_frozen=False))
    choose_layers(model, "heads")
    trunk = [n.split("/")[0] for n in named_variables(model) if n.startswith(("stem_", "res"))]
    before = {n: np.asarray(v) for n, v in named_variables(model).items() if "moving" in n}
    training, _ = make_sequences(config)
    recalibrate_batch_norm(model, iter([training[0]]))
    training.close()
    after = named_variables(model)
    changed = {n.split("/")[0] for n, v in before.items() if (np.asarray(after[n]) != v).any()}
    assert trunk and changed and not changed & set(trunk)


def test_there_is_nothing_to_finish_without_a_checkpoint(dataset, tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint to finish from. Train first"):
        run(tiny_run(dataset), tmp_path, finish=True)


def test_the_final_weights_are_the_averages(straight):
    config, output = straight
    model = build_model(config.model)
    compile_for_segment(model, config, 1, "all")
    newest, _ = latest_checkpoint(output / "checkpoints")
    assert load_averaged(model, newest) == len(model.trainable_variables)
    _, tensors, _ = read_weights(output / "tiny.weights.h5")
    names = named_variables(model)
    averaged = np.asarray(names["mrcnn_mask/kernel"])
    np.testing.assert_allclose(tensors["mrcnn_mask/kernel"], averaged, rtol=1e-3, atol=1e-6)
    load_model_state(model, newest)
    assert not np.allclose(np.asarray(names["mrcnn_mask/kernel"]), averaged, rtol=1e-3)


def test_another_network_cannot_go_on_with_a_run(straight, tmp_path):
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    other = replace(config, model=replace(TINY_MODEL, mask_head_depth=2))
    with pytest.raises(WeightsError, match=r"epoch_0003\.h5\[model\]: 6 tensors differ .*--output"):
        run(other, copy, resume=True)
    wider = replace(config, model=replace(TINY_MODEL, mask_head_width=9))
    with pytest.raises(WeightsError, match=r"mrcnn_mask.* has shape .* expected"):
        run(wider, copy, resume=True)


def test_checkpoints_keep_the_newest(straight, tmp_path):
    config, _ = straight
    model = build_model(config.model)
    compile_for_segment(model, config, 0, "heads")
    model.optimizer.build(model.trainable_variables)
    for epoch in (1, 2, 9, 10):
        save_checkpoint(model, tmp_path, epoch=epoch)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch_0009.h5", "epoch_0010.h5"}
    assert latest_checkpoint(tmp_path) == (tmp_path / "epoch_0010.h5", 10)
    save_checkpoint(model, tmp_path, epoch=11, keep=0)
    assert len(list(tmp_path.iterdir())) == 3
    assert latest_checkpoint(tmp_path / "none") is None


# === refusals ===


def test_a_run_that_is_there_is_not_touched(straight):
    config, output = straight
    before = (output / "history.csv").read_text()
    with pytest.raises(OutputExistsError, match="holds a run. Pass --resume .* --overwrite"):
        run(config, output)
    assert (output / "history.csv").read_text() == before


def test_overwriting_removes_the_run_and_nothing_else(straight, tmp_path):
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    (copy / "notes.txt").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, copy, overwrite=True)
    assert {path.name for path in copy.iterdir()} == {"config.toml", "notes.txt"}
    assert (copy / "notes.txt").read_text() == "mine"


def test_a_bad_request_leaves_the_old_run_alone(straight, tmp_path):
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    missing = replace(config, data=replace(config.data, training=("none.h5",)))
    with pytest.raises(InputNotFoundError, match=r"none\.h5"):
        run(missing, copy, overwrite=True)
    wrong = replace(config, init=str(tmp_path / "none.h5"))
    with pytest.raises(InputNotFoundError, match=r"none\.h5"):
        run(wrong, copy, overwrite=True)
    assert len(read_history(copy)) == 3 and (copy / "tiny.weights.h5").exists()


def test_crops_that_the_pyramid_does_not_divide_are_refused(dataset, tmp_path):
    config = tiny_run(dataset)
    odd = replace(config, data=replace(config.data, crop=48))
    with pytest.raises(ConfigError, match="multiples of 32 px; found 48x48 px. Set data.crop"):
        run(odd, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_needs_a_set(tmp_path):
    with pytest.raises(ConfigError, match="no training set. Name one: --set data.training=PATH"):
        run(TrainConfig(), tmp_path)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_epochs_before(straight, tmp_path):
    config, output = straight
    copy = shutil.copytree(output, tmp_path / "run")
    wild = StageConfig(until_epoch=4, learning_rate=1e30)
    diverging = replace(config, schedule=(*TWO_SEGMENTS, wild), n_looks=0)
    crop = r"blobs\.h5 scene \d, crop at y 0, x 0"
    said = (
        rf"the loss is (nan|inf) in epoch 4, batch 2 .*: {crop}; {crop}.* boxes are finite.* lower"
    )
    with pytest.raises(ConfigError, match=said):
        run(diverging, copy, resume=True)
    assert latest_checkpoint(copy / "checkpoints")[1] == 3
    assert [row["epoch"] for row in read_history(copy)] == [1, 2, 3]
    assert_same_files(output / "tiny.weights.h5", copy / "tiny.weights.h5")


def test_history_forgets_the_epochs_of_an_abandoned_try(tmp_path):
    path = tmp_path / "history.csv"
    for epoch in (1, 2, 3):
        append_history(path, {"epoch": epoch, "loss": 1.0 / epoch})
    rows = append_history(path, {"epoch": 2, "loss": 7.0, "val_loss": 8.0})
    assert [(row["epoch"], row["loss"]) for row in rows] == [(1, 1.0), (2, 7.0)]
    header, first, second = path.read_text().splitlines()
    assert (header, first, second) == ("epoch,loss,val_loss", "1.0,1.0,", "2,7.0,8.0")


# === learning ===


@pytest.mark.usefixtures("graph_steps")
def test_a_tiny_network_overfits_two_images(tmp_path):
    sources = [(16, 20, 1.3), (44, 18, 2.6), (30, 46, 1.5)], [(20, 40, 2.4), (46, 30, 1.4)]
    path = write_scenes(
        tmp_path / "two.h5", [blob_scene(blobs, index=i) for i, blobs in enumerate(sources)]
    )
    config = tiny_run(path, steps_per_epoch=1)
    config = replace(
        config,
        data=replace(config.data, augmentation="none"),
        optimizer=OptimizerConfig(name="adamw"),
        schedule=(StageConfig(until_epoch=1, learning_rate=1e-2),),
    )
    model = build_model(config.model, config.targets, seed=0)
    compile_for_segment(model, config, 0, "all")
    training, _ = make_sequences(config)
    (batch,) = training[0]
    losses = []
    for _ in range(60):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(batch, return_dict=True)["loss"]))
    training.close()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("is_lacking", [True, False])
def test_bfloat16_without_arithmetic_for_it_is_told(monkeypatch, caplog, precision, is_lacking):
    monkeypatch.setattr("astro_rcnn.trainer.lacks_bfloat16", lambda: is_lacking)
    warn_of_precision(precision)
    is_told = "--set precision=float32" in caplog.text
    assert is_told == (precision == "bfloat16" and is_lacking)


def test_bfloat16_sees_what_float32_sees(dataset):
    """The sum of the losses agrees, single ones less: rounding changes which regions are chosen."""
    config = tiny_run(dataset)
    training, _ = make_sequences(config)
    (batch,) = training[0]
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = build_model(config.model, config.targets, seed=0, precision=precision)
        losses[precision] = {name: float(value) for name, value in model(batch).items()}
        assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
        inner = model.features.get_layer("stem_conv").compute_dtype
        assert inner == precision and model.compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.3)
    assert sum(losses["bfloat16"].values()) == pytest.approx(
        sum(losses["float32"].values()), rel=0.03
    )
    compile_for_segment(model, config, 0, "all")
    assert np.isfinite(model.train_on_batch(batch, return_dict=True)["loss"])
    training.close()


# === without the other backend ===

ALONE = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "torch"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
from pathlib import Path
import numpy as np
from tiny_network import tiny_run, write_blobs
from astro_rcnn.config import StageConfig
from astro_rcnn.detector import Detector
from astro_rcnn.trainer import train

folder = Path(sys.argv[1])
config = tiny_run(write_blobs(folder / "set.h5", 2), schedule=(StageConfig(until_epoch=1),))
weights = train(config, folder / "run", resume=False, overwrite=False, verbose=0)
pixels = np.random.default_rng(0).normal(100, 1, (40, 70, 3)).astype(np.float32)
found = Detector.load(weights, min_confidence=0.0).detect(pixels)
print(len(found), "tensorflow" in sys.modules, found.boxes.shape[1])
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="of the JAX backend")
def test_jax_trains_and_detects_where_tensorflow_cannot_be_imported(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    n_found, has_tensorflow, n_columns = result.stdout.split()
    assert int(n_found) > 0 and has_tensorflow == "False" and n_columns == "4"
