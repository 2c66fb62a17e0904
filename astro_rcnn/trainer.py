"""The training run: stages, checkpoints and resume, history, curves, weights at the end.

Everything a run leaves lies in its folder: ``config.toml`` (resolved), ``history.csv``,
``curves.png``, ``tensorboard/``, ``checkpoints/``, ``NAME.weights.h5`` and ``NAME.entry.toml`` (the
record for the weights registry).
"""

from __future__ import annotations

import csv
import logging
import math
import shutil
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import keras

from astro_io.config import dump_config
from astro_io.errors import BackendError, ConfigError, OutputExistsError
from astro_io.fits_write import atomic_path
from astro_io.provenance import provenance
from astro_io.truth import MaskRule
from astro_rcnn.augment import named_augmentation
from astro_rcnn.averaging import load_averaged, recalibrate_batch_norm
from astro_rcnn.checkpoint import (
    checkpoint_path,
    latest_checkpoint,
    load_model_state,
    load_optimizer_state,
    save_checkpoint,
)
from astro_rcnn.config import OptimizerConfig, StageConfig, TrainConfig
from astro_rcnn.data import TrainingSequence
from astro_rcnn.initial_weights import initialise
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.schedule import StagedSchedule
from astro_rcnn.weights_file import save_weights

log = logging.getLogger(__name__)

# With the layers' momentum of 0.97, 95 % of the old statistics are forgotten.
CALIBRATION_BATCHES = 100
_RUN_FILES = ("checkpoints", "tensorboard", "history.csv", "curves.png", "config.toml")


def train(
    config: TrainConfig,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    verbose: int,
    finish: bool = False,
) -> Path:
    """Run (or go on with) a training.

    Parameters
    ----------
    config : TrainConfig
    output : Path
        Run folder.
    resume : bool
        Go on from the newest checkpoint in `output`.
    overwrite : bool
        Remove the run in `output` first.
    verbose : int
        Of `keras.Model.fit`.
    finish : bool
        Train no further: write the final weights from the newest checkpoint.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    ConfigError
        If no training set is named, crops do not fit the network, or the loss becomes infinite.
    OutputExistsError
        If `output` holds a run and neither flag is given.
    """
    if not config.data.training:
        raise ConfigError(
            "[data]: no training set. Name one: --set data.training=PATH "
            "(python -m simulate.fields makes them)."
        )
    done = _find_start(output, resume=resume or finish, overwrite=overwrite)
    if finish and done is None:
        raise ConfigError(f"{output}: no checkpoint to finish from. Train first, without --finish.")
    training, validation = make_sequences(config)
    try:
        weights = _train(config, output, training, validation, done, verbose, finish)
    finally:
        training.close()
        if validation is not None:
            validation.close()
    write_entry(config, weights, output)
    return weights


def _train(
    config: TrainConfig,
    output: Path,
    training: TrainingSequence,
    validation: TrainingSequence | None,
    done: tuple[Path, int] | None,
    verbose: int,
    is_finishing: bool,
) -> Path:
    """Train from `done` (a checkpoint and its epoch; None: from the start) to the end."""
    check_crops(config, training, validation)
    model = build_model(config.model, config.targets, seed=config.seed)
    weights = output / f"{config.name}.weights.h5"
    if done is None:
        report = initialise(model, config.init)
        log.info("init %s: %s", config.init, report)
        remove_run(output)
    else:
        load_model_state(model, done[0])
        log.info("resuming after epoch %d", done[1])
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.toml").write_text(dump_config(config))
    (output / f"{config.name}.entry.toml").unlink(missing_ok=True)
    first_epoch = done[1] if done else 0
    for begin, end, layers in segments(config.schedule):
        if end <= first_epoch or is_finishing:
            continue
        compile_for_segment(model, config, begin, layers)
        if done is not None and first_epoch > begin:
            load_optimizer_state(model, done[0])
        model.fit(
            training,
            validation_data=validation,
            validation_steps=config.validation_steps if validation else None,
            initial_epoch=max(begin, first_epoch),
            epochs=end,
            shuffle=False,
            verbose=verbose,
            callbacks=[
                training.epoch_callback(),
                keras.callbacks.TerminateOnNaN(),
                RunRecorder(output, config, weights),
            ],
        )
        if config.optimizer.ema_momentum > 0:
            # Keras leaves the averages in the network; go on from what a resumed run would read.
            load_model_state(model, checkpoint_path(output / "checkpoints", end))
    if config.optimizer.ema_momentum > 0:
        newest = latest_checkpoint(output / "checkpoints")
        if newest is not None:
            finish_average(model, config, training, newest, weights)
    return weights


