"""From flux to network input: measure each band once per image, then scale every tile alike.

Four methods, named in `METHODS`:

``zscore``
    ``(x - sky) / sigma_sky`` with the sky level and its scatter measured robustly.
``paper``
    The published form: mean and standard deviation of all pixels, times 10 000, rounded into
    the range of int16.
``asinh``
    Inverse hyperbolic sine of the robust z-score: linear in the noise, logarithmic in the light.
``lupton``
    The same stretch applied to the mean of all bands, so that colours survive.

Bad and non-finite pixels become 0, the level of the background, in every method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_io.errors import ImageError

METHODS = ("zscore", "paper", "asinh", "lupton")

PAPER_FACTOR = 1.0e4
"""Burke et al. 2019 store ten-thousandths of a standard deviation as int16."""

INT16_MIN, INT16_MAX = -32768, 32767
"""Range of the integers that the published images were stored in."""

MAX_SAMPLE = 4_000_000
"""Pixels a band that the robust statistics look at; a regular grid of larger images."""

CLIP_SIGMA = 3.0
"""Pixels farther than this from the sky level are taken for sources or defects."""

QUARTILE_SIGMA = 1.3489795003921634
"""Interquartile range of a Gaussian of unit standard deviation."""


@dataclass(frozen=True, eq=False)
class BandStatistics:
    """Level and scatter of each band of one image.

    Attributes
    ----------
    center : ndarray of float64, shape (B,)
        Sky level (or mean, for the paper's method), in the flux unit of each band.
    scale : ndarray of float64, shape (B,)
        Sky standard deviation (or that of all pixels), same unit, above zero.
    """

    center: np.ndarray
    scale: np.ndarray

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain lists, ready for JSON."""
        return {"center": self.center.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BandStatistics:
        """Rebuild what `to_dict` returned."""
        return cls(
            center=np.asarray(values["center"], np.float64),
            scale=np.asarray(values["scale"], np.float64),
        )


def measure_statistics(
    pixels: np.ndarray,
    bad: np.ndarray | None = None,
    method: str = "zscore",
    *,
    bands: Sequence[str] | None = None,
    allow_empty: bool = False,
) -> BandStatistics:
    """Measure the level and scatter of each band over its good pixels, in float64.

    All methods but ``paper`` use the sigma-clipped median and quartiles, which neither a
    saturated star nor a crowded field moves far. Ties of integer pixels are spread over the
    width of one step, so that a sky of sigma 2 DN is not measured as 1.48 or 2.97.
    Images above `MAX_SAMPLE` pixels are sampled on a regular grid.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W, B)
        Any linear flux unit.
    bad : ndarray of bool, shape (H, W, B) or (H, W), optional
        True where a pixel is left out. Non-finite pixels always are.
    method : {"zscore", "paper", "asinh", "lupton"}
        ``paper`` asks for the plain mean and standard deviation.
    bands : sequence of str, optional
        Names for messages.
    allow_empty : bool
        Let a band without good pixels or without scatter pass, with scale 1 and the constant
        (or 0) as level, so that it normalises to 0 everywhere.

    Returns
    -------
    BandStatistics
        `center` and `scale`, ndarray of float64, shape (B,).

    Raises
    ------
    ImageError
        If `pixels` is not three-dimensional, or a band has no good pixel or no scatter.

    References
    ----------
    Burke et al. 2019, MNRAS 490, 3952: per-image z-score.
    """
    _check_method(method)
    if pixels.ndim != 3:
        raise ImageError(f"statistics: expected pixels of shape (H, W, B), found {pixels.shape}.")
    step = 1 if method == "paper" else _sample_step(pixels.shape[0], pixels.shape[1])
    center = np.zeros(pixels.shape[2])
    scale = np.ones(pixels.shape[2])
    for band in range(pixels.shape[2]):
        values = _good_values(pixels, bad, band, step)
        if values.size:
            measure = _mean_and_deviation if method == "paper" else _sky_and_sigma
            center[band], scale[band] = measure(values)
        if values.size and 0 < scale[band] < math.inf:
            continue
        if not allow_empty:
            label = bands[band] if bands is not None else str(band)
            raise ImageError(_why_not_measured(label, values))
        scale[band] = 1.0
    return BandStatistics(center=center, scale=scale)


def normalize(
    pixels: np.ndarray,
    statistics: BandStatistics,
    method: str = "zscore",
    *,
    bad: np.ndarray | None = None,
    softening: float = 1.0,
) -> np.ndarray:
    """Scale pixels for the network by statistics measured before.

    With ``z = (x - center) / scale``: ``zscore`` returns z; ``paper`` 10 000 z rounded and
    clipped to int16; ``asinh`` ``arcsinh(z / softening)``; ``lupton`` ``z f(I) / I`` with I the
    mean of z over the good bands and ``f(I) = softening arcsinh(I / softening)``.

    Parameters
    ----------
    pixels : ndarray of float32, shape (H, W, B)
        Flux, in the unit of `statistics`.
    statistics : BandStatistics
        From `measure_statistics` of the whole image that these pixels belong to.
    method : {"zscore", "paper", "asinh", "lupton"}
        Which form.
    bad : ndarray of bool, shape (H, W, B) or (H, W), optional
        Pixels that become 0. Non-finite ones always do.
    softening : float
        Where ``asinh`` and ``lupton`` turn from linear to logarithmic, in sky sigma.

    Returns
    -------
    ndarray of float32, shape (H, W, B)
        A new array; 0 is the level of the background.

    Raises
    ------
    ImageError
        If the number of bands differs from that of `statistics`.

    References
    ----------
    Burke et al. 2019, MNRAS 490, 3952 (``paper``); Lupton, Gunn & Szalay 1999, AJ 118, 1406
    (``asinh``); Lupton et al. 2004, PASP 116, 133 (``lupton``).
    """
    _check_method(method)
    if pixels.ndim != 3 or pixels.shape[2] != len(statistics.center):
        raise ImageError(
            f"normalise: statistics of {len(statistics.center)} bands do not fit pixels of "
            f"shape {pixels.shape}. Measure the statistics on this image."
        )
    scaled = np.empty(pixels.shape, np.float32)
    for band in range(pixels.shape[2]):
        z = (pixels[..., band].astype(np.float64) - statistics.center[band]) / (
            statistics.scale[band]
        )
        z[_left_out(pixels, bad, band)] = 0.0
        if method == "paper":
            z = np.clip(np.rint(PAPER_FACTOR * z), INT16_MIN, INT16_MAX)
        elif method == "asinh":
            z = np.arcsinh(z / softening)
        scaled[..., band] = z
    if method == "lupton":
        scaled *= _lupton_factor(scaled, _n_good_bands(pixels, bad), softening)
    return scaled


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise ImageError(f"normalisation '{method}' is unknown; choose one of {', '.join(METHODS)}")


def _why_not_measured(label: str, values: np.ndarray) -> str:
    """Say why a band has no statistics, and what to do."""
    if values.size == 0:
        return (
            f"band {label}: no good pixel to measure the sky from. "
            "Leave the band out, or use weights that do not need it (--weights)."
        )
    return (
        f"band {label}: all {values.size} good pixels sampled equal {values[0]:g}, so there is "
        "no scatter to normalise by. Check the file, or leave the band out."
    )


def _sample_step(height: int, width: int) -> int:
    return max(1, math.ceil(math.sqrt(height * width / MAX_SAMPLE)))


def _left_out(pixels: np.ndarray, bad: np.ndarray | None, band: int, step: int = 1) -> np.ndarray:
    """Return True where a pixel of this band is bad or not finite, on every `step`-th pixel."""
    left_out: np.ndarray = ~np.isfinite(pixels[::step, ::step, band])
    if bad is not None:
        left_out |= (bad if bad.ndim == 2 else bad[..., band])[::step, ::step]
    return left_out


def _good_values(pixels: np.ndarray, bad: np.ndarray | None, band: int, step: int) -> np.ndarray:
    """Return the good pixels of one band; all of them if the sampling grid met none."""
    values: np.ndarray = pixels[::step, ::step, band][~_left_out(pixels, bad, band, step)]
    if values.size == 0 and step > 1:
        values = pixels[..., band][~_left_out(pixels, bad, band)]
    return values


def _n_good_bands(pixels: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
    n_bad = sum(_left_out(pixels, bad, b).astype(np.int32) for b in range(pixels.shape[2]))
    n_good: np.ndarray = np.maximum(pixels.shape[2] - n_bad, 1)
    return n_good


def _lupton_factor(z: np.ndarray, n_good: np.ndarray, softening: float) -> np.ndarray:
    """Return ``f(I) / I``, shape (H, W, 1); its limit at I = 0 is 1."""
    intensity = z.sum(axis=2, dtype=np.float64) / n_good / softening
    factor: np.ndarray = np.ones((*intensity.shape, 1))
    np.divide(np.arcsinh(intensity), intensity, out=factor[..., 0], where=intensity != 0)
    return factor


def _mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _sky_and_sigma(values: np.ndarray) -> tuple[float, float]:
    """Return the sigma-clipped median and the scatter that its quartiles imply."""
    ordered = np.sort(values, axis=None)
    start, stop = 0, ordered.size
    center = sigma = 0.0
    for _ in range(20):
        lower, center, upper = (_quantile(ordered[start:stop], p) for p in (0.25, 0.5, 0.75))
        sigma = (upper - lower) / QUARTILE_SIGMA
        if sigma == 0:
            return center, _mean_and_deviation(ordered[start:stop])[1]
        limits = (start, stop)
        start = int(np.searchsorted(ordered, center - CLIP_SIGMA * sigma, "left"))
        stop = int(np.searchsorted(ordered, center + CLIP_SIGMA * sigma, "right"))
        if (start, stop) == limits:
            break
    return center, sigma


def _quantile(ordered: np.ndarray, fraction: float) -> float:
    """Return a quantile of sorted values, ties spread evenly over the step around them."""
    rank = fraction * ordered.size
    value = ordered[min(int(rank), ordered.size - 1)]
    first = int(np.searchsorted(ordered, value, "left"))
    last = int(np.searchsorted(ordered, value, "right"))
    below = float(ordered[first - 1]) if first > 0 else float(value)
    above = float(ordered[last]) if last < ordered.size else float(value)
    return float(value) + (above - below) / 2 * ((rank - first) / (last - first) - 0.5)
