"""The training run: epochs, checkpoints and resume, history, calibration, weights at the end.

Everything a run leaves lies in its folder: ``config.toml`` (resolved), ``scale.json``,
``history.csv``, ``curves.png``, ``tensorboard/``, ``checkpoints/``, ``NAME.weights.h5`` and
``NAME.entry.toml`` (the record for the weights registry).
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from astro_io import run_folder
from astro_io.atomic import atomic_path
from astro_io.config import dump_config
from astro_io.errors import ConfigError, DatasetError
from astro_io.provenance import provenance
from cluster_cnn.calibrate import measure_calibration
from cluster_cnn.calibration import Calibration
from cluster_cnn.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from cluster_cnn.config import TrainConfig
from cluster_cnn.data import (
    ClusterSequence,
    StampSource,
    measure_source_scale,
    metadata_of,
    split_rows,
)
from cluster_cnn.head_refinement import refine_head
from cluster_cnn.model import build_model, compile_model
from cluster_cnn.normalise import StampScale
from cluster_cnn.predictor import Predictor
from cluster_cnn.weights_file import assign_strictly, read_weights, save_weights, take_bands

log = logging.getLogger(__name__)

SCALE_FILE = "scale.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class _Run:
    """What a run works on."""

    config: TrainConfig
    output: Path
    source: StampSource
    scale: StampScale
    training: ClusterSequence
    validation: ClusterSequence

    def close(self) -> None:
        for sequence in (self.training, self.validation):
            sequence.close()
            sequence.source.close()


def train(
    config: TrainConfig, output: Path, *, resume: bool, overwrite: bool, verbose: int
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

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    ConfigError
        If no training set is named, or the loss becomes infinite.
    DatasetError
        If the sets do not fit the network.
    OutputExistsError
        If `output` holds a run and neither flag is given.
    """
    if not config.data.training:
        raise ConfigError(
            "[data]: no training set. Name one: --set data.training=PATH "
            "(python -m simulate.clusters makes them)."
        )
    if not resume:
        run_folder.refuse_existing_run(output, overwrite=overwrite)
    done = latest_checkpoint(output / run_folder.CHECKPOINTS) if resume else None
    run = _open_run(config, output, done is not None)
    try:
        return _train(run, done, verbose)
    finally:
        run.close()


def _open_run(config: TrainConfig, output: Path, is_resumed: bool) -> _Run:
    """Open the sets and measure, or read, the scale of stamps."""
    model, data = config.model, config.data
    source = StampSource(data.training, bands=model.bands, stamp_size=model.stamp_size)
    held_out = source
    if data.validation:
        held_out = StampSource(data.validation, bands=model.bands, stamp_size=model.stamp_size)
    rows, aside = split_rows(len(source), has_validation=bool(data.validation))
    if not len(rows):
        raise DatasetError("[data]: the training set holds too few stamps to set some aside.")
    if is_resumed:
        scale = StampScale.from_dict(json.loads((output / SCALE_FILE).read_text()))
    else:
        scale = measure_source_scale(source, model)
    return _Run(
        config=config,
        output=output,
        source=source,
        scale=scale,
        training=ClusterSequence(
            source,
            rows,
            model,
            scale,
            batch_size=data.batch_size,
            augmentation=data.augmentation,
            max_shift_px=data.max_shift_px,
            band_dropout=data.band_dropout,
            min_snr=data.min_snr,
            steps=config.steps_per_epoch,
            seed=config.seed,
            cache_mb=data.cache_mb,
        ),
        validation=ClusterSequence(
            held_out,
            range(len(held_out)) if data.validation else aside,
            model,
            scale,
            batch_size=data.batch_size,
            min_snr=data.min_snr,
            shuffle=False,
        ),
    )


