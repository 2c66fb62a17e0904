"""One training on several devices or machines, each batch divided among them.

Nothing is exchanged by hand: TensorFlow's strategies and Keras's distribution on JAX do it. The
same global batch gives the same step, whatever the number of replicas (see `astro_rcnn.replicas`
and `astro_rcnn.draws`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from astro_io.errors import BackendError, ConfigError

log = logging.getLogger(__name__)

KINDS = ("none", "mirrored", "multiworker", "data-parallel")
_BACKENDS = {"mirrored": "tensorflow", "multiworker": "tensorflow", "data-parallel": "jax"}


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """Who trains together.

    Attributes
    ----------
    n : int
        Number of replicas, over all machines.
    is_chief : bool
        Whether this process writes the files of the run; every process of a run reads them.
    """

    n: int = 1
    is_chief: bool = True


@contextlib.contextmanager
def distributed(kind: str) -> Iterator[Replicas]:
    """Build and train networks inside of this on several devices.

    Parameters
    ----------
    kind : {"none", "mirrored", "multiworker", "data-parallel"}
        ``mirrored``: all devices that TensorFlow sees in this machine (``CUDA_VISIBLE_DEVICES``
        chooses them). ``multiworker``: one process a machine, each told of the others by
        ``TF_CONFIG``. ``data-parallel``: all devices that JAX sees.

    Yields
    ------
    Replicas

    Raises
    ------
    BackendError
        If the Keras backend has no such thing.
    ConfigError
        If `kind` is unknown, or ``TF_CONFIG`` is missing.
    """
    check_kind(kind)
    if kind == "none":
        yield Replicas()
    elif kind == "data-parallel":
        with _data_parallel() as replicas:
            yield replicas
    else:
        strategy = _mirrored() if kind == "mirrored" else _multiworker()
        replicas = Replicas(n=strategy.num_replicas_in_sync, is_chief=_is_chief(kind))
        log.info("%s: %d replicas", kind, replicas.n)
        with strategy.scope():
            yield replicas


def check_kind(kind: str) -> None:
    """Raise unless the Keras backend can do it."""
    if kind not in KINDS:
        raise ConfigError(f"--distribute: expected one of {', '.join(KINDS)}; found {kind!r}.")
    backend, wanted = keras.backend.backend(), _BACKENDS.get(kind)
    if wanted is not None and backend != wanted:
        other = "data-parallel" if backend == "jax" else "mirrored"
        raise BackendError(
            f"--distribute {kind} needs KERAS_BACKEND={wanted}; found {backend}. Set it, or use "
            f"--distribute {other}."
        )


def check_batch(batch_size: int, replicas: Replicas) -> None:
    """Raise unless every replica gets as many images of a batch."""
    if batch_size % replicas.n:
        raise ConfigError(
            f"[data]: batch_size {batch_size} cannot be divided among {replicas.n} replicas. "
            f"Choose a multiple of {replicas.n}: --set data.batch_size={replicas.n * 2}."
        )


def _mirrored():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy()


def _multiworker():
    """Join the other processes that TF_CONFIG names."""
    try:
        cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    except (KeyError, ValueError) as error:
        raise ConfigError(
            "--distribute multiworker: expected the environment variable TF_CONFIG with "
            f'{{"cluster": {{"worker": [...]}}, "task": {{...}}}} in each process; found '
            f"{os.environ.get('TF_CONFIG', 'none')!r}. docs/training.md shows how to set it."
        ) from error
    import tensorflow as tf

    log.info("waiting for %d workers", len(cluster))
    return tf.distribute.MultiWorkerMirroredStrategy()


def _is_chief(kind: str) -> bool:
    if kind != "multiworker":
        return True
    task = json.loads(os.environ["TF_CONFIG"]).get("task", {})
    return task.get("type", "worker") == "chief" or int(task.get("index", 0)) == 0


@contextlib.contextmanager
def _data_parallel() -> Iterator[Replicas]:
    """Shard every batch over the devices of JAX; weights lie on all."""
    devices = keras.distribution.list_devices()
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    log.info("data-parallel: %d devices", len(devices))
    try:
        yield Replicas(n=len(devices))
    finally:
        keras.distribution.set_distribution(before)
