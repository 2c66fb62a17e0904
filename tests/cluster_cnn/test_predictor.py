"""Stamps in memory to estimates: orientations, padding, nothing at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cluster_stamps import BANDS, make_stamps, tiny_model

from cluster_cnn.batches import orient
from cluster_cnn.model import build_model
from cluster_cnn.normalise import measure_scale
from cluster_cnn.posteriors import MixturePosterior
from cluster_cnn.predictor import Predictor, binary_entropy


@pytest.fixture(scope="module")
def made():
    config = tiny_model()
    scale = measure_scale(make_stamps(60, seed=1)[0], bands=BANDS)
    return build_model(config, seed=5), config, scale


def test_eight_orientations_differ_and_the_first_is_the_stamp():
    stamps = np.arange(18.0).reshape(1, 3, 3, 2)
    turned = [orient(stamps, k) for k in range(8)]
    np.testing.assert_array_equal(turned[0], stamps)
    assert len({t.tobytes() for t in turned}) == 8


@pytest.mark.backend
def test_all_views_together_do_not_depend_on_the_orientation(made):
    model, config, scale = made
    stamps = make_stamps(3, seed=2)[0]
    turned = np.rot90(stamps, 1, axes=(1, 2))
    one = Predictor.from_model(model, config=config, scale=scale)
    eight = Predictor.from_model(model, config=replace(config, views=8), scale=scale)
    apart = [p.predict(stamps).quantiles - p.predict(turned).quantiles for p in (one, eight)]
    assert np.abs(apart[0]).max() > 1e-3
    np.testing.assert_allclose(apart[1], 0.0, atol=1e-4)


@pytest.mark.backend
def test_the_answer_does_not_depend_on_the_batch(made):
    model, config, scale = made
    predictor = Predictor.from_model(model, config=config, scale=scale)
    stamps = make_stamps(7, seed=3)[0]
    whole, parts = predictor.predict(stamps), predictor.predict(stamps, batch_size=3)
    for name in ("quantiles", "p_cluster", "log_snr", "correlations", "distance"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-4)
    assert len(whole) == 7 and whole.medians.shape == (7, 2)
    assert (np.diff(whole.quantiles, axis=2) > 0).all()


def test_no_stamps_give_no_rows(made):
    model, config, scale = made
    predictor = Predictor.from_model(model, config=replace(config, views=2), scale=scale)
    empty = predictor.predict(np.zeros((0, 16, 16, 2), np.float32))
    assert len(empty) == 0 and empty.quantiles.shape == (0, 2, 3)


def test_entropy_is_largest_in_doubt():
    np.testing.assert_allclose(binary_entropy(np.array([0.0, 0.5, 1.0])), [0, np.log(2), 0])
    assert np.isnan(binary_entropy(np.array([np.nan]))).all()


def test_a_parameter_that_is_told_is_not_at_the_limit(made):
    model, config, scale = made
    predictor = Predictor.from_model(model, config=config, scale=scale)
    stamps = make_stamps(6, seed=4)[0]
    assert not predictor.predict(stamps).is_at_limit.any()
    for end in (-1.0, 0.0):
        told = predictor.predict(stamps, known={"log_radius": np.full(6, end)})
        assert not told.is_at_limit.any()


def test_rows_that_are_told_a_parameter_are_not_asked_without(made, monkeypatch):
    model, config, scale = made
    predictor = Predictor.from_model(model, config=config, scale=scale)
    asked = []
    whole = MixturePosterior.quantiles
    monkeypatch.setattr(
        MixturePosterior,
        "quantiles",
        lambda self, levels: asked.append(self.means.shape[::2]) or whole(self, levels),
    )
    values = np.array([-0.5, np.nan, -0.2])
    predictor.predict(make_stamps(3, seed=4)[0], known={"log_radius": values})
    assert asked == [(1, 2), (2, 1)], "clusters, parameters"
