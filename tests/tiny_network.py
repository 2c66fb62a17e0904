"""A network small enough to train in a test, and fields of Gaussian blobs for it to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from detection_fields import gaussian
from training_scenes import BANDS, write_scenes

from astro_io.dataset import Scene, Stamp, new_truth_catalog
from astro_io.image import SkyImage
from astro_rcnn.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TargetConfig,
    TrainConfig,
)

TINY_MODEL = ModelConfig(
    bands=BANDS,
    normalization="asinh",
    mean_pixel=(0.0,),
    trunk="compact",
    trunk_widths=(4, 4, 8, 8, 8),
    trunk_blocks=(1, 1, 1, 1, 1),
    is_batch_norm_frozen=False,
    is_alignment_exact=True,
    fpn_width=8,
    rpn_levels=(2, 3),
    roi_levels=(1, 2, 3),
    anchor_scales=(8.0, 16.0),
    rpn_width=8,
    pre_nms_limit=200,
    post_nms_train=40,
    post_nms_inference=40,
    canonical_size_px=16.0,
    canonical_level=2,
    pool_size=3,
    mask_pool_size=5,
    class_head_width=16,
    mask_head_width=8,
    mask_head_depth=1,
    max_detections=20,
)
"""Images of any multiple of 32 pixels."""

TINY_TARGETS = TargetConfig(
    rpn_anchors=64,
    rpn_positive_iou=0.5,
    n_rois=24,
    has_truth_proposals=True,
    is_padding_background=False,
    is_negative_count_tied=False,
)


def tiny_run(dataset: Path, **changes) -> TrainConfig:
    """Return a training of one stage of two epochs of three steps on crops of 64 px."""
    config = TrainConfig(
        name="tiny",
        steps_per_epoch=3,
        validation_steps=1,
        seed=5,
        n_looks=0,
        model=TINY_MODEL,
        targets=TINY_TARGETS,
        data=DataConfig(
            training=(str(dataset),),
            crop=64,
            batch_size=2,
            max_instances=8,
            augmentation="dihedral",
        ),
        optimizer=OptimizerConfig(name="adamw", warmup_steps=2, ema_momentum=0.9),
        schedule=(StageConfig(until_epoch=2, learning_rate=3e-3, final_learning_rate=1e-4),),
    )
    return replace(config, **changes)


def blob_scene(
    sources: Sequence[tuple[float, float, float]],
    *,
    shape: tuple[int, int] = (64, 64),
    index: int = 0,
) -> Scene:
    """Return sky of 100 +/- 1 with one Gaussian for each ``(x, y, sigma)``; wide ones are galaxies.

    Every blob peaks at 50 in each band and fills a stamp of +/- 4 sigma.
    """
    rng = np.random.default_rng(index)
    pixels = rng.normal(100.0, 1.0, (*shape, len(BANDS))).astype(np.float32)
    catalog = new_truth_catalog(len(sources), BANDS)
    stamps = []
    for row, (x, y, sigma) in enumerate(sources):
        profile = gaussian(shape, x, y, flux=50.0 * 2 * np.pi * sigma**2, a=sigma)
        pixels += profile[..., None].astype(np.float32)
        y1, x1 = max(int(y - 4 * sigma), 0), max(int(x - 4 * sigma), 0)
        y2, x2 = min(int(y + 4 * sigma) + 1, shape[0]), min(int(x + 4 * sigma) + 1, shape[1])
        stamp = np.repeat(profile[y1:y2, x1:x2, None], len(BANDS), axis=2)
        stamps.append(Stamp((y1, x1, y2, x2), stamp.astype(np.float32)))
        catalog["class_id"][row] = 1 if sigma < 2 else 2
        catalog["x"][row], catalog["y"][row] = x, y
    catalog["snr"] = np.full(len(sources), 100.0)
    catalog.meta["sky_sigma"] = [1.0] * len(BANDS)
    image = SkyImage(pixels=pixels, bands=BANDS, bad=np.zeros(pixels.shape, bool))
    return Scene(image=image, catalog=catalog, stamps=tuple(stamps), index=index, seed=index)


def write_blobs(path: Path, n_scenes: int, *, n_sources: int = 4) -> Path:
    """Write a training set of 64 x 64 px scenes with blobs well inside, and return its path."""
    scenes = []
    for index in range(n_scenes):
        rng = np.random.default_rng([index, 7])
        places = rng.uniform(8, 56, (n_sources, 2))
        sigmas = np.where(np.arange(n_sources) % 2 == 0, 1.3, 2.6)
        sources = [(x, y, sigma) for (x, y), sigma in zip(places, sigmas, strict=True)]
        scenes.append(blob_scene(sources, index=index))
    return write_scenes(path, scenes)
