"""The objects of the four-class set: clusters, associations, and what only looks like one.

Everything is returned in electrons a second, scaled to an apparent magnitude that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simulate.star_clusters.class_config import ClassesConfig
from simulate.star_clusters.cluster_stars import ClusterParameters, PointSources, draw_cluster
from simulate.star_clusters.config import ClusterSetConfig
from simulate.star_clusters.field_stars import Population
from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.isochrones import Isochrone
from simulate.star_clusters.others import draw_galaxy
from simulate.star_clusters.render import StampGrid

LOG_AGE_OF_CLASS = {1: (6.6, 10.1), 2: (6.6, 9.0), 3: (6.6, 7.7)}
"""Associations are young: they come apart; the asymmetric lie between (Adamo et al. 2017)."""

_MAX_DRAWN_MASS = 1e4  # richer clusters are drawn with so many solar masses, and brightened
_MIN_DRAWN_MASS = 30.0
_MAX_FAINT_STARS = 1500
_PAIR_SEPARATION_ARCSEC = (0.11, 0.35)
_CONTRAST_MAG = 1.5
_LONG_SHARE = 0.4  # of class 2; the others are lopsided
_LEAST_STEP_ARCSEC = 0.05
_ASYMMETRIC_RADIUS = 1.6  # so much larger than the symmetric: else no asymmetry could be seen
_CLUMP_SCATTER_MAG = 0.6
_CLUMP_RADIUS_ARCSEC = (0.01, 0.05)
_STAR_COLOUR_MAG = (-1.2, 2.8)  # F438W - F814W or nearest, AB, before extinction; drawn evenly
_COLOUR_NM = (435.0, 806.0)
_GALAXY_AV_MAG = (0.3, 2.0)  # also stands for the redder colours of redshift

Counts = Callable[[float, float], np.ndarray]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ObjectSource:
    """What objects are drawn from.

    Attributes
    ----------
    config : ClusterSetConfig
    grid : StampGrid
    counts : callable
        ``counts(distance_kpc, av_mag)``: electrons a second by band for AB magnitude 0 at 10 pc.
    isochrones : sequence of Isochrone
        Of all ages and metallicities that clusters may have.
    components : sequence of Population
        Where single stars come from.
    band : int
        Where brightness is given.
    """

    config: ClusterSetConfig
    grid: StampGrid
    counts: Counts
    isochrones: Sequence[Isochrone]
    components: Sequence[Population]
    band: int

    @property
    def classes(self) -> ClassesConfig:
        """Return the settings of the classes."""
        return self.config.classes

    @cached_property
    def _stars(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours of all stars, rising, and their fluxes, shape (S,) and (S, B)."""
        pivots = [item.pivot_nm for item in get_filters(self.config.instrument.filters)]
        blue, red = (int(np.argmin(np.abs(np.array(pivots) - nm))) for nm in _COLOUR_NM)
        flux = np.concatenate([part.flux for part in self.components]).astype(np.float64)
        flux = flux[(flux > 0).all(axis=1)]
        colour = -2.5 * np.log10(flux[:, blue] / flux[:, red])
        order = np.argsort(colour)
        return colour[order], flux[order]

    def star_of_colour(self, colour_mag: float) -> np.ndarray:
        """Return the fluxes of the star nearest to a colour, shape (B,)."""
        colours, flux = self._stars
        return flux[np.argmin(np.abs(colours - colour_mag))]

    def flux_of(self, mag: float) -> float:
        """Return electrons a second of a magnitude in the reference band."""
        zero = self.config.instrument.zeropoint_mag[self.band]
        return float(10.0 ** (-0.4 * (mag - zero)))


def draw_symmetric(
    source: ObjectSource, rng: np.random.Generator, centre: Point, distance_kpc: float, mag: float
) -> tuple[PointSources, dict[str, float]] | None:
    """Draw a candidate of class 1: a round cluster.

    Parameters
    ----------
    source : ObjectSource
    rng : numpy.random.Generator
    centre : tuple of float
        ``(y, x)``, stamp pixels.
    distance_kpc : float
    mag : float
        Apparent, in the reference band.

    Returns
    -------
    sources : PointSources
        Electrons a second.
    truth : dict
        Age, mass, extinction, radius.  Instead of both, None where the mass is out of range.
    """
    ratio = 1.0 - rng.uniform(0.0, 0.2)
    radius = _log_uniform(rng, _radius_range(source, distance_kpc))
    return _cluster(source, rng, 1, [(centre, 1.0)], distance_kpc, mag, ratio, [radius])


