"""From flux to network input: one fixed scale for all stamps, so that brightness and colours stay.

The scale is measured once on the training set and kept with the weights.  Only the level of the
background is measured on each stamp, band by band, in its border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_io.errors import ImageError
from astro_io.normalize import BandStatistics, measure_statistics, normalize

BORDER_FRACTION = 0.1
"""Width of the border of a stamp that tells the background, in units of its side."""

MIN_BORDER_PX = 8
"""A border with fewer good pixels than this says nothing; the level is 0 there."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StampScale:
    """How stamps are brought to the network's range.

    Attributes
    ----------
    method : {"asinh", "zscore"}
    softening : float
        Of asinh, in units of `statistics.scale`.
    background : {"border", "none"}
        Subtract the median of each stamp's border first, or not.
    statistics : BandStatistics
        Level and noise of the training stamps, after the background is subtracted.
    """

    method: str
    softening: float
    background: str
    statistics: BandStatistics

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "method": self.method,
            "softening": self.softening,
            "background": self.background,
            "statistics": self.statistics.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StampScale:
        """Rebuild what `to_dict` returned."""
        statistics = BandStatistics.from_dict(values["statistics"])
        return cls(**{**values, "statistics": statistics})


def measure_scale(
    stamps: np.ndarray,
    *,
    bands: tuple[str, ...],
    method: str = "asinh",
    softening: float = 1.0,
    background: str = "border",
    scale: str = "band",
) -> StampScale:
    """Measure level and noise of a sample of training stamps.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
        Flux; not finite where there is no data.
    bands : tuple of str
        For messages.
    method, softening, background
        As `StampScale` keeps them.
    scale : {"band", "common"}
        A noise of its own for each band, or their geometric mean for all.

    Returns
    -------
    StampScale

    Raises
    ------
    ImageError
        If a band has no good pixel or no scatter.
    """
    bad = ~np.isfinite(stamps)
    if background == "border":
        stamps = stamps - border_level(stamps, bad)[:, None, None]
    statistics = measure_statistics(_stacked(stamps), _stacked(bad), "zscore", bands=bands)
    center = statistics.center if background == "none" else np.zeros(len(bands))
    noise = statistics.scale
    if scale == "common":
        noise = np.full(len(bands), np.exp(np.log(noise).mean()))
    return StampScale(
        method=method,
        softening=softening,
        background=background,
        statistics=BandStatistics(center=center, scale=noise),
    )


def normalise_stamps(
    stamps: np.ndarray, scale: StampScale, bad: np.ndarray | None = None
) -> np.ndarray:
    """Bring stamps to the network's range.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
        Flux in the unit of the training set.
    scale : StampScale
    bad : ndarray of bool, shape (N, H, W, B), optional
        Pixels that become 0, the background.  Non-finite ones always do.

    Returns
    -------
    ndarray of float32, shape (N, H, W, B)

    Raises
    ------
    ImageError
        If the stamps have another number of bands than the scale.
    """
    n_bands = len(scale.statistics.center)
    if stamps.ndim != 4 or stamps.shape[3] != n_bands:
        raise ImageError(
            f"stamps: expected shape (N, H, W, {n_bands}), found {stamps.shape}. "
            "Cut them in the bands of the weights."
        )
    if not stamps.size:
        return np.zeros(stamps.shape, np.float32)
    bad = ~np.isfinite(stamps) if bad is None else bad | ~np.isfinite(stamps)
    if scale.background == "border":
        stamps = stamps - border_level(stamps, bad)[:, None, None]
    options = {"softening": scale.softening} if scale.method == "asinh" else {}
    scaled = normalize(
        _stacked(stamps), scale.statistics, scale.method, bad=_stacked(bad), **options
    )
    return scaled.reshape(stamps.shape)


def border_level(stamps: np.ndarray, bad: np.ndarray | None = None) -> np.ndarray:
    """Measure the median of the border of each stamp.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
    bad : ndarray of bool, same shape, optional
        Pixels left out.  Non-finite ones always are.

    Returns
    -------
    ndarray of float32, shape (N, B)
        0 where the border has no more than a few good pixels.
    """
    height, width = stamps.shape[1:3]
    border = max(1, round(BORDER_FRACTION * min(height, width)))
    is_border = np.ones((height, width), bool)
    is_border[border : height - border, border : width - border] = False
    values = stamps[:, is_border].astype(np.float32)
    left_out = ~np.isfinite(values)
    if bad is not None:
        left_out |= bad[:, is_border]
    if not left_out.any():
        return np.median(values, axis=1)
    n_good = (~left_out).sum(axis=1)
    # Bad pixels go to the end of the sorted values; the middle of the good ones is the median.
    ordered = np.sort(np.where(left_out, np.inf, values), axis=1)
    last = np.maximum(n_good - 1, 0)
    picks = [np.take_along_axis(ordered, (i // 2)[:, None], 1)[:, 0] for i in (last, last + 1)]
    median = np.where(n_good % 2 == 1, picks[0], (picks[0] + picks[1]) / 2)
    return np.where(n_good >= MIN_BORDER_PX, median, 0).astype(np.float32)


def _stacked(stamps: np.ndarray) -> np.ndarray:
    """Return stamps one below the other, as one image (N * H, W, B)."""
    return stamps.reshape(-1, *stamps.shape[2:])
