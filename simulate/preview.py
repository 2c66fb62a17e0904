"""Preview of a training set: colour pictures, each beside itself with its truth outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astro_io.scene import Scene, SceneSource
from astro_io.truth import MaskRule, scene_masks
from simulate.sources import STAR

_STAR_COLOUR = (0, 200, 255)
_GALAXY_COLOUR = (255, 220, 0)
_GAP_PX = 4


def write_preview(dataset: SceneSource, path: Path, *, n_scenes: int = 4) -> Path:
    """Write a PNG with one row a scene: the picture, and the picture with truth outlines.

    Parameters
    ----------
    dataset : SceneSource
    path : Path
        Written over.
    n_scenes : int
        At most this many, from the first.

    Returns
    -------
    Path
        `path`.
    """
    from matplotlib.image import imsave

    rows = []
    for i in range(min(n_scenes, len(dataset))):
        scene = dataset[i]
        plain = colour_picture(scene)
        gap = np.full((plain.shape[0], _GAP_PX, 3), 255, dtype=np.uint8)
        rows.append(np.concatenate([plain, gap, outline_truth(plain, scene)], axis=1))
    if not rows:
        rows = [np.zeros((16, 16, 3), dtype=np.uint8)]
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.concatenate(rows, axis=0), origin="upper")
    return path


def colour_picture(scene: Scene) -> np.ndarray:
    """Return an RGB picture of three bands in units of their noise, y upwards.

    Red, green and blue are the last, middle and first band (z, r, g).

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    pixels = scene.image.pixels
    level = np.median(pixels, axis=(0, 1))
    sigma = np.asarray(scene.catalog.meta.get("sky_sigma", 1.0))
    scaled = (pixels - level) / sigma
    channels = [scaled[..., b] for b in (-1, pixels.shape[2] // 2, 0)]
    return make_lupton_rgb(*channels, minimum=-1.0, stretch=8.0, Q=8.0)[::-1]


def outline_truth(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """Return a copy of a picture with the edge of every mask drawn: stars cyan, galaxies yellow.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        With y upwards.
    scene : Scene

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
    """
    from scipy.ndimage import binary_erosion

    drawn = picture[::-1].copy()
    boxes, masks = scene_masks(scene, MaskRule())
    for box, mask, class_id in zip(boxes, masks, scene.catalog["class_id"], strict=True):
        edge = mask & ~binary_erosion(mask) if mask.size else mask
        y1, x1, y2, x2 = box
        colour = _STAR_COLOUR if class_id == STAR else _GALAXY_COLOUR
        drawn[y1:y2, x1:x2][edge] = colour
    return drawn[::-1]
