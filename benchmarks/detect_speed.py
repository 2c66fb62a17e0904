"""Time detection on one 512 x 512 tile, from array to masks, and the memory of the whole command.

::

    python benchmarks/detect_speed.py
    python benchmarks/detect_speed.py --weights runs/compact --backends tensorflow jax \
        --engines keras openvino openvino-bf16
    python benchmarks/detect_speed.py --torch-python TORCH/bin/python

Every case runs in a process of its own and ends with 150 masks; weights that look twice do so.
``--weights paper`` is ResNet-101 with the pyramid and heads of Burke et al. 2019, with random
weights: the layers that choose are set so that every region counts as a source and boxes stay at
their anchors, which changes what is found and not what is computed. ``--torch-python`` names an
environment with torchvision, whose ``maskrcnn_resnet50_fpn`` then takes the same tile, 100 masks.

CPU time, summed over the cores, is printed beside wall-clock time: on a machine that is busy with
something else it is the number to go by. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astro_rcnn.detector import Detector
    from astro_rcnn.model import MaskRCNN

ROOT = Path(__file__).resolve().parents[1]
TILE = ROOT / "examples" / "tile"
TORCH_SCRIPT = Path(__file__).with_name("torchvision_speed.py")
PAPER = "paper"

N_MASKS = 150
ORIGINAL_S = 2.5
"""The original Astro R-CNN (ResNet-101, TensorFlow 1 code), array to masks, two CPU cores."""

PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "jax", "openvino", "numpy")

MEASURED = "measured: "
"""Begins the line on which a case tells its parent what it measured."""


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.case:
        print(MEASURED + json.dumps(measure_case(*args.case, args.repeats)))
        return 0
    print(describe_machine(), flush=True)
    rows = []
    for weights in args.weights:
        for backend in args.backends:
            for engine in args.engines:
                if engine == "keras" or backend == "tensorflow":
                    rows.append(run_case(weights, engine, backend, args.repeats))
    print(as_table(rows))
    if args.torch_python:
        print(time_torchvision(args.torch_python, args.repeats))
    print(describe_command())
    print(f"\nload average afterwards: {_load()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    default = ["decam-grz", "astro-rcnn-r101", PAPER]
    add("--weights", nargs="+", default=default, help=f"default {' '.join(default)}")
    add("--engines", nargs="+", default=["keras"])
    add("--backends", nargs="+", default=["tensorflow"])
    add("--repeats", type=int, default=9)
    add("--torch-python", metavar="PATH", help="interpreter that has torchvision")
    add("--case", nargs=2, metavar=("WEIGHTS", "ENGINE"), help=argparse.SUPPRESS)
    return parser


# === one case, in its own process ===


def measure_case(weights: str, engine: str, repeats: int) -> dict[str, Any]:
    """Time loading, the first call and further ones; seconds, and counts."""
    from astro_io.fits_read import read_image
    from astro_rcnn.config import ANY_BAND
    from astro_rcnn.detector import Detector

    start = time.perf_counter()
    if weights == PAPER:
        detector = load_paper(engine)
    else:
        forced = {"min_confidence": 0.0, "max_detections": N_MASKS}
        detector = Detector.load(weights, engine=engine, **forced)
    load_s = time.perf_counter() - start
    image = read_image(TILE).select(("r",) if detector.bands == ANY_BAND else detector.bands)
    normalisation = detector.statistics(image)

    def detect() -> int:
        return len(detector.detect(image.pixels, bad=image.bad, statistics=normalisation))

    first_wall, first_cpu, n_found = _timed(detect)
    later = [_timed(detect)[:2] for _ in range(repeats)]
    wall, cpu = zip(*later, strict=True)
    return {
        "load_s": load_s,
        "first_s": first_wall,
        "first_cpu_s": first_cpu,
        "best_s": min(wall),
        "median_s": statistics.median(wall),
        "cpu_s": statistics.median(cpu),
        "n_masks": n_found,
    }


def load_paper(engine: str) -> Detector:
    """Build ResNet-101 in the configuration of Burke et al. 2019 with random weights."""
    from astro_rcnn.config import ModelConfig
    from astro_rcnn.detector import Detector
    from astro_rcnn.engine import install_engine
    from astro_rcnn.model import build_model

    model = build_model(ModelConfig(min_confidence=0.0, max_detections=N_MASKS))
    force_detections(model)
    install_engine(model, engine)
    return Detector(model)


def force_detections(model: MaskRCNN) -> None:
    """Let every region be of the last class, and keep boxes at their anchors; in place."""
    model.rpn.get_layer("rpn_bbox_pred").kernel.assign(
        model.rpn.get_layer("rpn_bbox_pred").kernel * 0.0
    )
    for name in ("mrcnn_bbox_fc", "mrcnn_class_logits"):
        layer = model.class_head.get_layer(name)
        layer.kernel.assign(layer.kernel * 0.0)
    n_classes = model.settings.n_classes
    layer.bias.assign([float(index == n_classes - 1) for index in range(n_classes)])


def _timed(function: Callable[[], int]) -> tuple[float, float, int]:
    """Return wall-clock seconds, CPU seconds of all threads, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


