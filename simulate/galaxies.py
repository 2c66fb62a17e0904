"""Galaxies: counts, redshifts, colours, sizes, bulges, disks, clusters of galaxies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulate.clustering import gather
from simulate.config import ClusterConfig, GalaxyConfig
from simulate.photometry import galaxy_magnitudes
from simulate.sources import GALAXY, Sources, draw_counts
from simulate.stars import magnitudes_in_bands

# Observed colours against redshift of an elliptical and of a late spiral (Sbc to Scd);
# after the templates of Coleman, Wu & Weedman 1980, ApJS 43, 393, carried through g, r, z.
_TRACK_Z = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.1, 1.5, 2.5])
_RED_GR = np.array([0.72, 0.95, 1.22, 1.48, 1.68, 1.78, 1.75, 1.65, 1.5, 1.2, 0.9])
_RED_RZ = np.array([0.58, 0.66, 0.73, 0.84, 1.0, 1.2, 1.65, 2.0, 2.1, 1.9, 1.5])
_BLUE_GR = np.array([0.38, 0.48, 0.60, 0.70, 0.72, 0.64, 0.48, 0.34, 0.27, 0.22, 0.20])
_BLUE_RZ = np.array([0.22, 0.26, 0.30, 0.35, 0.42, 0.48, 0.56, 0.56, 0.48, 0.35, 0.2])

# Half-light radius against magnitude, Miller et al. 2013, MNRAS 429, 2858, section 3.2:
# ln(r_d / arcsec) = -1.145 - 0.269 (i - 23) for disk scale lengths,
# ln(r_hl / arcsec) = -1.320 - 0.278 (i - 23) for bulges. Half-light radius of a disk = 1.678 r_d.
_DISK_SIZE = (-1.145 + np.log(1.678), -0.269)
_BULGE_SIZE = (-1.320, -0.278)
_COUNT_BAND_MINUS_I = {"i": 0.0, "F775W": 0.0, "F814W": 0.0, "F105W": -0.3, "F160W": -0.7}
"""Typical colour of a faint galaxy, which brings the size relations to the count band."""

_HIGHEST_MEDIAN = 0.85
"""Of the redshift, where the tracks give the colours."""

_YOUNG_INDICES = (1.0, 2.0, 3.0)
"""Sersic indices of the bulges of young galaxies; few, so that the look-up tables are few."""


def draw_galaxies(
    rng: np.random.Generator,
    config: GalaxyConfig,
    *,
    n: int,
    box: tuple[float, float, float, float],
    bands: tuple[str, ...],
    red_fraction: float,
    size_factor: float,
    pixel_scale_arcsec: float = 1.0,
) -> Sources:
    """Draw field galaxies over a box, uniformly or clustered.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : GalaxyConfig
    n : int
        How many, down to ``config.faint_mag``.
    box : tuple of float
        ``(y1, x1, y2, x2)``, pixels.
    bands : tuple of str
    red_fraction, size_factor : float
        Values drawn for this field.
    pixel_scale_arcsec : float
        For the clustering.

    Returns
    -------
    Sources

    References
    ----------
    Redshifts at given magnitude: Baugh & Efstathiou 1993, MNRAS 265, 145.
    """
    mag = draw_counts(
        rng,
        n,
        bright_mag=config.bright_mag,
        faint_mag=config.faint_mag,
        slopes=(config.bright_slope, config.faint_slope),
        break_mag=config.break_mag,
    )
    highest = _HIGHEST_MEDIAN if config.spectra is None else config.spectra.highest_median_redshift
    redshift = _draw_redshifts(rng, mag, highest)
    decline = 1.0 - config.red_decline_per_mag * np.maximum(mag - config.break_mag, 0.0)
    is_red = rng.uniform(size=n) < red_fraction * np.maximum(decline, 0.1)
    y = rng.uniform(box[0], box[2], n)
    x = rng.uniform(box[1], box[3], n)
    if config.clustering is not None:
        x, y, redshift = gather(
            rng,
            config.clustering,
            x=x,
            y=y,
            redshift=redshift,
            pixel_scale_arcsec=pixel_scale_arcsec,
        )
    return _build(rng, config, mag, redshift, is_red, x, y, bands, size_factor)


def draw_cluster(
    rng: np.random.Generator,
    config: ClusterConfig,
    galaxies: GalaxyConfig,
    *,
    shape: tuple[int, int],
    pixel_scale_arcsec: float,
    bands: tuple[str, ...],
    size_factor: float,
) -> Sources:
    """Draw the members of one rich cluster, the first of them its cD galaxy.

    Members follow the surface density ``1 / (1 + (R / core)^2)`` out to eight core radii.

    Returns
    -------
    Sources
    """
    n = int(rng.uniform(*config.richness))
    redshift = rng.uniform(*config.redshift)
    core_px = rng.uniform(*config.core_arcsec) / pixel_scale_arcsec
    centre = rng.uniform(0.15, 0.85, 2) * shape
    u = rng.uniform(size=n)
    radius = core_px * np.sqrt((1.0 + 64.0) ** u - 1.0)
    radius[:1] = 0.0
    theta = rng.uniform(0.0, 2 * np.pi, n)
    cd_mag = 15.5 + 5.0 * np.log10(redshift / 0.1)
    mag = draw_counts(
        rng,
        n,
        bright_mag=cd_mag + 0.8,
        faint_mag=cd_mag + 7.0,
        slopes=(0.8, 0.12),
        break_mag=cd_mag + 2.0,
    )
    mag[:1] = cd_mag
    members = _build(
        rng,
        galaxies,
        mag,
        np.full(n, redshift),
        rng.uniform(size=n) < 0.8,
        centre[1] + radius * np.cos(theta),
        centre[0] + radius * np.sin(theta),
        bands,
        size_factor,
    )
    members.bulge_radius_arcsec[:1] *= rng.uniform(1.5, 3.0)
    members.bulge_fraction[:1] = 1.0
    members.arms_fraction[:1] = 0.0
    members.bulge_index[:1] = 4.0
    return members


def _draw_redshifts(rng: np.random.Generator, mag: np.ndarray, highest: float) -> np.ndarray:
    """Draw redshifts with ``p(z) ~ z^2 exp(-(z / z0)^1.5)``, median 1.412 z0 rising to the faint.

    The median is 0.5 at 22 mag and grows by exp(0.24) a magnitude, up to `highest`.
    """
    median = 0.5 * np.exp(0.24 * (mag - 22.0))
    z0 = np.clip(median, 0.02, highest) / 1.412
    return z0 * rng.gamma(2.0, 1.0, len(mag)) ** (2.0 / 3.0)


def _build(
    rng: np.random.Generator,
    config: GalaxyConfig,
    mag: np.ndarray,
    redshift: np.ndarray,
    is_red: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    bands: tuple[str, ...],
    size_factor: float,
) -> Sources:
    """Give galaxies of known magnitude, redshift and type their colours and structure."""
    n = len(mag)
    bulge_share, arms_share, is_irregular = _light_shares(rng, config, is_red)
    bulge_mag, disk_mag, arms_mag = _component_colours(
        rng, redshift, is_red, bands, has_spectra=config.spectra is not None
    )
    reference = list(bands).index(config.count_band)
    parts = [
        share[:, None] * 10.0 ** (-0.4 * (colour - colour[:, [reference]]))
        for share, colour in (
            (bulge_share, bulge_mag),
            ((1.0 - bulge_share) * (1.0 - arms_share), disk_mag),
            ((1.0 - bulge_share) * arms_share, arms_mag),
        )
    ]
    total = np.sum(parts, axis=0)
    i_mag = mag - _COUNT_BAND_MINUS_I.get(config.count_band, 0.3)
    disk, bulge = (
        size_factor
        * np.exp(zero + slope * (i_mag - 23.0) + rng.normal(0.0, config.size_scatter, n))
        for zero, slope in (_DISK_SIZE, _BULGE_SIZE)
    )
    q0, cos_inclination = config.disk_thickness, rng.uniform(0.0, 1.0, n)
    galaxies = Sources(
        class_id=np.full(n, GALAXY, dtype=np.int32),
        x=x,
        y=y,
        mag=mag[:, None] - 2.5 * np.log10(total),
        bulge_fraction=parts[0] / total,
        arms_fraction=parts[2] / total,
        bulge_radius_arcsec=np.where(is_red, bulge, disk * rng.uniform(0.15, 0.45, n)),
        disk_radius_arcsec=disk,
        bulge_index=np.where(
            is_red, rng.choice(config.bulge_indices, n), rng.choice(_YOUNG_INDICES, n)
        ),
        bulge_axis_ratio=np.where(
            is_red, rng.uniform(config.flattest_bulge, 1.0, n), rng.uniform(0.7, 1.0, n)
        ),
        disk_axis_ratio=np.sqrt(q0**2 + (1.0 - q0**2) * cos_inclination**2),
        angle_rad=rng.uniform(0.0, np.pi, n),
        structure_seed=rng.integers(0, 2**62, n),
        is_irregular=is_irregular,
    )
    if config.spectra is None:
        return galaxies
    # what lies about the bulge of an old galaxy is an envelope, not a thin disk
    envelope = 0.3 * galaxies.disk_axis_ratio + 0.7 * galaxies.bulge_axis_ratio
    return replace(galaxies, disk_axis_ratio=np.where(is_red, envelope, galaxies.disk_axis_ratio))


def _light_shares(
    rng: np.random.Generator, config: GalaxyConfig, is_red: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the share of the light in the bulge, that of the rest in arms or clumps, and which."""
    n = len(is_red)
    bulge_share = np.where(is_red, rng.beta(3.0, 1.5, n), rng.beta(1.0, 5.0, n))
    has_arms = ~is_red & (rng.uniform(size=n) < config.arms_fraction)
    arms_share = np.where(has_arms, rng.uniform(0.3, 0.7, n), 0.0)
    is_irregular = np.zeros(n, dtype=bool)
    if config.irregular_fraction is not None:
        is_irregular = ~is_red & ~has_arms & (rng.uniform(size=n) < config.irregular_fraction)
        arms_share = np.where(is_irregular, rng.uniform(0.4, 0.9, n), arms_share)
        bulge_share = np.where(is_irregular, 0.2 * bulge_share, bulge_share)
    return bulge_share, arms_share, is_irregular


