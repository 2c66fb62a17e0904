"""A trained network that several tests measure with."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_stamps import tiny_run, write_set

from cluster_cnn.trainer import train


@pytest.fixture(scope="session")
def sets(tmp_path_factory) -> tuple[Path, Path]:
    """Return a training set of 1200 stamps and a validation set of 300."""
    folder = tmp_path_factory.mktemp("sets")
    return write_set(folder / "train.h5", 1200, seed=1), write_set(folder / "val.h5", 300, seed=2)


@pytest.fixture(scope="session")
def run(sets, tmp_path_factory) -> Path:
    """Return a finished run of two epochs, each over the set three times."""
    output = tmp_path_factory.mktemp("runs") / "tiny"
    train(
        tiny_run(*sets, epochs=2, steps_per_epoch=114),
        output,
        resume=False,
        overwrite=False,
        verbose=0,
    )
    return output
