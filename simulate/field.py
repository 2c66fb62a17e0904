"""One field from start to end: draw a sky, render it, observe it, keep the truth."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np

from astro_io.image import SkyImage
from astro_io.scene import Scene, Stamp
from simulate.artefacts import add_stray_light, damage
from simulate.config import FieldConfig, Range, StarConfig
from simulate.extent import light_radius
from simulate.galaxies import draw_cluster, draw_galaxies
from simulate.milky_way import draw_milky_way
from simulate.observe import Exposure, add_glare, observe_band
from simulate.psf_models import draw_psfs
from simulate.source_table import SourceTable
from simulate.sources import STAR, Sources, count_ratio, join
from simulate.stamps import StampRenderer
from simulate.stars import draw_stars
from simulate.truth import TruthStamps, truth_catalog, with_blends

_MARGIN_ARCSEC = 15.0
"""Sources are drawn this far outside the image, since their light may reach in."""

_MAX_STAMP_RADIUS_PX = 500.0


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldParts:
    """A rendered field before noise, for tests and for studies of single effects.

    Attributes
    ----------
    sources : Sources
    exposure : Exposure
    light_e : ndarray of float64, shape (H, W, B)
        Expected electrons of all sources, without sky.
    truth : TruthStamps
        Stamps in electrons of the sources that enter the truth.
    """

    sources: Sources
    exposure: Exposure
    light_e: np.ndarray
    truth: TruthStamps


def make_field(
    config: FieldConfig, *, seed: int, index: int, table: SourceTable | None = None
) -> Scene:
    """Simulate one field with the truth of its sources.

    The result depends on the arguments alone. GalSim is held to one thread:
    fields are spread over processes.

    Parameters
    ----------
    config : FieldConfig
    seed : int
        Of the whole set.
    index : int
        Of this field.
    table : SourceTable, optional
        Sources to simulate in place of a drawn population.

    Returns
    -------
    Scene
        With `table`, its catalogue has a column ``catalog_row``.
    """
    galsim.set_omp_threads(1)
    streams = np.random.SeedSequence([seed, index]).spawn(4)
    sky_rng, survey_rng, noise_rng, artefact_rng = (
        np.random.default_rng(stream) for stream in streams
    )
    exposure = draw_exposure(survey_rng, config)
    rows = None
    if table is None:
        sources = draw_sources(sky_rng, config, exposure)
    else:
        sources, exposure, rows = table.place(exposure, index)
    parts = render(config, sources, exposure)
    return observe(noise_rng, artefact_rng, config, parts, seed=seed, index=index, rows=rows)


def draw_exposure(rng: np.random.Generator, config: FieldConfig) -> Exposure:
    """Draw the values of this field from the ranges of the survey."""
    survey = config.survey
    n_bands = len(survey.bands)
    pixel_scale = rng.uniform(*survey.pixel_scale_arcsec)
    factor = _log_uniform(rng, survey.exposure_factor)
    zeropoint = np.array(survey.zeropoint_mag) + 2.5 * np.log10(factor)
    sky_e = 10.0 ** (0.4 * (zeropoint - np.array(survey.sky_mag_arcsec2))) * pixel_scale**2
    shifts = rng.uniform(-1.0, 1.0, (n_bands, 2)) * rng.uniform(*survey.band_shift_px)
    shifts[0] = 0.0
    return Exposure(
        bands=survey.bands,
        shape=(survey.height, survey.width),
        pixel_scale_arcsec=float(pixel_scale),
        zeropoint_mag=zeropoint,
        sky_e=sky_e,
        read_noise_e=float(rng.uniform(*survey.read_noise_e)),
        unit=str(rng.choice(survey.unit)),
        gain_e_per_dn=np.array(survey.gain_e_per_dn),
        count_zeropoint_mag=(
            None if survey.count_zeropoint_mag is None else np.array(survey.count_zeropoint_mag)
        ),
        soft_bias=survey.soft_bias,
        sky_subtracted=bool(rng.uniform() < survey.sky_subtracted),
        saturation_e=float(survey.saturation_e * factor),
        noise_correlation=float(rng.uniform(*survey.noise_correlation)),
        background_gradient=float(rng.uniform(*survey.background_gradient)),
        shifts_px=shifts,
        psfs=draw_psfs(rng, config.psf, pixel_scale_arcsec=float(pixel_scale), n_bands=n_bands),
        spike_angle_deg=float(rng.uniform(*config.effects.spike_angle_deg)),
        halo_fraction=float(rng.uniform(*config.effects.halo_fraction)),
        bleed_along=str(rng.choice(config.effects.bleed_along)),
        ra_deg=float(rng.uniform(0.0, 360.0)),
        dec_deg=float(np.rad2deg(np.arcsin(rng.uniform(-0.9, 0.9)))),
    )


def draw_sources(rng: np.random.Generator, config: FieldConfig, exposure: Exposure) -> Sources:
    """Draw stars, galaxies and perhaps a cluster of galaxies over the image and its margin."""
    margin = _MARGIN_ARCSEC / exposure.pixel_scale_arcsec
    height, width = exposure.shape
    box = (-margin, -margin, height + margin, width + margin)
    area = (height + 2 * margin) * (width + 2 * margin) * exposure.pixel_scale_arcsec**2 / 3600.0
    galaxies = config.galaxies
    n_galaxies = rng.poisson(
        area
        * _log_uniform(rng, galaxies.density_arcmin2)
        * count_ratio(
            galaxies.bright_mag,
            galaxies.density_mag,
            galaxies.faint_mag,
            (galaxies.bright_slope, galaxies.faint_slope),
            galaxies.break_mag,
        )
    )
    n_stars = rng.poisson(area * _log_uniform(rng, config.stars.density_arcmin2))
    size_factor = rng.uniform(*galaxies.size_factor)
    bands = exposure.bands
    parts = [
        draw_galaxies(
            rng,
            galaxies,
            n=int(n_galaxies),
            box=box,
            bands=bands,
            red_fraction=rng.uniform(*galaxies.red_fraction),
            size_factor=size_factor,
            pixel_scale_arcsec=exposure.pixel_scale_arcsec,
        ),
        _draw_stars(rng, config.stars, exposure, box, area, int(n_stars)),
    ]
    if rng.uniform() < config.clusters.probability:
        parts.append(
            draw_cluster(
                rng,
                config.clusters,
                galaxies,
                shape=exposure.shape,
                pixel_scale_arcsec=exposure.pixel_scale_arcsec,
                bands=bands,
                size_factor=size_factor,
            )
        )
    return join(parts)


def _draw_stars(
    rng: np.random.Generator,
    config: StarConfig,
    exposure: Exposure,
    box: tuple[float, float, float, float],
    area_arcmin2: float,
    n: int,
) -> Sources:
    """Draw `n` stars from a power law, or those of the Milky Way where that is set."""
    if config.milky_way is None:
        return draw_stars(rng, config, n=n, box=box, bands=exposure.bands)
    fwhm_px = max(psf.fwhm_px for psf in exposure.psfs)
    return draw_milky_way(
        rng,
        config.milky_way,
        area_arcmin2=area_arcmin2,
        box=box,
        bands=exposure.bands,
        limits_mag=(config.bright_mag, config.faint_mag),
        resolution_arcsec=0.5 * fwhm_px * exposure.pixel_scale_arcsec,
        pixel_scale_arcsec=exposure.pixel_scale_arcsec,
    )


def render(config: FieldConfig, sources: Sources, exposure: Exposure) -> FieldParts:
    """Draw every source without noise and keep the stamps of those that enter the truth."""
    flux = 10.0 ** (-0.4 * (sources.mag - exposure.zeropoint_mag))
    renderer = StampRenderer(exposure.psfs, exposure.pixel_scale_arcsec, exposure.shifts_px)
    radius = light_radius(
        sources,
        flux,
        exposure.psfs,
        pixel_scale_arcsec=exposure.pixel_scale_arcsec,
        sky_sigma=exposure.sky_sigma_e,
        n_sigma=config.truth.stamp_sigma,
        peak_fraction=config.truth.stamp_peak,
    ).clip(max=_MAX_STAMP_RADIUS_PX)
    light = np.zeros((*exposure.shape, len(exposure.bands)))
    truth = TruthStamps(exposure, config.truth)
    reaches = (
        np.abs(sources.x - 0.5 * (exposure.shape[1] - 1)) < 0.5 * exposure.shape[1] + radius
    ) & (np.abs(sources.y - 0.5 * (exposure.shape[0] - 1)) < 0.5 * exposure.shape[0] + radius)
    for i in np.flatnonzero(reaches):
        corner, stamp = renderer.draw(sources, int(i), flux[i], float(radius[i]))
        add_stamp(light, corner, stamp)
        truth.offer(int(i), corner, stamp)
    return FieldParts(sources=sources, exposure=exposure, light_e=light, truth=truth)


def add_stamp(image: np.ndarray, corner: tuple[int, int], stamp: np.ndarray) -> None:
    """Add a stamp to an image in place; what sticks out is left off."""
    y1, x1 = corner
    y2, x2 = y1 + stamp.shape[0], x1 + stamp.shape[1]
    top, left = max(0, y1), max(0, x1)
    bottom, right = min(image.shape[0], y2), min(image.shape[1], x2)
    if top < bottom and left < right:
        image[top:bottom, left:right] += stamp[top - y1 : bottom - y1, left - x1 : right - x1]


def observe(
    noise_rng: np.random.Generator,
    artefact_rng: np.random.Generator,
    config: FieldConfig,
    parts: FieldParts,
    *,
    seed: int,
    index: int,
    rows: np.ndarray | None = None,
) -> Scene:
    """Add glare, sky, noise and detector effects; convert to the output unit.

    Two generators, so that an artefact that is switched on leaves the noise as it was. `rows` go
    into the column ``catalog_row`` of the truth.
    """
    exposure = parts.exposure
    light = parts.light_e.copy()
    flux = 10.0 ** (-0.4 * (parts.sources.mag - exposure.zeropoint_mag))
    is_star = parts.sources.class_id == STAR
    add_glare(light, parts.sources, flux, is_star, exposure, config.effects)
    add_stray_light(artefact_rng, light, parts.sources, exposure, config.effects)
    planes = [
        observe_band(noise_rng, light[..., b], exposure, config.effects, b)
        for b in range(len(exposure.bands))
    ]
    pixels, bad = damage(artefact_rng, np.stack(planes, axis=-1), exposure, config.effects)
    image = SkyImage(
        pixels=pixels.astype(np.float32),
        bands=exposure.bands,
        bad=bad,
        unit=(exposure.fits_unit,) * len(exposure.bands),
        zeropoint_mag=tuple(float(m) for m in exposure.output_zeropoint_mag),
        wcs=exposure.wcs(),
        name=f"field_{index:06d}",
    )
    factor = exposure.unit_per_electron.astype(np.float32)
    stamps = tuple(
        Stamp(box=stamp.box, pixels=stamp.pixels * factor) for stamp in parts.truth.stamps
    )
    catalog = truth_catalog(parts.sources, flux, parts.truth, exposure)
    if rows is not None:
        catalog["catalog_row"] = rows[np.array(parts.truth.rows, dtype=int)]
        catalog["catalog_row"].description = "row of the catalogue that was simulated, from 0"
    return with_blends(Scene(image=image, catalog=catalog, stamps=stamps, index=index, seed=seed))


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw log-uniformly; a lower limit of zero gives zero or a linear draw."""
    low, high = limits
    if low <= 0.0:
        return float(rng.uniform(low, high))
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