def draw_asymmetric(
    source: ObjectSource, rng: np.random.Generator, centre: Point, distance_kpc: float, mag: float
) -> tuple[PointSources, dict[str, float]] | None:
    """Draw a candidate of class 2: long, lopsided, or with a tail; see `draw_symmetric`."""
    scale = source.grid.pixel_scale_arcsec
    radius = _ASYMMETRIC_RADIUS * _log_uniform(rng, _radius_range(source, distance_kpc))
    if rng.random() < _LONG_SHARE:
        ratio = rng.uniform(0.2, 0.5)
        return _cluster(source, rng, 2, [(centre, 1.0)], distance_kpc, mag, ratio, [radius])
    # Each step away from the middle is wider and fainter: a wing, without a peak of its own.
    angle = rng.uniform(0.0, 2 * np.pi)
    share = rng.uniform(0.5, 0.9)
    parts, radii = [(centre, 1.0)], [radius]
    for i in range(1, int(rng.integers(2, 4))):
        bend = angle + rng.normal(0.0, 0.4)
        step = rng.uniform(1.0, 1.8) * max(radii[-1], _LEAST_STEP_ARCSEC) / scale
        y, x = parts[-1][0]
        parts.append(((y + step * np.sin(bend), x + step * np.cos(bend)), share**i))
        radii.append(1.5 * radii[-1])
    return _cluster(source, rng, 2, parts, distance_kpc, mag, rng.uniform(0.6, 1.0), radii)


def draw_association(
    source: ObjectSource, rng: np.random.Generator, centre: Point, distance_kpc: float, mag: float
) -> tuple[PointSources, dict[str, float]] | None:
    """Draw a candidate of class 3: clumps in common diffuse light; see `draw_symmetric`."""
    c = source.classes
    scale = source.grid.pixel_scale_arcsec
    spread = _log_uniform(rng, c.association_arcsec) / scale
    n_clumps = int(rng.integers(int(c.n_clumps[0]), int(c.n_clumps[1]) + 1))
    diffuse = rng.uniform(*c.diffuse_share)
    weights = 10.0 ** (-0.4 * rng.normal(0.0, _CLUMP_SCATTER_MAG, n_clumps))
    weights *= (1.0 - diffuse) / weights.sum()
    offsets = rng.normal(0.0, spread, (n_clumps, 2))
    places = [
        ((centre[0] + dy, centre[1] + dx), float(weight))
        for (dy, dx), weight in zip(offsets, weights, strict=True)
    ]
    radii = [_log_uniform(rng, _CLUMP_RADIUS_ARCSEC) for _ in places]
    return _cluster(
        source,
        rng,
        3,
        [*places, (centre, diffuse)],
        distance_kpc,
        mag,
        rng.uniform(0.5, 1.0),
        [*radii, 1.3 * spread * scale],
    )


def _cluster(
    source: ObjectSource,
    rng: np.random.Generator,
    class_id: int,
    parts: Sequence[tuple[Point, float]],
    distance_kpc: float,
    mag: float,
    axis_ratio: float,
    radii: Sequence[float],
) -> tuple[PointSources, dict[str, float]] | None:
    """Draw one population of stars in several parts; ``(place, share of the light)`` each."""
    c = source.config.cluster
    isochrone = _pick_isochrone(source, rng, class_id)
    av = rng.uniform(*c.av_mag) * (1.0 if isochrone.log_age < 8.5 else 0.4)
    factor = source.counts(distance_kpc, av)
    light_per_mass = isochrone.light_per_mass[source.band] * factor[source.band]
    wanted = source.flux_of(mag)
    mass = wanted / light_per_mass
    if not source.classes.log_mass[0] <= np.log10(mass) <= source.classes.log_mass[1]:
        return None
    total = sum(share for _, share in parts)
    is_king = rng.random() < c.king_fraction
    shape = rng.uniform(*(c.king_concentration if is_king else c.eff_gamma))
    angle = rng.uniform(0.0, np.pi)
    drawn = []
    for i, (place, share) in enumerate(parts):
        drawn_mass = np.clip(mass * share / total, _MIN_DRAWN_MASS, _MAX_DRAWN_MASS)
        parameters = ClusterParameters(
            log_age=isochrone.log_age,
            metallicity=isochrone.metallicity,
            log_mass=float(np.log10(drawn_mass)),
            half_light_radius_arcsec=radii[i],
            profile="king" if is_king else "eff",
            shape=shape,
            axis_ratio=axis_ratio,
            angle_rad=angle,
            y=place[0],
            x=place[1],
        )
        stars = draw_cluster(
            rng,
            parameters,
            isochrone,
            pixel_scale_arcsec=source.grid.pixel_scale_arcsec,
            max_faint=_MAX_FAINT_STARS,
        ).stars
        flux = stars.flux * factor * (mass * share / total / drawn_mass)
        drawn.append(PointSources(stars.y, stars.x, flux))
    joined = _joined(drawn)
    sampled = joined.flux[:, source.band].sum()
    if not sampled > 0:
        return None
    truth = {
        "log_age": isochrone.log_age,
        "metallicity": isochrone.metallicity,
        "log_mass": float(np.log10(mass)),
        "half_light_radius_arcsec": max(radii),
        "av": av,
        "axis_ratio": axis_ratio,
    }
    return replace(joined, flux=joined.flux * (wanted / sampled)), truth


