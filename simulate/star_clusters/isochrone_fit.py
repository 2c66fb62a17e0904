"""The embedded isochrones: a compact fit to a PARSEC/COLIBRI grid, and the code that made it.

Every isochrone is a piecewise linear function of initial mass in all filters at once, with the
fewest knots (Ramer-Douglas-Peucker) that keep it within a set distance of the grid. Knots are
kept in thousandths of a magnitude. ``python -m simulate.star_clusters.isochrone_fit GRID.h5
--output FILE.npz`` makes the file.

References
----------
Bressan et al. 2012, MNRAS 427, 127; Chen et al. 2014, MNRAS 444, 2525; Tang et al. 2014, MNRAS
445, 4287; Marigo et al. 2017, ApJ 835, 77 (PARSEC, COLIBRI); Conroy and Gunn 2010, ApJ 712, 833
(the tables); Castelli and Kurucz 2004, arXiv:astro-ph/0405087 (atmospheres).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.cli import DONE, add_common_arguments, configure_logging, new_parser, run, summary
from astro_io.errors import ConfigError, InputNotFoundError
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid

FILE = "isochrones.npz"
TOLERANCE_MAG = 0.02
DWARF_TOLERANCE_MAG = 0.06
DWARF_MAG = 5.5  # absolute AB magnitude in `DWARF_FILTER`: fainter than any PHAT detection
DWARF_FILTER = "ACS_F814W"

_MILLI = 1000.0
_FAINTEST = 32.0


@lru_cache(maxsize=1)
def default_isochrones() -> IsochroneGrid:
    """Return the embedded grid: log t 6.6 to 10.1 in steps of 0.05, four metallicities.

    Within 0.02 mag of the grid that it was fitted to, in every filter and at every mass (0.06
    mag for dwarfs fainter than ``M_F814W = 5.5``).

    Returns
    -------
    IsochroneGrid
    """
    with as_file(files("simulate.star_clusters") / FILE) as path:
        return load_fit(path)


def load_fit(path: str | Path) -> IsochroneGrid:
    """Read a file that `save_fit` wrote.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    """
    if not Path(path).exists():
        raise InputNotFoundError(f"{path}: no such isochrone fit.")
    with np.load(path, allow_pickle=False) as data:
        filters = tuple(str(name) for name in data["filters"])
        steps = data["mag_steps"].astype(np.int32)
        ends, ages, z = data["row_end"], data["log_age"], data["metallicity"]
        mass = data["m_ini"].astype(np.float64)
        name = str(data["name"])
    mag = np.cumsum(np.cumsum(steps, axis=1), axis=0) / _MILLI
    starts = np.concatenate([[0], ends[:-1]])
    isochrones = tuple(
        Isochrone(
            log_age=float(round(ages[i], 6)),
            metallicity=float(round(z[i], 6)),
            filters=filters,
            m_ini=mass[start:end],
            mag=mag[start:end],
        )
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    )
    return IsochroneGrid(isochrones, name)


def save_fit(path: str | Path, grid: IsochroneGrid) -> None:
    """Write a grid as differences in thousandths of a magnitude: first by row, then by filter."""
    milli = np.concatenate([np.round(iso.mag * _MILLI) for iso in grid.isochrones])
    by_row = np.diff(milli, axis=0, prepend=0.0)
    by_filter = np.diff(by_row, axis=1, prepend=0.0)
    assert np.abs(by_filter).max() < np.iinfo(np.int32).max
    np.savez_compressed(
        path,
        name=np.array(grid.name),
        filters=np.array(grid.filters),
        log_age=np.array([iso.log_age for iso in grid.isochrones]),
        metallicity=np.array([iso.metallicity for iso in grid.isochrones]),
        row_end=np.cumsum([len(iso.m_ini) for iso in grid.isochrones]).astype(np.int32),
        m_ini=np.concatenate([iso.m_ini for iso in grid.isochrones]).astype(np.float32),
        mag_steps=_smallest(by_filter),
    )


def _smallest(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in the narrowest of two types."""
    fits = np.abs(values).max() <= np.iinfo(np.int16).max
    return values.astype(np.int16 if fits else np.int32)