def _train(run: _Run, done: tuple[Path, int] | None, verbose: int) -> Path:
    """Train from `done` (a checkpoint and its epoch; None: from the start) to the end."""
    config, output = run.config, run.output
    model = build_model(config.model, seed=config.seed)
    compile_model(model, config, config.epochs * len(run.training))
    first = 0
    if done is None:
        _initialise(model, config)
        run_folder.remove_run(output)
        output.mkdir(parents=True, exist_ok=True)
        (output / SCALE_FILE).write_text(json.dumps(run.scale.to_dict(), indent=1))
    else:
        load_checkpoint(model, done[0])
        first = done[1]
        log.info("resuming after epoch %d", first)
    (output / run_folder.CONFIG_FILE).write_text(dump_config(config))
    log.info(
        "%d stamps to train on, %d to validate, %d parameters",
        len(run.training.rows),
        len(run.validation.rows),
        model.count_params(),
    )
    if first < config.epochs:
        model.fit(
            run.training,
            validation_data=run.validation,
            initial_epoch=first,
            epochs=config.epochs,
            shuffle=False,
            verbose=verbose,
            callbacks=[
                run.training.epoch_callback(),
                keras.callbacks.TerminateOnNaN(),
                RunRecorder(output),
            ],
        )
    if config.head_epochs:
        refine_head(model, config, run.training, run.validation, verbose=verbose)
    return finish_run(run, model)


def finish_run(run: _Run, model: keras.Model) -> Path:
    """Calibrate on the validation stamps; write the weights and their registry entry."""
    config = run.config
    predictor = Predictor.from_model(model, config=config.model, scale=run.scale)
    calibration = measure_calibration(predictor, run.validation)
    path = run.output / f"{config.name}.weights.h5"
    metadata = {
        "name": config.name,
        "seed": config.seed,
        "epochs": config.epochs,
        **metadata_of(run.source),
        **provenance(),
    }
    save_weights(
        path,
        model,
        config=_with_pixel_scale(config, run.source).model,
        scale=run.scale,
        calibration=calibration,
        metadata=metadata,
        overwrite=True,
    )
    _write_entry(run, path, model, metadata, calibration)
    return path


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


def _initialise(model: keras.Model, config: TrainConfig) -> None:
    """Fill the network from `config.init`, strictly, unless it starts at random.

    Weights of the same network in more bands will do: those of the others are left out.
    """
    if config.init == "random":
        return
    from astro_io.weights import resolve

    path, _ = resolve(config.init)
    weights = read_weights(path)
    tensors, known = weights.tensors, weights.config.bands
    if known != config.model.bands:
        tensors = take_bands(tensors, bands=known, wanted=config.model.bands, where=path.name)
    assign_strictly(model, tensors, where=path.name)
    log.info("init %s", config.init)


def _with_pixel_scale(config: TrainConfig, source: StampSource) -> TrainConfig:
    """Fill in the pixel scale of the training set, where the configuration has none."""
    if config.model.pixel_scale_arcsec or not source.pixel_scale_arcsec:
        return config
    return replace(
        config, model=replace(config.model, pixel_scale_arcsec=source.pixel_scale_arcsec)
    )


def _write_entry(
    run: _Run, path: Path, model: keras.Model, metadata: dict[str, Any], calibration: Calibration
) -> None:
    """Write the record that the weights registry needs."""
    import tomli_w

    from astro_io.weights import file_sha256

    config = run.config
    entry: dict[str, Any] = {
        "file": path.name,
        "sha256": file_sha256(path),
        "bands": list(config.model.bands),
        "normalization": f"{run.scale.method}, one fixed scale for all stamps",
        "classes": ["background", "cluster"] if config.model.has_class else ["cluster"],
        "training_set": ", ".join(source.name for source in run.source.paths),
        "seed": config.seed,
        "n_parameters": int(model.count_params()),
        "command": metadata.get("command", ""),
        "description": f"{', '.join(config.model.parameter_names)} of star clusters; calibrated "
        f"on {calibration.n_stamps} mocks.",
    }
    if run.source.pixel_scale_arcsec:
        entry["pixel_scale_arcsec"] = run.source.pixel_scale_arcsec
    with atomic_path(run.output / f"{config.name}.entry.toml", overwrite=True) as part:
        part.write_text(tomli_w.dumps({config.name: entry}))
