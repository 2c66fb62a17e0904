"""The training run: epochs, checkpoints and resume, history, calibration, weights at the end.

Everything a run leaves lies in its folder: ``config.toml`` (resolved), ``scale.json``,
``history.csv``, ``curves.png``, ``tensorboard/``, ``checkpoints/``, ``NAME.weights.h5`` and
``NAME.entry.toml`` (the record for the weights registry).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import keras

from astro_io import run_folder
from astro_io.config import dump_config
from astro_io.errors import ConfigError
from astro_io.provenance import provenance
from cluster_cnn.calibrate import measure_calibration
from cluster_cnn.checkpoint import load_checkpoint
from cluster_cnn.config import TrainConfig
from cluster_cnn.data import VALIDATION_SHARE, ClusterSequence, metadata_of
from cluster_cnn.head_refinement import refine_head
from cluster_cnn.model import build_model, compile_model
from cluster_cnn.predictor import Predictor
from cluster_cnn.training_run import (
    RunRecorder,
    TrainingStamps,
    open_stamps,
    read_scale,
    record_weights,
    with_pixel_scale,
    write_scale,
)
from cluster_cnn.weights_file import assign_strictly, read_weights, save_weights, take_bands

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Run:
    """What a run works on."""

    config: TrainConfig
    output: Path
    stamps: TrainingStamps
    training: ClusterSequence
    validation: ClusterSequence

    def close(self) -> None:
        for sequence in (self.training, self.validation):
            sequence.close()
        self.stamps.close()


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
    done = run_folder.latest_checkpoint(output / run_folder.CHECKPOINTS) if resume else None
    run = _open_run(config, output, done is not None)
    try:
        return _train(run, done, verbose)
    finally:
        run.close()


def _open_run(config: TrainConfig, output: Path, is_resumed: bool) -> _Run:
    """Open the sets and measure, or read, the scale of stamps."""
    model, data = config.model, config.data
    stamps = open_stamps(
        model, data, share=VALIDATION_SHARE, scale=read_scale(output) if is_resumed else None
    )
    return _Run(
        config=config,
        output=output,
        stamps=stamps,
        training=ClusterSequence(
            stamps.source,
            stamps.rows,
            model,
            stamps.scale,
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
            stamps.held_out,
            stamps.aside,
            model,
            stamps.scale,
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
        write_scale(output, run.stamps.scale)
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
    predictor = Predictor.from_model(model, config=config.model, scale=run.stamps.scale)
    calibration = measure_calibration(predictor, run.validation)
    path = run.output / f"{config.name}.weights.h5"
    metadata = {
        "name": config.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "band_dropout": config.data.band_dropout,
        **metadata_of(run.stamps.source),
        **provenance(),
    }
    save_weights(
        path,
        model,
        config=with_pixel_scale(config.model, run.stamps.source),
        scale=run.stamps.scale,
        calibration=calibration,
        metadata=metadata,
        overwrite=True,
    )
    record_weights(
        path,
        config,
        run.stamps,
        metadata,
        classes=("background", "cluster") if config.model.has_class else ("cluster",),
        n_parameters=int(model.count_params()),
        description=f"{', '.join(config.model.parameter_names)} of star clusters; calibrated on "
        f"{calibration.n_stamps} mocks.",
    )
    return path


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
