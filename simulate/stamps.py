"""Stamps: the noiseless image of one source in every band, by Fourier transform.

The profiles and PSFs are GalSim's, evaluated in Fourier space on one grid that all bands share;
their product is transformed back with pixels half as wide, of which every second one is kept.
That folds the power beyond the pixel's Nyquist frequency as a real detector does.
"""

from __future__ import annotations

from collections.abc import Callable

import galsim
import numpy as np
from scipy import fft

from simulate.arms import draw_arms
from simulate.irregulars import draw_irregular
from simulate.psf import PointSpread
from simulate.sources import Sources

_FINE = 2
_SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_SMALLEST_ARMS_PX = 2.0
"""Half-light radius of the smallest disk whose arms are drawn; below, they are a smooth disk."""


class StampRenderer:
    """Draws sources through the PSFs of one field.

    Parameters
    ----------
    psfs : tuple of PointSpread, length B
    pixel_scale_arcsec : float
    shifts_px : ndarray of float64, shape (B, 2)
        Offset ``(dy, dx)`` of each band against the catalogue.
    """

    def __init__(
        self, psfs: tuple[PointSpread, ...], pixel_scale_arcsec: float, shifts_px: np.ndarray
    ) -> None:
        pixel = galsim.Pixel(1.0)
        self._psfs = [
            psf.profile() if psf.includes_pixel else galsim.Convolve(psf.profile(), pixel)
            for psf in psfs
        ]
        self._scale = pixel_scale_arcsec
        self._shifts = shifts_px
        self._psf_grids: dict[int, np.ndarray] = {}

    def draw(
        self, sources: Sources, index: int, flux: np.ndarray, radius_px: float
    ) -> tuple[tuple[int, int], np.ndarray]:
        """Draw one source.

        Parameters
        ----------
        sources : Sources
        index : int
            Which of them.
        flux : ndarray of float64, shape (B,)
        radius_px : float
            Half the side of the stamp, rounded up to a convenient size.

        Returns
        -------
        corner : tuple of int
            ``(y1, x1)`` of the stamp in the image; may be negative.
        stamp : ndarray of float32, shape (h, w, B)
        """
        size = stamp_size(radius_px)
        x, y = float(sources.x[index]), float(sources.y[index])
        y1 = int(np.floor(y + 0.5)) - size // 2
        x1 = int(np.floor(x + 0.5)) - size // 2
        spectrum = self._spectrum(sources, index, flux, size, (y - y1, x - x1))
        fine = fft.irfft2(spectrum, s=(_FINE * size, _FINE * size), axes=(1, 2))
        stamp = fine[:, ::_FINE, ::_FINE] * _FINE**2
        return (y1, x1), np.ascontiguousarray(np.moveaxis(stamp, 0, -1), dtype=np.float32)

    def _spectrum(
        self,
        sources: Sources,
        index: int,
        flux: np.ndarray,
        size: int,
        centre: tuple[float, float],
    ) -> np.ndarray:
        """Return the transform of the source in each band, shape (B, k_y, k_x)."""
        spectrum = self._psf_grid(size) * flux[:, None, None]
        if sources.disk_radius_arcsec[index] > 0.0:
            spectrum *= self._galaxy_spectrum(sources, index, size)
        if not self._shifts.any():
            return spectrum * _phase(size, *centre)
        for b, (dy, dx) in enumerate(self._shifts):
            spectrum[b] *= _phase(size, centre[0] + dy, centre[1] + dx)
        return spectrum

    def _galaxy_spectrum(self, sources: Sources, index: int, size: int) -> np.ndarray:
        """Return the transform of a centred galaxy of unit flux, shape (B, k_y, k_x)."""
        bulge_share = sources.bulge_fraction[index][:, None, None]
        arms_share = sources.arms_fraction[index][:, None, None]
        radius = float(sources.disk_radius_arcsec[index]) / self._scale
        ratio = float(sources.disk_axis_ratio[index])
        angle = float(sources.angle_rad[index])
        disk: np.ndarray | float = 0.0
        if bulge_share.min() < 1.0:
            disk = _sersic_grid(1.0, radius, ratio, angle, size)
        total = (1.0 - bulge_share) * disk
        if arms_share.max() > 0.0 and radius > _SMALLEST_ARMS_PX:
            seed = int(sources.structure_seed[index])
            draw = draw_irregular if sources.is_irregular[index] else draw_arms
            structure = _structure_grid(draw, seed, radius, ratio, angle, size)
            total = total + arms_share * (structure - disk)
        if bulge_share.max() > 0.0:
            bulge = _sersic_grid(
                float(sources.bulge_index[index]),
                float(sources.bulge_radius_arcsec[index]) / self._scale,
                float(sources.bulge_axis_ratio[index]),
                angle,
                size,
            )
            total = total + bulge_share * bulge
        return total

    def _psf_grid(self, size: int) -> np.ndarray:
        """Return the transform of PSF and pixel in each band, kept for the next source."""
        if size not in self._psf_grids:
            self._psf_grids[size] = np.stack([_k_image(psf, size) for psf in self._psfs])
        return self._psf_grids[size]


def stamp_size(radius_px: float) -> int:
    """Return the smallest convenient even side that holds a radius; the largest is 1024."""
    for size in _SIZES:
        if size >= 2.0 * radius_px + 4.0:
            return size
    return _SIZES[-1]


def _k_image(profile: galsim.GSObject, size: int) -> np.ndarray:
    """Evaluate a profile's transform on the half-plane grid of a real FFT."""
    fine = _FINE * size
    bounds = galsim.BoundsI(0, fine // 2, -fine // 2, fine // 2 - 1)
    image = galsim.ImageCD(bounds, scale=2.0 * np.pi / size)
    profile.drawKImage(image=image, recenter=False)
    return np.fft.ifftshift(image.array, axes=0)


def _sersic_grid(
    index: float, radius_px: float, axis_ratio: float, angle_rad: float, size: int
) -> np.ndarray:
    """Return the transform of a Sersic profile; the radius runs along the major axis."""
    profile = galsim.Sersic(n=float(index), half_light_radius=radius_px * np.sqrt(axis_ratio))
    shear = galsim.Shear(q=float(axis_ratio), beta=float(angle_rad) * galsim.radians)
    return _k_image(profile.shear(shear), size)


def _structure_grid(
    draw: Callable[..., np.ndarray],
    seed: int,
    radius_px: float,
    axis_ratio: float,
    angle_rad: float,
    size: int,
) -> np.ndarray:
    """Return the transform of spiral arms or clumps, centred on the origin."""
    fine = _FINE * size
    middle = size / 2.0
    light = draw(
        np.random.default_rng(seed),
        size=fine,
        step_px=1.0 / _FINE,
        centre_px=(middle, middle),
        half_light_radius_px=radius_px,
        axis_ratio=axis_ratio,
        angle_rad=angle_rad,
    )
    return fft.rfft2(np.roll(light, (-size, -size), axis=(0, 1)))


def _phase(size: int, y: float, x: float) -> np.ndarray:
    """Return the transform of a shift by ``(y, x)`` pixels."""
    fine = _FINE * size
    k_y = 2.0 * np.pi / size * fft.fftfreq(fine, 1.0 / fine)
    k_x = 2.0 * np.pi / size * np.arange(fine // 2 + 1)
    return np.exp(-1j * y * k_y)[:, None] * np.exp(-1j * x * k_x)[None, :]
