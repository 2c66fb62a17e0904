"""Sky and noise: gradients of the background, Poisson and read noise, resampled noise."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d


def draw_gradient(
    rng: np.random.Generator, shape: tuple[int, int], *, peak_to_valley: float
) -> np.ndarray:
    """Draw a smooth background slope with zero mean.

    A plane and a quadratic bowl of random orientation, scaled to `peak_to_valley`.

    Returns
    -------
    ndarray of float64, shape (H, W)
    """
    if peak_to_valley <= 0.0:
        return np.zeros(shape)
    y = np.linspace(-1.0, 1.0, shape[0])[:, None]
    x = np.linspace(-1.0, 1.0, shape[1])[None, :]
    a, b, c, d, e = rng.normal(size=5) * (1.0, 1.0, 0.4, 0.4, 0.4)
    surface = a * x + b * y + c * x * y + d * x**2 + e * y**2
    surface -= surface.mean()
    return surface * (peak_to_valley / np.ptp(surface))


def add_poisson_noise(
    rng: np.random.Generator, electrons: np.ndarray, *, read_noise_e: float
) -> np.ndarray:
    """Return one exposure: Poisson counts of `electrons` plus Gaussian read noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    electrons : ndarray of float, any shape
        Expected counts, sky included; negative values count as zero.
    read_noise_e : float

    Returns
    -------
    ndarray of float64
    """
    counts = rng.poisson(np.maximum(electrons, 0.0)).astype(np.float64)
    if read_noise_e > 0.0:
        counts += rng.normal(0.0, read_noise_e, electrons.shape)
    return counts


def add_resampled_noise(
    rng: np.random.Generator,
    electrons: np.ndarray,
    *,
    read_noise_e: float,
    correlation: float,
) -> np.ndarray:
    """Return a coadd: Gaussian noise of the Poisson variance, correlated between neighbours.

    Parameters
    ----------
    rng : numpy.random.Generator
    electrons : ndarray of float, shape (H, W)
        Expected counts, sky included.
    read_noise_e : float
    correlation : float
        Correlation of the noise of two pixels that share a side, 0 to 0.6.

    Returns
    -------
    ndarray of float64, shape (H, W)
        The variance of a pixel does not depend on `correlation`.
    """
    sigma = np.sqrt(np.maximum(electrons, 0.0) + read_noise_e**2)
    return electrons + sigma * correlated_normal(rng, electrons.shape, correlation)


def correlated_normal(
    rng: np.random.Generator, shape: tuple[int, int], correlation: float
) -> np.ndarray:
    """Draw normal noise of unit variance with a given correlation of neighbours.

    White noise is convolved with ``(c, 1, c)`` along each axis; the correlation at a lag of one
    pixel is then ``2 c / (1 + 2 c^2)``.

    Returns
    -------
    ndarray of float64, shape (H, W)
    """
    white = rng.standard_normal((shape[0] + 2, shape[1] + 2))
    if correlation <= 0.0:
        return white[1:-1, 1:-1]
    c = (1.0 - np.sqrt(max(0.0, 1.0 - 2.0 * correlation**2))) / (2.0 * correlation)
    kernel = np.array([c, 1.0, c]) / np.sqrt(1.0 + 2.0 * c**2)
    for axis in (0, 1):
        white = correlate1d(white, kernel, axis=axis)
    return white[1:-1, 1:-1]
