"""Marks of the detector that are taken for objects: cosmic rays, hot pixels, bleeding, edges.

Each takes an observed stamp and returns a new one; the point spread function knows nothing of
them, which is how they are told from stars.
"""

from __future__ import annotations

import numpy as np

FULL_WELL_E = 72_000.0
"""Electrons of a full pixel of WFC3/UVIS (WFC3 Instrument Handbook, section 5.4.5)."""

N_EXPOSURES = 3
"""Exposures that a stamp is the sum of."""

_TRACK_LENGTH_PX = (0.0, 9.0)
_TRACK_SIGMA_PX = 0.45
_BLEED_LENGTH_PX = (8.0, 40.0)
_RIM_PX = 3.0
_RIM_NOISE = 5.0

Point = tuple[float, float]


def add_cosmic_ray(
    stamp: np.ndarray, rng: np.random.Generator, centre: Point, flux: np.ndarray
) -> np.ndarray:
    """Add the track of a cosmic ray that survived in one band, seldom in two.

    Parameters
    ----------
    stamp : ndarray of float32, shape (H, W, B)
        Electrons a second.
    rng : numpy.random.Generator
    centre : tuple of float
        ``(y, x)`` of the middle of the track, pixels.
    flux : ndarray of float, shape (B,)
        Sum of the track where a band has one.

    Returns
    -------
    ndarray of float32, shape (H, W, B)
    """
    marked = stamp.copy()
    n_bands = 1 if rng.random() < 0.8 else 2
    for band in rng.permutation(stamp.shape[2])[:n_bands]:
        place = (centre[0] + rng.normal(0, 0.3), centre[1] + rng.normal(0, 0.3))
        length, angle = rng.uniform(*_TRACK_LENGTH_PX), rng.uniform(0, np.pi)
        track = _line(stamp.shape[:2], place, length, angle)
        marked[..., band] += (track * (flux[band] / track.sum())).astype(np.float32)
    return marked


def add_hot_pixels(
    stamp: np.ndarray, rng: np.random.Generator, centre: Point, flux: np.ndarray
) -> np.ndarray:
    """Add one to three single bright pixels, each in a band of its own choice.

    Parameters and result as of `add_cosmic_ray`; `flux` is that of a pixel.
    """
    marked = stamp.copy()
    for _ in range(rng.integers(1, 4)):
        y, x = (round(c + d) for c, d in zip(centre, rng.integers(-1, 2, 2), strict=True))
        band = int(rng.integers(stamp.shape[2]))
        marked[y, x, band] += np.float32(flux[band] * rng.uniform(0.5, 1.0))
    return marked


def add_bleeding(
    stamp: np.ndarray, rng: np.random.Generator, centre: Point, exposure_s: np.ndarray
) -> np.ndarray:
    """Cut a bright star at the full well and let it bleed along a line, in some bands.

    Parameters
    ----------
    stamp, rng, centre
        As of `add_cosmic_ray`; the star is there already.
    exposure_s : ndarray of float, shape (B,)

    Returns
    -------
    ndarray of float32, shape (H, W, B)
    """
    full = (FULL_WELL_E * N_EXPOSURES / np.asarray(exposure_s)).astype(np.float32)
    marked = np.minimum(stamp, full)
    angle = rng.uniform(0.0, np.pi)
    for band in range(stamp.shape[2]):
        excess = float((stamp[..., band] - marked[..., band]).sum() / full[band])
        if excess > 0:
            length = np.clip(excess, *_BLEED_LENGTH_PX)
            trail = _line(stamp.shape[:2], centre, length, angle) > 0.5
            marked[..., band][trail] = full[band]
    return marked


def add_edge(
    stamp: np.ndarray, rng: np.random.Generator, centre: Point, noise: np.ndarray
) -> np.ndarray:
    """Take the data away beyond a line near the centre, and make its rim noisy.

    Parameters
    ----------
    stamp, rng, centre
        As of `add_cosmic_ray`.
    noise : ndarray of float, shape (B,)
        Standard deviation of the background.

    Returns
    -------
    ndarray of float32, shape (H, W, B)
        NaN beyond the line.
    """
    angle = rng.uniform(0.0, 2.0 * np.pi)
    away = rng.uniform(1.0, 5.0)
    y, x = np.indices(stamp.shape[:2])
    depth = (y - centre[0]) * np.sin(angle) + (x - centre[1]) * np.cos(angle) - away
    rim = (depth > -_RIM_PX) & (depth <= 0)
    marked = stamp.copy()
    spikes = np.abs(rng.standard_normal((int(rim.sum()), stamp.shape[2]))) * noise * _RIM_NOISE
    marked[rim] += spikes.astype(np.float32)
    marked[depth > 0] = np.nan
    return marked


def _line(shape: tuple[int, int], centre: Point, length: float, angle: float) -> np.ndarray:
    """Return a line segment with a Gaussian cross-section of peak 1."""
    y, x = np.indices(shape)
    y, x = y - centre[0], x - centre[1]
    along = np.clip(y * np.sin(angle) + x * np.cos(angle), -length / 2, length / 2)
    distance = np.hypot(y - along * np.sin(angle), x - along * np.cos(angle))
    return np.exp(-(distance**2) / (2 * _TRACK_SIGMA_PX**2))
