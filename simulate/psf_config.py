"""Settings of the point-spread function.

Without further sections it is a Moffat profile; one of ``[psf.atmosphere]``, ``[psf.optics]`` and
``[psf.image]`` replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError
from simulate.config_checks import PerBand, Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class AtmosphereConfig:
    """Kolmogorov turbulence behind a camera with a Gaussian blur of its own.

    Attributes
    ----------
    instrument_fwhm_arcsec : range
        Blur of optics and detector; part of ``psf.fwhm_arcsec``, in quadrature.
    """

    instrument_fwhm_arcsec: Range = (0.3, 0.4)

    def __post_init__(self) -> None:
        """Check signs."""
        check_ranges(self, "psf.atmosphere")


@dataclass(frozen=True, kw_only=True)
class OpticsConfig:
    """A telescope in space: diffraction by mirror, central obscuration and spider.

    Attributes
    ----------
    wavelength_nm : float per band
        Pivot wavelength.
    diameter_m, obscuration : float
        Primary mirror, and the obscured share of its diameter.
    struts : int
        Vanes of the spider; they make the diffraction spikes.
    strut_thickness : float
        In units of the mirror's diameter.
    roll_deg : range
        Angle of the first strut.
    defocus_waves : range
        Of the wavefront, at the first band's wavelength; breathing of the telescope.
    blur_arcsec : range
        Standard deviation of a Gaussian: pointing jitter and charge diffusion.
    detector_pixel_arcsec : float
        Pixel of the detector.
    drop_arcsec : float
        Drop of the drizzling that made the image of it; 0 without drizzling.
    """

    wavelength_nm: PerBand
    diameter_m: float = 2.4
    obscuration: float = 0.33
    struts: int = 4
    strut_thickness: float = 0.022
    roll_deg: Range = (0.0, 90.0)
    defocus_waves: Range = (0.0, 0.05)
    blur_arcsec: Range = (0.015, 0.015)
    detector_pixel_arcsec: float = 0.05
    drop_arcsec: float = 0.0

    def __post_init__(self) -> None:
        """Check signs."""
        check_ranges(self, "psf.optics")
        if self.diameter_m <= 0 or any(w <= 0 for w in self.wavelength_nm):
            raise ConfigError("[psf.optics] diameter_m and wavelength_nm must be above 0.")
        if not 0 <= self.obscuration < 1:
            raise ConfigError(
                f"[psf.optics] obscuration: expected 0 up to 1; found {self.obscuration}."
            )
        if self.detector_pixel_arcsec <= 0:
            raise ConfigError("[psf.optics] detector_pixel_arcsec must be above 0.")


@dataclass(frozen=True, kw_only=True)
class PsfImageConfig:
    """Images of the PSF, one FITS file a band.

    Attributes
    ----------
    files : tuple of str
        Paths, in the order of the bands; the first image of each file is taken.
    pixel_scale_arcsec : float
        Of the images.
    includes_pixel : bool
        The images are as the detector sees a star, its pixel included.
    """

    files: tuple[str, ...]
    pixel_scale_arcsec: float
    includes_pixel: bool = True

    def __post_init__(self) -> None:
        """Check signs."""
        if self.pixel_scale_arcsec <= 0:
            raise ConfigError("[psf.image] pixel_scale_arcsec must be above 0.")


@dataclass(frozen=True, kw_only=True)
class PsfConfig:
    """Seeing: an elliptical profile per band.

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
    atmosphere, optics, image : section, optional
        What replaces the Moffat profile. With `optics` or `image` the other keys do nothing.
    """

    fwhm_arcsec: Range = (1.2, 1.2)
    band_factor: PerBand = (1.08, 1.0, 0.92)
    band_scatter: float = 0.02
    beta: Range = (2.8, 3.2)
    max_ellipticity: float = 0.03
    atmosphere: AtmosphereConfig | None = None
    optics: OpticsConfig | None = None
    image: PsfImageConfig | None = None

    def __post_init__(self) -> None:
        """Check signs."""
        check_ranges(self, "psf")
        if self.fwhm_arcsec[0] <= 0:
            raise ConfigError(f"[psf] fwhm_arcsec: expected above 0; found {self.fwhm_arcsec[0]}.")
        if self.beta[0] <= 1.1:
            raise ConfigError(f"[psf] beta: expected above 1.1; found {self.beta[0]}.")
        given = [n for n in ("atmosphere", "optics", "image") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"[psf] expected one of atmosphere, optics, image; found {', '.join(given)}."
            )

    def lengths(self) -> dict[str, int]:
        """Return the keys that hold one value a band, with their number of values."""
        lengths = {"band_factor": len(self.band_factor)}
        if self.optics is not None:
            lengths["optics.wavelength_nm"] = len(self.optics.wavelength_nm)
        if self.image is not None:
            lengths["image.files"] = len(self.image.files)
        return lengths
