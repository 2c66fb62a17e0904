"""The stars of one mock cluster: masses, magnitudes, positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrones import Isochrone
from simulate.star_clusters.profiles import draw_offsets

MAX_FAINT_STARS = 40_000
"""More stars below `FAINT_MASS` than this are drawn as this many, each of proportional weight."""
FAINT_MASS = 0.6


@dataclass(frozen=True, kw_only=True)
class ClusterParameters:
    """What a mock cluster is.

    Attributes
    ----------
    log_age : float
        log10 of years.
    metallicity : float
        Mass fraction Z.
    log_mass : float
        log10 of the mass formed, solar.
    half_light_radius_arcsec : float
        Projected, circularised.
    av_mag : float
        Extinction in V.
    distance_kpc : float
    profile : {"eff", "king"}
    shape : float
        ``gamma`` or concentration.
    axis_ratio, angle_rad : float
        Of the isophotes.
    y, x : float
        Centre, stamp pixels, pixel centres at integers.
    """

    log_age: float
    metallicity: float
    log_mass: float
    half_light_radius_arcsec: float
    av_mag: float = 0.0
    distance_kpc: float = 785.0
    profile: str = "eff"
    shape: float = 3.0
    axis_ratio: float = 1.0
    angle_rad: float = 0.0
    y: float = 0.0
    x: float = 0.0


@dataclass(frozen=True, eq=False)
class PointSources:
    """Stars with positions.

    Attributes
    ----------
    y, x : ndarray of float64, shape (N,)
        Stamp pixels, pixel centres at integers.
    flux : ndarray of float64, shape (N, B)
        At 10 pc in units of AB magnitude 0, without extinction.
    """

    y: np.ndarray
    x: np.ndarray
    flux: np.ndarray


@dataclass(frozen=True, eq=False)
class DrawnCluster:
    """A cluster star by star, and its sums.

    Attributes
    ----------
    stars : PointSources
        The living ones.
    total_mass : float
        Sum of all initial masses, solar; nearest to what was asked for.
    n_stars : int
        Living stars.
    total_flux : ndarray of float64, shape (B,)
        Of all stars.
    """

    stars: PointSources
    total_mass: float
    n_stars: int
    total_flux: np.ndarray


def draw_cluster(
    rng: np.random.Generator,
    parameters: ClusterParameters,
    isochrone: Isochrone,
    *,
    pixel_scale_arcsec: float,
    imf: KroupaImf | None = None,
    max_faint: int = MAX_FAINT_STARS,
) -> DrawnCluster:
    """Draw the stars of a cluster.

    Parameters
    ----------
    rng : numpy.random.Generator
    parameters : ClusterParameters
    isochrone : Isochrone
        Of the cluster's age and metallicity.
    pixel_scale_arcsec : float
    imf : KroupaImf, optional
    max_faint : int
        More faint stars than this are drawn as this many.

    Returns
    -------
    DrawnCluster
    """
    masses = (imf or KroupaImf()).draw_total(rng, 10.0**parameters.log_mass)
    total_mass = float(masses.sum())
    masses = masses[masses <= isochrone.m_ini[-1]]
    n_stars = len(masses)
    masses, weight = _thin_faint(rng, masses, max_faint)
    flux = isochrone.fluxes(masses) * weight[:, None]
    dy, dx = draw_offsets(
        rng,
        len(masses),
        profile=parameters.profile,
        shape=parameters.shape,
        half_light_radius=parameters.half_light_radius_arcsec / pixel_scale_arcsec,
        axis_ratio=parameters.axis_ratio,
        angle_rad=parameters.angle_rad,
    )
    stars = PointSources(parameters.y + dy, parameters.x + dx, flux)
    return DrawnCluster(stars, total_mass, n_stars, flux.sum(axis=0))


def _thin_faint(
    rng: np.random.Generator, masses: np.ndarray, max_faint: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return fewer faint stars with weights where there are very many; all others weigh 1."""
    is_faint = masses < FAINT_MASS
    n_faint = int(is_faint.sum())
    if n_faint <= max_faint:
        return masses, np.ones(len(masses))
    kept = rng.choice(masses[is_faint], max_faint, replace=False)
    bright = masses[~is_faint]
    weight = np.ones(len(bright) + max_faint)
    weight[len(bright) :] = n_faint / max_faint
    return np.concatenate([bright, kept]), weight
