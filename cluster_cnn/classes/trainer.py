"""Train the members of an ensemble one after the other; calibrate and pack them.

A run folder holds ``config.toml`` (resolved), ``scale.json``, ``member_K/`` with history, curves,
TensorBoard log, checkpoints and ``member.h5`` once it is finished, and at the end
``NAME.weights.h5`` with all members, ``NAME.entry.toml`` and ``validation.json``.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io import run_folder
from astro_io.atomic import atomic_path
from astro_io.config import dump_config
from astro_io.errors import ConfigError, WeightsError
from astro_io.provenance import provenance
from cluster_cnn.band_order import learn_band_order
from cluster_cnn.calibration import whitening
from cluster_cnn.checkpoint import load_checkpoint
from cluster_cnn.classes.calibration import (
    NOISE_MARGIN,
    ClassCalibration,
    fit_class_temperature,
)
from cluster_cnn.classes.config import ClassTrainConfig
from cluster_cnn.classes.data import ClassSequence, label_index, read_distances
from cluster_cnn.classes.losses import label_loss
from cluster_cnn.classes.networks import COPIES, LOGITS, build_class_model
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.classes.weights_file import (
    HELD_OUT_SHARE,
    N_STAMPS,
    read_class_weights,
    read_member,
    save_class_weights,
    save_member,
)
from cluster_cnn.data import metadata_of
from cluster_cnn.model import make_optimizer
from cluster_cnn.noise import NoiseRange
from cluster_cnn.training_run import (
    SCALE_FILE,
    RunRecorder,
    TrainingStamps,
    open_stamps,
    read_scale,
    record_weights,
    with_pixel_scale,
    write_scale,
)
from cluster_cnn.weights_file import assign_strictly, named_variables

log = logging.getLogger(__name__)

MEMBER_FILE = "member.h5"
SCORES_FILE, COST_FILE = "validation.json", "cost.json"

USUAL_STAMPS = 2500
"""So many training stamps tell what the bands look like and how their pixels scatter."""


def train_classes(
    config: ClassTrainConfig, output: Path, *, resume: bool, overwrite: bool, verbose: int
) -> Path:
    """Run (or go on with) the trainings of an ensemble.

    Parameters
    ----------
    config : ClassTrainConfig
    output : Path
        Run folder.
    resume : bool
        Keep finished members, go on from the newest checkpoint of the one that is not.
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
            "(python -m simulate.clusters --task classes makes them)."
        )
    if not resume:
        run_folder.refuse_existing_run(output, overwrite=overwrite)
        _remove_run(output)
    is_scaled = resume and (output / SCALE_FILE).exists()
    stamps = open_stamps(
        config.model,
        config.data,
        share=config.data.validation_share,
        scale=read_scale(output) if is_scaled else None,
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_scale(output, stamps.scale)
        (output / run_folder.CONFIG_FILE).write_text(dump_config(config))
        log.info("%d stamps to train on, %d set aside", len(stamps.rows), len(stamps.aside))
        for number in range(config.members):
            _train_member(config, output / f"member_{number}", stamps, number, verbose)
        return pack_members(config, output, stamps)
    finally:
        stamps.close()


def _remove_run(output: Path) -> None:
    if (output / run_folder.CONFIG_FILE).exists():
        for folder in output.glob("member_*"):
            shutil.rmtree(folder)
        for name in (SCALE_FILE, SCORES_FILE):
            (output / name).unlink(missing_ok=True)
    run_folder.remove_run(output)


def _train_member(
    config: ClassTrainConfig, folder: Path, stamps: TrainingStamps, number: int, verbose: int
) -> None:
    """Train one member, unless it is finished, and write it."""
    if (folder / MEMBER_FILE).exists():
        log.info("member %d is finished", number)
        return
    seed = config.seed + number
    model = build_class_model(config.model, seed=seed)
    training = ClassSequence(
        stamps.source,
        stamps.rows,
        config.model,
        stamps.scale,
        config.data,
        varied=True,
        steps=config.steps_per_epoch,
        seed=seed,
    )
    validation = ClassSequence(
        stamps.held_out, stamps.aside, config.model, stamps.scale, config.data, varied=False
    )
    try:
        _compile(model, config, config.epochs * len(training))
        first = _start(model, config, folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        budget = Budget(config.budget_s, folder / COST_FILE if first else None)
        if first < config.epochs:
            model.fit(
                training,
                validation_data=validation,
                initial_epoch=first,
                epochs=config.epochs,
                shuffle=False,
                verbose=verbose,
                callbacks=[
                    training.epoch_callback(),
                    keras.callbacks.TerminateOnNaN(),
                    budget,
                    RunRecorder(folder),
                    budget.keeper(folder / COST_FILE),
                ],
            )
    finally:
        training.close()
        validation.close()
    tensors = {name: _value(variable) for name, variable in named_variables(model).items()}
    save_member(folder / MEMBER_FILE, tensors, budget.facts(config.data.batch_size))
    shutil.rmtree(folder / run_folder.CHECKPOINTS, ignore_errors=True)


def _compile(model: keras.Model, config: ClassTrainConfig, steps: int) -> None:
    model.compile(
        optimizer=make_optimizer(config, steps),
        loss={LOGITS: label_loss(config.confusion)},
        metrics={LOGITS: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
        jit_compile=config.jit_compile or keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)  # a step that builds it is traced twice


def _start(model: keras.Model, config: ClassTrainConfig, folder: Path, number: int) -> int:
    """Fill the network for its first step; return how many epochs are done already."""
    done = run_folder.latest_checkpoint(folder / run_folder.CHECKPOINTS)
    if done is not None:
        load_checkpoint(model, done[0])
        log.info("member %d: resuming after epoch %d", number, done[1])
        return done[1]
    if config.torch_weights:
        from cluster_cnn.torch_weights import load_torch_weights

        for prefix in COPIES:
            load_torch_weights(model, config.torch_weights, prefix=prefix)
    if config.init != "random":
        _take_trunk(model, config.init, number)
    return 0


def _take_trunk(model: keras.Model, init: str, number: int) -> None:
    """Fill everything but the last layer from a member of another weights file, strictly."""
    from astro_io.weights import resolve

    path, _ = resolve(init)
    members = read_class_weights(path).members
    tensors = dict(members[number % len(members)])
    variables = named_variables(model)
    own = {name: _value(v) for name, v in variables.items() if name.startswith(f"{LOGITS}/")}
    if not own.keys() <= tensors.keys():
        raise WeightsError(f"{path.name}: expected layer {LOGITS}. Use weights of this network.")
    assign_strictly(model, {**tensors, **own}, where=path.name)


def _value(variable: keras.Variable) -> np.ndarray:
    """Return the value of a variable, on every backend."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable)))


class Budget(keras.callbacks.Callback):
    """Count what a training costs; stop it when its processor time is used up.

    From the beginning of each epoch to its last batch: validation and checkpoints cost nothing.

    Parameters
    ----------
    seconds : float
        Processor time of this process, all threads; 0: no limit.
    earlier : Path, optional
        What the training cost before it was interrupted, as `keeper` wrote it.
    """

    def __init__(self, seconds: float, earlier: Path | None = None) -> None:
        super().__init__()
        self.seconds, self.batches = seconds, 0
        self.cpu_s = self.wall_s = 0.0
        self._mark = time.process_time(), time.monotonic()
        if earlier is not None and earlier.exists():
            spent = json.loads(earlier.read_text())
            self.batches = int(spent["batches"])
            self.cpu_s, self.wall_s = float(spent["cpu_s"]), float(spent["wall_s"])

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Start the clocks."""
        self._mark = time.process_time(), time.monotonic()

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Stop within the epoch."""
        self.batches += 1
        now = time.process_time(), time.monotonic()
        self.cpu_s, self.wall_s = (
            total + after - before
            for total, after, before in zip((self.cpu_s, self.wall_s), now, self._mark, strict=True)
        )
        self._mark = now
        if self.seconds and self.cpu_s > self.seconds:
            self.model.stop_training = True

    def keeper(self, path: Path) -> keras.callbacks.Callback:
        """Return a callback that writes what was spent after each epoch."""

        def keep(epoch: int, logs=None) -> None:
            with atomic_path(path, overwrite=True) as part:
                part.write_text(json.dumps(self.facts(1)))

        return keras.callbacks.LambdaCallback(on_epoch_end=keep)

    def facts(self, batch_size: int) -> dict[str, Any]:
        """Return batches, stamps seen, processor and wall seconds since the start."""
        return {
            "batches": self.batches,
            "stamps_seen": self.batches * batch_size,
            "cpu_s": round(self.cpu_s, 1),
            "wall_s": round(self.wall_s, 1),
        }


def pack_members(config: ClassTrainConfig, output: Path, stamps: TrainingStamps) -> Path:
    """Calibrate the finished members on the stamps set aside; write weights, entry and scores."""
    read = [read_member(output / f"member_{k}" / MEMBER_FILE) for k in range(config.members)]
    members, facts = [tensors for tensors, _ in read], [fact for _, fact in read]
    model = with_pixel_scale(config.model, stamps.source)
    predictor = ClassPredictor.from_members(members, config=model, scale=stamps.scale)
    labels = label_index(stamps.held_out.column(config.data.labels)[stamps.aside], model.class_ids)
    seen = stamps.held_out.read(stamps.aside)
    logits, features = predictor.outputs(
        seen, distance_kpc=read_distances(stamps.held_out)[stamps.aside]
    )
    step = max(1, len(stamps.rows) // USUAL_STAMPS)
    usual = stamps.source.read(stamps.rows[::step][:USUAL_STAMPS])
    noise = stamps.scale.statistics.scale
    mean, matrix, limit = whitening(features) if len(features) > 1 else (*_no_features(), np.inf)
    calibration = ClassCalibration(
        temperature=fit_class_temperature(logits, labels, config.confusion),
        feature_mean=mean,
        feature_whitening=matrix,
        largest_distance=limit,
        noise=NoiseRange.of(predictor.noise_of(usual), margin=NOISE_MARGIN),
        order=learn_band_order(usual, unit=float(np.exp(np.log(noise).mean()))),
        distances_kpc=_distance_range(read_distances(stamps.source)[stamps.rows]),
        n_stamps=len(labels),
    )
    path = output / f"{config.name}.weights.h5"
    metadata = {
        "name": config.name,
        "seed": config.seed,
        "members": facts,
        HELD_OUT_SHARE: 0.0 if config.data.validation else config.data.validation_share,
        N_STAMPS: len(stamps.source),
        **metadata_of(stamps.source),
        **provenance(),
    }
    save_class_weights(
        path,
        members,
        config=model,
        scale=stamps.scale,
        calibration=calibration,
        metadata=metadata,
        overwrite=True,
    )
    accuracy = (logits.argmax(axis=2) == labels).mean(axis=1) if len(labels) else np.zeros(0)
    scores = {"accuracy_of_members": accuracy.tolist(), "cost_of_members": facts}
    (output / SCORES_FILE).write_text(json.dumps(scores, indent=1))
    record_weights(
        path,
        config,
        stamps,
        metadata,
        classes=tuple(str(i) for i in config.model.class_ids),
        description=f"Classes of star clusters; {config.members} members of "
        f"{config.model.network}.",
    )
    return path


def _distance_range(distances: np.ndarray) -> tuple[float, float]:
    known = distances[np.isfinite(distances)]
    return (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)


def _no_features() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0), np.zeros((0, 0))
