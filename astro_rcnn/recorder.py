"""What a training run writes down while it goes, and when it must stop."""

from __future__ import annotations

import math
import time
from pathlib import Path

import keras
import numpy as np

from astro_io.errors import ConfigError
from astro_io.provenance import provenance
from astro_io.run_folder import (
    CHECKPOINTS,
    CURVES_FILE,
    HISTORY_FILE,
    TENSORBOARD,
    append_history,
    draw_curves,
    write_tensorboard,
)
from astro_rcnn.checkpoint import save_checkpoint
from astro_rcnn.config import TrainConfig
from astro_rcnn.data import TrainingSequence
from astro_rcnn.model import LOSS_NAMES, MaskRCNN
from astro_rcnn.weights_file import save_weights


class NonFiniteGuard(keras.callbacks.Callback):
    """Stop at the first batch whose loss is not a number, and name it.

    Parameters
    ----------
    training : TrainingSequence
        Where the batches come from.
    """

    def __init__(self, training: TrainingSequence) -> None:
        super().__init__()
        self.training = training
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Remember the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Look at the averages so far: one loss that is not finite stays in them."""
        logs = logs or {}
        bad = [name for name in ("loss", *LOSS_NAMES) if not math.isfinite(logs.get(name, 0.0))]
        if bad:
            raise ConfigError(self._message(batch, float(logs[bad[0]]), bad))

    def _message(self, batch: int, value: float, bad: list[str]) -> str:
        index = min(batch, len(self.training) - 1)
        scenes = "; ".join(self.training.describe(self.epoch, index))
        inputs = self.training.batch(self.epoch, index)
        broken = [name for name, array in inputs.items() if not np.isfinite(array).all()]
        cause = (
            f"its {', '.join(broken)} holds values that are not finite: mend or leave out the scene"
            if broken
            else "its pixels and boxes are finite, so a step before it was too long: lower "
            "learning_rate or optimizer.clip_norm"
        )
        return (
            f"[schedule]: the loss is {value} in epoch {self.epoch + 1}, batch {index + 1} "
            f"({', '.join(bad)}): {scenes}; {cause}, and --resume. Files of earlier epochs stay."
        )


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
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(seconds, 1)
        history = append_history(self.output / HISTORY_FILE, row)
        draw_curves(history, self.output / CURVES_FILE)
        write_tensorboard(self.output / TENSORBOARD, row)
        write_weights(self.model, self.weights, self.config, epoch + 1)
        save_checkpoint(
            self.model,
            self.output / CHECKPOINTS,
            epoch=epoch + 1,
            keep=self.config.keep_checkpoints,
        )


def write_weights(model: MaskRCNN, path: Path, config: TrainConfig, epoch: int) -> None:
    """Write usable weights, in half precision."""
    metadata = {"name": config.name, "epoch": epoch, "seed": config.seed, **provenance()}
    save_weights(model, path, metadata=metadata, dtype="float16", overwrite=True)


def write_entry(config: TrainConfig, weights: Path, output: Path) -> None:
    """Write the record that the weights registry needs."""
    from astro_io.weights import ENTRY_SUFFIX, WeightsEntry, add_entry, file_sha256
    from astro_rcnn.weights_file import read_weights

    _, tensors, metadata = read_weights(weights)
    entry = WeightsEntry(
        name=config.name,
        file=weights.name,
        sha256=file_sha256(weights),
        bands=config.model.bands,
        normalization=config.model.normalization,
        classes=config.model.class_names,
        thresholds={
            "min_confidence": config.model.min_confidence,
            "nms_iou": config.model.detection_nms_iou,
        },
        training_set=", ".join(Path(path).name for path in config.data.training),
        seed=config.seed,
        n_parameters=int(sum(value.size for value in tensors.values())),
        command=metadata.get("command", ""),
    )
    add_entry(entry, output / f"{config.name}{ENTRY_SUFFIX}")
