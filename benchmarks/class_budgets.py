"""Our class network and the two of Wei et al. with the same budget: one table.

::

    python benchmarks/class_budgets.py --training sets/classes-train.h5 \
        --test sets/classes-test.h5 --output out/budgets

Budgets (``--budgets``), each on the same training set:

``passes``
    As many stamps seen as our network sees, the networks of Wei et al. at 64 pixels (``--size``).
``time-64``
    As much processor time as a training of ours takes, at 64 pixels.
``time-299``
    The same processor time at the 299 pixels of the paper.

Every run is a training of its own, with another seed, in a folder of its own.  Interrupt at any
time: the same command goes on where it was, a finished run is not trained again, and the table
holds what is finished.  ``--table`` prints it and trains nothing.  Ours come first, then one run of
each network, then the next of each; ``--hours`` begins none later than this.  Every run has
one thread; ``--workers 2`` trains two at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

CONFIGS = {
    "default": "configs/classes_phangs.toml",
    "resnet18": "configs/classes_wei_resnet18.toml",
    "vgg19_bn": "configs/classes_wei_vgg19_bn.toml",
}
TITLES = {
    "default": "default",
    "resnet18": "ResNet18 of Wei et al.",
    "vgg19_bn": "VGG19-BN of Wei et al.",
}
BUDGETS = ("passes", "time-64", "time-299")
RESULT_FILE, PREDICTIONS_FILE = "result.json", "predictions.npz"

DEFAULT_CPU_S = 160.0
"""Budget where no run of ours is finished that would tell it."""

_PAPER_PX = 299
_EPOCHS = 12
_ENDLESS = 10_000  # batches
_SMALL_BATCH = 4  # of VGG19 at 299 pixels: sixteen take 25 GB
_ASIDE = {"passes": 0.05, "time-64": 0.02, "time-299": 0.01}  # costs time at 299 pixels
_FEW = {("time-299", "resnet18"): 1000, ("time-299", "vgg19_bn"): 100}  # test objects
_TIMED, _TIMED_PAPER = 64, 8  # stamps of which inference is timed


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes
    ----------
    network : {"default", "resnet18", "vgg19_bn"}
    budget : str
        Of `BUDGETS`; ours has none but its own, ``passes``.
    number : int
    training, test, output : str
        Sets, and the folder of all runs.
    stamps : int
        Stamps to see.
    cpu_s : float
        Processor seconds.
    size : int
        Side of the blown-up image where it is not the paper's.
    limit : int
        Test objects at most; 0: all.
    """

    network: str
    budget: str
    number: int
    training: str
    test: str
    output: str
    stamps: int
    cpu_s: float
    size: int
    limit: int

    @property
    def folder(self) -> Path:
        """Return where this run leaves everything."""
        return Path(self.output) / self.budget / self.network / f"run_{self.number}"

    @property
    def is_finished(self) -> bool:
        """Return whether there is nothing left to do."""
        return (self.folder / RESULT_FILE).exists()


