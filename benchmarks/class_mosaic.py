"""Classify many candidates on a mosaic: made of a test set's stamps, side by side.

::

    python benchmarks/class_mosaic.py --dataset sets/classes-test.h5 --weights classes-phangs \
        --output out/mosaic --n 10000

Lays the stamps of a simulated four-class set out as five mosaics with a WCS, writes a table in
LEGUS' own format (34 columns, positions from 1 on), runs ``python -m cluster_cnn.predict`` on them
and compares with the truth. Prints the time of the whole command on this machine. Positions
beyond the number of stamps repeat earlier ones, moved by up to one pixel.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astro_io.cluster_set import ClusterSetReader

ASKED_S = 300.0
_BLOCK = 200


def lay_out(reader: ClusterSetReader, folder: Path) -> np.ndarray:
    """Write the mosaics; return the centre of each stamp, x and y from 0 on, shape (N, 2)."""
    from astropy.io import fits
    from astropy.wcs import WCS

    n, size = len(reader), reader.stamp_shape[0]
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = -(-n // n_columns)
    scale = float(reader.attributes["pixel_scale_arcsec"])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [65.0, -54.9], [1, 1]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    folder.mkdir(parents=True, exist_ok=True)
    planes = np.full((len(reader.bands), n_rows * size, n_columns * size), np.nan, np.float32)
    for first in range(0, n, _BLOCK):
        stamps = reader.read_stamps(np.arange(first, min(first + _BLOCK, n)))
        for k, stamp in enumerate(stamps, start=first):
            y, x = (size * v for v in divmod(k, n_columns))
            planes[:, y : y + size, x : x + size] = stamp.transpose(2, 0, 1)
    for band, plane in zip(reader.bands, planes, strict=True):
        fits.writeto(folder / f"img_{band}.fits", plane, wcs.to_header(), overwrite=True)
    number = np.arange(n)
    corner = np.stack([number % n_columns, number // n_columns], axis=1) * size
    return corner + (size - 1) / 2


def write_legus_table(path: Path, xy: np.ndarray, classes: np.ndarray) -> None:
    """Write a table as LEGUS publishes them."""
    rows = np.zeros((len(xy), 34))
    rows[:, 0] = np.arange(len(xy)) + 1
    rows[:, 1:3] = xy + 1
    rows[:, 5:15] = 99.999
    rows[:, 32], rows[:, 33] = 5, classes
    np.savetxt(path, rows, fmt="%.3f")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 if it takes longer than asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--weights", default="classes-phangs")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with ClusterSetReader(options.dataset) as reader:
        centres, truth = lay_out(reader, options.output / "mosaic"), reader.column("class")
    which = np.arange(options.n) % len(truth)
    rng = np.random.default_rng(options.seed)
    moved = np.where((np.arange(options.n) >= len(truth))[:, None], 1.0, 0.0)
    xy = centres[which] + moved * rng.integers(-1, 2, (options.n, 2))
    table = options.output / "legus.tab"
    write_legus_table(table, xy, truth[which])
    result = options.output / "classes.fits"
    command = [sys.executable, "-m", "cluster_cnn.predict", str(options.output / "mosaic")]
    command += ["--catalog", str(table), "--weights", str(options.weights), "--task", "classes"]
    command += ["--output", str(result), "--overwrite", "--quiet"]
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True)
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    report(result, truth[which], len(truth), seconds, cpu)
    return 0 if seconds < ASKED_S * options.n / 10_000 else 1


def report(result: Path, truth: np.ndarray, n_stamps: int, seconds: float, cpu: float) -> None:
    """Print time, machine and accuracy."""
    from astropy.table import Table

    table = Table.read(result)
    right = np.asarray(table["cnn_class"]) == truth
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{len(table)} candidates: {seconds:.0f} s, {cpu:.0f} s of processor; "
        f"{100 * right[:n_stamps].mean():.1f} % of the stamps in the right class, "
        f"{100 * right[n_stamps:].mean() if len(right) > n_stamps else float('nan'):.1f} % of "
        "those moved by a pixel"
    )


if __name__ == "__main__":
    raise SystemExit(main())
