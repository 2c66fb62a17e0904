"""The training run: stages, resume, and the weights at the end.

Everything a run leaves lies in its folder: ``config.toml`` (resolved), ``history.csv``,
``curves.png``, ``tensorboard/``, ``checkpoints/``, ``looks/``, ``NAME.weights.h5`` and
``NAME.entry.toml`` (the record for the weights registry).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import keras

from astro_io.config import dump_config
from astro_io.errors import ConfigError
from astro_io.processor import lacks_bfloat16
from astro_io.run_folder import (
    CHECKPOINTS,
    CONFIG_FILE,
    latest_checkpoint,
    refuse_existing_run,
    remove_run,
)
from astro_rcnn.averaging import holds_averages, load_averaged, recalibrate_batch_norm
from astro_rcnn.checkpoint import load_model_state, load_optimizer_state, remove_later
from astro_rcnn.config import OptimizerConfig, StageConfig, TrainConfig
from astro_rcnn.data import TrainingSequence
from astro_rcnn.distribution import Replicas, check_batch, distributed
from astro_rcnn.early_look import EarlyLook
from astro_rcnn.initial_weights import initialise, initialise_heads, load_teacher
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.packing import find_checkpoint
from astro_rcnn.recorder import NonFiniteGuard, RunRecorder, write_entry, write_weights
from astro_rcnn.replicas import SGD, Adam
from astro_rcnn.schedule import StagedSchedule
from astro_rcnn.sequences import make_sequences

log = logging.getLogger(__name__)

# With the layers' momentum of 0.97, 95 % of the old statistics are forgotten.
CALIBRATION_BATCHES = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training as it stands.

    Attributes
    ----------
    config : TrainConfig
    output : Path
        Run folder.
    training : TrainingSequence
    validation : TrainingSequence or None
    start : tuple of Path and int, or None
        Checkpoint to go on from, and its epoch; None: from the beginning.
    verbose : int
        Of `keras.Model.fit`.
    """

    config: TrainConfig
    output: Path
    training: TrainingSequence
    validation: TrainingSequence | None
    start: tuple[Path, int] | None
    verbose: int

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.output / f"{self.config.name}.weights.h5"


