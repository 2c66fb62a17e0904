"""Tiny sets of stamps of two plain classes, and a network small enough to learn them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astro_io.cluster_set import ClusterSetWriter
from cluster_cnn.classes.config import ClassDataConfig, ClassModelConfig, ClassTrainConfig
from cluster_cnn.config import OptimizerConfig

BANDS = ("F555W", "F814W")
SIZE = 32


def tiny_model(**changes) -> ClassModelConfig:
    """Return a network of a few thousand weights."""
    settings = {
        "bands": BANDS,
        "stamp_size": SIZE,
        "class_ids": (1, 4),
        "widths": (4, 6, 8),
        "head_width": 16,
        "dropout": 0.0,
    }
    return ClassModelConfig(**{**settings, **changes})


def tiny_run(training: Path, **changes) -> ClassTrainConfig:
    """Return settings of a run of a few seconds."""
    settings = {
        "name": "tiny",
        "members": 2,
        "epochs": 2,
        "model": tiny_model(),
        "data": ClassDataConfig(training=(str(training),), batch_size=32),
        "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=5),
    }
    return ClassTrainConfig(**{**settings, **changes})


def make_stamps(n: int, *, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return round blobs, class 1, and points, class 4, in turn."""
    rng = np.random.default_rng(seed)
    is_blob = np.arange(n) % 2 == 0
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    sigma = np.where(is_blob, 4.0, 1.2)[:, None, None]
    shape = np.exp(-(y**2 + x**2) / (2 * sigma**2))
    flux = 10.0 ** rng.uniform(2.5, 3.5, n)[:, None, None]
    light = flux * shape / shape.sum(axis=(1, 2), keepdims=True)
    stamps = np.stack([light, 2 * light], axis=-1) + rng.normal(0, 1, (n, SIZE, SIZE, 2))
    blank = np.full(n, np.nan)
    names = ("log_age", "log_mass", "half_light_radius_arcsec", "av", "metallicity")
    classes = np.where(is_blob, 1, 4).astype(np.int16)
    rows = {**dict.fromkeys(names, blank), "class": classes, "snr": np.full(n, 50.0)}
    rows["distance_kpc"] = np.full(n, 8000.0)
    rows["class_human"] = np.where(rng.random(n) < 0.3, 5 - classes, classes).astype(np.int16)
    return stamps.astype(np.float32), rows


def write_set(path: Path, n: int, *, seed: int) -> Path:
    """Write a set of such stamps."""
    attributes = {"seed": seed, "pixel_scale_arcsec": 0.0396, "zeropoint_mag": [25.8, 25.1]}
    with ClusterSetWriter(path, bands=BANDS, attributes=attributes) as writer:
        writer.append(*make_stamps(n, seed=seed))
    return path
