"""Settings of the point-spread function."""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError
from simulate.config_checks import PerBand, Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class PsfConfig:
    """Seeing: an elliptical Moffat profile per band.

    Attributes
    ----------
    fwhm_arcsec : range
        Full width at half maximum in the reference band.
    band_factor : float per band
        FWHM of each band relative to `fwhm_arcsec`.
    band_scatter : float
        Extra random factor of each band, standard deviation of ln FWHM.
    beta : range
        Moffat index.
    max_ellipticity : float
        Largest shear ``g`` of the profile.
    """

    fwhm_arcsec: Range = (1.2, 1.2)
    band_factor: PerBand = (1.08, 1.0, 0.92)
    band_scatter: float = 0.02
    beta: Range = (2.8, 3.2)
    max_ellipticity: float = 0.03

    def __post_init__(self) -> None:
        """Check signs."""
        check_ranges(self, "psf")
        if self.fwhm_arcsec[0] <= 0:
            raise ConfigError(f"[psf] fwhm_arcsec: expected above 0; found {self.fwhm_arcsec[0]}.")
        if self.beta[0] <= 1.1:
            raise ConfigError(f"[psf] beta: expected above 1.1; found {self.beta[0]}.")
