from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
from tiny_network import TINY_MODEL

from astro_rcnn.detector import Detector
from astro_rcnn.model import build_model
from benchmarks.detect_speed import ROOT, as_table, describe_machine, force_detections

ROW = {
    "weights": "decam-grz", "engine": "keras", "backend": "tensorflow",
    "n_masks": 150, "load_s": 1.0, "first_s": 2.0, "first_cpu_s": 1.5, "best_s": 0.2,
    "median_s": 0.25, "cpu_s": 0.4, "peak_mb": 900.0,
}  # fmt: skip


def test_forced_detections_fill_every_slot_and_keep_boxes_at_anchors():
    model = build_model(replace(TINY_MODEL, min_confidence=0.0, max_detections=10), seed=0)
    force_detections(model)
    image = np.random.default_rng(0).normal(100, 10, (64, 96, 3)).astype(np.float32)
    found = Detector(model).detect(image)
    assert len(found) == 10
    assert set(found.class_ids) == {2}
    anchors = model.anchors((64, 96))
    clipped = np.clip(anchors, 0, np.array([64, 96, 64, 96], np.float32))
    distance = np.abs(found.boxes[:, None] - clipped[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(distance, 0, atol=1e-3)


def test_ratios_are_of_cpu_time_to_the_first_row():
    second = ROW | {"weights": "paper", "cpu_s": 2.0}  # 2.0 / 0.4
    lines = as_table([ROW, second]).splitlines()
    columns = [cell.strip() for cell in lines[0].split("|")]
    ratio = columns.index("CPU ratio")
    assert [line.split("|")[ratio].strip() for line in lines[2:4]] == ["1.0", "5.0"]
    assert {line.count("|") for line in lines[:4]} == {len(columns) - 1}


def test_a_measured_command_gives_output_and_peak_memory():
    # From a process of its own: a child's peak is not under what its parent held at its start.
    program = (
        "import sys\n"
        "from benchmarks.detect_speed import run_measured\n"
        "for size in (1, 100_000_000):\n"
        "    command = [sys.executable, '-c', f'x = bytearray({size}); print(len(x))']\n"
        "    output, cpu_s, peak_mb = run_measured(command, {})\n"
        "    print(output.strip(), peak_mb)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    small, large = (line.split() for line in done.stdout.splitlines())
    assert (small[0], large[0]) == ("1", "100000000")
    assert float(small[1]) < 60
    assert 95 < float(large[1]) < 95.4 + 60  # 1e8 bytes are 95.4 MB of 2**20 bytes


def test_the_machine_is_described_by_cores_and_versions():
    text = describe_machine()
    assert "cores" in text
    assert f"numpy {np.__version__}" in text
