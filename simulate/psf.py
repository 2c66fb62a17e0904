"""Point-spread function of one band, in pixels: a Moffat profile, or any profile of GalSim.

:mod:`simulate.psf_models` makes the others: turbulence, telescopes in space, images of stars.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import galsim
import numpy as np
from scipy.ndimage import maximum

_OVERSAMPLING = 4
_PROFILE_SIZE = 1024


class PointSpread(Protocol):
    """What the renderer asks of a PSF."""

    @property
    def fwhm_px(self) -> float:
        """Full width at half maximum."""
        ...

    @property
    def includes_pixel(self) -> bool:
        """Whether the response of the image's pixel is part of the profile."""
        ...

    def profile(self) -> galsim.GSObject:
        """Return the unit-flux GalSim profile, one length unit a pixel."""
        ...

    def surface_brightness(self, radius_px: np.ndarray) -> np.ndarray:
        """Return the light a square pixel at given radii, in the brightest direction."""
        ...


@dataclass(frozen=True, kw_only=True)
class Psf:
    """Moffat profile of one band.

    Attributes
    ----------
    fwhm_px : float
    beta : float
        Moffat index: the wings fall as ``r^(-2 beta)``.
    g1, g2 : float
        Shear components.
    includes_pixel : bool
        Always False.
    """

    fwhm_px: float
    beta: float
    g1: float = 0.0
    g2: float = 0.0
    includes_pixel: bool = False

    def profile(self) -> galsim.GSObject:
        """Return the unit-flux GalSim profile, one length unit a pixel."""
        return galsim.Moffat(beta=self.beta, fwhm=self.fwhm_px).shear(g1=self.g1, g2=self.g2)

    @property
    def scale_px(self) -> float:
        """Moffat scale radius: FWHM / (2 sqrt(2^(1/beta) - 1))."""
        return self.fwhm_px / (2.0 * np.sqrt(2.0 ** (1.0 / self.beta) - 1.0))

    def surface_brightness(self, radius_px: np.ndarray) -> np.ndarray:
        """Return the light a square pixel at given radii, its ellipticity left out."""
        a = self.scale_px
        return (self.beta - 1.0) / (np.pi * a**2) * (1.0 + (radius_px / a) ** 2) ** -self.beta


@dataclass(frozen=True, eq=False, kw_only=True)
class ProfilePsf:
    """A PSF known as a GalSim profile alone.

    Attributes
    ----------
    light : galsim.GSObject
        Unit flux, one length unit a pixel.
    includes_pixel : bool
    """

    light: galsim.GSObject
    includes_pixel: bool = False

    def profile(self) -> galsim.GSObject:
        """Return the profile."""
        return self.light

    @cached_property
    def fwhm_px(self) -> float:
        """Diameter of the circle with the area that is brighter than half the peak."""
        from skimage.measure import find_contours

        step = 1.0 / _OVERSAMPLING
        image = self.light.drawImage(nx=161, ny=161, scale=step, method="no_pixel").array
        y, x = max(find_contours(image, 0.5 * image.max()), key=len).T
        area = 0.5 * abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))
        return float(2.0 * step * np.sqrt(area / np.pi))

    def surface_brightness(self, radius_px: np.ndarray) -> np.ndarray:
        """Return the largest light a square pixel at each radius, so that spikes count."""
        radii, light = self._envelope
        return np.interp(radius_px, radii, light)

    @cached_property
    def _envelope(self) -> tuple[np.ndarray, np.ndarray]:
        """Tabulate the brightest light beyond each radius; it never rises outwards."""
        image = self.light.drawImage(
            nx=_PROFILE_SIZE, ny=_PROFILE_SIZE, scale=1.0, method="no_pixel"
        ).array
        y, x = np.indices(image.shape) - (_PROFILE_SIZE - 1) / 2.0
        rings = np.arange(_PROFILE_SIZE // 2)
        light = np.asarray(maximum(image, labels=np.hypot(y, x).astype(int), index=rings))
        return rings.astype(float), np.maximum.accumulate(light[::-1])[::-1]
