"""A small scene with known truth, for the tests of training sets kept as folders."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS

from astro_io.dataset import Scene, Stamp, new_truth_catalog
from astro_io.image import SkyImage


def make_scene(index=0, n=3, shape=(40, 55), bands=("g", "r"), truth="flux"):
    """A scene whose first source sticks out of the image."""
    rng = np.random.default_rng(index)
    pixels = rng.normal(50, 3, (*shape, len(bands))).astype(np.float32)
    bad = np.zeros(pixels.shape, bool)
    bad[7, 9, 0] = True
    pixels[bad] = 0
    catalog = new_truth_catalog(n, bands)
    catalog["class_id"] = np.array([1, 2, 2][:n], np.int32)
    catalog["x"] = np.array([1.0, 20, 30][:n])
    catalog["y"] = np.array([2.0, 15, 30][:n])
    catalog["mag_g"] = np.array([20.5, 21, np.nan][:n], np.float32)
    catalog.meta["sky_sigma"] = [3.0, 3.5]
    rows, columns = np.mgrid[-6:7, -6:7]
    light = 500 * np.exp(-(rows**2 + columns**2) / 8)
    if truth == "mask":
        stamp = (light[..., None] > 50).astype(np.float32)
    else:
        stamp = (light[..., None] * np.arange(1, len(bands) + 1)).astype(np.float32)
    boxes = [(int(y) - 6, int(x) - 6) for y, x in zip(catalog["y"], catalog["x"], strict=True)]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [20.0, 20.0]
    wcs.wcs.cdelt = [-7e-5, 7e-5]
    image = SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad,
        unit=("electron",) * len(bands),
        zeropoint_mag=(30.1,) * len(bands),
        saturation=(180000.0,) * len(bands),
        wcs=wcs,
    )
    stamps = tuple(Stamp((y, x, y + 13, x + 13), stamp.copy()) for y, x in boxes)
    return Scene(image, catalog, stamps, index, 100 + index, truth=truth)
