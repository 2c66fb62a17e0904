"""Small scenes with known truth, and detectors that need no network, for the tests of scoring."""

from __future__ import annotations

import numpy as np

from astro_io.image import SkyImage
from astro_io.scene import Scene, Stamp, new_truth_catalog
from astro_io.truth import MaskRule, scene_masks
from astro_rcnn.detections import Detections

BANDS = ("g", "r", "z")
SIGMA = np.array([1.0, 2.0, 4.0])
"""Noise of the sky of each band."""

SKY = np.array([100.0, 200.0, 400.0])
ZEROPOINT = 25.0
HALF = 16
"""Stamps are 33 px wide."""


def make_scene(rng, sources, shape=(96, 128), *, index=0, noise=1.0):
    """Return a scene of round Gaussian sources.

    Each source is (class_id, x, y, width_px, flux in units of the sky noise, any band).
    """
    pixels = SKY + noise * SIGMA * rng.normal(size=(*shape, 3))
    catalog, stamps = new_truth_catalog(len(sources), BANDS), []
    rows, columns = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    for i, (class_id, x, y, width, flux) in enumerate(sources):
        column, row = round(x), round(y)
        profile = np.exp(
            -((rows + row - y) ** 2 + (columns + column - x) ** 2) / (2 * width**2)
        ) / (2 * np.pi * width**2)
        stamp = (profile[..., None] * flux * SIGMA).astype(np.float32)
        box = (row - HALF, column - HALF, row + HALF + 1, column + HALF + 1)
        stamps.append(Stamp(box, stamp))
        y1, x1 = max(box[0], 0), max(box[1], 0)
        y2, x2 = min(box[2], shape[0]), min(box[3], shape[1])
        inside = stamp[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]]
        pixels[y1:y2, x1:x2] += inside
        catalog["class_id"][i] = class_id
        catalog["x"][i], catalog["y"][i] = x, y
        catalog["snr"][i] = np.sqrt(((stamp / SIGMA) ** 2).sum())
        catalog["half_light_radius"][i] = 1.177 * width
        for b, band in enumerate(BANDS):
            catalog[f"flux_{band}"][i] = flux * SIGMA[b]
            catalog[f"mag_{band}"][i] = ZEROPOINT - 2.5 * np.log10(flux * SIGMA[b])
    image = SkyImage(
        pixels=pixels.astype(np.float32),
        bands=BANDS,
        bad=np.zeros(pixels.shape, bool),
        name=f"scene_{index:06d}",
    )
    return Scene(image=image, catalog=catalog, stamps=tuple(stamps), index=index)


def random_scene(rng, n=12, **options):
    """Return a scene of stars (narrow) and galaxies (wide) on a jittered grid."""
    sources = []
    for i in range(n):
        x, y = 16 + 30 * (i % 4) + rng.uniform(-3, 3), 16 + 30 * (i // 4) + rng.uniform(-3, 3)
        is_star = rng.random() < 0.4
        width = 1.3 if is_star else rng.uniform(2.2, 3.5)
        sources.append((1 if is_star else 2, x, y, width, rng.uniform(1000, 4000)))
    return make_scene(rng, sources, **options)


def perfect_detections(scene, rule=None):
    """Return the truth itself as detections of probability 1."""
    boxes, masks = scene_masks(scene, rule or MaskRule())
    kept = [i for i, mask in enumerate(masks) if mask.any()]
    class_ids = np.asarray(scene.catalog["class_id"], np.int32)[kept]
    return Detections(
        boxes=boxes[kept].astype(np.float32).reshape(-1, 4),
        class_ids=class_ids,
        scores=np.ones(len(kept), np.float32),
        probabilities=np.eye(3, dtype=np.float32)[class_ids].reshape(-1, 3),
        mask_boxes=boxes[kept].reshape(-1, 4),
        masks=tuple(masks[i] for i in kept),
    )


class TruthTeller:
    """A detector that knows the truth of its scenes, and may be made to forget some of it."""

    bands = BANDS
    grid_px = 1

    def __init__(self, scenes, change=lambda detections: detections):
        self._known = {scene.image.name: perfect_detections(scene) for scene in scenes}
        self._names = [scene.image.name for scene in scenes]
        self._change = change
        self._seen = 0

    def statistics(self, image):
        return None

    def detect(self, pixels, *, bad=None, statistics=None):
        assert pixels.shape == bad.shape
        self._seen += 1
        return self._change(self._known[self._names[self._seen - 1]])

    def detect_batch(self, pixels, *, bad, statistics=None):
        return [
            self.detect(p, bad=b, statistics=statistics) for p, b in zip(pixels, bad, strict=True)
        ]

    def describe(self):
        return {"weights": "truth-teller", "weights_sha256": "0" * 64}
