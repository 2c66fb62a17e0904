"""What a class network says of stamps that are not as they should be.

::

    python benchmarks/class_stress.py --dataset sets/classes-test.h5 --weights classes-phangs

Prints, for the first stamps of a test set as they are, with bands missing or swapped, and in
another unit: how many are in the right class or flagged as out of range, and the mean entropy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.data import StampSource

Change = Callable[[np.ndarray], np.ndarray]


def keep_bands(*channels: int) -> Change:
    """Return a function that takes the data of all other channels away."""

    def change(stamps: np.ndarray) -> np.ndarray:
        kept = np.full_like(stamps, np.nan)
        kept[..., channels] = stamps[..., channels]
        return kept

    return change


CHANGES: dict[str, Change] = {
    "as they are": lambda stamps: stamps,
    "F555W and F814W alone": keep_bands(3, 4),
    "F555W alone": keep_bands(3),
    "bands in reversed order": lambda stamps: stamps[..., ::-1],
    "flux x 0.001": lambda stamps: stamps * 1e-3,
    "flux x 100": lambda stamps: stamps * 100,
    "negative": lambda stamps: -stamps,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--weights", default="classes-phangs")
    parser.add_argument("--n", type=int, default=256)
    options = parser.parse_args(argv)
    predictor = ClassPredictor.load(options.weights)
    config = predictor.config
    source = StampSource([options.dataset], bands=config.bands, stamp_size=config.stamp_size)
    rows = np.arange(min(options.n, len(source)))
    stamps, truth = source.read(rows), source.column("class")[rows]
    source.close()
    for name, change in CHANGES.items():
        said = predictor.predict(change(stamps))
        right = 100 * np.mean(said.chosen == truth)
        flagged = 100 * np.mean(said.is_strange)
        entropy = np.nanmean(said.entropy)
        print(f"{name:24s} right {right:5.1f} %  flagged {flagged:5.1f} %  entropy {entropy:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
