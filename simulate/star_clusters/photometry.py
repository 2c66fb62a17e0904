"""From magnitudes to electrons a second, and the noise of an exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft2, rfft2

from simulate.star_clusters.config import InstrumentConfig


def distance_modulus(distance_kpc: float) -> float:
    """Return ``m - M`` in magnitudes: 5 log10 of the distance over 10 pc."""
    return float(5.0 * np.log10(distance_kpc * 100.0))


def counts_factor(zeropoint_mag: np.ndarray, distance_kpc: float, dimming_mag: np.ndarray):
    """Return electrons a second for a flux of one (AB magnitude 0 at 10 pc).

    Parameters
    ----------
    zeropoint_mag : ndarray of float, shape (B,)
        AB magnitude of one electron a second.
    distance_kpc : float
    dimming_mag : ndarray of float, shape (B,)
        Extinction.

    Returns
    -------
    ndarray of float64, shape (B,)
    """
    lost = distance_modulus(distance_kpc) + np.asarray(dimming_mag)
    return 10.0 ** (0.4 * (np.asarray(zeropoint_mag) - lost))


@dataclass(frozen=True, eq=False)
class Exposure:
    """What turns a noiseless stamp into an observed one.

    Attributes
    ----------
    exposure_s : ndarray of float64, shape (B,)
    background_rate : ndarray of float64, shape (B,)
        Electrons a second of sky and dark current in a pixel; subtracted after the noise.
    read_noise_e : ndarray of float64, shape (B,)
    blur : tuple of float
        Standard deviation of the kernel that correlates the noise, pixels, per band.
    """

    exposure_s: np.ndarray
    background_rate: np.ndarray
    read_noise_e: np.ndarray
    blur: tuple[float, ...]

    @classmethod
    def from_config(cls, config: InstrumentConfig) -> Exposure:
        """Read it off the settings."""
        zero = np.array(config.zeropoint_mag)
        sky = 10.0 ** (0.4 * (zero - np.array(config.sky_mag_arcsec2)))
        return cls(
            exposure_s=np.array(config.exposure_s),
            background_rate=sky * config.pixel_scale_arcsec**2 + np.array(config.dark_e_per_s),
            read_noise_e=np.array(config.read_noise_e),
            blur=config.noise_blur_px,
        )

    def binned(self, factor: int) -> Exposure:
        """Return the exposure of pixels that are sums of ``factor**2`` of these."""
        return Exposure(
            exposure_s=self.exposure_s,
            background_rate=self.background_rate * factor**2,
            read_noise_e=self.read_noise_e * factor,
            blur=tuple(width / factor for width in self.blur),
        )

    def variance(self, rate: np.ndarray) -> np.ndarray:
        """Return the variance of an observed pixel, before its noise is blurred.

        Parameters
        ----------
        rate : ndarray of float, shape (..., B)
            Electrons a second of stars.

        Returns
        -------
        ndarray of float64, shape (..., B)
            Electrons a second, squared: (counts + read noise^2) / exposure^2.
        """
        t = self.exposure_s
        counts = np.maximum(rate, 0.0) * t + self.background_rate * t
        return (counts + self.read_noise_e**2) / t**2

    def observe(self, rng: np.random.Generator, rate: np.ndarray) -> np.ndarray:
        """Return an observed stamp: photon noise, read noise, sky subtracted.

        Parameters
        ----------
        rng : numpy.random.Generator
        rate : ndarray of float, shape (H, W, B)
            Noiseless electrons a second of stars.

        Returns
        -------
        ndarray of float32, shape (H, W, B)
        """
        t = self.exposure_s
        expected = np.maximum(rate, 0.0) * t + self.background_rate * t
        noise = rng.poisson(expected) - expected
        noise += rng.standard_normal(rate.shape) * self.read_noise_e
        return (rate + self._blurred(noise) / t).astype(np.float32)

    def add_photons(self, rng: np.random.Generator, rate: np.ndarray) -> np.ndarray:
        """Return the photon noise of stars alone, to lay them on an observed image.

        Parameters
        ----------
        rng : numpy.random.Generator
        rate : ndarray of float, shape (H, W, B)

        Returns
        -------
        ndarray of float32, shape (H, W, B)
            `rate` with noise.
        """
        expected = np.maximum(rate, 0.0) * self.exposure_s
        noise = rng.poisson(expected) - expected
        return (rate + self._blurred(noise) / self.exposure_s).astype(np.float32)

    def _blurred(self, noise: np.ndarray) -> np.ndarray:
        """Correlate the noise of neighbours, as drizzling does; its sum over an area stays."""
        if not any(self.blur):
            return noise
        height, width, n_bands = noise.shape
        ky, kx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        blurred = np.empty_like(noise)
        for b in range(n_bands):
            kernel = np.exp(-2.0 * (np.pi * self.blur[b]) ** 2 * (ky**2 + kx**2))
            spectrum = rfft2(np.ascontiguousarray(noise[..., b])) * kernel
            blurred[..., b] = irfft2(spectrum, s=(height, width))
        return blurred
