"""The galaxy's own stars around a cluster: a mixture of ages, drawn star by star.

Stars too faint to be seen singly, even summed in a point spread function, are drawn as a smooth
light with the right mean and the right fluctuations (surface-brightness fluctuations: the second
moment of their fluxes), correlated between the bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid

OLD, INTERMEDIATE, YOUNG = range(3)
COMPONENTS = ("old", "intermediate", "young")
LOG_AGE_EDGES = (np.log10(2e9), np.log10(2e8))
"""Between old and intermediate, and between intermediate and young."""

_POINTS_PER_SEGMENT = 3
_LIMIT_STEP, _LIMIT_STEPS = 1.25, 200
_LEAST_AGE_STEP = 0.09  # closer ages add stars but no variety


@dataclass(frozen=True, eq=False)
class Population:
    """Weighted stars of one component, brightest first, with sums over the faint end.

    Attributes
    ----------
    cumulative : ndarray of float64, shape (P + 1,)
        Stars for each solar mass formed among the first ``i``.
    flux : ndarray of float32, shape (P, B)
        At 10 pc, in units of AB magnitude 0.
    brightness : ndarray of float64, shape (P,)
        Falling: the largest over the bands of flux times `visibility`.
    faint_mean : ndarray of float64, shape (P + 1, B)
        Light for each solar mass formed of all but the first ``i``.
    faint_square : ndarray of float64, shape (P + 1, B, B)
        Sum of products of fluxes of the same.
    """

    cumulative: np.ndarray
    flux: np.ndarray
    brightness: np.ndarray
    faint_mean: np.ndarray
    faint_square: np.ndarray

    @property
    def light(self) -> np.ndarray:
        """Flux of all stars for each solar mass formed, shape (B,)."""
        return self.faint_mean[0]


def build_population(
    isochrones: Sequence[Isochrone],
    weights: Sequence[float],
    imf: KroupaImf,
    visibility: np.ndarray,
) -> Population:
    """Merge isochrones into one population.

    Parameters
    ----------
    isochrones : sequence of Isochrone
    weights : sequence of float
        Mass formed with each; scaled to a sum of 1.
    imf : KroupaImf
    visibility : ndarray of float, shape (B,)
        Signal to noise of a flux of one in each band: orders the stars.

    Returns
    -------
    Population
    """
    total = float(np.sum(weights))
    points = [iso.points(imf, _POINTS_PER_SEGMENT) for iso in isochrones]
    number = np.concatenate(
        [n * (weight / total) for (n, _), weight in zip(points, weights, strict=True)]
    )
    flux = np.concatenate([f for _, f in points])
    brightness = (flux * visibility).max(axis=1)
    order = np.argsort(-brightness)
    number, flux, brightness = number[order], flux[order], brightness[order]
    light = number[:, None] * flux
    square = light[:, :, None] * flux[:, None, :]
    return Population(
        cumulative=np.concatenate([[0.0], np.cumsum(number)]),
        flux=flux.astype(np.float32),
        brightness=brightness,
        faint_mean=_sums_from_end(light),
        faint_square=_sums_from_end(square),
    )


def _sums_from_end(values: np.ndarray) -> np.ndarray:
    """Return sums over all but the first ``i`` rows, for ``i`` from 0 to the number of rows."""
    sums = np.cumsum(values[::-1], axis=0)[::-1]
    return np.concatenate([sums, np.zeros_like(values[:1])])


def build_components(
    grid: IsochroneGrid, *, metallicity: tuple[float, float], visibility: np.ndarray
) -> tuple[Population, ...]:
    """Return old, intermediate and young populations, each of constant star formation rate.

    Parameters
    ----------
    grid : IsochroneGrid
    metallicity : tuple of float
        Lowest and highest Z that take part; the nearest one where the grid has none between.
    visibility : ndarray of float, shape (B,)

    Returns
    -------
    tuple of Population
        As in `COMPONENTS`. An age range that the grid lacks takes the nearest age.
    """
    imf = KroupaImf()
    z = grid.metallicities
    middle = float(np.sqrt(metallicity[0] * metallicity[1]))
    nearest = [z[np.argmin(np.abs(np.log(z / middle)))]]
    chosen_z = [v for v in z if metallicity[0] <= v <= metallicity[1]] or nearest
    stars = [iso for iso in grid.isochrones if iso.metallicity in chosen_z]
    old_edge, young_edge = LOG_AGE_EDGES
    ranges = ((old_edge, np.inf), (young_edge, old_edge), (-np.inf, young_edge))
    return tuple(_component(stars, low, high, imf, visibility) for low, high in ranges)


def _component(
    stars: Sequence[Isochrone], low: float, high: float, imf: KroupaImf, visibility: np.ndarray
) -> Population:
    """Build the population of the ages between two limits."""
    members: list[Isochrone] = []
    for iso in (iso for iso in stars if low <= iso.log_age < high):
        last = members[-1] if members else None
        same_z = last is not None and last.metallicity == iso.metallicity
        if not same_z or iso.log_age - last.log_age > _LEAST_AGE_STEP:
            members.append(iso)
    if not members:
        edge = low if np.isfinite(low) else high
        members = [min(stars, key=lambda iso: abs(iso.log_age - edge))]
    # Even steps in log age stand for times that grow with age.
    return build_population(members, [10.0**iso.log_age for iso in members], imf, visibility)


@dataclass(frozen=True, eq=False)
class FieldLight:
    """Stars of a field and the light that is not drawn star by star.

    Attributes
    ----------
    flux : ndarray of float32, shape (N, B)
        Of the stars drawn, at 10 pc, in units of AB magnitude 0.
    mean : ndarray of float64, shape (B,)
        Of all other stars together.
    covariance : ndarray of float64, shape (B, B)
        Of that light.
    """

    flux: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldRecipe:
    """What a piece of a field of any size is drawn from.

    Attributes
    ----------
    components : tuple of Population
    mass_arcsec2 : tuple of float
        Mass formed of each component in a square arcsec, solar.
    counts : ndarray of float, shape (B,)
        Electrons a second for a flux of one.
    faintest : float
        As of `draw_field`, for a pixel of the stamp.
    max_stars : int
    """

    components: tuple[Population, ...]
    mass_arcsec2: tuple[float, ...]
    counts: np.ndarray
    faintest: float
    max_stars: int

    def draw(
        self, rng: np.random.Generator, area_arcsec2: float, *, binning: int = 1
    ) -> FieldLight:
        """Draw the stars of an area, seen in pixels of ``binning**2`` of the stamp's."""
        masses = [mass * area_arcsec2 for mass in self.mass_arcsec2]
        return draw_field(
            rng,
            self.components,
            masses,
            faintest=self.faintest * binning,
            max_stars=self.max_stars,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldScene:
    """A star field before it is rendered, in electrons a second.

    Attributes
    ----------
    recipe : FieldRecipe
    y, x : ndarray of float64, shape (N,)
        Stars drawn singly, stamp pixels.
    flux : ndarray of float64, shape (N, B)
        Of these.
    smooth : ndarray of float64, shape (wide_px^2, B)
        Light of the others in each pixel of the wide field.
    """

    recipe: FieldRecipe
    y: np.ndarray
    x: np.ndarray
    flux: np.ndarray
    smooth: np.ndarray


def draw_field(
    rng: np.random.Generator,
    components: Sequence[Population],
    masses: Sequence[float],
    *,
    faintest: float,
    max_stars: int,
) -> FieldLight:
    """Draw the stars of a field.

    Parameters
    ----------
    rng : numpy.random.Generator
    components : sequence of Population
    masses : sequence of float
        Mass formed of each component in the field, solar.
    faintest : float
        Stars of less `Population.brightness` are not drawn singly.
    max_stars : int
        Nor are more than about this many: the limit rises until they are that few.

    Returns
    -------
    FieldLight
    """
    limit = _raise_limit(components, masses, faintest, max_stars)
    n_bands = components[0].flux.shape[1]
    fluxes, mean, covariance = [], np.zeros(n_bands), np.zeros((n_bands, n_bands))
    for population, mass in zip(components, masses, strict=True):
        cut = int(np.searchsorted(-population.brightness, -limit, side="right"))
        count = rng.poisson(mass * population.cumulative[cut])
        at = rng.uniform(0.0, population.cumulative[cut], count)
        row = np.searchsorted(population.cumulative[1 : cut + 1], at)
        fluxes.append(population.flux[np.minimum(row, max(cut - 1, 0))])
        mean += mass * population.faint_mean[cut]
        covariance += mass * population.faint_square[cut]
    return FieldLight(np.concatenate(fluxes), mean, covariance)


def _raise_limit(
    components: Sequence[Population], masses: Sequence[float], limit: float, max_stars: int
) -> float:
    """Return the brightness limit that leaves at most about `max_stars`."""
    limit = max(limit, min(float(p.brightness[-1]) for p in components))
    for _ in range(_LIMIT_STEPS):
        n = 0.0
        for population, mass in zip(components, masses, strict=True):
            cut = int(np.searchsorted(-population.brightness, -limit, side="right"))
            n += mass * population.cumulative[cut]
        if n <= max_stars:
            break
        limit *= _LIMIT_STEP
    return limit


def draw_unresolved(rng: np.random.Generator, light: FieldLight, *, n_cells: int) -> np.ndarray:
    """Spread the light of the faint stars over cells, with its fluctuations.

    Parameters
    ----------
    rng : numpy.random.Generator
    light : FieldLight
    n_cells : int
        Cells that the field is divided into.

    Returns
    -------
    ndarray of float32, shape (B, n_cells)
        Mean `light.mean` over ``n_cells``, covariance `light.covariance` over ``n_cells``.
    """
    values, vectors = np.linalg.eigh(light.covariance / n_cells)
    largest = values[-1] if len(values) else 0.0
    used = values > 1e-4 * largest
    root = (vectors[:, used] * np.sqrt(values[used])).astype(np.float32)
    cells = root @ rng.standard_normal((root.shape[1], n_cells), dtype=np.float32)
    return cells + (light.mean / n_cells).astype(np.float32)[:, None]
