"""Point-spread function of one band: an elliptical Moffat profile, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np

from simulate.config import PsfConfig


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
    """

    fwhm_px: float
    beta: float
    g1: float = 0.0
    g2: float = 0.0

    def profile(self) -> galsim.GSObject:
        """Return the unit-flux GalSim profile, one length unit a pixel."""
        return galsim.Moffat(beta=self.beta, fwhm=self.fwhm_px).shear(g1=self.g1, g2=self.g2)

    @property
    def scale_px(self) -> float:
        """Moffat scale radius: FWHM / (2 sqrt(2^(1/beta) - 1))."""
        return self.fwhm_px / (2.0 * np.sqrt(2.0 ** (1.0 / self.beta) - 1.0))


def draw_psfs(
    rng: np.random.Generator, config: PsfConfig, *, pixel_scale_arcsec: float, n_bands: int
) -> tuple[Psf, ...]:
    """Draw the seeing of a field: one profile a band, alike but not equal.

    Returns
    -------
    tuple of Psf, length `n_bands`
        FWHM is kept above 1.2 px, below which the images would be undersampled.
    """
    fwhm = rng.uniform(*config.fwhm_arcsec) / pixel_scale_arcsec
    beta = rng.uniform(*config.beta)
    psfs = []
    for b in range(n_bands):
        factor = config.band_factor[b] * np.exp(rng.normal(0.0, config.band_scatter))
        size = config.max_ellipticity * np.sqrt(rng.uniform())
        angle = rng.uniform(0.0, 2 * np.pi)
        psfs.append(
            Psf(
                fwhm_px=max(1.2, float(fwhm * factor)),
                beta=float(beta),
                g1=float(size * np.cos(angle)),
                g2=float(size * np.sin(angle)),
            )
        )
    return tuple(psfs)
