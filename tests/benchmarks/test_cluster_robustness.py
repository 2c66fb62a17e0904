"""The robustness benchmark: cases differ from the plain one as they say, cluster by cluster."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from cluster_cnn.config import ModelConfig

PATH = Path(__file__).parents[2] / "benchmarks" / "cluster_robustness.py"
SPEC = importlib.util.spec_from_file_location("cluster_robustness", PATH)
robustness = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(robustness)

BANDS = ("F475W", "F814W")


def test_the_same_clusters_are_seen_under_other_conditions():
    changes = robustness.cases("phat", ())
    network = ModelConfig(bands=BANDS)
    made = {
        name: robustness.simulate_case("phat", changes[name], network, n=3, seed=5)
        for name in ("plain", "PSF 10 % wider", "background twice as dense", "extinction 0")
    }
    stamps, truth = made["plain"]
    assert stamps.shape == (3, 80, 80, 2)
    for name, (other, facts) in made.items():
        np.testing.assert_array_equal(facts["log_age"], truth["log_age"], err_msg=name)
        np.testing.assert_allclose(facts["log_mass"], truth["log_mass"], atol=1e-6)
        assert name == "plain" or np.abs(other - stamps).max() > 0
    assert (made["extinction 0"][1]["av"] == 0).all() and truth["av"].max() > 0
    level = [np.median(made[name][0][..., 1]) for name in ("plain", "background twice as dense")]
    assert 1.5 < level[1] / level[0] < 3.0


def test_other_isochrones_are_a_case_where_files_are_given():
    assert "other isochrones" not in robustness.cases("phat", ())
    changed = robustness.cases("phat", ("a.iso.cmd",))["other isochrones"]
    assert changed == ('isochrones.files=["a.iso.cmd"]',)


def test_shifts_are_against_the_plain_case():
    truth = {"log_age": np.zeros(50), "log_mass": np.zeros(50)}
    names, flags = ("log_age", "log_mass", "av"), (np.arange(50) < 5, np.zeros(50, bool))
    found, plain = np.full((50, 3), 0.3), np.full((50, 3), 0.1)
    row = robustness.rows_of_case("x", found, names, truth, plain, flags)
    alone = robustness.rows_of_case("x", found, names, truth, None, flags)
    assert alone == ["x", *["+0.300 / 0.000", "-"] * 2, "10", "0"]
    assert row == ["x", *["+0.300 / 0.000", "+0.200 / 0.000"] * 2, "10", "0"]


def test_what_lies_outside_can_be_simulated():
    network = ModelConfig(bands=BANDS)
    for name, changes in robustness.OUTSIDE.items():
        stamps, truth = robustness.simulate_case("phat", changes, network, n=1, seed=5)
        assert stamps.shape == (1, 80, 80, 2) and np.isfinite(stamps).all(), name
        assert truth["snr"] > 0, name