def _component_colours(
    rng: np.random.Generator,
    redshift: np.ndarray,
    is_red: np.ndarray,
    bands: tuple[str, ...],
    *,
    has_spectra: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return magnitudes relative to r of bulge, disk and arms, each of shape (N, B)."""
    n = len(redshift)
    zeros = np.zeros(n)
    nearby = np.clip(0.35 - redshift, 0.0, 0.3)
    oldness = {
        "bulge": np.where(is_red, 1.0, rng.uniform(0.5, 1.0, n)) + rng.normal(0.0, 0.06, n),
        "disk": np.where(is_red, rng.uniform(0.7, 1.0, n), rng.uniform(-0.5, 0.6, n) + nearby),
    }
    oldness["arms"] = oldness["disk"] - rng.uniform(0.2, 0.6, n)
    colours = []
    for age in oldness.values():
        if has_spectra:
            # passive galaxies of the past are younger; disks lie about Scd and Im
            spectral_type = np.where(is_red, 0.35 + 0.65 * age - 0.25 * redshift, 0.6 * age)
            colours.append(galaxy_magnitudes(spectral_type, redshift, bands))
            continue
        g_r, r_z = (
            age * np.interp(redshift, _TRACK_Z, red)
            + (1.0 - age) * np.interp(redshift, _TRACK_Z, blue)
            for red, blue in ((_RED_GR, _BLUE_GR), (_RED_RZ, _BLUE_RZ))
        )
        colours.append(magnitudes_in_bands(zeros, g_r, r_z, bands))
    return colours[0], colours[1], colours[2]
