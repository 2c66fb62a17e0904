"""Point spread functions of HST cameras, from the telescope's pupil.

The optical transfer function of the pupil (a 2.4 m circle, secondary mirror, four vanes; geometry
by GalSim) is scaled with wavelength, averaged over the filter, blurred for charge diffusion and
figure errors, and given halos of scattered light. All is done in Fourier space, where the
renderer needs it; nothing is downloaded.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

from simulate.star_clusters.filters import HstFilter

DIAMETER_M = 2.4
OBSCURATION = 0.33
VANE_WIDTH = 0.011  # of the diameter

_ARCSEC = 180.0 * 3600.0 / np.pi
_PUPIL_SIZE = 2.2  # in diameters: the autocorrelation reaches 2 of them
_PUPIL_CELLS = 512
_WAVELENGTHS = 7


@lru_cache(maxsize=1)
def _pupil_transfer() -> tuple[np.ndarray, float]:
    """Return the autocorrelation of the pupil, centred, peak 1, and its cell in diameters."""
    import galsim

    aperture = galsim.Aperture(
        diam=1.0,
        obscuration=OBSCURATION,
        nstruts=4,
        strut_thick=VANE_WIDTH,
        strut_angle=45 * galsim.degrees,
        pupil_plane_size=_PUPIL_SIZE,
        pupil_plane_scale=_PUPIL_SIZE / _PUPIL_CELLS,
    )
    spectrum = np.abs(np.fft.fft2(aperture.illuminated.astype(np.float64))) ** 2
    transfer = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    return transfer / transfer.max(), float(aperture.pupil_plane_scale)


def diffraction_transfer(wavelength_nm: float, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """Return the transfer function of the unaberrated telescope at one wavelength.

    Parameters
    ----------
    wavelength_nm : float
    ky, kx : ndarray of float, same shape
        Spatial frequencies, cycles per arcsec.

    Returns
    -------
    ndarray of float64
        1 at frequency 0; 0 beyond ``D / wavelength``.
    """
    transfer, cell = _pupil_transfer()
    centre = transfer.shape[0] // 2
    to_cells = wavelength_nm * 1e-9 / DIAMETER_M * _ARCSEC / cell
    at = [centre + ky * to_cells, centre + kx * to_cells]
    return map_coordinates(transfer, at, order=1, mode="constant", cval=0.0)


def transfer_function(
    item: HstFilter,
    ky: np.ndarray,
    kx: np.ndarray,
    *,
    size_factor: float = 1.0,
    pixel_arcsec: float | None = None,
) -> np.ndarray:
    """Return the Fourier transform of a filter's point spread function, detector pixel included.

    Parameters
    ----------
    item : HstFilter
    ky, kx : ndarray of float, same shape
        Spatial frequencies, cycles per arcsec.
    size_factor : float
        Stretches everything but the pixel: 1.1 is a profile 10 % wider.
    pixel_arcsec : float, optional
        Side of the square pixel that light is integrated over; that of the camera by default;
        0 for none.

    Returns
    -------
    ndarray of float64
        Real (the profile is symmetric), 1 at frequency 0.
    """
    y, x = ky * size_factor, kx * size_factor
    k = np.hypot(y, x)
    wavelengths = np.linspace(*item.range_nm, _WAVELENGTHS)
    core = sum(diffraction_transfer(w, y, x) for w in wavelengths) / _WAVELENGTHS
    core = core * np.exp(-2.0 * (np.pi * k * item.blur_arcsec) ** 2)
    total = (1.0 - item.inner_halo[0] - item.outer_halo[0]) * core
    for share, scale in (item.inner_halo, item.outer_halo):
        # The transform of a / (2 pi (r^2 + a^2)^(3/2)) is exp(-2 pi k a).
        total = total + share * np.exp(-2.0 * np.pi * k * scale)
    side = item.pixel_arcsec if pixel_arcsec is None else pixel_arcsec
    return total * np.sinc(ky * side) * np.sinc(kx * side)


def psf_image(
    item: HstFilter, *, size: int, pixel_scale_arcsec: float, size_factor: float = 1.0
) -> np.ndarray:
    """Return the image of a star that stands on the centre of the middle pixel.

    Parameters
    ----------
    item : HstFilter
    size : int
        Odd number of pixels a side.
    pixel_scale_arcsec : float
        Of the image; the light is integrated over the camera's own pixels.
    size_factor : float

    Returns
    -------
    ndarray of float64, shape (size, size)
        Share of the star's light in each pixel; the sum is below 1 for the light outside.
    """
    # A much larger field keeps the wings from coming round the other side.
    field = max(3 * size, 256)
    oversampling = 3
    n = field * oversampling
    k = np.fft.fftfreq(n, pixel_scale_arcsec / oversampling)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    spectrum = transfer_function(item, ky, kx, size_factor=size_factor)
    image = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    middle, half = n // 2, size // 2
    reach = slice(middle - half * oversampling, middle + half * oversampling + 1, oversampling)
    return image[reach, reach] * oversampling**2


def encircled_energy(
    item: HstFilter, radii_arcsec: np.ndarray, *, on_pixels: bool = True
) -> np.ndarray:
    """Return the share of a star's light within circles about it.

    Parameters
    ----------
    item : HstFilter
    radii_arcsec : ndarray of float, shape (R,)
    on_pixels : bool
        As aperture photometry measures it, on the camera's pixels, with the light of each spread
        evenly over its area; else before any pixel.

    Returns
    -------
    ndarray of float64, shape (R,)
        Of all the light out to infinity.
    """
    from scipy.special import j1

    k = np.linspace(1e-9, 50.0, 5001)
    angles = np.linspace(0.0, np.pi / 2, 24, endpoint=False)
    ky, kx = np.outer(np.sin(angles), k), np.outer(np.cos(angles), k)
    side = item.pixel_arcsec if on_pixels else 0.0
    spectrum = transfer_function(item, ky, kx, pixel_arcsec=side)
    spectrum = (spectrum * np.sinc(ky * side) * np.sinc(kx * side)).mean(axis=0)
    radii = np.asarray(radii_arcsec, dtype=np.float64)
    kernel = 2.0 * np.pi * radii[:, None] * j1(2.0 * np.pi * radii[:, None] * k)
    return np.trapezoid(kernel * spectrum, k, axis=1)
