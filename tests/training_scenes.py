"""Small hand-made scenes for the tests of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astro_io.dataset import DatasetWriter, Scene, Stamp, new_truth_catalog
from astro_io.image import SkyImage
from astro_io.truth import MaskRule

BANDS = ("g", "r", "z")

SHARP = MaskRule(kind="peak", star_threshold=0.5, galaxy_threshold=0.5, blur_sigma_px=0.0)
"""Rule that takes block sources as they are."""


def block_scene(
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    shape: tuple[int, int] = (64, 64),
    snr: Sequence[float] | None = None,
    index: int = 0,
) -> Scene:
    """Return sky with noise and one bright L-shaped block a box; classes alternate.

    The L (its upper right quarter is missing) tells every turn and mirror image apart.
    """
    rng = np.random.default_rng(index)
    pixels = rng.normal(100.0, 1.0, (*shape, len(BANDS))).astype(np.float32)
    catalog = new_truth_catalog(len(boxes), BANDS)
    stamps = []
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        block = np.full((y2 - y1, x2 - x1, len(BANDS)), 50.0, np.float32)
        block[: (y2 - y1) // 2, (x2 - x1) // 2 :] = 0.0
        stamps.append(Stamp((y1, x1, y2, x2), block))
        top, left = max(y1, 0), max(x1, 0)
        target = pixels[top : max(y2, 0), left : max(x2, 0)]
        target += block[top - y1 :, left - x1 :][: target.shape[0], : target.shape[1]]
        catalog["class_id"][i] = 1 + i % 2
        catalog["y"][i], catalog["x"][i] = (y1 + y2 - 1) / 2, (x1 + x2 - 1) / 2
    catalog["snr"] = np.asarray(snr if snr is not None else 10.0 + np.arange(len(boxes)))
    catalog.meta["sky_sigma"] = [1.0, 1.0, 1.0]
    image = SkyImage(pixels=pixels, bands=BANDS, bad=np.zeros(pixels.shape, bool))
    return Scene(image=image, catalog=catalog, stamps=tuple(stamps), index=index, seed=index)


def random_scene(index: int, n_sources: int, shape: tuple[int, int]) -> Scene:
    """Return `block_scene` with boxes of 4 to 15 px anywhere, some across the edge."""
    rng = np.random.default_rng([index, n_sources])
    corners = rng.integers(-4, np.array(shape) - 4, (n_sources, 2))
    sides = rng.integers(4, 16, (n_sources, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    return block_scene([tuple(box) for box in boxes.tolist()], shape=shape, index=index)


def write_scenes(path: Path, scenes: Sequence[Scene]) -> Path:
    """Write a training set and return its path."""
    with DatasetWriter(path, bands=BANDS) as writer:
        for scene in scenes:
            writer.write(scene)
    return path
