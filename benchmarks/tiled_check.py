"""A tiled run of a large image against an untiled one.

    python benchmarks/tiled_check.py IMAGE [--weights NAME] [--tile 512 --overlap 64]

Detects the sources of IMAGE twice and prints how many of those above score 0.6 are found at the
same place (0.3 px) in the other run, and how many of either run are doubled (two of one run within
0.3 px). Exit 0 when at least 99 % agree and none is doubled, else 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from astro_io.catalog import read_catalog
from astro_rcnn.detect import DEFAULT_WEIGHTS
from astro_rcnn.detect import main as detect

MIN_SCORE = 0.6
TOLERANCE_PX = 0.3
LEAST_AGREEMENT = 0.99


def main() -> int:
    """Run both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    args = parser.parse_args()
    tiled = positions(args.image, args.weights, ["--tile", args.tile, "--overlap", args.overlap])
    whole = positions(args.image, args.weights, ["--tile", 0])
    worst = 1.0
    n_doubled = 0
    for label, (here, scores), (there, _) in (
        ("tiled in untiled", tiled, whole),
        ("untiled in tiled", whole, tiled),
    ):
        chosen = here[scores > MIN_SCORE]
        distance, _ = cKDTree(there).query(chosen)
        share = float(np.mean(distance <= TOLERANCE_PX))
        doubled = len(cKDTree(here).query_pairs(TOLERANCE_PX))
        print(
            f"{label}: {len(chosen)} sources above {MIN_SCORE}, {100 * share:.1f} % within "
            f"{TOLERANCE_PX} px, farthest {distance.max():.2f} px, {doubled} doubled"
        )
        worst, n_doubled = min(worst, share), n_doubled + doubled
    return 0 if worst >= LEAST_AGREEMENT and n_doubled == 0 else 1


def positions(image: str, weights: str, options: list) -> tuple[np.ndarray, np.ndarray]:
    """Detect and return x, y in pixels, shape (N, 2), and scores, shape (N,)."""
    with tempfile.TemporaryDirectory() as folder:
        words = [image, "--weights", weights, "--output", folder, "--no-overlay", "--quiet"]
        if detect([*words, *map(str, options)]) != 0:
            sys.exit(2)
        (path,) = Path(folder).glob("*.catalog.fits")
        table = read_catalog(path)
    xy = np.stack([table["x"].value, table["y"].value], axis=1)
    return xy, np.asarray(table["score"])


if __name__ == "__main__":
    sys.exit(main())
