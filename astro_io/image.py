"""SkyImage: the pixels of one piece of sky in several bands, with what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from astro_io.binning import bin_pixels, binned_wcs
from astro_io.errors import ImageError

if TYPE_CHECKING:
    from astropy.wcs import WCS


@dataclass(frozen=True, eq=False, kw_only=True)
class SkyImage:
    """One multi-band image, channels last.

    Attributes
    ----------
    pixels : ndarray of float32, shape (H, W, B)
        Linear flux, in the unit of each band. Bad pixels hold a finite value (0).
    bands : tuple of str
        Band names in channel order, for example ``("g", "r", "z")``.
    bad : ndarray of bool, shape (H, W, B)
        True where a band has no usable value: not finite, no coverage, or masked in the file.
    unit : tuple of str
        Flux unit of each band as written in the file (``""`` where unknown).
    zeropoint_mag : tuple of float or None
        AB magnitude of one flux unit, per band; None where the file does not say.
    saturation : tuple of float or None
        Pixel value at which the detector saturates, per band, in the unit of the band; None
        where the file does not say.
    wcs : astropy.wcs.WCS or None
        Celestial WCS of the pixels, 0-based pixel centres; None where the file has none.
    name : str
        Short name for results and messages, without folder or suffix.
    sources : tuple of str
        The files that the pixels came from.
    """

    pixels: np.ndarray
    bands: tuple[str, ...]
    bad: np.ndarray
    unit: tuple[str, ...] = ()
    zeropoint_mag: tuple[float | None, ...] = ()
    saturation: tuple[float | None, ...] = ()
    wcs: WCS | None = None
    name: str = "image"
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that shapes and lengths agree; fill in what is unknown of each band."""
        if self.pixels.ndim != 3:
            raise ImageError(
                f"{self.name}: expected pixels of shape (H, W, bands), found {self.pixels.shape}."
            )
        n_bands = self.pixels.shape[2]
        if len(self.bands) != n_bands:
            raise ImageError(
                f"{self.name}: {n_bands} planes but band names {', '.join(self.bands)}. "
                "Name each plane once (--bands)."
            )
        if self.bad.shape != self.pixels.shape:
            raise ImageError(
                f"{self.name}: bad-pixel mask has shape {self.bad.shape}, "
                f"pixels have {self.pixels.shape}."
            )
        for field, unknown in (("unit", ""), ("zeropoint_mag", None), ("saturation", None)):
            values = getattr(self, field) or (unknown,) * n_bands
            assert len(values) == n_bands, f"{field}: {len(values)} values for {n_bands} bands"
            object.__setattr__(self, field, values)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Geometric-mean pixel size in arcsec, or None without a WCS."""
        if self.wcs is None:
            return None
        from astropy.wcs.utils import proj_plane_pixel_area

        return float(np.sqrt(proj_plane_pixel_area(self.wcs.celestial)) * 3600.0)

    def select(self, bands: Sequence[str]) -> SkyImage:
        """Return the image with these bands, in this order.

        Raises
        ------
        ImageError
            If a band is not in the image.
        """
        missing = [band for band in bands if band not in self.bands]
        if missing:
            raise ImageError(
                f"{self.name}: expected bands {', '.join(bands)}; found {', '.join(self.bands)}. "
                f"Add {', '.join(missing)}, or use weights for the bands at hand (--weights)."
            )
        index = [self.bands.index(band) for band in bands]
        return replace(
            self,
            pixels=self.pixels[..., index],
            bad=self.bad[..., index],
            bands=tuple(bands),
            unit=tuple(self.unit[i] for i in index),
            zeropoint_mag=tuple(self.zeropoint_mag[i] for i in index),
            saturation=tuple(self.saturation[i] for i in index),
        )

    def binned(self, factor: int) -> SkyImage:
        """Return the image with blocks of `factor` x `factor` pixels added up.

        Rows and columns that fill no block are left off at the far ends. A binned pixel is bad
        where more than half of its pixels are.

        Raises
        ------
        ImageError
            If no block fits into the image.
        """
        if factor == 1:
            return self
        height, width = (size // factor * factor for size in self.shape)
        if not (height and width):
            raise ImageError(
                f"{self.name}: {self.shape[0]}x{self.shape[1]} px cannot be binned {factor} x "
                f"{factor}. Bin less."
            )
        part = self.cutout(0, 0, height, width)
        sums = bin_pixels(np.where(part.bad, np.nan, part.pixels), factor)
        bad = ~np.isfinite(sums)
        return replace(
            part,
            pixels=np.where(bad, np.float32(0), sums),
            bad=bad,
            saturation=tuple(None if s is None else s * factor**2 for s in self.saturation),
            wcs=None if part.wcs is None else binned_wcs(part.wcs, factor),
        )

    def cutout(self, y1: int, x1: int, y2: int, x2: int) -> SkyImage:
        """Return the part ``[y1:y2, x1:x2]`` with its WCS shifted; the box must lie inside."""
        height, width = self.shape
        if not (0 <= y1 < y2 <= height and 0 <= x1 < x2 <= width):
            raise ImageError(
                f"{self.name}: cut-out [{y1}:{y2}, {x1}:{x2}] is not inside {height}x{width} px."
            )
        wcs = None if self.wcs is None else self.wcs[y1:y2, x1:x2]
        return replace(self, pixels=self.pixels[y1:y2, x1:x2], bad=self.bad[y1:y2, x1:x2], wcs=wcs)
