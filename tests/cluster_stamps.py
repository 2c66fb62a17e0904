"""Tiny sets of cluster stamps, made without a simulator, and networks small enough to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astro_io.cluster_set import ClusterSetWriter
from cluster_cnn.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    ParameterConfig,
    TrainConfig,
)

BANDS = ("F475W", "F814W")
SIZE = 16
PARAMETERS = (
    ParameterConfig(name="log_mass", low=2.0, high=4.0, n_bins=8),
    ParameterConfig(name="log_radius", low=-1.0, high=0.0, n_bins=4),
)


def tiny_model(**changes) -> ModelConfig:
    """Return a network of a few thousand weights."""
    settings = {
        "bands": BANDS,
        "stamp_size": SIZE,
        "widths": (8, 12),
        "blocks": (1, 1),
        "parameters": PARAMETERS,
        "n_components": 3,
        "head_width": 24,
        "visibility_bins": 6,
    }
    return ModelConfig(**{**settings, **changes})


def tiny_run(training: Path, validation: Path | None = None, **changes) -> TrainConfig:
    """Return settings of a run of a few seconds."""
    settings = {
        "name": "tiny",
        "epochs": 2,
        "model": tiny_model(),
        "data": DataConfig(
            training=(str(training),),
            validation=() if validation is None else (str(validation),),
            batch_size=32,
        ),
        "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=5),
    }
    return TrainConfig(**{**settings, **changes})


def make_stamps(n: int, *, seed: int, size: int = SIZE, noise: float = 1.0):
    """Return Gaussian blobs whose flux is their mass, and their truth.

    Every fifth stamp is empty: class 0. In the second band blobs are as bright as extinction
    lets the first be: flux_1 = flux_2 * 10**(-0.4 av).
    """
    rng = np.random.default_rng(seed)
    log_mass = rng.uniform(2, 4, n)
    log_radius = rng.uniform(-1, 0, n)
    av = rng.uniform(0, 2, n)
    is_cluster = np.arange(n) % 5 != 0
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    sigma = 10.0 ** log_radius[:, None, None] * 4
    shape = np.exp(-(y**2 + x**2) / (2 * sigma**2))
    flux = np.where(is_cluster, 10.0**log_mass, 0.0)[:, None, None]
    light = flux * shape / shape.sum(axis=(1, 2), keepdims=True)
    dimming = 10.0 ** (-0.4 * av)[:, None, None]
    stamps = np.stack([light * dimming, light], axis=-1) + rng.normal(0, noise, (n, size, size, 2))
    blank = np.where(is_cluster, 1.0, np.nan)
    rows = {
        "log_age": rng.uniform(6.6, 10.1, n) * blank,
        "log_mass": log_mass * blank,
        "half_light_radius_arcsec": 10.0**log_radius * blank,
        "av": av * blank,
        "metallicity": 0.014 * blank,
        "class": is_cluster.astype(np.int16),
        "snr": np.where(is_cluster, 10.0**log_mass / 30, 0.0),
    }
    return stamps.astype(np.float32), rows


def write_set(path: Path, n: int, *, seed: int, **options) -> Path:
    """Write a set of such stamps."""
    attributes = {
        "seed": seed,
        "pixel_scale_arcsec": 0.05,
        "zeropoint_mag": [26.0, 25.0],
    }
    with ClusterSetWriter(path, bands=BANDS, attributes=attributes) as writer:
        writer.append(*make_stamps(n, seed=seed, **options))
    return path
