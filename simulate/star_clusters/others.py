"""What is taken for a cluster and is none: bright stars, pairs of stars, background galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulate.star_clusters.cluster_stars import PointSources
from simulate.star_clusters.config import OthersConfig
from simulate.star_clusters.field_stars import OLD, YOUNG, Population
from simulate.star_clusters.photometry import distance_modulus
from simulate.star_clusters.render import StampGrid

if TYPE_CHECKING:
    import galsim

_PAIR_SEPARATION_ARCSEC = (0.08, 0.35)
_PAIR_CONTRAST_MAG = 1.5
_SERSIC_INDICES = (1.0, 1.5, 2.5, 4.0)


def draw_stars(
    rng: np.random.Generator,
    n_stars: int,
    components: Sequence[Population],
    config: OthersConfig,
    *,
    distance_kpc: float,
    centre: tuple[float, float],
    pixel_scale_arcsec: float,
) -> PointSources:
    """Draw one bright star of the galaxy, or a few close together.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_stars : int
    components : sequence of Population
        Each star comes from one of them.
    config : OthersConfig
    distance_kpc : float
    centre : tuple of float
        ``(y, x)`` of the first star, stamp pixels.
    pixel_scale_arcsec : float

    Returns
    -------
    PointSources
    """
    first_mag = rng.uniform(*config.star_mag)
    y, x, flux = [], [], []
    for i in range(n_stars):
        mag = first_mag + (rng.uniform(0.0, _PAIR_CONTRAST_MAG) if i else 0.0)
        population = components[rng.integers(len(components))]
        brightest = -2.5 * np.log10(population.flux.max(axis=1)) + distance_modulus(distance_kpc)
        row = int(np.argmin(np.abs(brightest - mag)))
        away = rng.uniform(*_PAIR_SEPARATION_ARCSEC) / pixel_scale_arcsec if i else 0.0
        angle = rng.uniform(0.0, 2.0 * np.pi)
        y.append(centre[0] + away * np.sin(angle))
        x.append(centre[1] + away * np.cos(angle))
        flux.append(population.flux[row])
    return PointSources(np.array(y), np.array(x), np.array(flux, dtype=np.float64))


def draw_galaxy(
    rng: np.random.Generator,
    components: Sequence[Population],
    config: OthersConfig,
    *,
    reference_band: int,
    distance_kpc: float,
    centre: tuple[float, float],
    grid: StampGrid,
    surroundings: StampGrid | None = None,
) -> PointSources:
    """Draw a background galaxy: a Sersic profile with the colours of old and young stars.

    Parameters
    ----------
    rng : numpy.random.Generator
    components : sequence of Population
    config : OthersConfig
    reference_band : int
        Channel of `OthersConfig.galaxy_mag`.
    distance_kpc : float
        Of the stars in front: fluxes are as if the galaxy stood there.
    centre : tuple of float
        ``(y, x)``, stamp pixels.
    grid : StampGrid
    surroundings : StampGrid, optional
        A larger and coarser grid around the same centre, for the light outside `grid`.

    Returns
    -------
    PointSources
        One source a point of the fine grid, in its stamp pixels.
    """
    import galsim

    radius = np.exp(rng.uniform(*np.log(config.galaxy_radius_arcsec)))
    profile = galsim.Sersic(
        n=float(rng.choice(_SERSIC_INDICES)), half_light_radius=radius, trunc=6.0 * radius
    )
    profile = profile.shear(q=rng.uniform(0.3, 1.0), beta=rng.uniform(0.0, np.pi) * galsim.radians)
    y, x, share = _profile_points(profile, centre, grid)
    if surroundings is not None:
        at = [surroundings.positions_of(grid, np.array(c)) for c in centre]
        far = _profile_points(profile, at, surroundings)
        far_y, far_x = (grid.positions_of(surroundings, c) for c in far[:2])
        outside = ~grid.inside(far_y, far_x)
        y, x = np.concatenate([y, far_y[outside]]), np.concatenate([x, far_x[outside]])
        share = np.concatenate([share, far[2][outside]])
    light = _galaxy_colours(rng, components, reference_band)
    mag = rng.uniform(*config.galaxy_mag) - distance_modulus(distance_kpc)
    light = light * 10.0 ** (-0.4 * mag)
    return PointSources(y, x, share[:, None] * light)


def _profile_points(
    profile: galsim.GSObject, centre: Sequence[float], grid: StampGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where a profile is bright on a fine grid, in stamp pixels, and its light there."""
    import galsim

    spacing = grid.pixel_scale_arcsec / grid.oversampling
    first = -grid.margin_px
    middle = first + (grid.n - 1) / (2.0 * grid.oversampling)
    # A blur well below that of the telescope takes the cusp, and most of the time, away.
    smooth = galsim.Convolve(profile, galsim.Gaussian(sigma=spacing)).shift(
        (centre[1] - middle) * grid.pixel_scale_arcsec,
        (centre[0] - middle) * grid.pixel_scale_arcsec,
    )
    image = smooth.drawImage(nx=grid.n, ny=grid.n, scale=spacing, method="no_pixel").array
    bright = image > 1e-7
    y, x = np.nonzero(bright)
    at = [first + index / grid.oversampling for index in (y, x)]
    return at[0], at[1], image[bright].astype(np.float64)


def _galaxy_colours(
    rng: np.random.Generator, components: Sequence[Population], reference_band: int
) -> np.ndarray:
    """Return fluxes by band for one in the reference band: from old only to half young."""
    old, young = (components[i].light / components[i].light[reference_band] for i in (OLD, YOUNG))
    share = rng.uniform(0.0, 0.5)
    return (1.0 - share) * old + share * young