def _find_start(output: Path, *, resume: bool, overwrite: bool) -> tuple[Path, int] | None:
    """Check the run folder; return the checkpoint to go on from."""
    if resume:
        return latest_checkpoint(output / "checkpoints")
    if (output / "config.toml").exists() and not overwrite:
        raise OutputExistsError(
            f"{output} holds a run. Pass --resume to go on with it, --overwrite to start anew, or "
            "choose another --output."
        )
    return None


def remove_run(output: Path) -> None:
    """Remove what an earlier run wrote into its folder; anything else in it stays."""
    if not (output / "config.toml").exists():
        return
    for pattern in (*_RUN_FILES, "*.weights.h5", "*.entry.toml"):
        for path in output.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def segments(schedule: tuple[StageConfig, ...]) -> Iterator[tuple[int, int, str]]:
    """Join consecutive stages that train the same layers: (first epoch, end epoch, layers)."""
    begin = 0
    for layers, stages in groupby(schedule, key=lambda stage: stage.layers):
        end = list(stages)[-1].until_epoch
        yield begin, end, layers
        begin = end


def make_sequences(config: TrainConfig) -> tuple[TrainingSequence, TrainingSequence | None]:
    """Open the training and validation sets as the configuration says."""
    data, model = config.data, config.model
    is_scaled = model.normalization in ("asinh", "lupton")
    common = {
        "bands": model.bands,
        "size": data.crop or None,
        "batch_size": data.batch_size,
        "max_instances": data.max_instances,
        "mask_rule": MaskRule(kind=data.mask_rule),
        "normalization": model.normalization,
        "normalization_parameters": (
            {"softening": model.normalization_softening} if is_scaled else {}
        ),
        "truth_min_snr": data.truth_min_snr,
        "seed": config.seed,
        "cache_mb": data.cache_mb,
        "threads": data.workers,
    }
    training = TrainingSequence(
        data.training,
        augmentation=named_augmentation(data.augmentation, normalization=model.normalization),
        steps_per_epoch=config.steps_per_epoch,
        **common,
    )
    if not data.validation:
        return training, None
    validation = TrainingSequence(
        data.validation, shuffle=False, steps_per_epoch=config.validation_steps, **common
    )
    return training, validation


def check_crops(config: TrainConfig, *sequences: TrainingSequence | None) -> None:
    """Raise unless the pyramid of the network divides the crops."""
    multiple = config.model.size_multiple
    for sequence in sequences:
        if sequence is not None and any(side % multiple for side in sequence.shape):
            raise ConfigError(
                f"[data]: expected crops whose sides are multiples of {multiple} px; found "
                f"{sequence.shape[0]}x{sequence.shape[1]} px. Set data.crop (0 takes whole images)."
            )


def compile_for_segment(model: MaskRCNN, config: TrainConfig, begin: int, layers: str) -> None:
    """Choose what learns and give the model a fresh optimiser."""
    model.features.trainable = True
    pyramid = {layer.name for layer in model.features.layers if layer.name.startswith("fpn_")}
    for layer in model.features.layers:
        layer.trainable = layers == "all" or layer.name in pyramid
    schedule = StagedSchedule.from_stages(
        config.schedule,
        config.steps_per_epoch,
        warmup_steps=config.optimizer.warmup_steps,
        first_step=begin * config.steps_per_epoch,
    )
    model.compile(
        optimizer=make_optimizer(config.optimizer, schedule),
        jit_compile=keras.backend.backend() == "jax",
    )


def make_optimizer(config: OptimizerConfig, schedule) -> keras.optimizers.Optimizer:
    """Build the optimiser; weight decay is part of the loss, not of it."""
    # A fixed name: checkpoints find its state by it.
    name = {"sgd": "sgd", "adamw": "adam_w"}[config.name]
    common = {
        "name": name,
        "global_clipnorm": config.clip_norm if config.clip_norm > 0 else None,
    }
    if config.ema_momentum > 0:
        common |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    if config.name == "sgd":
        return keras.optimizers.SGD(schedule, momentum=config.momentum, **common)
    return keras.optimizers.AdamW(schedule, weight_decay=0.0, **common)


