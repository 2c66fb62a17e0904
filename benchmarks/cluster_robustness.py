"""How far the answers move when the sky is not as in training: paired mocks, one change a case.

::

    python benchmarks/cluster_robustness.py --weights cluster-phat --n 1000

The same clusters (same seed and number) are simulated as the preset says and then with one thing
changed (another metallicity draws other clusters); the network is told their extinction except
where the case says so. Prints, for age, mass and size: median and scatter of the error, and of the
shift against the plain case; and how many of the clusters are flagged. The last cases are clusters
outside of what the weights were taught (extinction not told): there the flags are what counts.

Tables of other stellar models are read with ``--isochrones``. In their place the built-in ones are
also distorted, in clusters and field alike, by about as much as models of different groups differ:
evolved stars (the last tenth of the masses alive) below 6500 K made 3 % cooler or hotter at the
same luminosity, as black bodies; and those below 3500 K, the coolest giants, left out.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import numpy as np

from cluster_cnn.config import ModelConfig
from cluster_cnn.metrics import error_statistics
from cluster_cnn.predictor import Predictor
from simulate.star_clusters.config import load_preset
from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid
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

Change = Callable[[Isochrone], Isochrone]

EVOLVED_SHARE = 0.9  # of the largest mass alive: heavier stars have left the main sequence
COOL_K, COOLEST_K = 6500.0, 3500.0
UNSEEN_MAG = 60.0
BLUE, RED = "ACS_F475W", "ACS_F814W"

_HC_OVER_K_NM = 1.4388e7
_TEMPERATURES_K = np.geomspace(1500.0, 60000.0, 400)


def black_body_mag(filters: Sequence[str], temperature_k: np.ndarray) -> np.ndarray:
    """Return AB magnitudes of black bodies of one luminosity, shape (T, B), but for a constant."""
    x = _HC_OVER_K_NM / np.array([item.pivot_nm for item in get_filters(tuple(filters))])
    x = x / temperature_k[:, None]
    # B_nu is x^3 T^3 / (e^x - 1) at a frequency; the luminosity goes with T^4.
    return -2.5 * np.log10(x**3 / np.expm1(x) / temperature_k[:, None])


def temperatures(isochrone: Isochrone) -> np.ndarray:
    """Return the temperature in K of black bodies with the colours of the stars, shape (R,)."""
    mag = black_body_mag((BLUE, RED), _TEMPERATURES_K)
    blue, red = (isochrone.filters.index(name) for name in (BLUE, RED))
    colour = isochrone.mag[:, blue] - isochrone.mag[:, red]
    falling = mag[:, 0] - mag[:, 1]
    return np.interp(colour, falling[::-1], _TEMPERATURES_K[::-1])


def is_evolved(isochrone: Isochrone, below_k: float) -> np.ndarray:
    """Return which stars have left the main sequence and are cooler than so many K."""
    is_heavy = isochrone.m_ini > EVOLVED_SHARE * isochrone.m_ini[-1]
    return is_heavy & (temperatures(isochrone) < below_k)


def heat_evolved(isochrone: Isochrone, factor: float) -> Isochrone:
    """Return an isochrone whose cool evolved stars are hotter by a factor."""
    kelvin = temperatures(isochrone)
    shift = black_body_mag(isochrone.filters, kelvin * factor)
    shift = shift - black_body_mag(isochrone.filters, kelvin)
    mag = isochrone.mag + np.where(is_evolved(isochrone, COOL_K)[:, None], shift, 0.0)
    return replace(isochrone, mag=mag)


def leave_out_coolest(isochrone: Isochrone) -> Isochrone:
    """Return an isochrone without the light of its coolest evolved stars."""
    is_out = is_evolved(isochrone, COOLEST_K)[:, None]
    return replace(isochrone, mag=np.where(is_out, UNSEEN_MAG, isochrone.mag))


DISTORTIONS: dict[str, Change] = {
    "isochrones: evolved stars 3 % cooler": partial(heat_evolved, factor=0.97),
    "isochrones: evolved stars 3 % hotter": partial(heat_evolved, factor=1.03),
    "isochrones without evolved stars below 3500 K": leave_out_coolest,
}
"""In place of the isochrones of others."""


OUTSIDE: dict[str, tuple[str, ...]] = {
    "outside: 2e5 to 1e6 solar masses": ("cluster.log_mass=[5.3,6.0]",),
    "outside: half-light radius 15-30 arcsec": ("cluster.half_light_radius_arcsec=[15,30]",),
    "outside: extinction 3-4 mag": ("cluster.av_mag=[3,4]",),
    "outside: at a third of the distance": ("cluster.distance_kpc=[262,262]",),
    "outside: at three times the distance": ("cluster.distance_kpc=[2355,2355]",),
}
"""Clusters that the weights for M31 were not taught."""


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
    preset: str,
    changes: Sequence[str],
    network: ModelConfig,
    *,
    n: int,
    seed: int,
    distort: Change | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return stamps (n, S, S, C) as a network sees them, and the truth."""
    view = f"instrument.wide_binning={network.wide_binning}"
    config = load_preset(preset, (*TEST_RANGE, view, *changes))
    maker = MockMaker(config)
    if distort is not None:
        grid = maker.isochrones
        maker.isochrones = IsochroneGrid(tuple(map(distort, grid.isochrones)), grid.name)
    channels = [config.instrument.bands.index(band) for band in network.bands]
    mocks = [maker.make(seed, index) for index in range(n)]
    truth = {
        name: np.array([mock.row[name] for mock in mocks])
        for name in ("log_age", "log_mass", "av", "half_light_radius_arcsec", "snr")
    }
    truth["log_radius"] = np.log10(truth["half_light_radius_arcsec"])
    views = [np.stack([mock.stamp[..., channels] for mock in mocks])]
    if network.wide_binning:
        views.append(np.stack([mock.wide[..., channels] for mock in mocks]))
    return np.concatenate(views, axis=3), truth


def rows_of_case(
    name: str,
    medians: np.ndarray,
    names: Sequence[str],
    truth: Mapping[str, np.ndarray],
    plain: np.ndarray | None,
    flagged: Sequence[np.ndarray],
) -> list[str]:
    """Return the cells of a line: error and shift of each parameter, share of each flag.

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
    return [*row, *(f"{100 * np.mean(flags):.0f}" for flags in flagged)]


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
    head += ["out of range, %", "at limit, %"]
    lines = [head, ["---"] * len(head)]
    plain, clusters = None, None
    settings = {**cases(args.preset, args.isochrones), **dict.fromkeys(DISTORTIONS, ()), **OUTSIDE}
    for case, changes in settings.items():
        stamps, truth = simulate_case(
            args.preset,
            changes,
            predictor.config,
            n=args.n,
            seed=args.seed,
            distort=DISTORTIONS.get(case),
        )
        answers = {case: {} if case in OUTSIDE else {"av": truth["av"]}}
        if case == "plain":
            answers["extinction not told"] = {}
        drawn = np.stack([truth[name] for name in shown])
        for title, known in answers.items():
            found = predictor.predict(stamps, known=known, batch_size=BATCH)
            if plain is None:
                plain, clusters = found.medians, drawn
            paired = plain if np.array_equal(drawn, clusters) else None
            flagged = (found.is_strange, found.is_at_limit)
            lines.append(rows_of_case(title, found.medians, names, truth, paired, flagged))
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
