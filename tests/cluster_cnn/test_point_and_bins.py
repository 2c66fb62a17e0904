"""The heads of the two papers, small, from training to scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Table
from cluster_mosaics import write_plane
from cluster_stamps import make_stamps, tiny_model, tiny_run, write_set

from astro_io.catalog import read_catalog
from cluster_cnn import evaluate, predict
from cluster_cnn.trainer import train

HEADS = {
    "point": {"head": "point", "has_class": False, "has_visibility": False},
    "bins": {"head": "bins", "joint": (("log_mass",), ("log_radius",))},
}


@pytest.mark.parametrize("head", HEADS)
def test_a_network_is_trained_scored_and_measures_clusters(head, tmp_path):
    model = tiny_model(**HEADS[head])
    training = write_set(tmp_path / "a.h5", 1000, seed=1)
    config = tiny_run(training, model=model, epochs=1, steps_per_epoch=150)
    weights = str(train(config, tmp_path / "run", resume=False, overwrite=False, verbose=0))

    test, scores = str(write_set(tmp_path / "b.h5", 100, seed=2)), tmp_path / "scores"
    line = ["--weights", weights, "--dataset", test, "--output", str(scores), "-q"]
    assert evaluate.main([*line, "--no-baseline"]) == 0
    metrics = json.loads((scores / "metrics.json").read_text())
    assert metrics["n_clusters"] == 80
    # Masses are spread evenly over two dex, of which half of the central 68 % are 0.68.
    assert metrics["parameters"]["log_mass"]["scatter"] < 0.4
    assert bool(metrics["classes"]) is model.has_class

    stamps, truth = make_stamps(6, seed=5)
    for channel, name in enumerate("ab"):
        plane = np.concatenate(list(stamps[..., channel]), axis=1)
        write_plane(tmp_path / f"{name}.fits", plane, BUNIT="electron/s")
    Table({"x": 16.0 * np.arange(6) + 7.5, "y": [7.5] * 6}).write(tmp_path / "pos.csv")
    out = tmp_path / "out.fits"
    line = [f"F475W={tmp_path / 'a.fits'},F814W={tmp_path / 'b.fits'}", "--weights", weights]
    line += ["--catalog", str(tmp_path / "pos.csv"), "--output", str(out), "-q"]
    assert predict.main(line) == 0
    result = read_catalog(out)
    low, mid, high = (np.asarray(result[f"log_mass_{q}"]) for q in ("p16", "p50", "p84"))
    assert (low <= mid).all() and (mid <= high).all()
    assert np.nanmedian(np.abs(mid - truth["log_mass"])) < 0.4
    assert np.isfinite(result["p_cluster"]).all() == model.has_class
