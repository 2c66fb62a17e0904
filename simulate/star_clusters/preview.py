"""Pictures of mocks: clusters by mass and size at three ages; objects of the four classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from simulate.star_clusters.class_config import CLASS_IDS
from simulate.star_clusters.class_mock import ClassMockMaker
from simulate.star_clusters.config import ClusterSetConfig, GridConfig, InstrumentConfig
from simulate.star_clusters.mock import MockMaker

LOG_AGES = (7.2, 8.3, 9.6)
N_MASSES, N_RADII = 4, 4
N_EXAMPLES, N_LINES = 12, 2
"""Objects in a line, and lines of each class, in the picture of the four classes."""

_STRETCH = 12.0  # in units of the scatter of the field
_SOFTENING = 9.0
_BLACK = -4.0
_GAP = 0.04


def write_preview(config: ClusterSetConfig, path: Path, *, seed: int) -> Path:
    """Write a PNG: a grid of mocks by mass and half-light radius for each of three ages.

    Parameters
    ----------
    config : ClusterSetConfig
        Its ranges set the masses and radii; extinction and field are drawn from them.
    path : Path
        Written over.
    seed : int

    Returns
    -------
    Path
        `path`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = preview_grid(config)
    stamps = make_grid(config, grid, seed=seed)
    n_ages, n_radii, n_masses = stamps.shape[:3]
    n_columns = n_ages * n_masses
    figure = Figure(figsize=(1.15 * n_columns, 1.15 * n_radii + 0.7), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_radii, n_columns, squeeze=False)
    figure.subplots_adjust(0.05, 0.09, 0.995, 0.92, wspace=_GAP, hspace=_GAP)
    for (age, row, column), _ in np.ndenumerate(np.empty(stamps.shape[:3])):
        axis = axes[row, age * n_masses + column]
        axis.imshow(colour_picture(stamps[age, row, column], config.instrument), origin="lower")
        axis.set(xticks=[], yticks=[])
        if row == 0:
            axis.set_title(f"log t {grid.log_age[age]:.1f}" if column == 0 else "", fontsize=8)
        if row == n_radii - 1:
            axis.set_xlabel(f"log M {grid.log_mass[column]:.1f}", fontsize=8)
        if age == column == 0:
            axis.set_ylabel(f'{grid.half_light_radius_arcsec[row]:.2g}"', fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def write_class_preview(config: ClusterSetConfig, path: Path, *, seed: int) -> Path:
    """Write a PNG with examples of the four classes; parameters and result as `write_preview`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_lines = N_LINES * len(CLASS_IDS)
    figure = Figure(figsize=(1.15 * N_EXAMPLES + 0.3, 1.28 * n_lines), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_lines, N_EXAMPLES, squeeze=False)
    figure.subplots_adjust(0.025, 0.005, 0.998, 0.985, wspace=_GAP, hspace=0.14)
    for class_id in CLASS_IDS:
        fractions = tuple(float(i == class_id) for i in CLASS_IDS)
        classes = replace(config.classes, fractions=fractions)
        maker = ClassMockMaker(replace(config, classes=classes))
        mocks = [maker.make(seed, i) for i in range(N_LINES * N_EXAMPLES)]
        mocks.sort(key=lambda mock: mock.row["kind"])
        own = axes[N_LINES * (class_id - 1) : N_LINES * class_id]
        for axis, mock in zip(own.flat, mocks, strict=True):
            stamp = np.nan_to_num(mock.stamp)
            axis.imshow(colour_picture(stamp, config.instrument), origin="lower")
            mag = mock.row[f"mag_{config.classes.filter.split('_', 1)[-1]}"]
            note = "" if np.isnan(mag) else f" {mag:.1f}"
            axis.set_title(f"{mock.row['kind'].replace('_', ' ')}{note}", fontsize=6, pad=1.5)
            axis.set(xticks=[], yticks=[])
        own[0, 0].set_ylabel(f"class {class_id}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def preview_grid(config: ClusterSetConfig) -> GridConfig:
    """Return the grid points of the picture: inside the ranges, without their ends.

    Radii stop at half of what is seen, beyond which a cluster does not show as one.
    """
    cluster, instrument = config.cluster, config.instrument
    widest = instrument.span_px * instrument.pixel_scale_arcsec / 2.0
    radii = np.log([cluster.half_light_radius_arcsec[0], widest])
    radii[1] = min(radii[1], np.log(cluster.half_light_radius_arcsec[1]))
    return GridConfig(
        log_age=tuple(a for a in LOG_AGES if cluster.log_age[0] <= a <= cluster.log_age[1])
        or cluster.log_age[:1],
        half_light_radius_arcsec=_inside(np.exp(radii), N_RADII, logarithmic=True),
        log_mass=_inside(cluster.log_mass, N_MASSES, logarithmic=False),
    )


def _inside(limits: Sequence[float], n: int, *, logarithmic: bool) -> tuple[float, ...]:
    """Return the centres of `n` equal parts of a range."""
    low, high = np.log(limits) if logarithmic else limits
    centres = low + (np.arange(n) + 0.5) / n * (high - low)
    return tuple(float(v) for v in (np.exp(centres) if logarithmic else centres))


def make_grid(config: ClusterSetConfig, grid: GridConfig, *, seed: int) -> np.ndarray:
    """Return the stamps of a grid, one mock a point; the wide views where there are any.

    Parameters
    ----------
    config : ClusterSetConfig
    grid : GridConfig
        With ages, radii and masses.
    seed : int

    Returns
    -------
    ndarray of float32, shape (ages, radii, masses, H, W, B)
    """
    only_clusters = replace(config.others, fraction=0.0)
    maker = MockMaker(replace(config, grid=grid, others=only_clusters))
    shape = (len(grid.log_age), len(grid.log_mass), len(grid.half_light_radius_arcsec))
    mocks = [maker.make(seed, index) for index in range(int(np.prod(shape)))]
    stamps = [mock.stamp if mock.wide is None else mock.wide for mock in mocks]
    # The last list of GridConfig that is filled changes fastest: age, mass, radius.
    return np.stack(stamps).reshape(*shape, *stamps[0].shape).swapaxes(1, 2)


def colour_picture(stamp: np.ndarray, instrument: InstrumentConfig) -> np.ndarray:
    """Return an RGB picture with an arcsinh stretch, y upwards.

    Red is F814W, blue the bluest filter from 430 nm on, green their mean, as in the pictures of
    the Andromeda Project.

    Parameters
    ----------
    stamp : ndarray of float32, shape (H, W, B)
    instrument : InstrumentConfig

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    from simulate.star_clusters.filters import get_filters

    pivots = np.array([item.pivot_nm for item in get_filters(instrument.filters)])
    red = int(np.argmin(np.abs(pivots - 806.0)))
    blue = int(np.argmin(np.where(pivots > 430.0, pivots, np.inf)))
    blue = blue if np.isfinite(pivots[blue]) and blue != red else 0
    # Equal AB magnitudes give equal counts.
    scale = 10.0 ** (-0.4 * (np.array(instrument.zeropoint_mag) - instrument.zeropoint_mag[red]))
    planes = [stamp[..., b] * scale[b] for b in (red, blue)]
    planes = [plane - np.percentile(plane, 20) for plane in planes]
    planes[1] = planes[1] * 2.0  # old stars, red in AB, come out near white
    unit = max(1e-9, float(np.percentile(planes[0], 60) - np.percentile(planes[0], 20)))
    channels = [planes[0], (planes[0] + planes[1]) / 2.0, planes[1]]
    return make_lupton_rgb(
        *(c / unit for c in channels), minimum=_BLACK, stretch=_STRETCH, Q=_SOFTENING
    )
