"""Train the dense layers alone, on the view that a finished trunk has of each stamp.

The trunk is run once; its features are kept in memory, in the state in which it will predict.
An epoch then costs seconds, and the joint density becomes as good as the features allow.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import keras
import numpy as np

from astro_io.cli import progress
from cluster_cnn.config import TrainConfig
from cluster_cnn.data import ClusterSequence, turn_and_mirror
from cluster_cnn.model import compile_model, split_model

log = logging.getLogger(__name__)

BATCH = 256
PATIENCE = 8
"""Epochs without a better validation loss after which it ends."""

_TRUNK_BATCH = 128


def refine_head(
    model: keras.Model,
    config: TrainConfig,
    training: ClusterSequence,
    validation: ClusterSequence,
    *,
    verbose: int = 0,
) -> list[float]:
    """Train the dense layers of a network in place.

    Parameters
    ----------
    model : keras.Model
        From `cluster_cnn.model.build_model`, trained.
    config : TrainConfig
        Its ``head_epochs``, ``head_learning_rate`` and ``head_dropout``.
    training, validation : ClusterSequence
    verbose : int
        Of `keras.Model.fit`.

    Returns
    -------
    list of float
        Validation loss: before, then after each epoch.  The network keeps the best of these.
    """
    trunk, head = split_model(model, config.model, dropout=config.head_dropout)
    rng = np.random.default_rng([config.seed, 77])
    seen = trunk_features(trunk, training, rng)
    held_out = trunk_features(trunk, validation, None)
    known = {name: training.targets[name] for name in head.output_names}
    weights = {name: training.weights[name] for name in head.output_names}
    checked = (
        held_out,
        {name: validation.targets[name] for name in head.output_names},
        {name: validation.weights[name] for name in head.output_names},
    )
    steps = -(-len(seen) // BATCH) * config.head_epochs
    rate = replace(config.optimizer, learning_rate=config.head_learning_rate)
    compile_model(head, replace(config, optimizer=rate), steps)
    start = head.evaluate(
        checked[0], checked[1], sample_weight=checked[2], batch_size=BATCH, verbose=0
    )
    first = float(start[0] if isinstance(start, list) else start)
    before = head.get_weights()
    keras.utils.set_random_seed(config.seed)
    history = head.fit(
        seen,
        known,
        sample_weight=weights,
        validation_data=checked,
        batch_size=BATCH,
        epochs=config.head_epochs,
        verbose=verbose,
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True),
        ],
    ).history["val_loss"]
    if not min(history) < first:
        head.set_weights(before)
    log.info("dense layers alone: validation loss %.4f, then %.4f", first, min(history))
    return [first, *map(float, history)]


def trunk_features(
    trunk: keras.Model, sequence: ClusterSequence, rng: np.random.Generator | None
) -> np.ndarray:
    """Return what the trunk sees in every stamp of a sequence, shape (N, F).

    Parameters
    ----------
    trunk : keras.Model
    sequence : ClusterSequence
    rng : numpy.random.Generator or None
        Turns and mirrors stamps; None leaves them as they are.
    """
    trunk.compile(jit_compile=keras.backend.backend() == "jax")
    n = len(sequence.rows)
    parts = []
    for first in progress(range(0, n, _TRUNK_BATCH), description="features", unit="batch"):
        places = np.arange(first, min(first + _TRUNK_BATCH, n))
        stamps = sequence.read_stamps(places, np.random.default_rng([first]))
        if rng is not None and sequence.augmentation:
            stamps = turn_and_mirror(stamps, rng)
        short = _TRUNK_BATCH - len(stamps)  # one shape, compiled once
        padded = np.concatenate([stamps, np.zeros((short, *stamps.shape[1:]), np.float32)])
        parts.append(np.asarray(trunk.predict_on_batch(padded))[: len(places)])
    return np.concatenate(parts)
