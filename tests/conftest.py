"""Fixtures that every package's tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data, or skip: the files are too large for the repository.

    ``$ASTRO_SHARED_DATA`` names the folder; without it ``shared/data`` beside the repository.
    """
    configured = os.environ.get("ASTRO_SHARED_DATA")
    folder = Path(configured) if configured else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set ASTRO_SHARED_DATA to its folder")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a random generator with a fixed seed."""
    return np.random.default_rng(20190806)


@pytest.fixture(scope="module")
def eager_steps() -> Iterator[None]:
    """Let TensorFlow run training steps operation by operation.

    For tests of what a run does with its steps: a dozen tiny ones take half the time that
    tracing their graph does. Nothing of this on other backends.
    """
    with _eager_functions(True):
        yield


@pytest.fixture
def graph_steps() -> Iterator[None]:
    """Trace a test's functions to graphs, as in production, where its module runs eagerly."""
    with _eager_functions(False):
        yield


@contextmanager
def _eager_functions(is_eager: bool) -> Iterator[None]:
    config = getattr(sys.modules.get("tensorflow"), "config", None)
    if config is None:
        yield
        return
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(is_eager)
    try:
        yield
    finally:
        config.run_functions_eagerly(before)


def pytest_collection_finish() -> None:
    """Spare what pays in long runs alone: most of a short training is Python that traces it.

    The garbage collector need not look at all that imports have made, and TensorFlow need not
    rewrite a graph (a fifth of a step's first call) that is run a few times.
    """
    gc.collect()
    gc.freeze()
    if tensorflow := sys.modules.get("tensorflow"):
        options = {"disable_meta_optimizer": True}
        tensorflow.config.optimizer.set_experimental_options(options)
