"""What a field looks like in numbers: source density, sizes, colours, noise, by SEP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sep

from astro_io.image import SkyImage

THRESHOLD_SIGMA = 1.5
"""Detection threshold above the background, in units of its noise."""

_APERTURE_ARCSEC = 1.5
_COLOUR_SNR = 15.0
_COMPACT = 1.15


@dataclass(frozen=True, eq=False, kw_only=True)
class BandStatistics:
    """Measurements of one band of one or more images.

    Attributes
    ----------
    density : ndarray of float64, shape (images,)
        Sources per square arcmin at `THRESHOLD_SIGMA`.
    density_snr10 : ndarray of float64, shape (images,)
        The same with an isophotal signal-to-noise above 10.
    noise : ndarray of float64, shape (images,)
        Background noise per pixel, unit of the image.
    correlation : ndarray of float64, shape (images,)
        Of the background of neighbouring pixels.
    compact_fraction : ndarray of float64, shape (images,)
        Share of the sources with signal-to-noise above 30 whose half-light radius is within
        15 % of the sharpest tenth of them: mostly stars.
    half_light_radius_arcsec : ndarray of float64, shape (sources,)
    flux_sigma : ndarray of float64, shape (sources,)
        Isophotal flux in units of the noise per pixel.
    ellipticity : ndarray of float64, shape (sources,)
        One minus axis ratio.
    """

    density: np.ndarray
    density_snr10: np.ndarray
    noise: np.ndarray
    correlation: np.ndarray
    compact_fraction: np.ndarray
    half_light_radius_arcsec: np.ndarray
    flux_sigma: np.ndarray
    ellipticity: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class SkyStatistics:
    """Measurements of all bands.

    Attributes
    ----------
    bands : dict of str to BandStatistics
    colours : dict of str to ndarray of float64
        For example ``"g-r"``: colours in a 1.5 arcsec radius of the sources of the middle
        band. Magnitudes are AB where zero points are known, else of counts.
    """

    bands: dict[str, BandStatistics]
    colours: dict[str, np.ndarray]


def measure_sky(image: SkyImage, *, pixel_scale_arcsec: float) -> SkyStatistics:
    """Detect and measure the sources of one image, each band by itself.

    Parameters
    ----------
    image : SkyImage
    pixel_scale_arcsec : float

    Returns
    -------
    SkyStatistics
    """
    planes, noises, bands = [], [], {}
    catalogs = []
    for b, band in enumerate(image.bands):
        plane, noise = _subtract_background(image.pixels[..., b])
        sources = sep.extract(plane, THRESHOLD_SIGMA, err=noise)
        bands[band] = _measure_band(plane, noise, sources, pixel_scale_arcsec)
        planes.append(plane)
        noises.append(noise)
        catalogs.append(sources)
    middle = len(image.bands) // 2
    colours = _measure_colours(image, planes, noises, catalogs[middle], pixel_scale_arcsec)
    return SkyStatistics(bands=bands, colours=colours)


def pool(parts: Sequence[SkyStatistics]) -> SkyStatistics:
    """Put the measurements of several images together.

    Raises
    ------
    ValueError
        If `parts` is empty.
    """
    if not parts:
        raise ValueError("nothing to pool: give at least one image")
    bands = {
        band: BandStatistics(
            **{
                name: np.concatenate([getattr(part.bands[band], name) for part in parts])
                for name in BandStatistics.__dataclass_fields__
            }
        )
        for band in parts[0].bands
    }
    colours = {
        name: np.concatenate([part.colours[name] for part in parts]) for name in parts[0].colours
    }
    return SkyStatistics(bands=bands, colours=colours)


def _subtract_background(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a plane without its background, and the noise per pixel."""
    plane = np.ascontiguousarray(pixels, dtype=np.float32)
    background = sep.Background(plane)
    return plane - background.back(), float(background.globalrms)


def _measure_band(
    plane: np.ndarray, noise: float, sources: np.ndarray, scale: float
) -> BandStatistics:
    """Measure the sources of one band and the noise around them."""
    area = plane.size * scale**2 / 3600.0
    radius, _ = sep.flux_radius(
        plane, sources["x"], sources["y"], 6.0 * sources["a"], 0.5, normflux=sources["flux"]
    )
    snr = sources["flux"] / (noise * np.sqrt(sources["npix"]))
    dark = np.abs(plane) < 3.0 * noise
    pairs = dark[:, 1:] & dark[:, :-1]
    correlation = (plane[:, 1:] * plane[:, :-1])[pairs].mean() / plane[dark].var()
    bright = radius[snr > 30.0]
    compact = bright < _COMPACT * np.percentile(bright, 10) if bright.size else np.zeros(1)
    return BandStatistics(
        density=np.array([len(sources) / area]),
        density_snr10=np.array([np.count_nonzero(snr > 10.0) / area]),
        noise=np.array([noise]),
        correlation=np.array([correlation], dtype=float),
        compact_fraction=np.array([compact.mean()]),
        half_light_radius_arcsec=radius * scale,
        flux_sigma=sources["flux"] / noise,
        ellipticity=1.0 - sources["b"] / sources["a"],
    )


def _measure_colours(
    image: SkyImage,
    planes: list[np.ndarray],
    noises: list[float],
    sources: np.ndarray,
    scale: float,
) -> dict[str, np.ndarray]:
    """Return aperture colours of neighbouring bands for well-measured sources."""
    radius = _APERTURE_ARCSEC / scale
    flux = np.array(
        [sep.sum_circle(plane, sources["x"], sources["y"], radius)[0] for plane in planes]
    ).reshape(len(planes), -1)
    error = np.array(noises) * np.sqrt(np.pi) * radius
    middle = len(planes) // 2
    good = (flux > 0.0).all(axis=0) & (flux[middle] > _COLOUR_SNR * error[middle])
    zero = np.array([0.0 if mag is None else mag for mag in image.zeropoint_mag])
    mag = zero[:, None] - 2.5 * np.log10(flux[:, good])
    return {
        f"{image.bands[b]}-{image.bands[b + 1]}": mag[b] - mag[b + 1]
        for b in range(len(planes) - 1)
    }
