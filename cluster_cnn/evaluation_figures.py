"""Pictures of an evaluation: estimates against the truth, and tables of bias and scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path

LABELS = {
    "log_age": "log age / yr",
    "log_mass": r"log mass / M$_\odot$",
    "av": r"A$_V$ / mag",
    "log_radius": 'log half-light radius / "',
    "log_metallicity": "log Z",
}
_BRIGHT = 20.0


def draw_scatter(
    path: Path, names: Sequence[str], truth: np.ndarray, medians: np.ndarray, snr: np.ndarray
) -> None:
    """Draw estimated against true parameters, one panel a parameter.

    Parameters
    ----------
    path : Path
        PNG, written over.
    names : sequence of str, length P
    truth, medians : ndarray of float, shape (N, P)
        Rows with NaN are left out.
    snr : ndarray of float, shape (N,)
        Faint objects are drawn lighter.
    """
    from matplotlib.figure import Figure

    known = np.isfinite(truth).all(axis=1) & np.isfinite(medians).all(axis=1)
    truth, medians, is_bright = truth[known], medians[known], snr[known] > _BRIGHT
    shown = [p for p in range(len(names)) if len(truth) and np.ptp(truth[:, p]) > 1e-6]
    figure = Figure(figsize=(3.6 * max(len(shown), 1), 3.7), layout="constrained")
    axes = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    for axis, p in zip(axes, shown, strict=False):
        name = names[p]
        limits = [np.min(truth[:, p]), np.max(truth[:, p])]
        for chosen, colour, label in (
            (~is_bright, "#c9a227", f"S/N < {_BRIGHT:g}"),
            (is_bright, "#27408b", f"S/N > {_BRIGHT:g}"),
        ):
            axis.plot(
                truth[chosen, p], medians[chosen, p], ".", ms=1.5, alpha=0.35, c=colour, label=label
            )
        axis.plot(limits, limits, c="k", lw=0.8)
        axis.set(xlabel=f"true {LABELS.get(name, name)}", ylabel="estimated")
    axes[0].legend(markerscale=5, fontsize="small", loc="upper left")
    _save(figure, path)


def draw_maps(path: Path, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw bias and scatter of each parameter in cells of true age and mass.

    Parameters
    ----------
    path : Path
        PNG, written over.
    scores : mapping
        As of `cluster_cnn.evaluation.parameter_scores`.  Without ages and masses nothing is
        drawn; a parameter that was told is left out.
    """
    from matplotlib.figure import Figure

    names = [n for n, item in scores.items() if item.get("by_age_mass") and item["scatter"] > 0]
    if not names:
        return
    figure = Figure(figsize=(3.4 * len(names), 5.6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        cells = scores[name]["by_age_mass"]
        for row, (key, colours, limits) in enumerate(
            (("bias", "RdBu_r", (-0.3, 0.3)), ("scatter", "viridis", (0.0, 0.5)))
        ):
            axis = axes[row, column]
            values, ages, masses = _as_grid(cells, key)
            mesh = axis.pcolormesh(
                ages, masses, values.T, cmap=colours, vmin=limits[0], vmax=limits[1]
            )
            for (i, j), value in np.ndenumerate(values):
                if np.isfinite(value):
                    x, y = (ages[i] + ages[i + 1]) / 2, (masses[j] + masses[j + 1]) / 2
                    axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7)
            axis.set(title=f"{key} of {name.replace('_', ' ')}", xlabel=LABELS["log_age"])
            if column == 0:
                axis.set_ylabel(LABELS["log_mass"])
            if column == len(names) - 1:
                figure.colorbar(mesh, ax=axis)
    _save(figure, path)


def _as_grid(
    cells: Sequence[Mapping[str, Any]], key: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values (ages, masses) and the edges along both axes."""
    ages = sorted({edge for cell in cells for edge in cell["log_age"]})
    masses = sorted({edge for cell in cells for edge in cell["log_mass"]})
    values = np.full((len(ages) - 1, len(masses) - 1), np.nan)
    for cell in cells:
        index = ages.index(cell["log_age"][0]), masses.index(cell["log_mass"][0])
        values[index] = cell[key] if cell[key] is not None else np.nan
    return values, np.array(ages), np.array(masses)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=110, format="png")
