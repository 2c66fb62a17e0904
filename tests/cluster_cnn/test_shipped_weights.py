"""The shipped weights still say of new mocks what their cards promise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from astro_io.weights import registry, resolve
from cluster_cnn.predictor import Predictor
from cluster_cnn.weights_file import read_weights
from simulate.star_clusters.config import load_preset
from simulate.star_clusters.mock import MockMaker

NAMES = ("cluster-phat", "cluster-phat3")

EASY = (
    "cluster.log_mass=[3.2,3.6]",
    "cluster.log_age=[7.0,9.0]",
    "cluster.half_light_radius_arcsec=[0.3,1.0]",
    "cluster.av_mag=[0,1]",
)


@lru_cache(maxsize=2)
def mocks(wide_binning: int, n: int = 120):
    """Clusters that anyone would see, and fields without: every seventh, about."""
    config = load_preset("phat", (*EASY, f"instrument.wide_binning={wide_binning}"))
    made = [MockMaker(config).make(4711, i) for i in range(n)]
    rows = {name: np.array([m.row.get(name, np.nan) for m in made], float) for name in made[0].row
            if name not in ("kind", "profile")}  # fmt: skip
    views = [[m.stamp for m in made]] + ([[m.wide for m in made]] if wide_binning else [])
    return config.instrument.bands, np.stack([np.stack(view) for view in views]), rows


def as_seen(predictor: Predictor):
    """Return these mocks as a network sees them, and their truth."""
    bands, views, rows = mocks(predictor.config.wide_binning)
    channels = [bands.index(band) for band in predictor.bands]
    return np.concatenate(list(views[..., channels]), axis=3), rows


@pytest.fixture(params=NAMES)
def name(request):
    if request.param not in registry():
        pytest.skip(f"{request.param} is not in the registry")
    return request.param


def test_easy_clusters_have_their_age_mass_and_size(name):
    predictor = Predictor.load(name)
    stamps, rows = as_seen(predictor)
    is_cluster = rows["class"] == 1
    estimates = predictor.predict(stamps, known={"av": rows["av"]})
    error = {
        "log_age": estimates.quantiles[:, 0, 1] - rows["log_age"],
        "log_mass": estimates.quantiles[:, 1, 1] - rows["log_mass"],
        "log_radius": estimates.quantiles[:, 3, 1] - np.log10(rows["half_light_radius_arcsec"]),
    }
    for key, largest in (("log_age", 0.25), ("log_mass", 0.2), ("log_radius", 0.2)):
        values = error[key][is_cluster]
        low, high = np.percentile(values, [16, 84])
        assert abs(np.median(values)) < 0.1, key
        assert (high - low) / 2 < largest, key
    assert np.median(estimates.p_cluster[is_cluster]) > 0.9
    # Almost every cluster is likelier one than almost every field (16 fields: area below the ROC).
    p = estimates.p_cluster
    assert np.mean(p[is_cluster][:, None] > p[~is_cluster]) > 0.98
    assert estimates.is_strange.mean() < 0.05


def test_what_is_unlike_all_mocks_is_mostly_flagged(name):
    predictor = Predictor.load(name)
    plain = as_seen(predictor)[0][:40]
    odd = plain.copy()
    odd[:, :40] += 20.0  # half of the stamp lies on something bright
    assert predictor.predict(plain).is_strange.mean() < 0.05
    assert predictor.predict(odd).is_strange.mean() > 0.5


def test_the_file_is_small_and_says_what_it_is_for(name):
    path, entry = resolve(name)
    weights = read_weights(path)
    assert path.stat().st_size < 20e6
    assert entry is not None and entry.bands == weights.config.bands
    assert entry.pixel_scale_arcsec == weights.config.pixel_scale_arcsec == 0.05
    assert set(weights.metadata["zeropoint_mag"]) == set(entry.bands)
    assert weights.calibration.n_stamps > 1000
    assert set(weights.calibration.known_levels) == set(weights.config.parameter_names)
