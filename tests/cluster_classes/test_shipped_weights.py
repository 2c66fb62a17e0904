"""The shipped weights on objects made here and now."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.weights import resolve
from cluster_cnn.band_order import OrderWatch
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.noise import NoiseWatch
from simulate.star_clusters.class_mock import ClassMockMaker
from simulate.star_clusters.config import load_preset


@pytest.fixture(scope="module")
def predictor() -> ClassPredictor:
    return ClassPredictor.load("classes-phangs")


@pytest.fixture(scope="module")
def mocks():
    """Bright objects of an unseen seed: magnitudes 19 to 22."""
    maker = ClassMockMaker(load_preset("phangs", ("classes.mag=[19,22]",)))
    return [maker.make(90, index) for index in range(32)]


def test_weights_are_small_and_know_what_they_are(predictor):
    path, entry = resolve("classes-phangs")
    assert path.stat().st_size < 20e6
    assert entry.bands == predictor.config.bands
    assert predictor.n_members == 5
    assert predictor.config.class_ids == (1, 2, 3, 4)
    assert predictor.pixel_scale_arcsec == pytest.approx(0.0396)
    assert predictor.calibration.noise.levels[0].min() > 0


def test_bright_objects_of_an_unseen_seed_are_classified(predictor, mocks):
    """Nearly all right."""
    stamps = np.stack([mock.stamp for mock in mocks])
    truth = np.array([mock.row["class"] for mock in mocks])
    distances = np.array([mock.row["distance_kpc"] for mock in mocks])
    said = predictor.predict(stamps, distance_kpc=distances)
    assert (said.chosen == truth).mean() > 0.8
    assert said.entropy.mean() < 0.5
    one_band = np.full_like(stamps, np.nan)
    one_band[..., 3] = stamps[..., 3]
    assert (predictor.predict(one_band).chosen == truth).mean() > 0.6


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_fluxes_in_another_unit_are_found(predictor, mocks, factor):
    stamps = np.stack([mock.stamp for mock in mocks])
    watch = NoiseWatch(predictor.calibration.noise, predictor.config.bands)
    usual = predictor.predict(stamps)
    assert usual.is_strange.mean() < 0.1
    watch.look(usual.noise)
    assert watch.judge() == ""
    odd = predictor.predict(stamps * factor)
    assert odd.is_strange.mean() > 0.9
    watch.look(odd.noise)
    assert "same unit" in watch.judge()


@pytest.mark.parametrize(
    ("order", "most_rows"),
    [((4, 3, 2, 1, 0), True), ((1, 0, 2, 3, 4), True), ((0, 1, 2, 4, 3), False)],
)
def test_bands_given_in_the_wrong_order_are_found(predictor, mocks, order, most_rows):
    """Of F555W and F814W a single row seldom tells; the 32 together do."""
    stamps = np.stack([mock.stamp for mock in mocks])
    watch = OrderWatch(predictor.calibration.order, predictor.config.bands)
    assert watch.look(stamps).mean() < 0.05
    assert watch.judge() == ""
    doubtful = watch.look(stamps[..., list(order)])
    assert (doubtful.mean() > 0.8) == most_rows
    assert "like" in watch.judge()
