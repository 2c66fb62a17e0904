"""Settings of the camera, the exposure and the truth that is kept."""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError
from simulate.config_checks import PerBand, Range, check_ranges

UNITS = ("electron", "nanomaggy", "nJy", "DN", "count", "electron/s")
"""Units that a simulated image can have."""


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """Camera, exposure and output unit.

    Attributes
    ----------
    height, width : int
        Pixels.
    bands : tuple of str
        Channel order.
    pixel_scale_arcsec : range
    zeropoint_mag : float per band
        AB magnitude that gives one electron in the whole exposure.
    sky_mag_arcsec2 : float per band
        Night sky.
    exposure_factor : range
        Multiplies the exposure (sky and sources alike); drawn log-uniformly.
    read_noise_e : range
        Electrons a pixel.
    unit : tuple of str
        One is drawn per field: ``electron``, ``nanomaggy`` (22.5 mag = 1), ``nJy``
        (31.4 mag = 1), ``DN`` (whole numbers), ``count`` or ``electron/s`` (both by
        `count_zeropoint_mag`).
    gain_e_per_dn : float per band
        Used for ``DN`` alone.
    count_zeropoint_mag : float per band, optional
        AB magnitude of 1 in the unit ``count`` or ``electron/s``.
    soft_bias : float
        Constant added to ``DN`` images.
    sky_subtracted : float
        Probability that the mean sky is taken off.
    saturation_e : float
        Full well: electrons above which a pixel is clipped, for an exposure factor of 1 (a
        longer coadd adds up more exposures); 0 switches clipping off.
    noise_correlation : range
        Correlation of the noise of neighbouring pixels, as resampling leaves it.
    band_shift_px : range
        Largest shift of a band against the first, pixels.
    background_gradient : range
        Peak-to-valley slope of the sky across the field, in units of its noise per pixel.
    """

    height: int = 512
    width: int = 512
    bands: tuple[str, ...] = ("g", "r", "z")
    pixel_scale_arcsec: Range = (0.262, 0.262)
    zeropoint_mag: PerBand = (32.8, 32.5, 32.6)
    sky_mag_arcsec2: PerBand = (22.0, 21.0, 19.0)
    exposure_factor: Range = (1.0, 1.0)
    read_noise_e: Range = (0.0, 0.0)
    unit: tuple[str, ...] = ("electron",)
    gain_e_per_dn: PerBand = (1.0, 1.0, 1.0)
    count_zeropoint_mag: PerBand | None = None
    soft_bias: float = 0.0
    sky_subtracted: float = 0.0
    saturation_e: float = 0.0
    noise_correlation: Range = (0.0, 0.0)
    band_shift_px: Range = (0.0, 0.0)
    background_gradient: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check lengths and signs."""
        for name in ("zeropoint_mag", "sky_mag_arcsec2", "gain_e_per_dn", "count_zeropoint_mag"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.bands):
                raise ConfigError(
                    f"[survey] {name}: expected one value a band ({', '.join(self.bands)}); "
                    f"found {len(values)}."
                )
        if self.height < 16 or self.width < 16:
            raise ConfigError(
                f"[survey] height, width: expected at least 16 px; "
                f"found {self.height} x {self.width}."
            )
        unknown = set(self.unit) - set(UNITS)
        if unknown or not self.unit:
            raise ConfigError(
                f"[survey] unit: expected {', '.join(UNITS)}; found {sorted(unknown)}."
            )
        if {"count", "electron/s"} & set(self.unit) and self.count_zeropoint_mag is None:
            raise ConfigError("[survey] unit count or electron/s: give count_zeropoint_mag, too.")
        check_ranges(self, "survey")
        if self.pixel_scale_arcsec[0] <= 0 or self.exposure_factor[0] <= 0:
            raise ConfigError("[survey] pixel_scale_arcsec and exposure_factor must be above 0.")
        if not 0 <= self.noise_correlation[0] <= self.noise_correlation[1] <= 0.6:
            raise ConfigError("[survey] noise_correlation: expected values from 0 to 0.6.")


@dataclass(frozen=True, kw_only=True)
class TruthConfig:
    """Which sources enter the truth, and how large their stamps are.

    Attributes
    ----------
    min_snr : float
        Matched-filter signal-to-noise over all bands.
    stamp_sigma : float
        A stamp ends where the profile falls below this many sky sigmas ...
    stamp_peak : float
        ... and below this fraction of its peak.
    max_stamp_px : int
        Largest stamp side; the image itself holds the light beyond it.
    """

    min_snr: float = 5.0
    stamp_sigma: float = 0.05
    stamp_peak: float = 0.004
    max_stamp_px: int = 301