def fit_isochrone(iso: Isochrone) -> Isochrone:
    """Return an isochrone with as few rows as the tolerances allow.

    Parameters
    ----------
    iso : Isochrone
        With the filter ``ACS_F814W``.

    Returns
    -------
    Isochrone
        Its rows are some of those of `iso`.
    """
    mag = np.minimum(iso.mag, _FAINTEST)
    is_dwarf = mag[:, iso.filters.index(DWARF_FILTER)] > DWARF_MAG
    tolerance = np.where(is_dwarf, DWARF_TOLERANCE_MAG, TOLERANCE_MAG)
    # Rounding takes its share: half a unit at a knot, and float32 masses.
    rows = _knots(iso.m_ini, mag, tolerance - 1.0 / _MILLI)
    return Isochrone(
        log_age=iso.log_age,
        metallicity=iso.metallicity,
        filters=iso.filters,
        m_ini=iso.m_ini[rows],
        mag=mag[rows],
    )


def _knots(x: np.ndarray, y: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Return the rows that a polyline must keep to pass all others within `tolerance`.

    Parameters
    ----------
    x : ndarray of float64, shape (R,)
        Not falling.
    y : ndarray of float64, shape (R, B)
    tolerance : ndarray of float64, shape (R,)

    Returns
    -------
    ndarray of int, shape (K,)
    """
    keep = np.zeros(len(x), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(x) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        width = x[last] - x[first]
        part = (x[inside] - x[first]) / width if width > 0 else np.linspace(0, 1, last - first - 1)
        line = y[first] + part[:, None] * (y[last] - y[first])
        excess = np.abs(y[inside] - line).max(axis=1) / tolerance[inside]
        worst = int(excess.argmax())
        if excess[worst] > 1.0:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return np.flatnonzero(keep)


def read_grid(path: str | Path) -> IsochroneGrid:
    """Read the grid that the fit is made from and tested against.

    One HDF5 group for each metallicity (``Z0.0040`` ...) with ``log_age``, ``row_start``,
    ``m_ini`` and ``mag`` (absolute Vega magnitudes); ``filters`` and ``ab_minus_vega`` at the
    root.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    IsochroneGrid
        In AB magnitudes.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    ConfigError
        If it is another kind of file.
    """
    import h5py

    if not Path(path).exists():
        raise InputNotFoundError(f"{path}: no such isochrone grid.")
    isochrones = []
    with h5py.File(path) as file:
        if "filters" not in file.attrs or "ab_minus_vega" not in file:
            raise ConfigError(f"{path}: expected filters and ab_minus_vega; found {list(file)}.")
        filters = tuple(str(name) for name in file.attrs["filters"])
        to_ab = file["ab_minus_vega"][()]
        for group in (file[key] for key in sorted(file) if key.startswith("Z")):
            starts, mass, mag = group["row_start"][()], group["m_ini"][()], group["mag"][()]
            for log_age, start, end in zip(group["log_age"], starts, starts[1:], strict=False):
                isochrones.append(
                    Isochrone(
                        log_age=round(float(log_age), 6),
                        metallicity=float(group.name.removeprefix("/Z")),
                        filters=filters,
                        m_ini=mass[start:end],
                        mag=mag[start:end].astype(np.float64) + to_ab,
                    )
                )
    return IsochroneGrid(tuple(isochrones), "PARSEC v1.2S + COLIBRI")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser: argparse.ArgumentParser = new_parser(
        "simulate.star_clusters.isochrone_fit", "Fit the embedded isochrones to a grid."
    )
    parser.add_argument("grid", type=Path, metavar="GRID.h5", help="the grid to fit")
    add_common_arguments(parser, output="the .npz file to write", seed=None)
    args = parser.parse_args(argv)
    configure_logging(args)
    grid = read_grid(args.grid)
    fit = IsochroneGrid(tuple(fit_isochrone(iso) for iso in grid.isochrones), grid.name)
    with atomic_path(args.output, overwrite=args.overwrite) as part:
        save_fit(part, fit)
    rows = [sum(len(iso.m_ini) for iso in g.isochrones) for g in (grid, fit)]
    size = args.output.stat().st_size / 1e6
    summary(f"{args.output}: {rows[1]} knots for {rows[0]} rows, {size:.2f} MB")
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
