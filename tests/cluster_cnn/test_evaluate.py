"""The command that scores weights: numbers, files, refusals."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from cluster_stamps import write_set

from astro_io.catalog import read_catalog
from cluster_cnn.evaluate import main
from cluster_cnn.photometry_baseline import BaselineSettings
from cluster_cnn.scorecard import scorecard


@pytest.fixture(scope="module")
def scored(sets, run, tmp_path_factory):
    """Weights scored on a set that they have not seen."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("evaluate")
    quick = partial(BaselineSettings, max_iter=40)
    training, weights = sets[0], run / "tiny.weights.h5"
    test = write_set(folder / "test.h5", 400, seed=4)
    output = folder / "scores"
    line = ["--weights", str(weights), "--dataset", str(test), "--output", str(output), "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster_cnn.evaluation_run.BaselineSettings", quick)
        assert main([*line, "--ablation", "--baseline-training", str(training)]) == 0
    return line, output, json.loads((output / "metrics.json").read_text())


def test_scores_say_what_the_estimates_table_says(scored):
    _, output, metrics = scored
    table = read_catalog(output / "estimates.fits")
    assert len(table) == metrics["n_stamps"] == 400 and metrics["n_clusters"] == 320
    known = np.asarray(table["is_cluster"])
    error = np.asarray(table["log_mass_p50"])[known] - np.asarray(table["log_mass_true"])[known]
    mass = metrics["parameters"]["log_mass"]
    assert mass["bias"] == pytest.approx(np.median(error), abs=1e-4)
    low, high = np.percentile(error, [15.8655, 84.1345])
    assert mass["scatter"] == pytest.approx((high - low) / 2, abs=1e-4)
    assert mass["scatter"] < 0.2 and 0.5 < mass["coverage68"] < 0.85
    assert sum(row["n"] for row in mass["by_snr"]) == 320


def test_the_baseline_is_scored_on_the_same_stamps(scored):
    _, _, metrics = scored
    baseline = metrics["baseline"]
    assert baseline["trained_on"] == ["train.h5"]
    for label in ("integrated", "apertures"):
        theirs = baseline[label]["log_mass"]
        assert theirs["n"] == 320 and theirs["scatter"] < 0.3
        ours = metrics["parameters"]["log_mass"]["scatter"]
        below = 100 * (1 - ours / theirs["scatter"])
        assert f"| {theirs['scatter']:.3f} | {below:.0f} % |" in scorecard(metrics)


def test_classes_visibility_and_bands_are_scored(scored):
    _, _, metrics = scored
    confusion = np.array(metrics["classes"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [80, 320], "rows are the truth"
    assert metrics["classes"]["accuracy"]["cluster"] > 80
    assert metrics["visibility"]["scatter"] < 0.5
    without = {b: row["log_mass"]["scatter"] for b, row in metrics["ablation"].items()}
    assert set(without) == {"F475W", "F814W"}
    assert metrics["scores"]["mass_coverage68"] > 0 and len(metrics["weights_sha256"]) == 64
    # The light of the second band is the mass; the first is dimmed by dust.
    assert without["F814W"] > without["F475W"] > 0


def test_figures_are_drawn_and_scores_not_overwritten_unasked(scored, capsys):
    line, output, _ = scored
    assert {p.name for p in output.iterdir()} >= {"scatter.png", "metrics.json", "estimates.fits"}
    assert main(line) == 2
    assert "Pass --overwrite" in capsys.readouterr().err
    assert main([*line, "--limit", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err
