"""Stars to pixels: fluxes laid on a fine grid, convolved in Fourier space, read at the pixels.

The grid is finer than the pixels and wider than the stamp. A star's light goes to the 4 x 4 grid
points around it with the weights of a Kaiser-Bessel kernel, whose smoothing is divided out again
in Fourier space (a non-uniform fast Fourier transform), so a million stars cost little more than
one. Light that leaves one side of the wide field comes back at the other: nothing is lost.

References
----------
Beatty, Nishimura and Pauly 2005, IEEE Trans. Med. Imaging 24, 799: the kernel and its parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import fft2, ifft, ifft2, irfft, next_fast_len, rfft2
from scipy.sparse import csc_array

from simulate.star_clusters.filters import HstFilter
from simulate.star_clusters.psf_hst import transfer_function

OVERSAMPLING = 2
MARGIN_ARCSEC = 1.2

_WIDTH = 4  # grid points of the kernel
_BETA = np.pi * np.sqrt((_WIDTH / OVERSAMPLING * (OVERSAMPLING - 0.5)) ** 2 - 0.8)
_KERNEL_STEPS = 4096


@dataclass(frozen=True)
class StampGrid:
    """Geometry of a stamp and of the wider, finer grid that it is rendered on.

    Attributes
    ----------
    stamp_px : int
        Pixels a side.
    pixel_scale_arcsec : float
    oversampling : int
        Grid points a pixel and axis.
    binning : int
        Each pixel is the sum of so many by so many smaller ones.
    """

    stamp_px: int
    pixel_scale_arcsec: float
    oversampling: int = OVERSAMPLING
    binning: int = 1

    @property
    def margin_px(self) -> int:
        """Pixels before the stamp on the wide grid."""
        return (self.wide_px - self.stamp_px) // 2

    @property
    def wide_px(self) -> int:
        """Side of the wide field in pixels: a length that is quick to transform."""
        least = self.stamp_px + 2 * int(np.ceil(MARGIN_ARCSEC / self.pixel_scale_arcsec))
        return next_fast_len(least, real=False)

    @property
    def n(self) -> int:
        """Side of the wide field in grid points."""
        return self.wide_px * self.oversampling

    @property
    def wide_area_arcsec2(self) -> float:
        """Area of the wide field."""
        return (self.wide_px * self.pixel_scale_arcsec) ** 2

    def inside(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return which positions (stamp pixels, centres at integers) the wide field holds."""
        low, high = -self.margin_px - 0.5, self.wide_px - self.margin_px - 0.5
        return (y >= low) & (y < high) & (x >= low) & (x < high)

    def positions_of(self, other: StampGrid, position: np.ndarray) -> np.ndarray:
        """Return a coordinate in stamp pixels of `other`, which has the same centre, in ours."""
        ratio = other.pixel_scale_arcsec / self.pixel_scale_arcsec
        return (position - (other.stamp_px - 1) / 2.0) * ratio + (self.stamp_px - 1) / 2.0

    def draw_positions(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw positions spread evenly over the wide field, in stamp pixels."""
        low, high = -self.margin_px - 0.5, self.wide_px - self.margin_px - 0.5
        return rng.uniform(low, high, n), rng.uniform(low, high, n)

    def lattice(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the centres of all pixels of the wide field, in stamp pixels."""
        centres = np.arange(self.wide_px, dtype=np.float64) - self.margin_px
        y, x = np.meshgrid(centres, centres, indexing="ij")
        return y.ravel(), x.ravel()

    def deposit(self, y: np.ndarray, x: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """Lay point sources on the fine grid, each on the 4 x 4 points around it.

        Parameters
        ----------
        y, x : ndarray of float, shape (N,)
            Stamp pixels, centres at integers.
        flux : ndarray of float, shape (N, B)

        Returns
        -------
        ndarray of float32, shape (B, n, n)
            Smoothed by the kernel, which `psf_spectra` takes out again.
        """
        return self._lay(self.spread_matrix(y, x), flux)

    def deposit_lattice(self, flux: np.ndarray) -> np.ndarray:
        """Lay light on all pixels of the wide field at once: `deposit` at the `lattice`.

        Parameters
        ----------
        flux : ndarray of float, shape (wide_px^2, B)

        Returns
        -------
        ndarray of float32, shape (B, n, n)
        """
        return self._lay(_lattice_matrix(self), flux)

    def _lay(self, spread: csc_array, flux: np.ndarray) -> np.ndarray:
        light = spread @ np.ascontiguousarray(flux, dtype=np.float32)
        return np.ascontiguousarray(light.T).reshape(-1, self.n, self.n)

    def spread_matrix(self, y: np.ndarray, x: np.ndarray) -> csc_array:
        """Return the share of each position's light at each grid point, shape (n^2, N)."""
        n, n_stars = self.n, len(y)
        rows, weight_y = self._spread(y)
        columns, weight_x = self._spread(x)
        at = rows[:, :, None] * n + columns[:, None, :]
        weight = weight_y[:, :, None] * weight_x[:, None, :]
        ends = np.arange(n_stars + 1, dtype=np.int32) * _WIDTH**2
        return csc_array((weight.ravel(), at.ravel(), ends), shape=(n * n, n_stars))

    def _spread(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the grid points around positions along one axis, and the kernel there."""
        fine = (np.asarray(position, dtype=np.float64) + self.margin_px) * self.oversampling
        first = np.ceil(fine - _WIDTH / 2).astype(np.int32)
        points = first[:, None] + np.arange(_WIDTH, dtype=np.int32)
        distance = np.abs(points - fine[:, None]) * (_KERNEL_STEPS / (_WIDTH / 2))
        return points % self.n, _kernel_table()[np.rint(distance).astype(np.int32)]


@lru_cache(maxsize=2)
def _lattice_matrix(grid: StampGrid) -> csc_array:
    return grid.spread_matrix(*grid.lattice())


@lru_cache(maxsize=1)
def _kernel_table() -> np.ndarray:
    """Return the Kaiser-Bessel kernel from its centre to its edge."""
    u = np.arange(_KERNEL_STEPS + 1) / _KERNEL_STEPS
    table = np.i0(_BETA * np.sqrt(np.maximum(1.0 - u**2, 0.0))) / np.i0(_BETA)
    return table.astype(np.float32)


def _kernel_transform(frequency: np.ndarray) -> np.ndarray:
    """Return the transform of the kernel; `frequency` in cycles a grid point."""
    root = np.emath.sqrt(_BETA**2 - (np.pi * _WIDTH * frequency) ** 2)
    return (_WIDTH * np.sinh(root) / root).real / np.i0(_BETA)


@lru_cache(maxsize=16)
def psf_spectra(
    filters: tuple[HstFilter, ...], grid: StampGrid, size_factor: float = 1.0
) -> np.ndarray:
    """Return what each filter multiplies the transform of a fine grid by.

    The point spread function with the detector pixel, over the smoothing that `StampGrid.deposit`
    brings.

    Parameters
    ----------
    filters : tuple of HstFilter
    grid : StampGrid
    size_factor : float
        Stretches the point spread functions.

    Returns
    -------
    ndarray of float32, shape (B, n, n)
    """
    spacing = grid.pixel_scale_arcsec / grid.oversampling
    # The pupil is symmetric about both axes: one quadrant of the frequencies tells all.
    k, where = np.unique(np.abs(np.fft.fftfreq(grid.n, spacing)), return_inverse=True)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    smoothing = _kernel_transform(ky * spacing) * _kernel_transform(kx * spacing)
    binned = _binning_transform(ky, grid) * _binning_transform(kx, grid)
    quadrants = [transfer_function(f, ky, kx, size_factor=size_factor) for f in filters]
    return np.stack(
        [(quadrant * binned / smoothing)[np.ix_(where, where)] for quadrant in quadrants]
    ).astype(np.float32)


def _binning_transform(k: np.ndarray, grid: StampGrid) -> np.ndarray:
    """Return the transform of the mean of the smaller pixels that make up a pixel."""
    at = (np.arange(grid.binning) - (grid.binning - 1) / 2.0) / grid.binning
    phase = 2.0 * np.pi * grid.pixel_scale_arcsec * at
    return np.mean([np.cos(k * one) for one in phase], axis=0)


def convolve(scene: np.ndarray, spectra: np.ndarray, grid: StampGrid) -> np.ndarray:
    """Convolve one scene with the point spread functions.

    Parameters
    ----------
    scene : ndarray of float32, shape (B, n, n)
        From `StampGrid.deposit`.
    spectra : ndarray of float32, shape (B, n, n)
        From `psf_spectra`.
    grid : StampGrid

    Returns
    -------
    ndarray of float32, shape (H, W, B)
        Light in each pixel of the stamp.
    """
    size, factor = grid.stamp_px, grid.oversampling
    stamp = np.empty((size, size, len(spectra)), dtype=np.float32)
    cut = slice(grid.margin_px, grid.margin_px + size)
    half = grid.n // 2 + 1
    for b, spectrum in enumerate(spectra):
        transformed = rfft2(scene[b]) * spectrum[:, :half]
        rows = transformed.reshape(factor, grid.wide_px, half).sum(axis=0)
        rows = ifft(rows, axis=0, overwrite_x=True)[cut]
        stamp[..., b] = irfft(rows, n=grid.n, axis=1)[:, ::factor][:, cut] * factor
    return stamp


def convolve_pair(
    first: np.ndarray, second: np.ndarray, spectra: np.ndarray, grid: StampGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Convolve two scenes with the same point spread functions, for the price of one.

    The second scene rides as the imaginary part.

    Parameters
    ----------
    first, second : ndarray of float32, shape (B, n, n)
        From `StampGrid.deposit`.
    spectra : ndarray of float32, shape (B, n, n)
        From `psf_spectra`.
    grid : StampGrid

    Returns
    -------
    first, second : ndarray of float32, shape (H, W, B)
        Light in each pixel of the stamp.
    """
    size, margin = grid.stamp_px, grid.margin_px
    stamps = np.empty((2, size, size, len(spectra)), dtype=np.float32)
    cut = slice(margin, margin + size)
    for b, spectrum in enumerate(spectra):
        scene = np.empty((grid.n, grid.n), dtype=np.complex64)
        scene.real, scene.imag = first[b], second[b]
        transformed = fft2(scene, overwrite_x=True)
        transformed *= spectrum
        wide = ifft2(_read_at_pixels(transformed, grid), overwrite_x=True)
        stamps[0, ..., b], stamps[1, ..., b] = wide.real[cut, cut], wide.imag[cut, cut]
    return stamps[0], stamps[1]


def _read_at_pixels(spectrum: np.ndarray, grid: StampGrid) -> np.ndarray:
    """Fold a spectrum as reading every point of its image that is a pixel would.

    Scaled so that the light in the pixels adds up to the light on the grid.
    """
    shape = (grid.oversampling, grid.wide_px, grid.oversampling, grid.wide_px)
    return spectrum.reshape(shape).sum(axis=(0, 2))