class RunRecorder(keras.callbacks.Callback):
    """After each epoch: history, curves, TensorBoard, checkpoint and usable weights."""

    def __init__(self, output: Path, config: TrainConfig, weights: Path) -> None:
        super().__init__()
        self.output, self.config, self.weights = output, config, weights
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Write everything that belongs to the epoch."""
        seconds = time.monotonic() - self.started
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        if not math.isfinite(row["loss"]):
            raise ConfigError(
                f"[schedule]: the loss is {row['loss']} in epoch {epoch + 1}; the files of earlier "
                "epochs stay. Lower learning_rate or optimizer.clip_norm, and --resume."
            )
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(seconds, 1)
        history = append_history(self.output / "history.csv", row)
        draw_curves(history, self.output / "curves.png")
        write_tensorboard(self.output / "tensorboard", row)
        write_weights(self.model, self.weights, self.config, epoch + 1)
        save_checkpoint(self.model, self.output / "checkpoints", epoch=epoch + 1)


def write_weights(model: MaskRCNN, path: Path, config: TrainConfig, epoch: int) -> None:
    """Write usable weights, in half precision."""
    metadata = {"name": config.name, "epoch": epoch, "seed": config.seed, **provenance()}
    save_weights(model, path, metadata=metadata, dtype="float16", overwrite=True)


def finish_average(
    model: MaskRCNN,
    config: TrainConfig,
    training: TrainingSequence,
    checkpoint: tuple[Path, int],
    weights: Path,
) -> None:
    """Write the averaged weights of a checkpoint, with batch norm measured on training crops."""
    path, epoch = checkpoint
    load_averaged(model, path)
    training.epoch = epoch - 1  # the same crops, whether training ends or --finish ends it
    if not config.model.is_batch_norm_frozen:
        n_batches = min(CALIBRATION_BATCHES, len(training))
        log.info("batch norm of the averaged weights: measuring on %d batches", n_batches)
        recalibrate_batch_norm(model, (training[i] for i in range(n_batches)))
    write_weights(model, weights, config, epoch)


def append_history(path: Path, row: dict[str, float]) -> list[dict[str, float]]:
    """Add a row to ``history.csv`` (dropping later epochs of an abandoned try); return all."""
    rows: list[dict[str, float]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [{k: float(v or "nan") for k, v in old.items()} for old in csv.DictReader(file)]
    rows = [old for old in rows if old["epoch"] < row["epoch"]] + [row]
    names = list(dict.fromkeys(name for old in rows for name in old))
    with atomic_path(path, overwrite=True) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw each loss over the epochs, as in the paper's appendix."""
    from matplotlib.figure import Figure

    names = [n for n in history[0] if n not in ("epoch", "seconds") and not n.startswith("val_")]
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots(2, (len(names) + 1) // 2, squeeze=False).flat
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes, names, strict=False):
        axis.plot(epochs, [row.get(name) for row in history], label="training")
        if any(f"val_{name}" in row for row in history):
            values = [row.get(f"val_{name}", float("nan")) for row in history]
            axis.plot(epochs, values, label="validation")
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        if min(row.get(name, 0.0) for row in history) > 0:
            axis.set_yscale("log")
    figure.axes[0].legend(fontsize="small")
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=100, format="png")


def write_tensorboard(folder: Path, row: dict[str, float]) -> None:
    """Write an epoch's numbers as TensorBoard scalars, with any backend."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise BackendError(
            "TensorBoard log: tensorboardX is not installed. Run: pip install tensorboardX."
        ) from error
    with SummaryWriter(str(folder), filename_suffix=f".{int(row['epoch'])}") as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name.replace("val_", "validation/"), value, int(row["epoch"]))


def write_entry(config: TrainConfig, weights: Path, output: Path) -> None:
    """Write the record that the weights registry needs."""
    import tomli_w

    from astro_io.weights import file_sha256
    from astro_rcnn.weights_file import read_weights

    _, tensors, metadata = read_weights(weights)
    entry = {
        "file": weights.name,
        "sha256": file_sha256(weights),
        "bands": list(config.model.bands),
        "normalization": config.model.normalization,
        "classes": list(config.model.class_names),
        "thresholds": {
            "min_confidence": config.model.min_confidence,
            "nms_iou": config.model.detection_nms_iou,
        },
        "training_set": ", ".join(Path(path).name for path in config.data.training),
        "seed": config.seed,
        "n_parameters": int(sum(value.size for value in tensors.values())),
        "command": metadata.get("command", ""),
    }
    with atomic_path(output / f"{config.name}.entry.toml", overwrite=True) as part:
        part.write_text(tomli_w.dumps({config.name: entry}))
