"""Pixels to colours: stretch an image of any bands so that sky, wings and cores all show.

The stretch is that of Lupton et al. (2004), so that colours survive; where it is linear and
where it ends follows from the noise of the sky and the brightest sources.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from astro_io.image import SkyImage
from astro_io.input_spec import BLUE_TO_RED
from astro_io.normalize import BandStatistics, measure_statistics

LONGEST_SIDE_PX = 4096
"""Larger images are averaged down to this; smaller ones are never."""

COMFORTABLE_SIDE_PX = 1000
"""Small images are magnified, two to four times, until they reach this."""

SKY_NOISE = 0.5
"""The noise of the mean of all bands in the picture; what follows is in the same units."""

BLACK = -1.3
"""What lies this far under the sky level is black; the sky itself is dark grey."""

SOFTENING = 2.5
"""The stretch is linear below this, logarithmic above."""

WHITE_PERCENTILE = 99.95
"""Of the pixels; colours fade towards it, and brighter pixels are white."""

COLOURLESS = 1.5
"""Pixels of this much light show half of their colour, fainter ones less."""

WHITE_RANGE = (100.0, 3000.0)
"""White lies between these: an empty field shows no noise, and a flash does not darken the rest."""

STRIP_ROWS = 512
"""Rows stretched at a time, to bound memory."""


def render_sky(image: SkyImage, *, statistics: BandStatistics | None = None) -> np.ndarray:
    """Stretch an image to colours, or to grey if it has one band.

    Bands are balanced so that sources are grey on average. Colour fades in the noise of the sky
    and in saturated cores, where it means nothing. A pixel that is bad in some bands takes the
    mean of the others.

    Parameters
    ----------
    image : SkyImage
        Sides above `LONGEST_SIDE_PX` are averaged down by a whole factor.
    statistics : BandStatistics, optional
        Robust sky level and noise of each band; measured where not given.

    Returns
    -------
    ndarray of uint8, shape (H', W', 3)
        Row 0 is row 0 of the image.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import ManualInterval, make_lupton_rgb
    from astropy.visualization.lupton_rgb import LuptonAsinhStretch

    if statistics is None:
        statistics = measure_statistics(image.pixels, image.bad, allow_empty=True)
    light, good = _shrunk_light(image, statistics, picture_scale(image.shape)[0])
    channels = channel_bands(image.bands)
    light = _fill_bad(light * _white_balance(light, good), good)
    intensity = light.mean(axis=2)
    white = float(np.clip(np.percentile(intensity, WHITE_PERCENTILE), *WHITE_RANGE))
    chroma = _colour_strength(intensity, white)
    planes = [
        intensity + chroma * (light[..., list(members)].mean(axis=2) - intensity)
        for members in channels
    ]
    # f(x) = asinh(x / softening) / asinh(white / softening), in the form of the library
    q = 10.0 * np.sinh(np.arcsinh((white - BLACK) / SOFTENING) / 10.0)
    stretch = LuptonAsinhStretch(stretch=SOFTENING * q, Q=q)
    strips = [
        make_lupton_rgb(
            *(plane[row : row + STRIP_ROWS] for plane in planes),
            interval=ManualInterval(vmin=BLACK),
            stretch_object=stretch,
        )
        for row in range(0, light.shape[0], STRIP_ROWS)
    ]
    return np.concatenate(strips)


def picture_scale(shape: tuple[int, int]) -> tuple[int, int]:
    """Return by which whole factors an image is averaged down and magnified; one of them is 1.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.

    Returns
    -------
    shrink, magnify : int
    """
    longest = max(shape)
    shrink = -(-longest // LONGEST_SIDE_PX)
    wanted = min(max(2, -(-COMFORTABLE_SIDE_PX // longest)), 4)
    return shrink, max(1, min(wanted, LONGEST_SIDE_PX // longest))


def channel_bands(bands: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return which bands make red, green and blue, as indices.

    Parameters
    ----------
    bands : sequence of str
        In any order; unknown names keep theirs, after the known ones.

    Returns
    -------
    tuple of three tuples of int
        One band is all three; of two the green is the mean; more than three are averaged in
        three groups.
    """
    order = [int(i) for i in np.argsort([_wavelength(b) for b in bands], kind="stable")]
    if len(order) == 1:
        return (order[0],), (order[0],), (order[0],)
    if len(order) == 2:
        return (order[1],), (order[0], order[1]), (order[0],)
    blue, green, red = (tuple(int(i) for i in part) for part in np.array_split(order, 3))
    return red, green, blue


def _wavelength(band: str) -> float:
    """Return a number that rises from blue to red: nm for HST filters, else the usual order."""
    hst = re.fullmatch(r"F(\d{3,4})\w*", band)
    if hst:
        number = int(hst[1])
        return float(number * 10 if number < 200 else number)  # F160W is 1600 nm
    return float(BLUE_TO_RED.index(band)) if band in BLUE_TO_RED else float("inf")


def _shrunk_light(
    image: SkyImage, statistics: BandStatistics, shrink: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return light above the sky in units of its noise, averaged down, and where it is good."""
    from skimage.measure import block_reduce

    height, width = (side // shrink * shrink for side in image.shape)
    planes, goods = [], []
    for band, (center, scale) in enumerate(zip(statistics.center, statistics.scale, strict=True)):
        good = ~image.bad[:height, :width, band]
        plane = (image.pixels[:height, :width, band] - np.float32(center)) / np.float32(scale)
        if shrink > 1:
            plane = block_reduce(np.where(good, plane, np.float32(0)), (shrink, shrink), np.mean)
            good = block_reduce(good, (shrink, shrink), np.all)
        planes.append(np.where(good, plane, 0).astype(np.float32))
        goods.append(good)
    return np.stack(planes, axis=-1), np.stack(goods, axis=-1)


def _fill_bad(light: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Give bad pixels the mean of the good bands; 0 where there is none."""
    n_good = np.maximum(good.sum(axis=2, dtype=np.float32), 1)
    mean = np.where(good, light, np.float32(0)).sum(axis=2) / n_good
    return np.where(good, light, mean[..., None])


def _colour_strength(intensity: np.ndarray, white: float) -> np.ndarray:
    """Return what part of the colour to show: little in noise and in saturated cores."""
    light = np.maximum(intensity, 0.0)
    return np.asarray(light / (light + COLOURLESS) / (1.0 + light / white) ** 2, np.float32)


def _white_balance(light: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return a factor a band that makes sources grey on average, and the sky as quiet as wanted."""
    n_bands = light.shape[2]
    factor = np.ones(n_bands)
    bright = good.all(axis=2) & (light.mean(axis=2) > 5.0)
    if np.count_nonzero(bright) >= 20:
        typical = np.median(light[bright], axis=0)
        factor = 1.0 / np.clip(typical / typical.mean(), 0.2, 5.0)
    noise = np.sqrt(np.sum(factor**2)) / n_bands  # of the mean of all bands
    return np.asarray(factor * SKY_NOISE / noise, np.float32)
