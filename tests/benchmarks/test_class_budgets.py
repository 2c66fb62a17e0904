"""benchmarks/class_budgets.py: which runs, with which settings, and what the table says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import class_budgets
from benchmarks.class_budgets import Job, list_jobs, mean_cpu, read_results, settings, table


def make_job(output, **changes) -> Job:
    values = {
        "network": "resnet18",
        "budget": "passes",
        "number": 0,
        "training": "a.h5",
        "test": "b.h5",
        "output": str(output),
        "stamps": 79_872,
        "cpu_s": 160.0,
        "size": 64,
        "limit": 0,
    }
    return Job(**{**values, **changes})


def write_result(job: Job, p_right: float, cpu_s: float) -> None:
    """Write a finished run that is right about three of four objects, surely or not."""
    truth = np.array([1, 2, 3, 4])
    p = np.full((4, 4), (1 - p_right) / 3)
    p[np.arange(4), [0, 1, 2, 0]] = p_right
    per_class = {"1": 100.0, "2": 100.0, "3": 100.0, "4": 0.0}
    cost = {"stamps_seen": 1000, "cpu_s": cpu_s}
    scores = {"accuracy": 75.0, "per_class": per_class, "n": 4, "confusion_percent": [[100.0]]}
    job.folder.mkdir(parents=True)
    np.savez(job.folder / "predictions.npz", truth=truth, probabilities=p)
    facts = {"network": job.network, "budget": job.budget, "size": job.size}
    result = {**facts, "scores": scores, "cost": cost, "inference_s": 2.0}
    (job.folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("network", "batch"), [("default", 64), ("resnet18", 32), ("vgg19_bn", 16)]
)
def test_all_networks_see_as_many_stamps(tmp_path, network, batch):
    config = settings(make_job(tmp_path, network=network))
    assert config.members == 1 and config.budget_s == 0
    assert config.data.batch_size == batch
    assert config.epochs * config.steps_per_epoch * batch == 79_872


def test_budgets_of_time_and_sizes_of_images(tmp_path):
    paper = settings(make_job(tmp_path, budget="time-299", number=3))
    assert paper.model.image_size == 299
    assert paper.budget_s == 160 and paper.seed == 4
    assert settings(make_job(tmp_path, budget="time-64", size=75)).model.image_size == 75
    assert settings(make_job(tmp_path, network="vgg19_bn", budget="time-299")).data.batch_size == 4


def test_ours_come_first_and_the_others_in_turn(tmp_path):
    options = class_budgets.parse_options(
        ["--training", "a.h5", "--test", "b.h5", "--output", str(tmp_path), "--runs", "2"]
    )
    jobs = list_jobs(options)
    assert [(j.budget, j.network, j.number) for j in jobs[:6]] == [
        ("passes", "default", 0),
        ("passes", "resnet18", 0),
        ("passes", "vgg19_bn", 0),
        ("passes", "default", 1),
        ("passes", "resnet18", 1),
        ("passes", "vgg19_bn", 1),
    ]
    # Of time, only those of Wei et al.: 2 budgets x 2 runs x 2 networks more.
    assert len(jobs) == 6 + 8
    assert jobs[0].cpu_s == class_budgets.DEFAULT_CPU_S
    write_result(jobs[0], 0.7, 100.0)
    write_result(jobs[3], 0.7, 120.0)
    assert list_jobs(options)[-1].cpu_s == 110.0  # what ours took
    assert [job.is_finished for job in list_jobs(options)[:4]] == [True, False, False, True]


def test_table_by_hand(tmp_path):
    for number, (p_right, cpu_s) in enumerate(((0.7, 100.0), (0.4, 300.0))):
        write_result(make_job(tmp_path, network="default", number=number), p_right, cpu_s)
    write_result(make_job(tmp_path, budget="time-64"), 0.9, 200.0)
    results = read_results(tmp_path)
    assert mean_cpu(results) == 200.0
    lines = table(results).splitlines()
    assert lines[2] == (
        "| default | its own | 2 | 75.0 ± 0.0 | 100.0 ± 0.0 | 100.0 ± 0.0 | 100.0 ± 0.0 | "
        "0.0 ± 0.0 | 4 | 1,000 | 200 | 2.0 |"
    )
    assert lines[3].startswith("| the same, joined | its own |  | 75.0 | 100.0 |")
    assert lines[3].endswith("| 2 x 1,000 | 400 | 4.0 |")
    assert lines[4].startswith("| ResNet18 of Wei et al. | time-64 | 1 | 75.0 | 100.0 |")


def test_nothing_is_trained_for_the_table_alone(tmp_path, capsys):
    assert class_budgets.main(["--output", str(tmp_path), "--table"]) == 0
    assert capsys.readouterr().out.startswith("| network |")
