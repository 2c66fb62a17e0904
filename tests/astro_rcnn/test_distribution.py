"""astro_rcnn.distribution: the same batch gives the same step on one device and on two."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_network import write_blobs

from astro_io.errors import BackendError, ConfigError
from astro_rcnn.distribution import Replicas, check_batch, distributed
from astro_rcnn.replicas import n_replicas

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("replica_training.py")
DIED = 9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("sets") / "blobs.h5", 4)


def start(kind: str, n: int, *arguments: str, **environment: str) -> subprocess.Popen:
    backend = "jax" if kind == "data-parallel" else "tensorflow"
    backend = environment.pop("KERAS_BACKEND", backend)
    # oneDNN rounds a batch of two otherwise than one of four, which can tip a choice of regions.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "0", **environment}
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), kind, str(n), *arguments],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, *, code: int = 0) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == code, output
    return output


def read(folder: Path) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    with np.load(folder / "result.npz") as file:
        rows = csv.DictReader(json.loads(str(file["history"])))
        history = [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]
        return history, {name: file[name] for name in file if name != "history"}


def assert_same_training(first: Path, second: Path) -> None:
    """Compare losses and weights to 1e-5."""
    for one, other in zip(read(first)[0], read(second)[0], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    ours, theirs = read(first)[1], read(second)[1]
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory) -> Path:
    """Four steps on one device, with batch normalisation and clipping."""
    folder = tmp_path_factory.mktemp("alone")
    finish(start("none", 1, str(dataset), str(folder)))
    first, second = (epoch["loss"] for epoch in read(folder)[0])
    assert abs(first - second) > 0.01 * first, "it learns much more than what is compared to"
    return folder


def test_two_devices_train_like_one_even_if_one_is_lost_meanwhile(alone, dataset, tmp_path):
    """Mirrored on two devices; killed after the first epoch; resumed on both.

    Each of the two epochs is thus computed on two replicas.
    """
    arguments = ("mirrored", 2, str(dataset), str(tmp_path))
    finish(start(*arguments, "1"), code=DIED)
    assert not (tmp_path / "result.npz").exists()
    finish(start(*arguments))
    assert_same_training(alone, tmp_path)


def start_workers(dataset: Path, folder: Path, *arguments: str) -> list[subprocess.Popen]:
    cluster = {"worker": [f"localhost:{free_port()}" for _ in range(2)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in (0, 1)]
    line = ("multiworker", 1, str(dataset), str(folder), *arguments)
    return [start(*line, TF_CONFIG=json.dumps(task)) for task in tasks]


@pytest.mark.slow
def test_a_run_that_loses_a_worker_goes_on_with_the_other(alone, dataset, tmp_path):
    """Two processes; both end after the first epoch, as the loss of one makes both; one resumes."""
    workers = start_workers(dataset, tmp_path, "1")
    finish(workers[0], code=DIED)
    workers[1].kill()
    workers[1].communicate()
    finish(start("none", 1, str(dataset), str(tmp_path)))
    assert_same_training(alone, tmp_path)


@pytest.mark.slow
def test_two_workers_train_to_the_end_like_one(alone, dataset, tmp_path):
    """With validation, and with looks, which the first worker alone draws."""
    for worker in start_workers(dataset, tmp_path):
        finish(worker)
    assert_same_training(alone, tmp_path)
    assert len(list((tmp_path / "run" / "looks").iterdir())) == 2
    assert (tmp_path / "run" / "tiny.weights.h5").is_file()


@pytest.mark.slow
def test_jax_divides_a_batch_and_trains_the_same(dataset, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, kind, n in ((one, "none", 1), (two, "data-parallel", 2)):
        folder.mkdir()
        finish(start(kind, n, str(dataset), str(folder), KERAS_BACKEND="jax"))
    assert_same_training(one, two)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


# === refusals ===


def test_nothing_is_distributed_by_default():
    with distributed("none") as replicas:
        assert replicas == Replicas(n=1, is_chief=True) and n_replicas() == 1


def test_batches_must_be_divisible():
    check_batch(4, Replicas(n=2))
    with pytest.raises(ConfigError, match="batch_size 3 cannot be divided among 2 replicas"):
        check_batch(3, Replicas(n=2))


def test_what_the_backend_cannot_do_is_refused():
    wrong, other = {
        "tensorflow": ("data-parallel", "jax"),
        "jax": ("mirrored", "tensorflow"),
    }[keras.backend.backend()]
    with (
        pytest.raises(BackendError, match=f"{wrong} needs KERAS_BACKEND={other}; found"),
        distributed(wrong),
    ):
        pass
    with pytest.raises(ConfigError, match="expected one of none, mirrored"), distributed("many"):
        pass


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_workers_must_be_told_of_each_other(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with (
        pytest.raises(ConfigError, match=r"expected the environment variable TF_CONFIG .*training"),
        distributed("multiworker"),
    ):
        pass
