"""benchmarks/train_speed.py: its table, its configurations, and torchvision where it is not."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

ROW = {
    "network": "compact", "crop": 256, "batch": 2, "precision": "float32", "parameters": 3585828,
    "first_s": 20.0, "cold": (0.3, 0.2), "pipeline": (0.02, 0.01), "step": (0.5, 0.4),
    "together": (0.5, 0.42), "inference": (0.2, 0.3), "peak_mb": 1900.0,
}  # fmt: skip


@pytest.fixture
def train_speed(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("train_speed")


def test_a_row_fits_its_header_and_says_how_much_of_a_step_a_batch_takes(train_speed):
    titles = [cell.strip() for cell in train_speed.HEADER.splitlines()[0].split("|")]
    cells = [cell.strip() for cell in train_speed.as_row(ROW).split("|")]
    assert len(cells) == len(titles)
    assert cells[titles.index("batch / step, CPU")] == "0.025"  # 0.01 / 0.4
    assert cells[titles.index("images/s")] == "4.00"  # 2 / 0.5
    assert cells[titles.index("batch, scenes read anew: s (CPU)")] == "0.300 (0.200)"


def test_the_networks_are_those_of_the_configurations(train_speed, tmp_path):
    compact, paper = (
        train_speed.settings(name, 128, 4, "bfloat16", tmp_path / "set.h5")
        for name in ("compact", "resnet101")
    )
    assert compact.model.trunk == "compact" and paper.model.trunk == "resnet101"
    assert compact.data == paper.data and paper.precision == "bfloat16"
    assert not paper.model.is_batch_norm_frozen and paper.model.fpn_width == 256


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is here")
def test_without_torchvision_the_reason_is_given(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("torchvision_speed")
    np.savez(tmp_path / "batch.npz", image=np.zeros((1, 64, 64, 3), np.float32))
    result = script.main(str(tmp_path / "batch.npz"), 1)
    assert list(result) == ["reason"] and "torch" in json.dumps(result)
