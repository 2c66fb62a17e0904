"""Made-up images with known sources, and a detector that needs no network, for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astro_io.image import SkyImage
from astro_rcnn.detections import Detections


def gaussian(
    shape: tuple[int, int],
    x: float,
    y: float,
    *,
    flux: float = 1.0,
    a: float = 2.0,
    b: float | None = None,
    theta_deg: float = 0.0,
) -> np.ndarray:
    """Return an elliptical Gaussian of unit integral times flux, float64."""
    b = a if b is None else b
    rows, columns = np.indices(shape)
    cosine, sine = np.cos(np.radians(theta_deg)), np.sin(np.radians(theta_deg))
    along = (columns - x) * cosine + (rows - y) * sine
    across = -(columns - x) * sine + (rows - y) * cosine
    profile = np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2))
    return flux * profile / (2 * np.pi * a * b)


def sky_image(planes: Sequence[np.ndarray], bands: Sequence[str] = ("g", "r", "z"), **fields):
    """Return a SkyImage of these planes without bad pixels unless given."""
    pixels = np.stack(list(planes), axis=-1).astype(np.float32)
    fields.setdefault("bad", np.zeros(pixels.shape, bool))
    return SkyImage(pixels=pixels, bands=tuple(bands), **fields)


def simple_wcs(scale_arcsec: float = 0.25):
    """Return a TAN WCS at RA 150, Dec 20 whose reference is pixel (0, 0), north up, east left."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 20.0]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    return wcs


def detections_of(masks: Sequence[np.ndarray], class_ids: Sequence[int] | None = None):
    """Return detections whose masks are given as full frames; the box is the mask's, or 1x1."""
    boxes, cut = [], []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        boxes.append(box)
        cut.append(mask[box[0] : box[2], box[1] : box[3]])
    n = len(masks)
    classes = np.array(class_ids if class_ids is not None else [2] * n, np.int32)
    probabilities = np.full((n, 3), 0.05, np.float32)
    probabilities[np.arange(n), classes] = 0.9
    box_array = np.array(boxes).reshape(-1, 4)
    return Detections(
        boxes=box_array.astype(np.float32),
        class_ids=classes,
        scores=np.full(n, 0.9, np.float32),
        probabilities=probabilities,
        mask_boxes=box_array.astype(np.int32),
        masks=tuple(cut),
    )


def disk(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
