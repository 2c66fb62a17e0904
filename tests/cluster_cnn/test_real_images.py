"""Real M31 close-ups and frames of NGC 1261 run through `predict`; no accuracy is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_io.catalog import read_catalog
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.predict import main

WEIGHTS = ("cluster-phat", "cluster-phat3")
BLUE, RED = ("F275W", "F336W", "F475W"), ("F814W", "F110W", "F160W")


def predict(tmp_path, weights, spec, x, y, *more):
    table, out = tmp_path / "pos.csv", tmp_path / "out.fits"
    Table({"x": x, "y": y}).write(table, overwrite=True)
    line = [spec, "--catalog", str(table), "--weights", weights, "--output", str(out), "-q"]
    assert main([*line, *more]) == 0
    return read_catalog(out)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_phat_close_ups(shared_data, tmp_path, weights):
    """8-bit pictures, unstretched as far as that goes: F475W negative, the colour's red channel."""
    image = pytest.importorskip("matplotlib.image")
    folder = shared_data / "clusters" / "phat_ap"
    names = sorted(set(folder.glob("*_F475W.jpg")) - set(folder.glob("fake-left*")))
    if not names:
        pytest.skip("no PHAT pictures")
    planes, x, y = [], [], []
    for name in names:  # one below the other, with a gap between them
        blue, red = image.imread(name), image.imread(str(name).replace("F475W", "color"))
        height, width = (min(sides) for sides in zip(blue.shape[:2], red.shape[:2], strict=True))
        blue = 255.0 - blue.reshape(*blue.shape[:2], -1)[:height, :width, 0]
        plane = np.stack([blue, red[:height, :width, 0].astype(float)])
        plane = (plane - np.median(plane, axis=(1, 2), keepdims=True)) / 255
        top = sum(part.shape[1] for part in planes)
        x.extend(np.linspace(5, width - 5, 12))
        y.extend(top + np.linspace(5, height - 5, 12))
        planes.append(np.pad(plane, [(0, 0), (0, 60), (0, 800 - width)], constant_values=np.nan))
    mosaic = np.concatenate(planes, axis=1).astype(np.float32)
    for band in (*BLUE, *RED):
        plane = mosaic[0 if band in BLUE else 1]
        fits.PrimaryHDU(plane).writeto(tmp_path / f"img_{band}.fits")
    positions = np.append(x, [-50.0, np.nan]), np.append(y, [3.0, 1.0])
    result = predict(tmp_path, weights, str(tmp_path), *positions)
    assert len(result) == 12 * len(names) + 2
    assert np.isfinite(np.asarray(result["log_age_p50"])[:-2]).all()
    flags = np.asarray(result["flags"])
    assert flags[0] & CandidateFlag.EDGE
    assert (flags[[12 * i for i in range(1, len(names))]] & CandidateFlag.BAD_PIXELS).all()
    assert flags[-2] & CandidateFlag.OFF_IMAGE
    assert flags[-1] & CandidateFlag.NOT_FINITE


@pytest.mark.parametrize("weights", WEIGHTS)
def test_ngc_1261_frames_with_bands_missing(shared_data, tmp_path, weights):
    folder = shared_data / "clusters" / "ngc1261_wfpc2"
    u, v = folder / "ngc1261_F336W_dev.fits", folder / "ngc1261_F555W_dev.fits"
    if not v.is_file():
        pytest.skip("no frames of NGC 1261")
    height, width = fits.getdata(v).shape
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, width, 20), rng.uniform(0, height, 20)
    # F555W stands in for F475W, under a name that says so; there is nothing like F814W.
    data, header = fits.getdata(v, header=True)
    kept = ("CRVAL", "CRPIX", "CD", "CTYPE", "PHOT", "BUNIT", "EXPTIME")
    cards = [card for card in header.cards if card.keyword.startswith(kept)]
    fits.PrimaryHDU(data, fits.Header(cards)).writeto(tmp_path / "stand_in.fits")
    spec = f"F336W={u},F475W={tmp_path / 'stand_in.fits'}"
    result = predict(tmp_path, weights, spec, x, y, "--missing-bands", "blank")
    flags = np.asarray(result["flags"])
    assert (flags & CandidateFlag.MISSING_BAND != 0).all()
    assert (flags & CandidateFlag.OUT_OF_RANGE != 0).all()
    assert (flags & CandidateFlag.NO_RESULT == 0).all()
    for name in ("log_age", "log_mass", "av", "log_radius"):
        low, mid, high = (np.asarray(result[f"{name}_{p}"]) for p in ("p16", "p50", "p84"))
        assert (low <= mid).all() and (mid <= high).all() and np.isfinite(mid).all()
