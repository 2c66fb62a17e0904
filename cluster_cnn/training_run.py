"""What trainings of parameters and of classes share: stamps set aside, history, the record."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io import run_folder
from astro_io.errors import ConfigError, DatasetError
from astro_io.weights import ENTRY_SUFFIX, WeightsEntry, add_entry, file_sha256
from cluster_cnn.checkpoint import save_checkpoint
from cluster_cnn.data import StampSource, measure_source_scale, split_rows
from cluster_cnn.normalise import StampScale

SCALE_FILE = "scale.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingStamps:
    """Stamps to train on and stamps set aside.

    Attributes
    ----------
    source, held_out : StampSource
        Of the training stamps and of those set aside; one and the same without a validation set.
    rows, aside : ndarray of int
        Which stamps of `source` and of `held_out`.
    scale : StampScale
    """

    source: StampSource
    held_out: StampSource
    rows: np.ndarray
    aside: np.ndarray
    scale: StampScale

    def close(self) -> None:
        """Close the sets."""
        for source in {id(s): s for s in (self.source, self.held_out)}.values():
            source.close()


def open_stamps(model, data, *, share: float, scale: StampScale | None) -> TrainingStamps:
    """Open the sets of a run and measure the scale of stamps, unless it is given.

    Parameters
    ----------
    model : ModelConfig or ClassModelConfig
    data : DataConfig or ClassDataConfig
    share : float
        Of the training stamps that is set aside where there is no validation set.
    scale : StampScale or None
        Of the run that goes on.

    Returns
    -------
    TrainingStamps

    Raises
    ------
    DatasetError
        If the sets do not fit the network, or hold too little.
    """
    source = StampSource.seen_by(model, data.training)
    held_out = source
    if data.validation:
        held_out = StampSource.seen_by(model, data.validation)
        unit = source.zeropoint_mag, source.pixel_scale_arcsec
        held_out.conform(*unit, of=source.paths[0].name)
    rows, aside = split_rows(len(source), 0.0 if data.validation else share)
    if not len(rows):
        raise DatasetError("[data]: the training set holds too few stamps to set some aside.")
    return TrainingStamps(
        source=source,
        held_out=held_out,
        rows=rows,
        aside=np.arange(len(held_out)) if data.validation else aside,
        scale=measure_source_scale(source, model) if scale is None else scale,
    )


def read_scale(folder: Path) -> StampScale:
    """Read the scale that a run keeps in its folder."""
    return StampScale.from_dict(json.loads((folder / SCALE_FILE).read_text()))


def write_scale(folder: Path, scale: StampScale) -> None:
    """Keep the scale of a run in its folder."""
    (folder / SCALE_FILE).write_text(json.dumps(scale.to_dict(), indent=1))


def with_pixel_scale(model, source: StampSource):
    """Fill in the pixel scale of the training set, where the model's configuration has none."""
    if model.pixel_scale_arcsec or not source.pixel_scale_arcsec:
        return model
    return replace(model, pixel_scale_arcsec=source.pixel_scale_arcsec)


def record_weights(
    path: Path, config, stamps: TrainingStamps, metadata: Mapping[str, Any], **facts: Any
) -> None:
    """Write ``NAME.entry.toml``, the record for the weights registry, beside a weights file.

    Parameters
    ----------
    path : Path
        The weights file.
    config : TrainConfig or ClassTrainConfig
    stamps : TrainingStamps
    metadata : mapping
        Of the weights file; its ``command`` is taken.
    **facts
        Further fields of `astro_io.weights.WeightsEntry`.
    """
    entry = WeightsEntry(
        name=config.name,
        file=path.name,
        sha256=file_sha256(path),
        bands=config.model.bands,
        pixel_scale_arcsec=stamps.source.pixel_scale_arcsec or None,
        normalization=f"{stamps.scale.method}, one fixed scale for all stamps",
        training_set=", ".join(source.name for source in stamps.source.paths),
        seed=config.seed,
        command=metadata.get("command", ""),
        **facts,
    )
    add_entry(entry, path.with_name(f"{config.name}{ENTRY_SUFFIX}"))


class RunRecorder(keras.callbacks.Callback):
    """After each epoch: history, curves, TensorBoard, checkpoint.

    Parameters
    ----------
    output : Path
        Run folder.
    """

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.output = output
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Write everything that belongs to the epoch."""
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        if not math.isfinite(row["loss"]):
            raise ConfigError(
                f"[optimizer]: the loss is {row['loss']} in epoch {epoch + 1}; the files of "
                "earlier epochs stay. Lower learning_rate or clip_norm, and --resume."
            )
        rate = self.model.optimizer.learning_rate
        row["learning_rate"] = float(keras.ops.convert_to_numpy(rate))
        row["seconds"] = round(time.monotonic() - self.started, 1)
        history = run_folder.append_history(self.output / run_folder.HISTORY_FILE, row)
        run_folder.draw_curves(history, self.output / run_folder.CURVES_FILE)
        run_folder.write_tensorboard(self.output / run_folder.TENSORBOARD, row)
        save_checkpoint(self.model, self.output / run_folder.CHECKPOINTS, epoch=epoch + 1)
