"""Time the training: batches alone, steps alone, both together; memory; torchvision beside it.

::

    python -m simulate.fields --preset decam-paper --n 50 --seed 20190806 --output sets/test.h5
    python benchmarks/train_speed.py --dataset sets/test.h5
    python benchmarks/train_speed.py --dataset sets/test.h5 --networks resnet101 --crops 128 256 \
        --precisions float32 bfloat16
    python benchmarks/train_speed.py --dataset sets/test.h5 --torch-python TORCH/bin/python
    python benchmarks/train_speed.py --dataset sets/test.h5 --batches 1 2 4

Every case runs in a process of its own. CPU time, summed over the cores, is printed beside
wall-clock time: on a machine that is busy with something else it is the number to go by, and the
pipeline keeps up where a batch takes less of it than a step. torchvision's
``maskrcnn_resnet50_fpn`` is given the same images, boxes and masks, at their own size; it may live
in another environment (``--torch-python``) and is left out, with the reason, where it cannot be
imported. ``--batches`` times nothing but the batches of ``configs/astro_rcnn_paper.toml``, 16 whole
images of 512 x 512 px, by so many threads (``data.workers``): what an accelerator can be fed with.
Threads of OpenMP wait actively, which counts as CPU time: compare the two with
``OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1``. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from detect_speed import MEASURED, ROOT, describe_machine, run_measured

from astro_io.processor import enable_onednn

if TYPE_CHECKING:
    from astro_rcnn.config import TrainConfig
    from astro_rcnn.model import MaskRCNN

COMPACT_CONFIG = ROOT / "configs" / "astro_rcnn_compact.toml"
PAPER_CONFIG = ROOT / "configs" / "astro_rcnn_paper.toml"
NETWORKS = ("compact", "resnet50", "resnet101")
TORCH_SCRIPT = Path(__file__).with_name("torchvision_speed.py")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.case:
        enable_onednn()  # as astro_rcnn.train does
        case = json.loads(args.case)
        print(MEASURED + json.dumps(CASES[case.pop("kind")](args.dataset, args.steps, **case)))
        return 0
    print(describe_machine(), flush=True)
    if args.batches:
        print(batches_table(args), flush=True)
        return 0
    rows = []
    for network in args.networks:
        for crop in args.crops:
            for precision in args.precisions:
                row = {"network": network, "crop": crop, "batch": args.batch}
                row["precision"] = precision
                row |= run_case(args, "training", **row)
                print(as_row(row) if rows else f"{HEADER}\n{as_row(row)}", flush=True)
                rows.append(row)
    if args.memory:
        print(memory_table(args), flush=True)
    print(torchvision_table(args), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="any training set")
    add("--networks", nargs="+", default=["compact", "resnet50"], choices=NETWORKS)
    add("--crops", nargs="+", type=int, default=[256], metavar="PX")
    add("--precisions", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    add("--batch", type=int, default=2)
    add("--steps", type=int, default=8, help="timed steps (default %(default)s)")
    add("--memory", action="store_true", help="also: peak memory against the size of the set")
    add("--batches", nargs="+", type=int, default=[], metavar="K", help="batches alone, K threads")
    add("--torch-python", default=sys.executable, metavar="PATH", help="that has torchvision")
    add("--case", help=argparse.SUPPRESS)
    return parser


# === cases, each in its own process ===


def settings(network: str, crop: int, batch: int, precision: str, dataset: Path) -> TrainConfig:
    """Return the configuration of a network: ResNets as the paper's, but trained from scratch."""
    from astro_io.config import load_config
    from astro_rcnn.config import DataConfig, ModelConfig, TrainConfig

    if network == "compact":
        config = load_config(TrainConfig, COMPACT_CONFIG)
    else:
        model = ModelConfig(trunk=network, bands=("g", "r", "z"), normalization="asinh")
        config = TrainConfig(model=replace(model, mean_pixel=(0.0,), is_batch_norm_frozen=False))
    data = DataConfig(
        training=(str(dataset),),
        crop=crop,
        batch_size=batch,
        max_instances=96,
        augmentation="dihedral",
        workers=1,
    )
    return replace(config, data=data, precision=precision, init="random")


