"""Clustering of galaxies: companions gathered about others, so that pairs are more than chance."""

from __future__ import annotations

import numpy as np

from simulate.population_config import ClusteringConfig


def gather(
    rng: np.random.Generator,
    config: ClusteringConfig,
    *,
    x: np.ndarray,
    y: np.ndarray,
    redshift: np.ndarray,
    pixel_scale_arcsec: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move a share of the galaxies near others and give them the redshift of their host.

    Distances follow ``p(R) ~ R^0.2`` out to ``config.radius_arcsec``, so that the density of
    companions, and with it the angular correlation, falls as ``R^-0.8``.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : ClusteringConfig
    x, y, redshift : ndarray of float, shape (N,)
    pixel_scale_arcsec : float

    Returns
    -------
    x, y, redshift : ndarray of float64, shape (N,)
        New arrays.

    References
    ----------
    Connolly et al. 2002, ApJ 579, 42: w(theta) ~ theta^-0.7 to -0.8 at all magnitudes.
    """
    n = len(x)
    is_companion = rng.uniform(size=n) < config.fraction
    radius = config.radius_arcsec / pixel_scale_arcsec * rng.uniform(size=n) ** (1.0 / 1.2)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    hosts = np.flatnonzero(~is_companion)
    if len(hosts) == 0:
        return x.copy(), y.copy(), redshift.copy()
    host = rng.choice(hosts, n)
    return (
        np.where(is_companion, x[host] + radius * np.cos(angle), x),
        np.where(is_companion, y[host] + radius * np.sin(angle), y),
        np.where(is_companion, redshift[host], redshift),
    )
