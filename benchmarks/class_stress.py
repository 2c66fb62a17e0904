"""What the class network makes of stamps that are not as they should be.

::

    python benchmarks/class_stress.py --dataset sets/classes-test.h5

Changes the stamps of a test set, and prints how many are still right, how many are flagged, and
how doubtful the network is.  Then gives the bands in every wrong order and as files of other
filters: how many rows are flagged, how many tables of 10, 30 and 100 rows; and the false alarms on
stamps in the right order, also where depth, zero points, sky or the kind of objects differ from
the training set's.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cluster_cnn.band_order import LARGEST_GAIN, TABLE_GAIN, BandOrder
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.data import StampSource

Change = Callable[[np.ndarray], np.ndarray]
TABLE_ROWS = (10, 30, 100)
N_TABLES = 50
N_LISTED = 8


def keep_bands(*channels: int) -> Change:
    """Return a function that takes the data of all other channels away."""

    def change(stamps: np.ndarray) -> np.ndarray:
        kept = np.full_like(stamps, np.nan)
        kept[..., channels] = stamps[..., channels]
        return kept

    return change


def without_middle(n: int) -> Change:
    """Return a function that takes `n` of the four pixels of the middle away, in all bands."""

    def change(stamps: np.ndarray) -> np.ndarray:
        holed, half = stamps.copy(), stamps.shape[1] // 2
        for y, x in ((half - 1, half - 1), (half - 1, half), (half, half - 1), (half, half))[:n]:
            holed[:, y, x] = np.nan
        return holed

    return change


def other_sky(seed: int, *, noise: float, zero_mag: float, level: float) -> Change:
    """Return a function that makes each band noisier, off in zero point and in sky level.

    Parameters
    ----------
    seed : int
    noise : float
        At most so many times the noise.
    zero_mag : float
        Standard deviation of the zero points, mag.
    level : float
        Standard deviation of what is left of the sky, in units of the noise.
    """

    def change(stamps: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        n_bands = stamps.shape[-1]
        floor = 1.48 * np.nanmedian(np.abs(np.diff(stamps[:, :8], axis=2)), axis=(0, 1, 2)) / 2**0.5
        more = floor * np.sqrt(np.exp(2 * rng.uniform(0, np.log(noise), n_bands)) - 1)
        factor = 10 ** (-0.4 * rng.normal(0, zero_mag, n_bands))
        changed = stamps * factor + rng.normal(0, level, n_bands) * floor
        return (changed + more * rng.standard_normal(stamps.shape)).astype(np.float32)

    return change


CHANGES: dict[str, Change] = {
    "as they are": lambda stamps: stamps,
    "F555W and F814W alone": keep_bands(3, 4),
    "F555W alone": keep_bands(3),
    "bands in reversed order": lambda stamps: stamps[..., ::-1],
    "F555W and F814W exchanged": lambda stamps: stamps[..., [0, 1, 2, 4, 3]],
    "flux x 0.001": lambda stamps: stamps * 1e-3,
    "flux x 100": lambda stamps: stamps * 100,
    "negative": lambda stamps: -stamps,
    "one middle pixel lost": without_middle(1),
    "two middle pixels lost": without_middle(2),
    "three middle pixels lost": without_middle(3),
}

SKIES: dict[str, Change] = {
    "as they are": lambda stamps: stamps,
    "noisier up to 2.5 times": other_sky(1, noise=2.5, zero_mag=0, level=0),
    "zero points off by 0.2 mag": other_sky(2, noise=1, zero_mag=0.2, level=0),
    "sky left, one sigma of noise": other_sky(3, noise=1, zero_mag=0, level=1),
    "all of these": other_sky(4, noise=2.5, zero_mag=0.2, level=1),
    "dust, 1 mag in F555W": lambda s: s * 10 ** (-0.4 * np.array([2.3, 1.6, 1.3, 1.0, 0.6])),
    "F275W missing": keep_bands(1, 2, 3, 4),
    "F275W and F336W missing": keep_bands(2, 3, 4),
    "F555W and F814W alone": keep_bands(3, 4),
    "F555W alone": keep_bands(3),
}

GIVEN: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "four bands, reversed": ((1, 2, 3, 4), (4, 3, 2, 1)),
    "F438W, F555W, F814W, reversed": ((2, 3, 4), (4, 3, 2)),
    "F555W and F814W, exchanged": ((3, 4), (4, 3)),
    "F438W and F814W, exchanged": ((2, 4), (4, 2)),
    "F275W given as F814W": ((4,), (0,)),
    "F438W given as F555W": ((3,), (2,)),
    "F814W given as F555W": ((3,), (4,)),
}
"""Bands that are given, and those that the files really are of."""


def flagged(order: BandOrder, stamps: np.ndarray) -> tuple[float, list[float]]:
    """Return per cent of rows that are flagged, and of tables of `TABLE_ROWS` drawn from them."""
    rows = 100 * order.doubtful(stamps).mean()
    largest = max(order.gains(stamps), key=lambda part: len(part.rows))
    gain = np.clip(largest.gain, -LARGEST_GAIN, LARGEST_GAIN)
    rng = np.random.default_rng(0)
    tables = []
    for n in TABLE_ROWS:
        drawn = [gain[rng.integers(len(gain), size=n)].sum(axis=0) for _ in range(N_TABLES)]
        tables.append(100 * np.mean([total.max() > TABLE_GAIN for total in drawn]))
    return rows, tables


def line(name: str, result: tuple[float, list[float]]) -> str:
    """Return a row of the report."""
    rows, tables = result
    return f"{name:32s} rows {rows:6.2f} %   tables " + "  ".join(f"{t:5.1f} %" for t in tables)


def report_orders(order: BandOrder, stamps: np.ndarray, kinds: np.ndarray) -> None:
    """Print how many rows and tables are flagged where bands are exchanged, and where not."""
    sizes = ", ".join(map(str, TABLE_ROWS))
    print(f"\nRight order, false alarms (tables of {sizes} rows):")
    for name, change in SKIES.items():
        print(line(name, flagged(order, change(stamps))))
    for kind in np.unique(kinds):
        if np.sum(kinds == kind) >= 20:
            print(line(f"only {kind}", flagged(order, stamps[kinds == kind])))
    print("\nOther bands than given:")
    for name, (given, real) in GIVEN.items():
        changed = np.full_like(stamps, np.nan)
        changed[..., given] = stamps[..., real]
        print(line(name, flagged(order, changed)))
    wrong = list(itertools.permutations(range(stamps.shape[-1])))[1:]
    found = {p: flagged(order, stamps[..., list(p)]) for p in wrong}
    mean = (
        np.mean([rows for rows, _ in found.values()]),
        list(np.mean([tables for _, tables in found.values()], axis=0)),
    )
    print(f"\nAll {len(wrong)} wrong orders; the hardest ones:")
    print(line("mean", mean))
    for p in sorted(found, key=lambda p: found[p][0])[:N_LISTED]:
        print(line(f"channels {p}", found[p]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--weights", default="classes-phangs")
    parser.add_argument("--n", type=int, default=256, help="stamps for the network")
    parser.add_argument("--n-order", type=int, default=1000, help="stamps for the order of bands")
    options = parser.parse_args(argv)
    predictor = ClassPredictor.load(options.weights)
    config, order = predictor.config, predictor.calibration.order
    source = StampSource.seen_by(config, [options.dataset])
    rows = np.arange(min(options.n_order, len(source)))
    stamps, kinds = source.read(rows), source.column("kind")[rows]
    truth = source.column("class")[rows][: options.n]
    source.close()
    for name, change in CHANGES.items():
        changed = change(stamps[: options.n])
        said = predictor.predict(changed)
        right = 100 * np.mean(said.chosen == truth)
        strange = 100 * np.mean(said.is_strange)
        wrong = 100 * np.mean(order.doubtful(changed)) if order else float("nan")
        print(
            f"{name:26s} right {right:5.1f} %  entropy {np.nanmean(said.entropy):.2f}  "
            f"OUT_OF_RANGE {strange:5.1f} %  BAND_ORDER {wrong:5.1f} %"
        )
    if order:
        report_orders(order, stamps, np.asarray(kinds).astype(str))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
