"""Pieces of real mosaics as backgrounds, away from positions that hold clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.errors import CatalogError, ImageError, InputNotFoundError
from astro_io.fits_read import read_image
from astro_io.image import SkyImage
from simulate.star_clusters.config import InstrumentConfig

_TRIES = 500
_SCALE_TOLERANCE = 0.03
_POSITION_COLUMNS = (("x", "y"), ("ra", "dec"))


@dataclass(frozen=True, eq=False)
class _Mosaic:
    """One mosaic in electrons a second of our zero points, and where not to cut."""

    name: str
    pixels: np.ndarray
    bad: np.ndarray
    avoid: np.ndarray


class MosaicBackgrounds:
    """Cuts stamps out of mosaics.

    Parameters
    ----------
    mosaics : sequence of str or Path
        Anything that `astro_io.fits_read.read_image` reads, with all bands of `instrument`, in
        electrons a second, sky subtracted.  Where a file states its zero points, fluxes are
        scaled to those of `instrument`.
    instrument : InstrumentConfig
    avoid : sequence of str or Path
        Tables of positions, with columns x and y (pixels, 0-based) or ra and dec (degrees).
    avoid_radius_arcsec : float
        Stamps have their centre at least this far from these positions.

    Raises
    ------
    ImageError
        If a mosaic lacks a band, has other pixels, or is smaller than a stamp.
    CatalogError
        If a table has no positions.
    """

    def __init__(
        self,
        mosaics: Sequence[str | Path],
        instrument: InstrumentConfig,
        *,
        avoid: Sequence[str | Path] = (),
        avoid_radius_arcsec: float = 3.0,
    ) -> None:
        self.size = instrument.span_px
        self._radius_px = avoid_radius_arcsec / instrument.pixel_scale_arcsec
        tables = [_read_positions(path) for path in avoid]
        self._mosaics = [_prepare(read_image(m), instrument, tables) for m in mosaics]
        areas = np.array([m.bad.size for m in self._mosaics], dtype=float)
        self._shares = areas / areas.sum()

    def cut(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random stamp, in one of the eight orientations of a square.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of float32, shape (H, W, B)

        Raises
        ------
        ImageError
            If no place is found that is covered in all bands and far from the positions to
            avoid.
        """
        for _ in range(_TRIES):
            mosaic = self._mosaics[rng.choice(len(self._mosaics), p=self._shares)]
            height, width = mosaic.bad.shape
            top = int(rng.integers(height - self.size + 1))
            left = int(rng.integers(width - self.size + 1))
            window = np.s_[top : top + self.size, left : left + self.size]
            middle = np.array([top, left]) + (self.size - 1) / 2.0
            near = np.hypot(*(mosaic.avoid - middle).T) < self._radius_px
            if not (near.any() or mosaic.bad[window].any()):
                stamp = np.rot90(mosaic.pixels[window], int(rng.integers(4)))
                return np.array(stamp[::-1] if rng.random() < 0.5 else stamp)
        names = ", ".join(m.name for m in self._mosaics)
        raise ImageError(
            f"{names}: no {self.size} px stamp in {_TRIES} tries that is covered in all bands and "
            "far enough from the positions to avoid. Give more mosaics, or a smaller "
            "--avoid-radius."
        )


def _prepare(
    image: SkyImage,
    instrument: InstrumentConfig,
    tables: Sequence[tuple[str, np.ndarray, np.ndarray]],
) -> _Mosaic:
    """Check a mosaic and bring it to our bands and zero points."""
    image = image.select(instrument.bands)
    scale = image.pixel_scale_arcsec
    wanted = instrument.pixel_scale_arcsec
    if scale is not None and abs(scale / wanted - 1.0) > _SCALE_TOLERANCE:
        raise ImageError(
            f"{image.name}: expected pixels of {wanted:g} arcsec, found {scale:.4f}. Resample the "
            "mosaic, or set instrument.pixel_scale_arcsec."
        )
    if min(image.shape) < instrument.span_px:
        raise ImageError(
            f"{image.name}: expected at least {instrument.span_px} px a side, found {image.shape}."
        )
    pairs = zip(instrument.zeropoint_mag, image.zeropoint_mag, strict=True)
    factor = [1.0 if own is None else 10.0 ** (0.4 * (ours - own)) for ours, own in pairs]
    avoid = [_pixel_positions(image, *table) for table in tables]
    return _Mosaic(
        name=image.name,
        pixels=(image.pixels * np.array(factor, dtype=np.float32)).astype(np.float32),
        bad=image.bad.any(axis=2),
        avoid=np.concatenate(avoid) if avoid else np.empty((0, 2)),
    )


def _read_positions(path: str | Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the kind of positions in a table (``x`` or ``ra``) and both coordinates."""
    from astropy.table import Table

    if not Path(path).exists():
        raise InputNotFoundError(f"{path}: no such table of positions to avoid.")
    try:
        table = Table.read(path)
    except Exception as error:  # astropy's readers raise all kinds
        raise CatalogError(f"{path}: not a table that astropy reads: {error}.") from error
    names = {name.lower(): name for name in table.colnames}
    for first, second in _POSITION_COLUMNS:
        if first in names and second in names:
            values = [np.asarray(table[names[n]], dtype=np.float64) for n in (first, second)]
            return first, values[0], values[1]
    raise CatalogError(
        f"{path}: expected columns x and y, or ra and dec; found {', '.join(table.colnames[:8])}."
    )


def _pixel_positions(
    image: SkyImage, kind: str, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return positions as rows of (y, x)."""
    if kind == "ra":
        if image.wcs is None:
            raise ImageError(
                f"{image.name}: positions to avoid are in ra, dec, but the mosaic has no WCS. "
                "Give x, y."
            )
        first, second = image.wcs.celestial.all_world2pix(first, second, 0)
    return np.stack([second, first], axis=1)