def run_job(job: Job) -> str:
    """Train, score and time one run, in a process of its own; return its name."""
    from astro_io.atomic import atomic_path
    from astro_io.processor import enable_onednn

    enable_onednn()  # as cluster_cnn.train does
    from cluster_cnn.classes.data import read_distances
    from cluster_cnn.classes.predictor import ClassPredictor
    from cluster_cnn.classes.scores import class_scores
    from cluster_cnn.classes.trainer import train_classes
    from cluster_cnn.data import StampSource

    config = settings(job)
    run = job.folder / "training"
    is_begun = (run / "config.toml").exists()
    weights = train_classes(config, run, resume=is_begun, overwrite=False, verbose=0)
    predictor = ClassPredictor.load(weights)
    model = predictor.config
    source = StampSource.seen_by(model, [job.test])
    rows = np.arange(len(source))[: job.limit or None]
    truth, distance = source.column("class")[rows], read_distances(source)[rows]
    parts = []
    for block in np.array_split(rows, max(1, -(-len(rows) // 256))):
        said = predictor.predict(source.read(block), distance_kpc=distance[block])
        parts.append(said.probabilities)
    probabilities = np.concatenate(parts)
    timed = source.read(rows[: _TIMED_PAPER if job.budget.endswith("299") else _TIMED])
    predictor.predict(timed)
    start = time.process_time()
    predictor.predict(timed)
    per_thousand = 1000 * (time.process_time() - start) / len(timed)
    source.close()
    (cost,) = json.loads((run / "validation.json").read_text())["cost_of_members"]
    scores = class_scores(truth, probabilities, np.zeros(len(truth)), model.class_ids)
    result = {**asdict(job), "scores": scores, "cost": cost, "inference_s": per_thousand}
    with atomic_path(job.folder / PREDICTIONS_FILE, overwrite=True) as part, part.open("wb") as f:
        np.savez_compressed(f, truth=truth, probabilities=probabilities)
    with atomic_path(job.folder / RESULT_FILE, overwrite=True) as part:
        part.write_text(json.dumps(result, indent=1))
    for path in (weights, run / "member_0" / "member.h5"):
        path.unlink()  # those of VGG19 fill a disk
    shutil.rmtree(run / "member_0" / "checkpoints", ignore_errors=True)
    return str(job.folder)


def settings(job: Job):
    """Return the configuration of one run, a `ClassTrainConfig`."""
    from astro_io.config import load_config
    from cluster_cnn.classes.config import ClassTrainConfig

    root = Path(__file__).parent.parent
    config = load_config(ClassTrainConfig, root / CONFIGS[job.network])
    data = replace(config.data, training=(job.training,), validation_share=_ASIDE[job.budget])
    model, common = config.model, {"members": 1, "seed": job.number + 1, "data": data}
    if job.network != "default":
        is_paper = job.budget.endswith("299")
        model = replace(model, image_size=_PAPER_PX if is_paper else job.size)
        if is_paper and job.network == "vgg19_bn":
            common["data"] = data = replace(data, batch_size=_SMALL_BATCH)
    if job.budget == "passes":
        steps = max(1, round(job.stamps / data.batch_size / _EPOCHS))
        return replace(config, **common, model=model, epochs=_EPOCHS, steps_per_epoch=steps)
    return replace(
        config, **common, model=model, epochs=1, steps_per_epoch=_ENDLESS, budget_s=job.cpu_s
    )


def list_jobs(options: argparse.Namespace) -> list[Job]:
    """Return all runs that the options ask for, in order."""
    cpu_s = options.cpu_s or mean_cpu(read_results(options.output)) or DEFAULT_CPU_S
    jobs = []
    for budget, number, network in product(options.budgets, range(options.runs), options.networks):
        if network == "default" and budget != "passes":
            continue
        limits = [n for n in (options.limit, _FEW.get((budget, network), 0)) if n]
        jobs.append(
            Job(
                network=network,
                budget=budget,
                number=number,
                training=str(options.training),
                test=str(options.test),
                output=str(options.output),
                stamps=options.stamps,
                cpu_s=cpu_s,
                size=options.size,
                limit=min(limits, default=0),
            )
        )
    return jobs


def run_all(jobs: Sequence[Job], *, workers: int, start: float, hours: float) -> None:
    """Run what is not finished, some at a time; begin none so many hours after the start."""
    waiting = [job for job in jobs if not job.is_finished]
    running: set[Future] = set()
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        while waiting or running:
            is_late = bool(hours) and time.monotonic() - start > 3600 * hours
            while waiting and len(running) < workers and not is_late:
                running.add(pool.submit(run_job, waiting.pop(0)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                print(f"{time.monotonic() - start:6.0f} s  {future.result()}", flush=True)


def read_results(output: Path) -> list[dict[str, Any]]:
    """Return all finished runs below a folder."""
    found = sorted(output.glob(f"*/*/run_*/{RESULT_FILE}"))
    results = []
    for path in found:
        result = json.loads(path.read_text())
        with np.load(path.with_name(PREDICTIONS_FILE)) as arrays:
            results.append({**result, **{name: arrays[name] for name in arrays.files}})
    return results


def mean_cpu(results: Sequence[Mapping[str, Any]]) -> float:
    """Return the processor seconds of a training of ours; 0 where none is finished."""
    own = [result["cost"]["cpu_s"] for result in results if result["network"] == "default"]
    return float(np.mean(own)) if own else 0.0


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return mean and deviation of all runs of each network and budget, in Markdown."""
    from cluster_cnn.classes.scores import class_scores, spread_of_runs

    head = ["network", "budget", "runs", "all", *(f"class {i}" for i in (1, 2, 3, 4))]
    head += ["tested on", "stamps seen", "training, s", "1000 stamps, s"]
    rows = [head, ["---"] * len(head)]
    groups = [(budget, network) for budget in BUDGETS for network in CONFIGS]
    for budget, network in groups:
        own = [r for r in results if (r["budget"], r["network"]) == (budget, network)]
        if not own:
            continue
        spread = spread_of_runs([r["scores"] for r in own])
        pairs = [spread["accuracy"], *spread["per_class"].values()]
        told = [f"{m:.1f} ± {d:.1f}" if len(own) > 1 else f"{m:.1f}" for m, d in pairs]
        label = budget if network != "default" else "its own"
        if budget == "passes" and network != "default":
            label = f"passes, {own[0]['size']} px"
        seen, cpu = (np.mean([r["cost"][name] for r in own]) for name in ("stamps_seen", "cpu_s"))
        seconds = np.mean([r["inference_s"] for r in own])
        cost = [f"{seen:,.0f}", f"{cpu:,.0f}", f"{seconds:.1f}"]
        n = str(own[0]["scores"]["n"])
        rows.append([TITLES[network], label, str(len(own)), *told, n, *cost])
        if len(own) > 1:
            joined = np.mean([r["probabilities"] for r in own], axis=0)
            s = class_scores(own[0]["truth"], joined, np.zeros(len(joined)), (1, 2, 3, 4))
            told = [f"{v:.1f}" for v in (s["accuracy"], *s["per_class"].values())]
            cost = [f"{len(own)} x {seen:,.0f}", f"{len(own) * cpu:,.0f}"]
            rows.append(
                ["the same, joined", label, "", *told, n, *cost, f"{len(own) * seconds:.1f}"]
            )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--training", type=Path, help="four-class set to train on")
    add("--test", type=Path, help="four-class set of another seed")
    add("--output", type=Path, required=True, help="folder of all runs")
    add("--networks", nargs="+", choices=tuple(CONFIGS), default=tuple(CONFIGS))
    add("--budgets", nargs="+", choices=BUDGETS, default=BUDGETS)
    add("--runs", type=int, default=5)
    add("--stamps", type=int, default=79_872, help="stamps that a training sees")
    add("--cpu-s", type=float, default=0.0, help="processor seconds (default: what ours took)")
    add("--size", type=int, default=64, help="side of the blown-up image, but for time-299")
    add("--limit", type=int, default=0, help="test objects at most")
    add("--workers", type=int, default=1)
    add("--hours", type=float, default=0.0, help="start no run later than this")
    add("--table", action="store_true", help="print what is finished, train nothing")
    options = parser.parse_args(argv)
    if not options.table and not (options.training and options.test):
        parser.error("--training and --test are needed, but for --table")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse_options(argv)
    if not options.table:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        how = {"workers": options.workers, "start": time.monotonic(), "hours": options.hours}
        # Ours first: they tell the processor time that the others may take.
        run_all([job for job in list_jobs(options) if job.network == "default"], **how)
        run_all(list_jobs(options), **how)
    print(table(read_results(options.output)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