# === the parent ===


def run_case(weights: str, engine: str, backend: str, repeats: int) -> dict[str, Any]:
    """Measure one case in its own process; its peak memory comes with it."""
    command = [sys.executable, __file__, "--case", weights, engine, "--repeats", str(repeats)]
    output, _, peak_mb = run_measured(command, {"KERAS_BACKEND": backend})
    case = {"weights": weights, "engine": engine, "backend": backend, "peak_mb": peak_mb}
    return case | measured_in(output)


def measured_in(output: str) -> dict[str, Any]:
    """Return what a case says that it measured."""
    line = next(line for line in output.splitlines() if line.startswith(MEASURED))
    return json.loads(line.removeprefix(MEASURED))


def run_measured(command: Sequence[str], variables: dict[str, str]) -> tuple[str, float, float]:
    """Run a command; return its output, CPU seconds, and peak resident memory in MB.

    The peak is not under what this process holds itself, so it must load no network.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(command, stdout=output, stderr=messages, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        messages.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}\n{messages.read()}")
        kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        return output.read(), usage.ru_utime + usage.ru_stime, kilobytes / 1024


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table; ratios of CPU time are to its first row."""
    lines = [
        "| weights | engine | backend | masks | load s | first call s | best s "
        "| median s | CPU s | CPU ratio | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = row["cpu_s"] / rows[0]["cpu_s"]
        lines.append(
            f"| {row['weights']} | {row['engine']} | {row['backend']} "
            f"| {row['n_masks']} | {row['load_s']:.1f} "
            f"| {row['first_s']:.1f} ({row['first_cpu_s']:.1f} CPU) | {row['best_s']:.2f} "
            f"| {row['median_s']:.2f} | {row['cpu_s']:.2f} | {ratio:.1f} | {row['peak_mb']:.0f} |"
        )
    lines.append(f"\nThe original code, ResNet-101, array to masks on two cores: {ORIGINAL_S} s.")
    return "\n".join(lines)


def time_torchvision(python: str, repeats: int) -> str:
    """Time torchvision's network on the same tile; say why not where it cannot be had."""
    import numpy as np

    from astro_io.fits_read import read_image
    from astro_io.normalize import measure_statistics, normalize

    image = read_image(TILE)
    statistics_of = measure_statistics(image.pixels, image.bad, "asinh")
    pixels = normalize(image.pixels, statistics_of, "asinh", bad=image.bad)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tile.npz"
        np.savez(path, image=pixels[None].astype(np.float32))
        command = [python, str(TORCH_SCRIPT), str(path), str(repeats), "inference"]
        output, _, peak_mb = run_measured(command, {"PYTHONPATH": ""})
    found = measured_in(output)
    if "reason" in found:
        return f"torchvision: left out, {found['reason']}"
    wall, cpu = found["inference"]
    return (
        f"torchvision {found['version']} maskrcnn_resnet50_fpn, random weights, the same tile to "
        f"{found['n_masks']} masks: median {wall:.2f} s ({cpu:.2f} CPU), {found['n_threads']} "
        f"threads, peak {peak_mb:.0f} MB."
    )


def describe_command() -> str:
    """Run ``astro_rcnn.detect`` on the example tile; say its time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "astro_rcnn.detect", str(TILE), "--output", folder]
        start = time.perf_counter()
        _, cpu_s, peak_mb = run_measured(command, {})
        wall_s = time.perf_counter() - start
    return (
        f"Whole `astro_rcnn.detect` command on that tile: {wall_s:.1f} s ({cpu_s:.1f} CPU s), "
        f"peak memory {peak_mb:.0f} MB."
    )


def describe_machine() -> str:
    """Return processor, cores, versions and load."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{processor}, {n_cores} cores; {platform.system()}; {', '.join(found)}; "
        f"load average {_load()}\n"
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    sys.exit(main())
