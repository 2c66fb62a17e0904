"""Stars: counts that rise to the faint end and colours along the stellar locus."""

from __future__ import annotations

import numpy as np

from astro_io.errors import ConfigError
from simulate.config import StarConfig
from simulate.sources import Sources, draw_counts, point_sources

# Stellar locus in g-r and r-z, hot to cool; after Covey et al. 2007, AJ 134, 2398 (SDSS).
_LOCUS_GR = np.array([-0.50, -0.20, 0.10, 0.25, 0.40, 0.60, 0.85, 1.10, 1.30, 1.40, 1.45, 1.52])
_LOCUS_RZ = np.array([-0.60, -0.35, -0.10, 0.06, 0.17, 0.30, 0.45, 0.63, 0.90, 1.30, 1.80, 2.40])
_LOCUS_POSITION = np.arange(len(_LOCUS_GR), dtype=float)
_BANDS = ("g", "r", "i", "z")


def draw_stars(
    rng: np.random.Generator,
    config: StarConfig,
    *,
    n: int,
    box: tuple[float, float, float, float],
    bands: tuple[str, ...],
) -> Sources:
    """Draw stars uniformly over a box.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : StarConfig
        Magnitudes are r.
    n : int
        How many.
    box : tuple of float
        ``(y1, x1, y2, x2)``, pixels.
    bands : tuple of str
        Bands of the magnitudes.

    Returns
    -------
    Sources
        Zero radii, class 1.
    """
    r_mag = draw_counts(
        rng,
        n,
        bright_mag=config.bright_mag,
        faint_mag=config.faint_mag,
        slopes=(config.slope, config.slope),
        break_mag=config.faint_mag,
    )
    g_r, r_z = _draw_colours(rng, n, config)
    y = rng.uniform(box[0], box[2], n)
    x = rng.uniform(box[1], box[3], n)
    return point_sources(x=x, y=y, mag=magnitudes_in_bands(r_mag, g_r, r_z, bands))


def _draw_colours(
    rng: np.random.Generator, n: int, config: StarConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Draw g-r and r-z: hot stars, the F-K sequence, M dwarfs, each 0.04 mag about the locus."""
    kind = rng.uniform(size=n)
    middle = 1.0 - config.hot_fraction - config.cool_fraction
    position = np.select(
        [kind < config.hot_fraction, kind < config.hot_fraction + middle],
        [rng.uniform(0.0, 2.5, n), rng.gamma(1.6, 1.0, n) + 2.9],
        rng.uniform(7.5, 11.0, n),
    )
    g_r = np.interp(position, _LOCUS_POSITION, _LOCUS_GR) + rng.normal(0.0, 0.04, n)
    r_z = np.interp(position, _LOCUS_POSITION, _LOCUS_RZ) + rng.normal(0.0, 0.04, n)
    return g_r, r_z


def magnitudes_in_bands(
    r_mag: np.ndarray, g_r: np.ndarray, r_z: np.ndarray, bands: tuple[str, ...]
) -> np.ndarray:
    """Return magnitudes in `bands` from r and two colours; i lies 55 % of the way from r to z.

    Returns
    -------
    ndarray of float64, shape (N, B)

    Raises
    ------
    ConfigError
        If a band is not g, r, i or z.
    """
    unknown = [band for band in bands if band not in _BANDS]
    if unknown:
        raise ConfigError(
            f"[survey] bands: {', '.join(unknown)} need the sections [galaxies.spectra] and "
            "[stars.milky_way]; without them bands are g, r, i, z."
        )
    known = {"g": r_mag + g_r, "r": r_mag, "i": r_mag - 0.55 * r_z, "z": r_mag - r_z}
    return np.stack([known[band] for band in bands], axis=-1).reshape(len(r_mag), len(bands))
