"""The bias-and-scatter map: a network on a grid of ages and masses, many mocks a point.

As in Bialopetravicius et al. 2019 (A&A 621, A103): at each grid point an ellipse that holds 39 %
of the estimates (one sigma in two dimensions), and an arrow from the truth to their mean.  The
set comes from ``simulate.clusters`` with ``grid.log_age``, ``grid.log_mass`` and
``grid.half_light_radius_arcsec``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import DatasetError
from cluster_cnn.metrics import covariance_ellipse

AXES = ("log_age", "log_mass")

_MIN_MOCKS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class GridPoint:
    """Estimates of the mocks of one grid point.

    Attributes
    ----------
    truth : ndarray of float, shape (2,)
        log age and mean log mass of the mocks.
    mean : ndarray of float, shape (2,)
    covariance : ndarray of float, shape (2, 2)
    radius_arcsec : float
    n : int
        Mocks.
    """

    truth: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    radius_arcsec: float
    n: int


def has_grid(attributes: dict[str, Any]) -> bool:
    """Return whether a set was made on a grid of ages and masses."""
    grid = attributes.get("config", {}).get("grid", {})
    return all(grid.get(name) for name in AXES)


def grid_points(
    attributes: dict[str, Any],
    names: Sequence[str],
    truth: np.ndarray,
    medians: np.ndarray,
) -> list[GridPoint]:
    """Group estimates by grid point.

    Parameters
    ----------
    attributes : dict
        Of the set; its ``config`` holds the grid.
    names : sequence of str, length P
    truth, medians : ndarray of float, shape (N, P)

    Returns
    -------
    list of GridPoint

    Raises
    ------
    DatasetError
        If the set has no grid, or the network gives neither age nor mass.
    """
    if not has_grid(attributes) or not set(AXES) <= set(names):
        raise DatasetError(
            "bias-and-scatter map: expected a set with grid.log_age and grid.log_mass, and a "
            "network for both. Make one: simulate.clusters --set grid.log_age=[7,8,9] ..."
        )
    grid = attributes["config"]["grid"]
    columns = [list(names).index(name) for name in AXES]
    known = np.isfinite(truth).all(axis=1)
    truth, medians = truth[known], medians[known]
    ages, masses = (
        _nearest(truth[:, c], grid[name]) for c, name in zip(columns, AXES, strict=True)
    )
    radii = grid.get("half_light_radius_arcsec") or [float("nan")]
    sizes = np.zeros(len(truth), int)
    if len(radii) > 1:
        sizes = _nearest(truth[:, list(names).index("log_radius")], np.log10(radii))
    points = []
    for index in np.unique(np.stack([sizes, ages, masses]), axis=1).T:
        chosen = (sizes == index[0]) & (ages == index[1]) & (masses == index[2])
        if chosen.sum() < _MIN_MOCKS:
            continue
        mean, covariance = covariance_ellipse(medians[chosen][:, columns])
        points.append(
            GridPoint(
                truth=truth[chosen][:, columns].mean(axis=0),
                mean=mean,
                covariance=covariance,
                radius_arcsec=float(radii[index[0]]),
                n=int(chosen.sum()),
            )
        )
    return points


def draw_grid_map(path: Path, points: Sequence[GridPoint]) -> None:
    """Draw ellipses and arrows, one panel a half-light radius.

    Parameters
    ----------
    path : Path
        PNG, written over.
    points : sequence of GridPoint
        Without any nothing is drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    if not points:
        return
    radii = sorted({point.radius_arcsec for point in points})
    figure = Figure(figsize=(4.6 * len(radii) + 0.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(radii), squeeze=False, sharex=True, sharey=True)[0]
    for axis, radius in zip(panels, radii, strict=True):
        for point in (p for p in points if p.radius_arcsec == radius or len(radii) == 1):
            values, vectors = np.linalg.eigh(point.covariance)
            width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
            angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
            axis.add_patch(
                Ellipse(point.mean, width, height, angle=angle, fc="#27408b22", ec="#27408b")
            )
            axis.annotate(
                "",
                point.mean,
                point.truth,
                arrowprops={"arrowstyle": "->", "color": "#b22222", "shrinkA": 0, "shrinkB": 0},
            )
            axis.plot(*point.truth, "k.", ms=4)
        n = min(p.n for p in points)
        title = f'half-light radius {radius:.2g}"' if np.isfinite(radius) else ""
        axis.set(xlabel="log age / yr", title=f"{title}, {n} mocks a point".lstrip(", "))
        axis.margins(0.08)
    panels[0].set_ylabel(r"log mass / M$_\odot$")
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=110, format="png")


def _nearest(values: np.ndarray, grid: Sequence[float]) -> np.ndarray:
    """Return the index of the nearest grid value."""
    return np.abs(np.asarray(values)[:, None] - np.asarray(grid, float)).argmin(axis=1)
