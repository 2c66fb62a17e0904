"""Draw the PSFs of a field: seeing as Moffat or Kolmogorov profiles, telescopes in space, images.

Every model returns one profile a band, in pixels of the field.
"""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np

from astro_io.errors import ImageError, InputNotFoundError
from simulate.psf import PointSpread, ProfilePsf, Psf
from simulate.psf_config import OpticsConfig, PsfConfig, PsfImageConfig

_SMALLEST_FWHM_PX = 1.2
"""Below this width the images would be undersampled beyond what the renderer folds."""


def draw_psfs(
    rng: np.random.Generator, config: PsfConfig, *, pixel_scale_arcsec: float, n_bands: int
) -> tuple[PointSpread, ...]:
    """Draw the PSFs of a field: one profile a band, alike but not equal.

    Returns
    -------
    tuple of PointSpread, length `n_bands`
        The FWHM of seeing is kept above 1.2 px, below which images would be undersampled.
    """
    if config.optics is not None:
        return _draw_optics(rng, config.optics, pixel_scale_arcsec)
    if config.image is not None:
        return tuple(
            read_psf_image(path, config.image, pixel_scale_arcsec) for path in config.image.files
        )
    moffats = _draw_moffats(rng, config, pixel_scale_arcsec, n_bands)
    if config.atmosphere is None:
        return moffats
    blur_px = rng.uniform(*config.atmosphere.instrument_fwhm_arcsec) / pixel_scale_arcsec
    return tuple(_turbulence(psf, float(blur_px)) for psf in moffats)


def optical_psf(
    config: OpticsConfig,
    *,
    wavelength_nm: float,
    pixel_scale_arcsec: float,
    roll_deg: float,
    defocus_waves: float,
    blur_arcsec: float,
) -> ProfilePsf:
    """Return the diffraction pattern of an obscured mirror with a spider, as an image records it.

    Parameters
    ----------
    config : OpticsConfig
        Of the telescope and its detector.
    wavelength_nm : float
    pixel_scale_arcsec : float
        Of the image, whose own pixel is not included.
    roll_deg, defocus_waves, blur_arcsec : float
        As drawn for the field.

    Returns
    -------
    ProfilePsf
    """
    parts = [
        galsim.OpticalPSF(
            lam=wavelength_nm,
            diam=config.diameter_m,
            obscuration=config.obscuration,
            nstruts=config.struts,
            strut_thick=config.strut_thickness,
            strut_angle=roll_deg * galsim.degrees,
            defocus=defocus_waves,
            oversampling=2.0,
            pad_factor=2.0,
            scale_unit=galsim.arcsec,
        ),
        galsim.Pixel(config.detector_pixel_arcsec),
    ]
    if blur_arcsec > 0.0:
        parts.append(galsim.Gaussian(sigma=blur_arcsec))
    if config.drop_arcsec > 0.0:
        parts.append(galsim.Pixel(config.drop_arcsec))
    light = galsim.Convolve(parts).dilate(1.0 / pixel_scale_arcsec)
    return ProfilePsf(light=light)


def read_psf_image(path: str, config: PsfImageConfig, pixel_scale_arcsec: float) -> ProfilePsf:
    """Read the image of a star; its flux is brought to 1 and its negative pixels to 0.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    ImageError
        If it holds no two-dimensional image with light in it.
    """
    from astropy.io import fits

    if not Path(path).is_file():
        raise InputNotFoundError(f"[psf.image] files: {path} does not exist.")
    try:
        with fits.open(path) as hdus:
            planes = [hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2]
    except OSError as error:
        raise ImageError(f"[psf.image] files: {path} cannot be read as FITS ({error}).") from error
    if not planes:
        raise ImageError(f"[psf.image] files: {path} holds no two-dimensional image.")
    pixels = np.nan_to_num(planes[0].astype(np.float64)).clip(min=0.0)
    if pixels.sum() <= 0.0:
        raise ImageError(f"[psf.image] files: {path} holds no light.")
    step_px = config.pixel_scale_arcsec / pixel_scale_arcsec
    image = galsim.Image(pixels / pixels.sum(), scale=step_px)
    light = galsim.InterpolatedImage(image, x_interpolant="lanczos5", flux=1.0)
    centroid = light.centroid
    return ProfilePsf(
        light=light.shift(-centroid.x, -centroid.y), includes_pixel=config.includes_pixel
    )


def _draw_moffats(
    rng: np.random.Generator, config: PsfConfig, pixel_scale_arcsec: float, n_bands: int
) -> tuple[Psf, ...]:
    """Draw the seeing of each band about the one of the field."""
    fwhm = rng.uniform(*config.fwhm_arcsec) / pixel_scale_arcsec
    beta = rng.uniform(*config.beta)
    psfs = []
    for b in range(n_bands):
        factor = config.band_factor[b] * np.exp(rng.normal(0.0, config.band_scatter))
        size = config.max_ellipticity * np.sqrt(rng.uniform())
        angle = rng.uniform(0.0, 2 * np.pi)
        psfs.append(
            Psf(
                fwhm_px=max(_SMALLEST_FWHM_PX, float(fwhm * factor)),
                beta=float(beta),
                g1=float(size * np.cos(angle)),
                g2=float(size * np.sin(angle)),
            )
        )
    return tuple(psfs)


def _turbulence(moffat: Psf, blur_fwhm_px: float) -> ProfilePsf:
    """Return a Kolmogorov profile, blurred by the camera, with the width and shear of a Moffat.

    References
    ----------
    Racine 1996, PASP 108, 699: long exposures through Kolmogorov turbulence.
    """
    seeing = np.sqrt(max(moffat.fwhm_px**2 - blur_fwhm_px**2, (0.5 * moffat.fwhm_px) ** 2))
    light: galsim.GSObject = galsim.Kolmogorov(fwhm=float(seeing))
    if blur_fwhm_px > 0.0:
        light = galsim.Convolve(light, galsim.Gaussian(fwhm=blur_fwhm_px))
    return ProfilePsf(light=light.shear(g1=moffat.g1, g2=moffat.g2))


def _draw_optics(
    rng: np.random.Generator, config: OpticsConfig, pixel_scale_arcsec: float
) -> tuple[ProfilePsf, ...]:
    """Draw roll, focus and jitter of a field; focus scales with the wavelength."""
    roll = float(rng.uniform(*config.roll_deg))
    defocus = float(rng.uniform(*config.defocus_waves) * rng.choice([-1.0, 1.0]))
    blur = float(rng.uniform(*config.blur_arcsec))
    return tuple(
        optical_psf(
            config,
            wavelength_nm=wavelength,
            pixel_scale_arcsec=pixel_scale_arcsec,
            roll_deg=roll,
            defocus_waves=defocus * config.wavelength_nm[0] / wavelength,
            blur_arcsec=blur,
        )
        for wavelength in config.wavelength_nm
    )