def time_training(
    dataset: Path, steps: int, *, network: str, crop: int, batch: int, precision: str
) -> dict[str, Any]:
    """Time a batch, a step on one and the same batch, and a step of `fit`."""
    from astro_rcnn.model import build_model
    from astro_rcnn.sequences import make_sequences
    from astro_rcnn.trainer import compile_for_segment

    config = settings(network, crop, batch, precision, dataset)
    config = replace(config, steps_per_epoch=steps)
    training, _ = make_sequences(config)
    pipeline = _timed(lambda i: training.batch(0, i), steps)
    warm = _timed(lambda i: training.batch(0, i), steps)
    model = build_model(config.model, config.targets, precision=precision)
    compile_for_segment(model, config, 0, "all")
    one_batch = training.batch(0, 0)
    start = time.perf_counter()
    model.train_on_batch(one_batch)
    first_s = time.perf_counter() - start
    step = _timed(lambda i: model.train_on_batch(one_batch), steps)
    fit = {"shuffle": False, "verbose": 0}
    model.fit(training, epochs=1, **fit)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(training, epochs=1, **fit)
    together = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
    training.close()
    return {
        "inference": time_inference(model, one_batch["image"][0], steps),
        "first_s": first_s,
        "cold": pipeline,
        "pipeline": warm,
        "step": step,
        "together": together,
        "parameters": model.count_params(),
    }


