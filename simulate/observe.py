"""From expected electrons to the image that a survey delivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.config import EffectConfig
from simulate.cosmic_rays import draw_cosmic_rays
from simulate.psf import PointSpread
from simulate.saturation import bleed, clip
from simulate.sky import add_poisson_noise, add_resampled_noise, draw_gradient
from simulate.sources import Sources
from simulate.spikes import add_halo, add_spikes

if TYPE_CHECKING:
    from astropy.wcs import WCS

_UNIT_MAG = {"nanomaggy": 22.5, "nJy": 31.4}
"""AB magnitude of one unit of flux."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Exposure:
    """The survey as drawn for one field; see `SurveyConfig` for the meaning of the values."""

    bands: tuple[str, ...]
    shape: tuple[int, int]
    pixel_scale_arcsec: float
    zeropoint_mag: np.ndarray
    sky_e: np.ndarray
    read_noise_e: float
    unit: str
    gain_e_per_dn: np.ndarray
    count_zeropoint_mag: np.ndarray | None
    soft_bias: float
    sky_subtracted: bool
    saturation_e: float
    noise_correlation: float
    background_gradient: float
    shifts_px: np.ndarray
    psfs: tuple[PointSpread, ...]
    spike_angle_deg: float
    halo_fraction: float
    bleed_along: str
    ra_deg: float
    dec_deg: float

    @property
    def sky_sigma_e(self) -> np.ndarray:
        """Noise of the empty sky in electrons a pixel, shape (B,)."""
        return np.sqrt(self.sky_e + self.read_noise_e**2)

    @property
    def unit_per_electron(self) -> np.ndarray:
        """Output unit per electron, shape (B,)."""
        if self.unit in _UNIT_MAG:
            return 10.0 ** (-0.4 * (self.zeropoint_mag - _UNIT_MAG[self.unit]))
        if self.unit in ("count", "electron/s"):
            return 10.0 ** (-0.4 * (self.zeropoint_mag - self.count_zeropoint_mag))
        if self.unit == "DN":
            return 1.0 / self.gain_e_per_dn
        return np.ones(len(self.bands))

    @property
    def output_zeropoint_mag(self) -> np.ndarray:
        """AB magnitude of one output unit, shape (B,)."""
        return self.zeropoint_mag + 2.5 * np.log10(self.unit_per_electron)

    @property
    def fits_unit(self) -> str:
        """Unit as FITS spells it."""
        return "adu" if self.unit == "DN" else self.unit

    def wcs(self) -> WCS:
        """Return the TAN WCS of the field, north up, east left."""
        from astropy.wcs import WCS

        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra_deg, self.dec_deg]
        wcs.wcs.crpix = [0.5 * (self.shape[1] + 1), 0.5 * (self.shape[0] + 1)]
        step = self.pixel_scale_arcsec / 3600.0
        wcs.wcs.cdelt = [-step, step]
        wcs.wcs.cunit = ["deg", "deg"]
        return wcs


def add_glare(
    light: np.ndarray,
    sources: Sources,
    flux: np.ndarray,
    is_star: np.ndarray,
    exposure: Exposure,
    effects: EffectConfig,
) -> None:
    """Add spikes and halos of the stars to `light`, shape (H, W, B), in place."""
    for i in np.flatnonzero(is_star):
        for b, psf in enumerate(exposure.psfs):
            place = {"x": float(sources.x[i]), "y": float(sources.y[i])}
            noise = float(exposure.sky_sigma_e[b])
            if effects.spikes:
                add_spikes(
                    light[..., b],
                    **place,
                    flux=effects.spike_fraction * flux[i, b],
                    angle_deg=exposure.spike_angle_deg,
                    width_px=0.3 * psf.fwhm_px,
                    noise=noise,
                )
            if exposure.halo_fraction > 0.0:
                add_halo(
                    light[..., b],
                    **place,
                    flux=exposure.halo_fraction * flux[i, b],
                    radius_px=3.0 * psf.fwhm_px,
                    noise=noise,
                )


def observe_band(
    rng: np.random.Generator,
    light: np.ndarray,
    exposure: Exposure,
    effects: EffectConfig,
    band: int,
) -> np.ndarray:
    """Return one band in the output unit.

    Parameters
    ----------
    rng : numpy.random.Generator
    light : ndarray of float64, shape (H, W)
        Expected electrons of the sources.
    exposure : Exposure
    effects : EffectConfig
    band : int

    Returns
    -------
    ndarray of float64, shape (H, W)
    """
    sky = float(exposure.sky_e[band])
    slope = exposure.background_gradient * float(exposure.sky_sigma_e[band])
    expected = light + sky + draw_gradient(rng, exposure.shape, peak_to_valley=slope)
    if exposure.noise_correlation > 0.0:
        counts = add_resampled_noise(
            rng,
            expected,
            read_noise_e=exposure.read_noise_e,
            correlation=exposure.noise_correlation,
        )
    else:
        counts = add_poisson_noise(rng, expected, read_noise_e=exposure.read_noise_e)
    n_rays = rng.poisson(rng.uniform(*effects.cosmic_rays))
    if n_rays:
        counts += draw_cosmic_rays(rng, exposure.shape, n=int(n_rays))
    if exposure.saturation_e > 0.0:
        counts = _saturate(counts, exposure, effects)
    if exposure.sky_subtracted:
        counts = counts - sky
    delivered = counts * exposure.unit_per_electron[band] + exposure.soft_bias
    return np.round(delivered) if exposure.unit == "DN" else delivered


def _saturate(counts: np.ndarray, exposure: Exposure, effects: EffectConfig) -> np.ndarray:
    """Return the counts clipped at full well, with bleed trails where they are switched on."""
    if not effects.bleed:
        return clip(counts, exposure.saturation_e)[0]
    if exposure.bleed_along == "row":
        return bleed(counts.T, exposure.saturation_e)[0].T
    return bleed(counts, exposure.saturation_e)[0]
