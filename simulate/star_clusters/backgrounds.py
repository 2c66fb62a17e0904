"""Pieces of real mosaics as backgrounds, away from positions that hold clusters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.errors import ImageError
from astro_io.fits_read import read_image
from astro_io.image import SkyImage
from astro_io.positions import Candidates, check_places, pixel_positions, read_candidates
from simulate.star_clusters.config import InstrumentConfig

logger = logging.getLogger(__name__)

_TRIES = 500
_SCALE_TOLERANCE = 0.03


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
        Tables of positions, as of `astro_io.positions.read_candidates`; for several mosaics on
        the sky.
    avoid_radius_arcsec : float
        Stamps have their centre at least this far from these positions.

    Raises
    ------
    ImageError
        If a mosaic lacks a band, has other pixels, or is smaller than a stamp.
    InputNotFoundError
        If there is no such table.
    CatalogError
        If a table has no positions, or those in pixels for several mosaics, or those on the sky
        for a mosaic without WCS.
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
        tables = [_read_positions(path, len(mosaics)) for path in avoid]
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
    tables: Sequence[Candidates],
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
    avoid = [
        np.stack(pixel_positions(table, image.wcs, where=image.name)[::-1], axis=1)
        for table in tables
    ]
    return _Mosaic(
        name=image.name,
        pixels=(image.pixels * np.array(factor, dtype=np.float32)).astype(np.float32),
        bad=image.bad.any(axis=2),
        avoid=np.concatenate(avoid) if avoid else np.empty((0, 2)),
    )


def _read_positions(path: str | Path, n_mosaics: int) -> Candidates:
    """Read positions to avoid; say how many of them are unknown."""
    table = read_candidates(path, prefers_sky=n_mosaics > 1)
    check_places(table, n_mosaics)
    n_lost = int((~np.isfinite(table.first) | ~np.isfinite(table.second)).sum())
    if n_lost:
        logger.warning(
            "%s: %d of %d positions are missing or unreadable; they are not avoided.",
            table.name,
            n_lost,
            len(table),
        )
    return table
