"""How much the pixels of stamps scatter: what tells images in another unit, or of another depth.

No stamp scatters less than its exposure lets it, and few scatter much more than the most crowded
field does; a factor of a unit, or of a wrong zero point, moves all stamps of a band alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_MAD_TO_SIGMA = 1.4826
_BLOCKS = 4  # a side: some block is free of the cluster, but for the largest ones
_LEAST_STAMPS = 200
_PERCENTILES = (0.05, 5.0, 50.0, 95.0, 99.95)
_A_FEW = 5  # stamps whose median is that of the mosaic


def pixel_scatter(pixels: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the standard deviation along an axis, from the median absolute deviation.

    Parameters
    ----------
    pixels : ndarray of float
        NaN where there is no data.
    axis : int

    Returns
    -------
    ndarray of float
        NaN where there is none at all.
    """
    median = np.median if np.isfinite(pixels).all() else np.nanmedian  # the first is much faster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN
        middle = median(pixels, axis=axis, keepdims=True)
        scatter: np.ndarray = _MAD_TO_SIGMA * median(np.abs(pixels - middle), axis=axis)
    return scatter


def quiet_noise(stamps: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Measure the scatter of the pixels in the quietest part of each stamp, in units of `scale`.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
        NaN where there is no data.
    scale : ndarray of float, shape (B,)
        Noise of each band of the training set.

    Returns
    -------
    ndarray of float64, shape (N, B)
        The least of 4 x 4 blocks; NaN where a band has no data.
    """
    n, height, width, n_bands = stamps.shape
    h, w = height // _BLOCKS, width // _BLOCKS
    blocks = stamps[:, : h * _BLOCKS, : w * _BLOCKS].reshape(n, _BLOCKS, h, _BLOCKS, w, n_bands)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, _BLOCKS**2, n_bands, h * w)
    scatter = pixel_scatter(blocks, axis=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bands without data
        return np.nanmin(np.where(scatter > 0, scatter, np.nan), axis=1) / scale


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseRange:
    """What scatter the pixels of each band may have.

    Attributes
    ----------
    levels : ndarray of float, shape (5, B)
        Least, low, median, high and largest scatter of the stamps that it was learnt from, in
        units of the scale; without bands nothing is known.
    margin : float
        By such a factor may the scatter lie outside.
    """

    levels: np.ndarray = field(default_factory=lambda: np.zeros((5, 0)))
    margin: float = 1.25

    @classmethod
    def of(cls, noise: np.ndarray, *, margin: float = margin) -> NoiseRange:
        """Learn from stamps; nothing where some band has fewer than 200.

        Parameters
        ----------
        noise : ndarray of float, shape (N, B)
            From `quiet_noise`; NaN where a band has no data.
        margin : float
        """
        if (np.isfinite(noise).sum(axis=0) < _LEAST_STAMPS).any():
            return cls(margin=margin)
        return cls(levels=np.nanpercentile(noise, _PERCENTILES, axis=0), margin=margin)

    @property
    def is_known(self) -> bool:
        """Return whether anything was learnt."""
        return bool(self.levels.size)

    def to_list(self) -> list[list[float]]:
        """Return plain values, ready for JSON."""
        return [[float(f"{value:.5g}") for value in row] for row in self.levels]

    @classmethod
    def from_list(
        cls, rows: Sequence[Sequence[float]] | None, *, margin: float = margin
    ) -> NoiseRange:
        """Rebuild what `to_list` returned; nothing is known from nothing."""
        return cls(levels=np.asarray(rows, float), margin=margin) if rows else cls(margin=margin)

    def is_outside(self, noise: np.ndarray) -> np.ndarray:
        """Return True for stamps of which some band is outside, shape (N,).

        Parameters
        ----------
        noise : ndarray of float, shape (N, B)
            NaN where a band has no data.
        """
        if not self.is_known:
            return np.zeros(len(noise), bool)
        low, high = self.levels[0] / self.margin, self.levels[-1] * self.margin
        return ((noise < low) | (noise > high)).any(axis=1)


class NoiseWatch:
    """Looks at the stamps of a whole mosaic, for its unit and depth.

    Parameters
    ----------
    limits : NoiseRange
    bands : sequence of str
        Names, for the message.
    """

    def __init__(self, limits: NoiseRange, bands: Sequence[str]) -> None:
        self.limits, self.bands = limits, tuple(bands)
        self._seen: list[np.ndarray] = []

    def look(self, noise: np.ndarray) -> None:
        """Remember the scatter of some stamps, shape (n, B)."""
        self._seen.append(noise)

    def judge(self) -> str:
        """Return what is wrong with the scatter of all stamps seen, and begin anew.

        Returns
        -------
        str
            Empty where nothing is.
        """
        seen, self._seen = self._seen, []
        if not seen or not self.limits.is_known:
            return ""
        noise = np.concatenate(seen)
        levels = self.limits.levels
        low, high = (levels[1], levels[3]) if len(noise) >= _A_FEW else (levels[0], levels[-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # bands without data
            middle = np.nanmedian(noise, axis=0)
        margin = self.limits.margin
        odd = (middle < low / margin) | (middle > high * margin)
        if not odd.any():
            return ""
        times = middle / levels[2]
        found = ", ".join(f"{self.bands[b]} {times[b]:.3g}" for b in np.flatnonzero(odd))
        return (
            f"pixels do not scatter as in the training set (times its scatter: {found}). Is it in "
            "the same unit (electrons a second), with the right zero points, of the same depth?"
        )