def draw_star_group(
    source: ObjectSource, rng: np.random.Generator, centre: Point, mag: float, n_stars: int
) -> PointSources:
    """Draw one to three stars, members of the galaxy or in front of it, blue and red alike.

    Parameters
    ----------
    source : ObjectSource
    rng : numpy.random.Generator
    centre : tuple of float
        Of the first star.
    mag : float
        Of all together.
    n_stars : int

    Returns
    -------
    PointSources
        Electrons a second.
    """
    y, x, flux = [], [], []
    for i in range(n_stars):
        own = source.star_of_colour(rng.uniform(*_STAR_COLOUR_MAG))
        own = own * source.counts(10.0, rng.uniform(0.0, 1.0))
        own *= 10.0 ** (-0.4 * (rng.uniform(0.0, _CONTRAST_MAG) if i else 0.0)) / own[source.band]
        away = rng.uniform(*_PAIR_SEPARATION_ARCSEC) / source.grid.pixel_scale_arcsec if i else 0.0
        angle = rng.uniform(0.0, 2.0 * np.pi)
        y.append(centre[0] + away * np.sin(angle))
        x.append(centre[1] + away * np.cos(angle))
        flux.append(own)
    light = np.array(flux)
    light *= source.flux_of(mag) / light[:, source.band].sum()
    return PointSources(np.array(y), np.array(x), light)


def draw_background_galaxy(
    source: ObjectSource, rng: np.random.Generator, centre: Point, distance_kpc: float, mag: float
) -> PointSources:
    """Draw a galaxy far behind: Sersic profile, red; see `draw_star_group`."""
    config = replace(
        source.config.others,
        galaxy_mag=(mag, mag),
        galaxy_radius_arcsec=source.classes.galaxy_radius_arcsec,
    )
    drawn = draw_galaxy(
        rng,
        source.components,
        config,
        reference_band=source.band,
        distance_kpc=distance_kpc,
        centre=centre,
        grid=source.grid,
    )
    flux = drawn.flux * source.counts(distance_kpc, rng.uniform(*_GALAXY_AV_MAG))
    flux *= source.flux_of(mag) / flux[:, source.band].sum()
    return PointSources(drawn.y, drawn.x, flux)


def draw_neighbours(
    source: ObjectSource, rng: np.random.Generator, centre: Point, distance_kpc: float
) -> PointSources:
    """Draw bright stars and clusters around an object; see `draw_star_group`."""
    c = source.classes
    drawn = []
    for _ in range(rng.poisson(c.neighbours)):
        away = rng.uniform(*c.neighbour_arcsec) / source.grid.pixel_scale_arcsec
        angle = rng.uniform(0.0, 2.0 * np.pi)
        place = (centre[0] + away * np.sin(angle), centre[1] + away * np.cos(angle))
        mag = draw_magnitude(c, rng) + 0.5
        found = None
        if rng.random() < 0.3:
            found = draw_symmetric(source, rng, place, distance_kpc, mag)
        drawn.append(found[0] if found else draw_star_group(source, rng, place, mag, 1))
    return _joined(drawn, n_bands=len(source.config.instrument.filters))


def draw_magnitude(config: ClassesConfig, rng: np.random.Generator) -> float:
    """Draw a magnitude from a power law between its limits."""
    low, high = (10.0 ** (config.mag_slope * m) for m in config.mag)
    if config.mag_slope == 0:
        return float(rng.uniform(*config.mag))
    return float(np.log10(rng.uniform(low, high)) / config.mag_slope)


def _pick_isochrone(source: ObjectSource, rng: np.random.Generator, class_id: int) -> Isochrone:
    low, high = LOG_AGE_OF_CLASS[class_id]
    ages = sorted({iso.log_age for iso in source.isochrones if low <= iso.log_age <= high})
    if not ages:
        return source.isochrones[rng.integers(len(source.isochrones))]
    age = ages[rng.integers(len(ages))]
    same = [iso for iso in source.isochrones if iso.log_age == age]
    return same[rng.integers(len(same))]


def _radius_range(source: ObjectSource, distance_kpc: float) -> tuple[float, float]:
    """Return the radii in arcsec that both ranges allow; the nearest where none does."""
    c = source.classes
    to_arcsec = np.degrees(1.0 / (distance_kpc * 1e3)) * 3600.0
    low = max(c.radius_arcsec[0], c.radius_pc[0] * to_arcsec)
    return low, max(low, min(c.radius_arcsec[1], c.radius_pc[1] * to_arcsec))


def _joined(parts: Sequence[PointSources], n_bands: int = 0) -> PointSources:
    if not parts:
        return PointSources(np.empty(0), np.empty(0), np.empty((0, n_bands)))
    return PointSources(
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.flux for part in parts]),
    )


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))
