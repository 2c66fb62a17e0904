"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
import sys
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


def pytest_collection_finish() -> None:
    """Have TensorFlow run graphs as they are traced.

    Its rewriting of a training step takes a quarter of the time that the step's first call takes,
    and is meant for steps that run more often than a test's.
    """
    if tensorflow := sys.modules.get("tensorflow"):
        options = {"disable_meta_optimizer": True}
        tensorflow.config.optimizer.set_experimental_options(options)
