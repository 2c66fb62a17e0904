"""benchmarks/ablation.py: variants are valid changes of one run; the table says what is done."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import pytest

from astro_io.config import load_config
from astro_rcnn.config import TrainConfig

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ablation")


@pytest.fixture
def arguments(tmp_path) -> argparse.Namespace:
    return argparse.Namespace(
        training=[tmp_path / "a.h5"],
        test=tmp_path / "b.h5",
        output=tmp_path,
        steps=2000,
        crop=128,
        batch=8,
        limit=3,
        seeds=[1, 2],
        only=None,
    )


def configuration(ablation, arguments, name: str) -> TrainConfig:
    changes = ablation.VARIANTS[name][1]
    return load_config(
        TrainConfig, ablation.BASE, ablation.training_settings(arguments, 1, changes)
    )


def test_every_variant_changes_one_thing_and_not_the_budget(ablation, arguments):
    base = configuration(ablation, arguments, "base")
    assert base.steps_per_epoch * base.schedule[-1].until_epoch == 2000
    assert base.data.crop == 128 and base.optimizer.warmup_steps == 100
    seen = []
    for name in ablation.VARIANTS:
        config = configuration(ablation, arguments, name)
        assert config.data == base.data and config.schedule == base.schedule
        assert config.data.crop % config.model.size_multiple == 0
        choice = (config.model, config.optimizer)
        assert choice not in seen, name
        seen.append(choice)


def test_the_table_averages_over_seeds_and_leaves_out_what_is_not_done(ablation, arguments):
    for name, seed, ap in (("base", 1, 50.0), ("base", 2, 54.0), ("zscore", 1, 40.0)):
        folder = arguments.output / f"{name}-{seed}"
        (folder / "scores").mkdir(parents=True)
        (folder / "budget.json").write_text(json.dumps({"budget": {}, "cpu_s": 100.0 * seed}))
        scores = dict.fromkeys(("AP", "AP50", "AP75"), ap) | {"AP_M": None, "AP_L": None}
        metrics = {
            "paper": {"star": scores, "galaxy": scores},
            "deblending": {"blended": {"found": 10.0}},
        }
        (folder / "scores" / "metrics.json").write_text(json.dumps(metrics))
    lines = ablation.table(arguments, ["base", "zscore", "deep"]).splitlines()
    assert len(lines) == 6  # budget, empty line, two of head, base, zscore
    # 50 and 54: mean 52, standard deviation 2.8; 100 and 200 seconds
    assert lines[4].count("52.0 ± 2.8") == 6 and lines[4].endswith("| 10.0 ± 0.0 | 150 |")
    assert lines[5].count("40.0") == 6 and " - |" in lines[5]


def test_what_is_done_is_not_done_again(ablation, arguments, monkeypatch):
    folder = arguments.output / "base-1"
    folder.mkdir()
    budget = {"steps": 2000, "crop": 128, "batch": 8, "limit": 3}
    (folder / "budget.json").write_text(json.dumps({"budget": budget}))
    calls = []
    monkeypatch.setattr(ablation, "run_measured", lambda *a: calls.append(a) or ("", 1.0, 1.0))
    ablation.run_variant(arguments, "base", 1)
    assert not calls
    arguments.steps = 1000
    ablation.run_variant(arguments, "base", 1)
    train, evaluate = (call[0] for call in calls)
    assert train[2] == "astro_rcnn.train" and evaluate[2] == "astro_rcnn.evaluate"
    assert json.loads((folder / "budget.json").read_text())["budget"]["steps"] == 1000
