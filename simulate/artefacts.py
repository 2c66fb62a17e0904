"""Artefacts of single exposures: which ghosts, trails, bad columns and gaps a field gets.

Each effect is a file of its own; here its numbers are drawn and it is put in its place.
"""

from __future__ import annotations

import numpy as np

from simulate.bad_columns import add_bad_columns
from simulate.config_checks import Range
from simulate.effect_config import EffectConfig, GhostConfig, SatelliteTrailConfig
from simulate.gaps import draw_gap
from simulate.ghosts import draw_ghost
from simulate.observe import Exposure
from simulate.satellite_trails import draw_satellite_trail
from simulate.sources import STAR, Sources


def add_stray_light(
    rng: np.random.Generator,
    light: np.ndarray,
    sources: Sources,
    exposure: Exposure,
    effects: EffectConfig,
) -> None:
    """Add ghosts and satellite trails to the expected light, in place.

    Parameters
    ----------
    rng : numpy.random.Generator
    light : ndarray of float64, shape (H, W, B)
        Electrons; changed in place.
    sources : Sources
    exposure : Exposure
    effects : EffectConfig
    """
    if effects.ghosts is not None:
        _add_ghosts(rng, light, sources, exposure, effects.ghosts)
    if effects.satellite_trails is not None:
        for b in range(len(exposure.bands)):
            _add_trails(rng, light[..., b], exposure, effects.satellite_trails, b)


def damage(
    rng: np.random.Generator, pixels: np.ndarray, exposure: Exposure, effects: EffectConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Spoil columns and leave gaps in a delivered image.

    Parameters
    ----------
    rng : numpy.random.Generator
    pixels : ndarray of float, shape (H, W, B)
        In the output unit; not changed.
    exposure : Exposure
    effects : EffectConfig

    Returns
    -------
    pixels : ndarray of float, shape (H, W, B)
        Gaps and dead columns have the value of no light.
    bad : ndarray of bool, shape (H, W, B)
        What the survey marks as bad: gaps always, columns where the settings say so.
    """
    result = pixels.copy()
    bad = np.zeros(pixels.shape, dtype=bool)
    for b in range(pixels.shape[2]):
        sigma = float(exposure.sky_sigma_e[b] * exposure.unit_per_electron[b])
        if effects.bad_columns is not None:
            columns = effects.bad_columns
            result[..., b], spoilt = add_bad_columns(
                rng,
                result[..., b],
                n=int(rng.poisson(rng.uniform(*columns.rate))),
                hot_fraction=columns.hot_fraction,
                hot_charge=(sigma * columns.hot_sigma[0], sigma * columns.hot_sigma[1]),
                no_light=exposure.soft_bias,
            )
            bad[..., b] |= spoilt & columns.flagged
        if effects.gaps is not None and rng.uniform() < effects.gaps.probability:
            width_px = rng.uniform(*effects.gaps.width_arcsec) / exposure.pixel_scale_arcsec
            gap = draw_gap(rng, exposure.shape, width_px=float(width_px))
            result[gap, b] = exposure.soft_bias
            bad[..., b] |= gap
    return result, bad


def _add_ghosts(
    rng: np.random.Generator,
    light: np.ndarray,
    sources: Sources,
    exposure: Exposure,
    config: GhostConfig,
) -> None:
    """Give every bright star its ghost, in the same place in all bands."""
    scale = exposure.pixel_scale_arcsec
    flux = 10.0 ** (-0.4 * (sources.mag - exposure.zeropoint_mag))
    is_bright = (sources.class_id == STAR)[:, None] & (sources.mag < config.faintest_mag)
    for i in np.flatnonzero(is_bright.any(axis=1)):
        radius_px = rng.uniform(*config.radius_arcsec) / scale
        offset_px = rng.uniform(*config.offset_arcsec) / scale
        angle = rng.uniform(0.0, 2.0 * np.pi)
        ring = draw_ghost(
            exposure.shape,
            x=float(sources.x[i] + offset_px * np.cos(angle)),
            y=float(sources.y[i] + offset_px * np.sin(angle)),
            flux=1.0,
            radius_px=float(radius_px),
            hole=config.hole,
        )
        for b in range(light.shape[2]):
            share = _log_uniform(rng, config.flux_fraction)
            if is_bright[i, b]:
                light[..., b] += share * flux[i, b] * ring


def _add_trails(
    rng: np.random.Generator,
    plane: np.ndarray,
    exposure: Exposure,
    config: SatelliteTrailConfig,
    band: int,
) -> None:
    """Let satellites cross one band."""
    for _ in range(int(rng.poisson(rng.uniform(*config.rate)))):
        brightness = _log_uniform(rng, config.brightness_sigma) * exposure.sky_sigma_e[band]
        width_px = rng.uniform(*config.width_arcsec) / exposure.pixel_scale_arcsec
        plane += draw_satellite_trail(
            rng, exposure.shape, brightness=float(brightness), fwhm_px=float(width_px)
        )


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw log-uniformly from a range above zero."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))