def time_inference(model: MaskRCNN, crop: np.ndarray, steps: int) -> tuple[float, float]:
    """Time detection on 512 x 512 px, prepared pixels to pasted masks of 100 sources."""
    from detect_speed import force_detections

    from astro_rcnn.detector import Detector

    force_detections(model)
    model.settings = replace(model.settings, min_confidence=0.0, max_detections=100)
    detector = Detector(model)
    n_tiles = -(-512 // crop.shape[0])
    tile = np.tile(crop, (n_tiles, n_tiles, 1))[None, :512, :512]
    detector.detect_prepared(tile)
    return _timed(lambda _: detector.detect_prepared(tile), steps)


def time_memory(dataset: Path, steps: int, *, n_times: int, cache_mb: int) -> dict[str, Any]:
    """Read a set several times over, as so many scenes; the parent looks at the peak memory."""
    from astro_rcnn.sequences import make_sequences

    config = settings("compact", 256, 4, "float32", dataset)
    data = replace(config.data, training=(str(dataset),) * n_times, cache_mb=cache_mb)
    training, _ = make_sequences(replace(config, data=data, steps_per_epoch=1))
    n_batches = -(-training.n_scenes // 4)
    for index in range(n_batches):
        training.batch(index, 0)
    held = training.cache.nbytes / 1e6
    n_scenes = training.n_scenes
    training.close()
    return {"n_scenes": n_scenes, "held_mb": held}


def time_batches(dataset: Path, steps: int, *, threads: int) -> dict[str, Any]:
    """Time batches of the paper's training, handed over one by one, as the network takes them."""
    from astro_io.config import load_config
    from astro_rcnn.config import TrainConfig
    from astro_rcnn.sequences import make_sequences

    config = load_config(TrainConfig, PAPER_CONFIG)
    data = replace(config.data, training=(str(dataset),), validation=(), workers=threads)
    training, _ = make_sequences(replace(config, data=data, steps_per_epoch=3 * steps))
    once = -(-training.n_scenes // data.batch_size)
    start = time.perf_counter()
    for index in range(once):
        training.batch(0, index)
    cold_s = (time.perf_counter() - start) / once
    training[0]
    warm = _timed(lambda index: training[index + 1], 2 * steps)
    training.close()
    return {"n_images": data.batch_size, "cold_s": cold_s, "warm": warm}


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "training": time_training,
    "memory": time_memory,
    "batches": time_batches,
}


def _timed(function: Callable[[int], object], n: int) -> tuple[float, float]:
    """Return median wall-clock and CPU seconds of a call."""
    walls, cpus = [], []
    for i in range(n):
        wall, cpu = time.perf_counter(), time.process_time()
        function(i)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


# === the parent ===

TIMED = ("cold", "pipeline", "step", "together")

HEADER = (
    "| network | precision | crops | parameters | first step s | "
    "batch, scenes read anew: s (CPU) | batch: s (CPU) | step: s (CPU) | "
    "both: s (CPU) | images/s | batch / step, CPU | 512 px: s (CPU) | peak MB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def run_case(args: argparse.Namespace, kind: str, **case: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, "--dataset", str(args.dataset), "--steps"]
    command += [str(args.steps), "--case", json.dumps({"kind": kind, **case})]
    output, _, peak_mb = run_measured(command, {})
    line = next(line for line in output.splitlines() if line.startswith(MEASURED))
    return {"peak_mb": peak_mb, **json.loads(line.removeprefix(MEASURED))}


def as_row(row: dict[str, Any]) -> str:
    cells = [
        f"{row['network']} | {row['precision']} | {row['batch']} of {row['crop']} px",
        f"{row['parameters']:,} | {row['first_s']:.0f}",
        *(f"{row[key][0]:.3f} ({row[key][1]:.3f})" for key in TIMED),
        f"{row['batch'] / row['together'][0]:.2f}",
        f"{row['pipeline'][1] / row['step'][1]:.3f}",
        f"{row['inference'][0]:.3f} ({row['inference'][1]:.3f}) | {row['peak_mb']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def memory_table(args: argparse.Namespace) -> str:
    """Measure peak memory of the pipeline for sets of growing size, at one budget."""
    lines = ["\n| scenes | budget MB | held MB | peak MB |", "|---|---|---|---|"]
    for n_times in (1, 4, 16):
        case = run_case(args, "memory", n_times=n_times, cache_mb=100)
        lines.append(
            f"| {case['n_scenes']} | 100 | {case['held_mb']:.0f} | {case['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def batches_table(args: argparse.Namespace) -> str:
    """Measure how many images a second the pipeline hands over, by the number of its threads."""
    lines = [
        "| threads | a batch, scenes read anew: s | a batch: s (CPU) | images/s |",
        "|---|---|---|---|",
    ]
    for threads in args.batches:
        case = run_case(args, "batches", threads=threads)
        wall, cpu = case["warm"]
        rate = case["n_images"] / wall
        lines.append(f"| {threads} | {case['cold_s']:.2f} | {wall:.3f} ({cpu:.3f}) | {rate:.0f} |")
    return "\n".join(lines)


def torchvision_table(args: argparse.Namespace) -> str:
    """Time torchvision's network on the same crops; say why not where it cannot be had."""
    from astro_rcnn.sequences import make_sequences

    lines = []
    for crop in args.crops:
        config = settings("resnet50", crop, args.batch, "float32", args.dataset)
        training, _ = make_sequences(replace(config, steps_per_epoch=1))
        batch = training.batch(0, 0)
        training.close()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "batch.npz"
            np.savez(path, **batch)
            command = [args.torch_python, str(TORCH_SCRIPT), str(path), str(args.steps)]
            output, _, peak_mb = run_measured(command, {"PYTHONPATH": ""})
        line = next(line for line in output.splitlines() if line.startswith(MEASURED))
        result = json.loads(line.removeprefix(MEASURED))
        if "reason" in result:
            return f"\ntorchvision: left out, {result['reason']}"
        lines.append(
            f"torchvision {result['version']} maskrcnn_resnet50_fpn, {args.batch} of {crop} px: "
            f"step {result['step'][0]:.3f} s ({result['step'][1]:.3f} CPU), inference "
            f"{result['inference'][0]:.3f} s ({result['inference'][1]:.3f} CPU) an image of 512 px,"
            f" {result['n_threads']} threads, peak {peak_mb:.0f} MB"
        )
    return "\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
