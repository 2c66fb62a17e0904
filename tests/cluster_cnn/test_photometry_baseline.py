"""Aperture photometry of stamps and the regressor that learns from it."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import BackendError
from cluster_cnn.photometry_baseline import (
    BaselineSettings,
    ClassPhotometryBaseline,
    PhotometryBaseline,
    aperture_fluxes,
    stretched,
)


def test_apertures_sum_the_light_above_the_border():
    stamps = np.full((1, 21, 21, 2), 3.0)
    stamps[0, 10, 10] += 50.0, 8.0
    stamps[0, 10, 13] += 7.0, np.nan  # three pixels from the middle
    found = aperture_fluxes(stamps, pixel_scale_arcsec=0.1, radii_arcsec=(0.2, 0.4))[0]
    np.testing.assert_allclose(found, [50, 8, 57, 8, 3, 3], atol=1e-5)


def test_the_stretch_is_logarithmic_far_from_zero_and_odd():
    values = stretched(np.array([1e4, 1e5, -1e4, 0.0]), np.ones(1))
    assert values[1] - values[0] == pytest.approx(np.log(10), abs=1e-6)
    assert values[2] == -values[0] and values[3] == 0.0


def test_it_learns_and_predicts_rows_that_it_has_not_seen():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    features = rng.uniform(-1, 1, (400, 2))
    truth = np.stack([features[:, 0] * 2, rng.normal(size=400)], axis=1)
    truth[0] = np.nan
    baseline = PhotometryBaseline(BaselineSettings(max_iter=60, max_leaf_nodes=8))
    answer = baseline.fit(features, truth).predict(features)
    assert answer.shape == (400, 2)
    assert np.std(answer[1:, 0] - truth[1:, 0]) < 0.1
    crossed = baseline.cross_predict(features[1:], truth[1:])
    assert np.isfinite(crossed).all()
    assert np.std(crossed[:, 0] - truth[1:, 0]) < 0.2
    # Noise cannot be foretold by a model that has not seen it.
    assert np.std(crossed[:, 1] - truth[1:, 1]) > 0.95


def test_classes_are_told_with_probabilities_that_fit_the_ids():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(2)
    features = rng.uniform(-1, 1, (300, 2))
    classes = np.where(features[:, 0] > 0, 4, 2)
    baseline = ClassPhotometryBaseline((1, 2, 4), BaselineSettings(max_iter=30))
    said = baseline.cross_predict(features, classes)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said[:, 0] == 0).all()  # nobody has seen class 1
    assert np.mean(np.array([1, 2, 4])[said.argmax(axis=1)] == classes) > 0.95
    lone = baseline.fit(features, np.full(300, 4)).predict(features[:5])
    np.testing.assert_array_equal(lone, [[0, 0, 1]] * 5)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch, capsys):
    import sys

    from cluster_cnn.evaluate import main

    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(BackendError, match=r"needs scikit-learn.*--no-baseline"):
        PhotometryBaseline()
    with pytest.raises(BackendError, match=r"needs scikit-learn.*--no-baseline"):
        ClassPhotometryBaseline((1, 2))
    assert main(["--weights", "not-even-looked-at", "--dataset", "a.h5", "--output", "o"]) == 2
    assert "needs scikit-learn" in capsys.readouterr().err
