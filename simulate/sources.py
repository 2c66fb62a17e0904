"""Sources: the objects of one field as equally long arrays, before any telescope sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

STAR = 1
GALAXY = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Sources:
    """N objects in B bands.

    Attributes
    ----------
    class_id : ndarray of int32, shape (N,)
        1 star, 2 galaxy.
    x, y : ndarray of float64, shape (N,)
        Pixel position, centres at integers.
    mag : ndarray of float64, shape (N, B)
        Total AB magnitude.
    bulge_fraction, arms_fraction : ndarray of float64, shape (N, B)
        Share of the flux in the bulge and in spiral arms with knots; the rest is a smooth disk.
    bulge_radius_arcsec, disk_radius_arcsec : ndarray of float64, shape (N,)
        Half-light radius along the major axis.
    bulge_index : ndarray of float64, shape (N,)
        Sersic index of the bulge; the disk has 1.
    bulge_axis_ratio, disk_axis_ratio : ndarray of float64, shape (N,)
        Minor over major axis.
    angle_rad : ndarray of float64, shape (N,)
        Position angle of the major axis, from +x to +y.
    structure_seed : ndarray of int64, shape (N,)
        Seed of the arms and knots of a galaxy.
    is_irregular : ndarray of bool, shape (N,)
        The share `arms_fraction` is in irregular clumps, not in arms.
    """

    class_id: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mag: np.ndarray
    bulge_fraction: np.ndarray
    arms_fraction: np.ndarray
    bulge_radius_arcsec: np.ndarray
    disk_radius_arcsec: np.ndarray
    bulge_index: np.ndarray
    bulge_axis_ratio: np.ndarray
    disk_axis_ratio: np.ndarray
    angle_rad: np.ndarray
    structure_seed: np.ndarray
    is_irregular: np.ndarray

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.class_id)

    def take(self, rows: np.ndarray) -> Sources:
        """Return some of the objects, in the order of `rows`."""
        return Sources(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})


def point_sources(*, x: np.ndarray, y: np.ndarray, mag: np.ndarray) -> Sources:
    """Return stars at given places.

    Parameters
    ----------
    x, y : ndarray of float64, shape (N,)
    mag : ndarray of float64, shape (N, B)

    Returns
    -------
    Sources
        Zero radii, class 1.
    """
    n = len(x)
    return Sources(
        class_id=np.full(n, STAR, dtype=np.int32),
        x=x,
        y=y,
        mag=mag,
        bulge_fraction=np.zeros(mag.shape),
        arms_fraction=np.zeros(mag.shape),
        bulge_radius_arcsec=np.zeros(n),
        disk_radius_arcsec=np.zeros(n),
        bulge_index=np.ones(n),
        bulge_axis_ratio=np.ones(n),
        disk_axis_ratio=np.ones(n),
        angle_rad=np.zeros(n),
        structure_seed=np.zeros(n, dtype=np.int64),
        is_irregular=np.zeros(n, dtype=bool),
    )


def join(parts: Sequence[Sources]) -> Sources:
    """Return the objects of all parts, in order."""
    return Sources(
        **{
            entry.name: np.concatenate([getattr(part, entry.name) for part in parts])
            for entry in fields(Sources)
        }
    )


def draw_counts(
    rng: np.random.Generator,
    n: int,
    *,
    bright_mag: float,
    faint_mag: float,
    slopes: tuple[float, float],
    break_mag: float,
) -> np.ndarray:
    """Draw magnitudes from counts with a bright and a faint slope.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
        How many.
    bright_mag, faint_mag : float
        Limits.
    slopes : tuple of float
        ``d log10 N / dm`` at the bright and at the faint end.
    break_mag : float
        Where the slope changes.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    grid, cumulative = _cumulative_counts(bright_mag, faint_mag, slopes, break_mag)
    return np.interp(rng.uniform(0.0, cumulative[-1], n), cumulative, grid)


def count_ratio(
    bright_mag: float,
    reference_mag: float,
    faint_mag: float,
    slopes: tuple[float, float],
    break_mag: float,
) -> float:
    """Return how many objects reach `faint_mag` for each one brighter than `reference_mag`."""
    grid, cumulative = _cumulative_counts(bright_mag, faint_mag, slopes, break_mag)
    return float(cumulative[-1] / np.interp(reference_mag, grid, cumulative))


def _cumulative_counts(
    bright_mag: float, faint_mag: float, slopes: tuple[float, float], break_mag: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the cumulative counts on 400 magnitudes."""
    grid = np.linspace(bright_mag, faint_mag, 400)
    dm = grid - break_mag
    counts = 1.0 / (10.0 ** (-slopes[0] * dm) + 10.0 ** (-slopes[1] * dm))
    steps = 0.5 * (counts[1:] + counts[:-1]) * np.diff(grid)
    return grid, np.concatenate([[0.0], np.cumsum(steps)])