def train(
    config: TrainConfig,
    output: Path,
    *,
    resume: bool,
    overwrite: bool,
    verbose: int,
    finish: bool = False,
    resume_from: str | None = None,
    distribute: str = "none",
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
        Train no further: write the final weights from the newest checkpoint, or from that of
        `resume_from`.
    resume_from : str, optional
        Go on from this checkpoint: an epoch of this run, a file, or a folder that
        `astro_rcnn.packing.pack_checkpoint` wrote. Later epochs of the run are given up.
    distribute : {"none", "mirrored", "multiworker", "data-parallel"}
        As of `astro_rcnn.distribution.distributed`.

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
    start = _find_start(output, resume or finish, resume_from, overwrite)
    if finish and start is None:
        raise ConfigError(f"{output}: no checkpoint to finish from. Train first, without --finish.")
    training, validation = make_sequences(config)
    run = Run(
        config=config,
        output=output,
        training=training,
        validation=validation,
        start=start,
        verbose=verbose,
    )
    try:
        is_chief = True
        if not finish:
            with distributed(distribute) as replicas:
                check_batch(config.data.batch_size, replicas)
                is_chief = replicas.is_chief
                _train(run, replicas)
        if is_chief:
            newest = start if finish else latest_checkpoint(output / CHECKPOINTS) or start
            _finish(run, newest)
    finally:
        training.close()
        if validation is not None:
            validation.close()
    return run.weights


def _train(run: Run, replicas: Replicas) -> None:
    """Train from the start of a run to its end."""
    config, first_epoch = run.config, run.start[1] if run.start else 0
    warn_of_precision(config.precision)
    model = build_model(config.model, config.targets, seed=config.seed, precision=config.precision)
    if run.start is None:
        report = initialise(model, config.init)
        log.info("init %s: %s", config.init, report)
        if config.init_heads:
            log.info(
                "heads of %s: %s", config.init_heads, initialise_heads(model, config.init_heads)
            )
    else:
        load_model_state(model, run.start[0])
        log.info("resuming after epoch %d", first_epoch)
    if config.imitate:
        model.imitate(load_teacher(config.model, config.imitate), config.imitation_weight)
    if replicas.is_chief:
        _prepare_folder(run)
    for begin, end, layers in segments(config.schedule):
        if end <= first_epoch:
            continue
        compile_for_segment(model, config, begin, layers)
        if run.start is not None and first_epoch > begin:
            n_steps = (first_epoch - begin) * config.steps_per_epoch
            if not load_optimizer_state(model, run.start[0], n_steps=n_steps):
                log.warning("the checkpoint was packed without the optimiser: it starts anew")
        with _data_errors_first(run.training, run.validation):
            model.fit(
                run.training,
                validation_data=run.validation,
                validation_steps=config.validation_steps if run.validation else None,
                initial_epoch=max(begin, first_epoch),
                epochs=end,
                shuffle=False,
                verbose=run.verbose if replicas.is_chief else 0,
                callbacks=_callbacks(run, replicas),
            )


@contextmanager
def _data_errors_first(*sequences: TrainingSequence | None) -> Iterator[None]:
    """Raise what was wrong with a scene, not what TensorFlow makes of it in mid-epoch."""
    try:
        yield
    except Exception as error:
        failures = [sequence.failure for sequence in sequences if sequence is not None]
        for failure in filter(None, failures):
            raise failure from error
        raise


def warn_of_precision(precision: str) -> None:
    """Say so where a precision would only cost time."""
    if precision != "bfloat16" or not lacks_bfloat16():
        return
    if keras.distribution.list_devices()[0].startswith("cpu"):
        log.warning(
            "precision bfloat16: this processor has no arithmetic in it, and a step takes several "
            "times as long. Use --set precision=float32"
        )


def _callbacks(run: Run, replicas: Replicas) -> list[keras.callbacks.Callback]:
    """List what happens beside the steps; only one of several processes writes."""
    callbacks = [run.training.epoch_callback(), NonFiniteGuard(run.training)]
    if replicas.is_chief:
        callbacks.append(RunRecorder(run.output, run.config, run.weights))
        if run.config.n_looks:
            looked_at = run.validation or run.training
            callbacks.append(EarlyLook(run.output, looked_at, run.config.n_looks))
    return callbacks


def _prepare_folder(run: Run) -> None:
    """Make the run folder, without what a new start or an earlier epoch makes void."""
    if run.start is None:
        remove_run(run.output)
    else:
        remove_later(run.output / CHECKPOINTS, run.start[1])
    run.output.mkdir(parents=True, exist_ok=True)
    (run.output / CONFIG_FILE).write_text(dump_config(run.config))
    (run.output / f"{run.config.name}.entry.toml").unlink(missing_ok=True)


def _finish(run: Run, checkpoint: tuple[Path, int] | None) -> None:
    """Make the weights of a checkpoint the result."""
    if checkpoint is not None:
        wants_average = run.config.optimizer.ema_momentum > 0
        if wants_average and holds_averages(checkpoint[0]):
            finish_average(run.config, run.training, checkpoint, run.weights)
        elif checkpoint == run.start or not run.weights.exists():  # no epoch wrote them
            if wants_average:
                log.warning("the checkpoint was packed without averages: its weights as they are")
            model = build_model(run.config.model, run.config.targets, seed=run.config.seed)
            load_model_state(model, checkpoint[0])
            write_weights(model, run.weights, run.config, checkpoint[1])
    write_entry(run.config, run.weights, run.output)


def _find_start(
    output: Path, resume: bool, resume_from: str | None, overwrite: bool
) -> tuple[Path, int] | None:
    """Check the run folder; return the checkpoint to go on from."""
    if resume_from is not None:
        return find_checkpoint(output / CHECKPOINTS, resume_from)
    if resume:
        return latest_checkpoint(output / CHECKPOINTS)
    refuse_existing_run(output, overwrite=overwrite)
    return None


def segments(schedule: tuple[StageConfig, ...]) -> Iterator[tuple[int, int, str]]:
    """Join consecutive stages that train the same layers: (first epoch, end epoch, layers)."""
    begin = 0
    for layers, stages in groupby(schedule, key=lambda stage: stage.layers):
        end = list(stages)[-1].until_epoch
        yield begin, end, layers
        begin = end


def compile_for_segment(model: MaskRCNN, config: TrainConfig, begin: int, layers: str) -> None:
    """Choose what learns and give the model a fresh optimiser."""
    choose_layers(model, layers)
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
    model.optimizer.build(model.trainable_variables)


def choose_layers(model: MaskRCNN, layers: str) -> None:
    """Let all layers learn, or with ``heads`` those behind the trunk alone."""
    model.features.trainable = True
    pyramid = {layer.name for layer in model.features.layers if layer.name.startswith("fpn_")}
    for layer in model.features.layers:
        layer.trainable = layers == "all" or layer.name in pyramid


def make_optimizer(config: OptimizerConfig, schedule) -> keras.optimizers.Optimizer:
    """Build the optimiser; weight decay is part of the loss, not of it: AdamW without is Adam."""
    # A fixed name: checkpoints find its state by it.
    common = {
        "name": {"sgd": "sgd", "adamw": "adam_w"}[config.name],
        "global_clipnorm": config.clip_norm if config.clip_norm > 0 else None,
    }
    if config.ema_momentum > 0:
        common |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    if config.name == "sgd":
        return SGD(schedule, momentum=config.momentum, **common)
    return Adam(schedule, **common)


def finish_average(
    config: TrainConfig,
    training: TrainingSequence,
    checkpoint: tuple[Path, int],
    weights: Path,
) -> None:
    """Write the averaged weights of a checkpoint, with batch norm measured on training crops."""
    path, epoch = checkpoint
    model = build_model(config.model, config.targets, seed=config.seed)
    load_averaged(model, path)
    last = next((s for s in config.schedule if s.until_epoch >= epoch), config.schedule[-1])
    choose_layers(model, last.layers)  # statistics of a trunk that did not learn stay
    training.epoch = epoch - 1  # the same crops, whether training ends or --finish ends it
    if not config.model.is_batch_norm_frozen:
        n_batches = min(CALIBRATION_BATCHES, len(training))
        log.info("batch norm of the averaged weights: measuring on %d batches", n_batches)
        recalibrate_batch_norm(model, (training[i] for i in range(n_batches)))
    write_weights(model, weights, config, epoch)
