"""Fixtures that every package's tests share."""

from __future__ import annotations

import gc
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
    """Spare what pays in long runs alone: most of a short training is Python that traces it.

    The garbage collector need not look at all that imports have made, and TensorFlow need not
    rewrite a graph (a fifth of a step's first call) that is run a few times.
    """
    gc.collect()
    gc.freeze()
    if tensorflow := sys.modules.get("tensorflow"):
        options = {"disable_meta_optimizer": True}
        tensorflow.config.optimizer.set_experimental_options(options)
