"""How far the answers move when the sky is not as in training: paired mocks, one change a case.

::

    python benchmarks/cluster_robustness.py --weights cluster-phat --n 1000

The same clusters (same seed and number) are simulated as the preset says and then with one thing
changed (another metallicity draws other clusters); the network is told their extinction except
where the case says so. Prints, for age, mass and size: median and scatter of the error, and of the
shift against the plain case.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

from cluster_cnn.metrics import error_statistics
from cluster_cnn.predictor import Predictor
from simulate.star_clusters.config import load_preset
from simulate.star_clusters.mock import MockMaker

TEST_RANGE = (
    "cluster.log_mass=[2.4,3.6]",
    "cluster.log_age=[6.6,9.5]",
    "others.fraction=0",
    "instrument.psf_size=[1.0,1.0]",
)
BRIGHTER_MAG = 2.5 * np.log10(2.0)
"""A field twice as dense is so much brighter."""

BATCH = 100


def cases(preset: str, isochrones: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the settings that each case changes, by its name; the plain one first."""
    low, high = load_preset(preset).field.surface_brightness_mag
    dense = f"[{low - BRIGHTER_MAG:.4f},{high - BRIGHTER_MAG:.4f}]"
    changed = {
        "plain": (),
        "extinction 0": ("cluster.av_mag=[0,0]",),
        "PSF 10 % wider": ("instrument.psf_size=[1.1,1.1]",),
        "PSF 10 % narrower": ("instrument.psf_size=[0.9,0.9]",),
        "background twice as dense": (f"field.surface_brightness_mag={dense}",),
        "metallicity 0.004": ("cluster.metallicity=[0.004,0.004]",),
        "metallicity 0.02": ("cluster.metallicity=[0.02,0.02]",),
        "dust with R_V 5": ("extinction.r_v=5.0",),
    }
    if isochrones:
        names = ",".join(f'"{name}"' for name in isochrones)
        changed["other isochrones"] = (f"isochrones.files=[{names}]",)
    return changed


def simulate_case(
    preset: str, changes: Sequence[str], bands: Sequence[str], *, n: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return stamps (n, H, W, B) in the bands asked for, and the truth."""
    config = load_preset(preset, (*TEST_RANGE, *changes))
    maker = MockMaker(config)
    channels = [config.instrument.bands.index(band) for band in bands]
    mocks = [maker.make(seed, index) for index in range(n)]
    truth = {
        name: np.array([mock.row[name] for mock in mocks])
        for name in ("log_age", "log_mass", "av", "half_light_radius_arcsec", "snr")
    }
    truth["log_radius"] = np.log10(truth["half_light_radius_arcsec"])
    return np.stack([mock.stamp[..., channels] for mock in mocks]), truth


def rows_of_case(
    name: str,
    medians: np.ndarray,
    names: Sequence[str],
    truth: Mapping[str, np.ndarray],
    plain: np.ndarray | None,
) -> list[str]:
    """Return the cells of a line: error of each parameter, and shift against the plain case.

    Without the plain answers, where other clusters were drawn, there is no shift.
    """
    row = [name]
    for p, parameter in enumerate(names):
        if parameter == "av":
            continue
        error = error_statistics(medians[:, p] - truth[parameter])
        row.append(f"{error['bias']:+.3f} / {error['scatter']:.3f}")
        if plain is None:
            row.append("-")
            continue
        shift = error_statistics(medians[:, p] - plain[:, p])
        row.append(f"{shift['bias']:+.3f} / {shift['scatter']:.3f}")
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="cluster-phat")
    parser.add_argument("--preset", default="phat")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument(
        "--isochrones", nargs="*", default=[], metavar="TABLE", help="PARSEC or MIST tables"
    )
    args = parser.parse_args(argv)
    predictor = Predictor.load(args.weights)
    names = predictor.config.parameter_names
    print(f"{platform.processor() or platform.machine()}, {platform.system()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("numpy", "keras")))
    print(f"{args.weights}, {args.n} mocks of {args.preset}, seed {args.seed}\n")
    shown = [name for name in names if name != "av"]
    head = ["", *(part for name in shown for part in (f"{name}: bias / scatter", "shift"))]
    lines = [head, ["---"] * len(head)]
    plain, ages = None, None
    for case, changes in cases(args.preset, args.isochrones).items():
        stamps, truth = simulate_case(
            args.preset, changes, predictor.bands, n=args.n, seed=args.seed
        )
        told = predictor.predict(stamps, known={"av": truth["av"]}, batch_size=BATCH).medians
        if plain is None:
            plain, ages = told, truth["log_age"]
        is_paired = np.array_equal(truth["log_age"], ages)
        lines.append(rows_of_case(case, told, names, truth, plain if is_paired else None))
        if case == "plain":
            free = predictor.predict(stamps, batch_size=BATCH).medians
            lines.append(rows_of_case("extinction not told", free, names, truth, plain))
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
