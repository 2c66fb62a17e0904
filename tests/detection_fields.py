"""Made-up images with known sources, and a detector that needs no network, for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics, measure_statistics
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


class ThresholdDetector:
    """Calls every group of bright pixels a source: deterministic, local, without a network."""

    class_names = ("background", "star", "galaxy")
    grid_px = 1

    def __init__(self, bands: Sequence[str] = ("g", "r", "z"), threshold: float = 5.0) -> None:
        self.bands = tuple(bands)
        self.threshold = threshold
        self.n_tiles = 0

    def describe(self) -> dict[str, str]:
        return {"name": "threshold"}

    def statistics(self, image: SkyImage) -> BandStatistics:
        assert image.bands == self.bands
        return measure_statistics(image.pixels, image.bad, allow_empty=True)

    def detect_batch(self, pixels, *, bad=None, statistics=None) -> list[Detections]:
        self.n_tiles += len(pixels)
        return [self._detect(p, b, statistics) for p, b in zip(pixels, bad, strict=True)]

    def _detect(self, pixels, bad, statistics) -> Detections:
        z = (pixels - statistics.center) / statistics.scale
        z[bad] = 0
        labels, n_labels = ndimage.label(z.sum(axis=2) / np.sqrt(z.shape[2]) > self.threshold)
        masks = [labels == i for i in range(1, n_labels + 1)]
        masks = [mask for mask in masks if np.count_nonzero(mask) >= 5]
        peaks = [float(z.max(axis=2)[mask].max()) for mask in masks]
        found = detections_of(masks, [1 if np.count_nonzero(m) < 60 else 2 for m in masks])
        scores = np.array([peak / (peak + 5) for peak in peaks], np.float32)
        return Detections(**{**vars(found), "scores": scores})


def random_field(rng, shape: tuple[int, int], n_sources: int, *, margin: int = 0):
    """Return three noisy planes with round sources, no two of which touch, and their places."""
    places: list[tuple[float, float, float]] = []
    while len(places) < n_sources:
        a = rng.uniform(1.2, 3.5)
        x, y = rng.uniform(margin, shape[1] - margin), rng.uniform(margin, shape[0] - margin)
        if all(np.hypot(x - u, y - v) > 6 * (a + b) for u, v, b in places):
            places.append((x, y, a))
    truth = np.zeros(shape)
    for x, y, a in places:
        y1, x1 = max(0, int(y) - 25), max(0, int(x) - 25)
        cut = truth[y1 : int(y) + 26, x1 : int(x) + 26]
        cut += gaussian(cut.shape, x - x1, y - y1, flux=rng.uniform(1000, 9000), a=a)
    planes = [colour * truth + rng.normal(20, 1, shape) for colour in (0.6, 1.0, 1.4)]
    return planes, np.array(places)


def write_folder(folder, planes, bands: Sequence[str] = ("g", "r", "z"), *, wcs=None):
    """Write one FITS file a band, as surveys hand them out; return the folder."""
    from astropy.io import fits

    folder.mkdir(parents=True)
    header = fits.Header() if wcs is None else wcs.to_header()
    header["BUNIT"] = "nanomaggy"
    for band, plane in zip(bands, planes, strict=True):
        fits.writeto(folder / f"img_{band}.fits", plane.astype(np.float32), header)
    return folder
