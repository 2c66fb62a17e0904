"""Time simulated fields: seconds a field and memory per preset, stages, scaling over processes.

::

    python benchmarks/simulate_speed.py
    python benchmarks/simulate_speed.py --presets decam-paper hsc --fields 10 --workers 1 2 4

Every preset runs in a process of its own, on one core. CPU time is printed beside wall-clock time:
on a machine that is busy with something else it is the number to go by. The peer is GalSim's own
``drawImage``, source by source, for the stamps of the same field. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("galsim", "numpy", "scipy", "astropy", "h5py")
MEASURED = "measured: "
"""Begins the line on which a case tells its parent what it measured."""


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.case:
        print(MEASURED + json.dumps(measure_preset(args.case, args.fields)))
        return 0
    print(describe_machine(), flush=True)
    print_presets(args.presets or _presets(), args.fields)
    print_stages("decam-paper")
    print_scaling("decam-paper", args.workers, args.fields)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", metavar="NAME", help="default all")
    parser.add_argument("--fields", type=int, default=5, help="fields a preset (default 5)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1], help="for the scaling"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser


def _presets() -> list[str]:
    from simulate.config import preset_names

    return preset_names()


def describe_machine() -> str:
    """Return processor, cores and versions in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}\n"


def print_presets(presets: Sequence[str], n: int) -> None:
    """Print a row a preset: best and median CPU seconds, wall-clock seconds, memory."""
    print("| preset | bands | sources with truth | CPU s a field, best | median | wall s | MB |")
    print("|---|---|---|---|---|---|---|")
    for preset in presets:
        row = _run_case(preset, n)
        print(
            f"| {preset} | {row['bands']} | {row['sources']:.0f} | {row['best']:.2f} | "
            f"{row['median']:.2f} | {row['wall']:.2f} | {row['megabytes']:.0f} |",
            flush=True,
        )
    print()


def _run_case(preset: str, n: int) -> dict[str, Any]:
    """Measure one preset in a process of its own."""
    line = [sys.executable, __file__, "--case", preset, "--fields", str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    told = [text for text in done.stdout.splitlines() if text.startswith(MEASURED)]
    return json.loads(told[-1].removeprefix(MEASURED))


def measure_preset(preset: str, n: int) -> dict[str, Any]:
    """Simulate fields and return what they cost; the first, which fills caches, is not counted."""
    import numpy as np

    from simulate.config import load_preset
    from simulate.field import make_field

    config = load_preset(preset)
    make_field(config, seed=1, index=0)
    cpu, wall, sources = [], [], []
    for index in range(1, n + 1):
        start = time.process_time(), time.perf_counter()
        scene = make_field(config, seed=1, index=index)
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
        sources.append(len(scene))
    return {
        "bands": len(config.survey.bands),
        "sources": float(np.mean(sources)),
        "best": min(cpu),
        "median": float(np.median(cpu)),
        "wall": float(np.median(wall)),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def print_stages(preset: str) -> None:
    """Print what the stages of a field cost, and GalSim's own drawing of its stamps."""
    import galsim
    import numpy as np

    from simulate.config import load_preset
    from simulate.field import draw_exposure, draw_sources, make_field, observe, render

    galsim.set_omp_threads(1)
    config = load_preset(preset)
    make_field(config, seed=1, index=0)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence([1, 1]).spawn(4)]
    exposure = draw_exposure(streams[1], config)
    sources, drawing = _timed(lambda: draw_sources(streams[0], config, exposure))
    parts, rendering = _timed(lambda: render(config, sources, exposure))
    _, observing = _timed(lambda: observe(*streams[2:], config, parts, seed=1, index=1))
    _, peer = _timed(lambda: draw_with_galsim(parts))
    total = drawing + rendering + observing
    print(f"| stage of {preset} | CPU s | share |")
    print("|---|---|---|")
    for name, seconds in (
        ("draw stars and galaxies", drawing),
        ("render the stamps", rendering),
        ("glare, noise, detector, truth", observing),
    ):
        print(f"| {name} | {seconds:.3f} | {seconds / total:.0%} |")
    print(
        f"\nThe {len(parts.truth.rows)} sources with truth, drawn one by one with GalSim's "
        f"drawImage: {peer:.2f} s, {peer / rendering:.1f} times the renderer's (which also draws "
        "the sources without truth).\n",
        flush=True,
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the CPU seconds it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def draw_with_galsim(parts: Any) -> None:
    """Draw the sources with truth as a GalSim script would, arms left out."""
    import galsim
    import numpy as np

    sources, exposure = parts.sources, parts.exposure
    psfs = [psf.profile() for psf in exposure.psfs]
    flux = 10.0 ** (-0.4 * (sources.mag - exposure.zeropoint_mag))
    for row, stamp in zip(parts.truth.rows, parts.truth.stamps, strict=True):
        size = stamp.pixels.shape[0]
        for b, psf in enumerate(psfs):
            light = flux[row, b]
            profile: galsim.GSObject = galsim.DeltaFunction(flux=light)
            radius = sources.disk_radius_arcsec[row] / exposure.pixel_scale_arcsec
            if radius > 0.0:
                shear = galsim.Shear(
                    q=float(sources.disk_axis_ratio[row]),
                    beta=float(sources.angle_rad[row]) * galsim.radians,
                )
                share = float(sources.bulge_fraction[row, b])
                size_px = radius * np.sqrt(sources.disk_axis_ratio[row])
                bulge_px = sources.bulge_radius_arcsec[row] / exposure.pixel_scale_arcsec
                bulge = galsim.Sersic(float(sources.bulge_index[row]), max(bulge_px, 1e-3))
                disk = galsim.Exponential(half_light_radius=size_px)
                profile = light * (share * bulge + (1.0 - share) * disk).shear(shear)
            galsim.Convolve(profile, psf).drawImage(nx=size, ny=size, scale=1.0)


def print_scaling(preset: str, workers: Sequence[int], n: int) -> None:
    """Print wall-clock seconds of the command with one and more processes."""
    count = 8 * n
    print(f"| workers | wall s for {count} fields of {preset} | s a field | 1,000 fields |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for k in sorted(set(workers)):
            line = [sys.executable, "-m", "simulate.fields", "--preset", preset, "--n", str(count)]
            line += ["--output", f"{folder}/{k}.h5", "--workers", str(k), "--quiet"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            start = time.perf_counter()
            subprocess.run(line, env=environment, check=True, capture_output=True)
            seconds = time.perf_counter() - start
            each = seconds / count
            print(f"| {k} | {seconds:.1f} | {each:.2f} | {1000 * each / 60:.1f} min |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
