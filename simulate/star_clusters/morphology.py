"""What an object looks like without noise: peaks, asymmetry, elongation; and its class by them.

Measured on the image that the telescope would form of the object alone, so that the class of a
mock is what could be seen of it at its distance, not how it was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PEAK_HEIGHT = 0.12
"""A peak stands out by at least this, in units of the highest one."""

MIN_PEAKS_MULTIPLE = 3
"""Peaks of class 3; two close ones alone are taken for a pair."""

SYMMETRIC_BELOW, ASYMMETRIC_ABOVE = 0.13, 0.20
"""Asymmetry of class 1 at most, of class 2 at least."""

SMOOTHED_ABOVE = 0.12
"""Asymmetry of class 2 at least after smoothing: of its shape, not of a few bright stars."""

SMOOTHING_PX = 2.0
"""Standard deviation of the Gaussian that smooths."""

FAINT_PEAK_HEIGHT, MOST_FAINT_PEAKS = 0.05, 2
"""With more peaks than this, of this height, an image lies between classes 2 and 3."""

ROUND_BELOW, LONG_ABOVE = 0.22, 0.35
"""Elongation of class 1 at most, of class 2 at least (one of the two suffices)."""

_APERTURE_LIGHT = 0.85  # share of the light inside the aperture of both numbers
_MIN_APERTURE_PX = 3.0
_HALF_STEPS = 3  # the centre of rotation moves by so many half pixels at most


@dataclass(frozen=True)
class Morphology:
    """Numbers of one noiseless image.

    Attributes
    ----------
    n_peaks : int
        Peaks that stand out by `PEAK_HEIGHT`.
    asymmetry : float
        Sum of ``|I - I_180| / 2`` over the sum of ``I`` in an aperture, about the best centre: 0
        for a point-symmetric image (Conselice 2003, ApJS 147, 1, eq. 15, without background).
    elongation : float
        One minus the axis ratio from the second moments in the aperture.
    smoothed_asymmetry : float
        The asymmetry of the image smoothed by `SMOOTHING_PX`.
    n_faint_peaks : int
        Peaks that stand out by `FAINT_PEAK_HEIGHT`.
    """

    n_peaks: int
    asymmetry: float
    elongation: float
    smoothed_asymmetry: float = 0.0
    n_faint_peaks: int = 0

    @property
    def class_id(self) -> int:
        """Return 1, 2 or 3; 0 for an image between the classes."""
        if self.n_peaks >= MIN_PEAKS_MULTIPLE:
            return 3
        if self.n_peaks != 1:
            return 0
        is_lopsided = self.asymmetry > ASYMMETRIC_ABOVE and self.smoothed_asymmetry > SMOOTHED_ABOVE
        if is_lopsided or self.elongation > LONG_ABOVE:
            return 2 if self.n_faint_peaks <= MOST_FAINT_PEAKS else 0
        if self.asymmetry < SYMMETRIC_BELOW and self.elongation < ROUND_BELOW:
            return 1
        return 0


def measure_morphology(image: np.ndarray, centre: tuple[float, float]) -> Morphology:
    """Measure a noiseless image of one object.

    Parameters
    ----------
    image : ndarray of float, shape (H, W)
        Light, without background.
    centre : tuple of float
        ``(y, x)`` near the object's middle, pixels.

    Returns
    -------
    Morphology
    """
    from scipy.ndimage import gaussian_filter

    image = np.maximum(np.asarray(image, np.float64), 0.0)
    if not image.sum() > 0:
        return Morphology(0, 0.0, 0.0)
    middle = _centroid(image, centre)
    radius = _aperture(image, middle)
    return Morphology(
        n_peaks=count_peaks(image),
        asymmetry=_asymmetry(image, middle, radius),
        elongation=_elongation(image, middle, radius),
        smoothed_asymmetry=_asymmetry(gaussian_filter(image, SMOOTHING_PX), middle, radius),
        n_faint_peaks=count_peaks(image, FAINT_PEAK_HEIGHT),
    )


def count_peaks(image: np.ndarray, height: float = PEAK_HEIGHT) -> int:
    """Count maxima that rise above every way to a higher one by `height` times the highest."""
    from scipy.ndimage import label
    from skimage.morphology import h_maxima

    scaled = image / image.max()
    # Plateaus of rounding are no peaks.
    scaled = np.round(scaled, 6)
    return int(label(h_maxima(scaled, height), np.ones((3, 3)))[1])


def _centroid(image: np.ndarray, centre: tuple[float, float]) -> tuple[float, float]:
    """Return the centre of light, seen through a window that moves with it."""
    y, x = np.indices(image.shape)
    cy, cx = centre
    for _ in range(5):
        weight = image * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 5.0**2))
        total = weight.sum()
        if not total > 0:
            break
        cy, cx = float((weight * y).sum() / total), float((weight * x).sum() / total)
    return cy, cx


def _aperture(image: np.ndarray, middle: tuple[float, float]) -> float:
    """Return the radius that holds most of the light, not beyond the frame."""
    y, x = np.indices(image.shape)
    radius = np.hypot(y - middle[0], x - middle[1])
    order = np.argsort(radius, axis=None)
    share = np.cumsum(image.ravel()[order]) / image.sum()
    found = radius.ravel()[order][np.searchsorted(share, _APERTURE_LIGHT)]
    return float(np.clip(found, _MIN_APERTURE_PX, min(image.shape) / 2 - 3))


def _asymmetry(image: np.ndarray, middle: tuple[float, float], radius: float) -> float:
    """Return the least asymmetry about centres on a lattice of half pixels."""
    best = np.inf
    base = [round(2 * c) for c in middle]
    for dy in range(-_HALF_STEPS, _HALF_STEPS + 1):
        for dx in range(-_HALF_STEPS, _HALF_STEPS + 1):
            best = min(best, _asymmetry_about(image, base[0] + dy, base[1] + dx, radius))
    return best


def _asymmetry_about(image: np.ndarray, twice_y: int, twice_x: int, radius: float) -> float:
    """Return the asymmetry about the point ``(twice_y / 2, twice_x / 2)``."""
    rows, columns = _mirrored(twice_y, image.shape[0]), _mirrored(twice_x, image.shape[1])
    part = image[rows[0] : rows[1], columns[0] : columns[1]]
    y, x = np.indices(part.shape)
    inside = np.hypot(y - (part.shape[0] - 1) / 2, x - (part.shape[1] - 1) / 2) <= radius
    light = part[inside].sum()
    if not light > 0:
        return np.inf
    return float(np.abs(part - part[::-1, ::-1])[inside].sum() / (2 * light))


def _mirrored(twice: int, size: int) -> tuple[int, int]:
    """Return the longest range of pixels that a mirror at ``twice / 2`` maps onto itself."""
    first = max(0, twice - (size - 1))
    return first, twice - first + 1


def _elongation(image: np.ndarray, middle: tuple[float, float], radius: float) -> float:
    y, x = np.indices(image.shape)
    y, x = y - middle[0], x - middle[1]
    weight = np.where(np.hypot(y, x) <= radius, image, 0.0)
    total = weight.sum()
    yy, xx, xy = ((weight * v).sum() / total for v in (y * y, x * x, x * y))
    long, short = np.linalg.eigvalsh([[yy, xy], [xy, xx]])[::-1]
    return float(1.0 - np.sqrt(max(short, 0.0) / long)) if long > 0 else 0.0
