"""Open mosaics without reading them; cut stamps around positions, in the order of the rows.

A mosaic is anything that `astro_io.input_spec` resolves: ``F475W=a.fits,F814W=b.fits``, a folder,
a cube, a file with one extension a band.  Only the pixels around positions are read, a band of
rows at a time, so that memory does not grow with the image.  (Gzipped files are unpacked whole.)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.align import is_aligned
from astro_io.binning import bin_pixels
from astro_io.coverage import zero_coverage
from astro_io.errors import ImageError
from astro_io.fits_errors import quiet_headers, readable
from astro_io.fits_planes import Plane, choose_bands, name_planes, open_planes, plane_of_band
from astro_io.fits_read import celestial_wcs
from astro_io.input_spec import FitsFile, image_name, is_space_filter, resolve_input
from astro_io.zeropoint import flux_unit, zeropoint_mag
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.resample import resample_stamps, source_size
from cluster_cnn.stamp_coverage import bands_with_data

if TYPE_CHECKING:
    from astropy.wcs import WCS

logger = logging.getLogger(__name__)

_MOST_WIDE = 32  # stamps at a time with wide views, which are cut at full resolution

STRIP_MB = 200.0
"""Memory for the rows that are held at a time."""

SCALE_TOLERANCE = 0.02
"""Pixel scales that differ by less than this share are the same."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StampBatch:
    """Stamps of some rows of a table.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Which positions.
    stamps : ndarray of float32, shape (n, S, S, C)
        In the flux unit of the mosaic; NaN where there is no data. One channel a band, and
        another a band for the wide view where one was asked for.
    flags : ndarray of int32, shape (n,)
        `CandidateFlag` bits EDGE, BAD_PIXELS, MISSING_BAND of the stamps, WIDE_PARTIAL.
    """

    rows: np.ndarray
    stamps: np.ndarray
    flags: np.ndarray


class Mosaic:
    """Bands of one piece of sky on one pixel grid, open but not read; a context manager.

    Parameters
    ----------
    spec : str or Path
        As for `astro_io.fits_read.read_image`.
    bands : sequence of str
        Bands wanted, in channel order.
    may_lack_bands : bool
        Take a mosaic without some of the bands; these are NaN in every stamp.
    must_align : bool
        Refuse bands whose WCS disagree by more than half a pixel.

    Attributes
    ----------
    name : str
    bands : tuple of str
    missing : tuple of str
        Wanted bands that the mosaic lacks.
    shape : tuple of int
        Height and width in pixels.
    wcs : astropy.wcs.WCS or None
    unit : tuple of str
        Flux unit of each band as the header says.
    zeropoint_mag : tuple of float or None
        AB magnitude of one unit, band by band; None where the header is silent or the band absent.

    Raises
    ------
    InputNotFoundError
        If a path does not exist.
    ImageError
        If a file is damaged, a band is missing, or bands differ in shape or place.
    """

    def __init__(
        self,
        spec: str | Path,
        bands: Sequence[str],
        *,
        may_lack_bands: bool = False,
        must_align: bool = True,
    ) -> None:
        self.name, self.bands = image_name(spec), tuple(bands)
        self._stack = ExitStack()
        try:
            with quiet_headers():
                self._planes = _find_planes(spec, self.bands, may_lack_bands, self._stack)
                self._check_grid(must_align)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Mosaic:
        """Return the mosaic."""
        return self

    def __exit__(self, *_) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def missing(self) -> tuple[str, ...]:
        """Wanted bands that the mosaic lacks."""
        return tuple(band for band in self.bands if band not in self._planes)

    @property
    def unit(self) -> tuple[str, ...]:
        """Flux unit of each band as the header says; empty where it does not."""
        return tuple(
            flux_unit(self._planes[band].header) if band in self._planes else ""
            for band in self.bands
        )

    @property
    def zeropoint_mag(self) -> tuple[float | None, ...]:
        """AB magnitude of one unit of flux, band by band; None where unknown."""
        return tuple(
            zeropoint_mag(self._planes[band].header) if band in self._planes else None
            for band in self.bands
        )

    @property
    def unused_photflam(self) -> tuple[str, ...]:
        """Bands whose PHOTFLAM gives no zero point, for no BUNIT says in which unit pixels are."""
        pairs = zip(self.bands, self.zeropoint_mag, strict=True)
        silent = [band for band, zero in pairs if zero is None and band in self._planes]
        return tuple(band for band in silent if "PHOTFLAM" in self._planes[band].header)

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Geometric-mean pixel size; None without WCS."""
        if self.wcs is None:
            return None
        from astropy.wcs.utils import proj_plane_pixel_area

        return float(np.sqrt(proj_plane_pixel_area(self.wcs)) * 3600.0)

    def flux_factors(self, wanted_mag: Mapping[str, float]) -> np.ndarray:
        """Return what brings each band to the zero points of the weights.

        Parameters
        ----------
        wanted_mag : mapping of str to float
            AB magnitude of one unit of flux, by band.

        Returns
        -------
        ndarray of float32, shape (B,)
            1 where the mosaic or the weights do not know: the mosaic is then taken to be in the
            unit of the training set.
        """
        pairs = zip(self.bands, self.zeropoint_mag, strict=True)
        factors = [
            1.0 if own is None or band not in wanted_mag else 10 ** (0.4 * (wanted_mag[band] - own))
            for band, own in pairs
        ]
        return np.array(factors, np.float32)

    def position_flags(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return NOT_FINITE and OFF_IMAGE bits of positions, int32, shape (N,)."""
        height, width = self.shape
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
        inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
        flags = np.where(finite, 0, int(CandidateFlag.NOT_FINITE))
        return np.where(finite & ~inside, int(CandidateFlag.OFF_IMAGE), flags).astype(np.int32)

    def cut(
        self,
        x: np.ndarray,
        y: np.ndarray,
        size: int,
        *,
        pixel_scale_arcsec: float | None = None,
        wide_binning: int = 0,
        batch_size: int = 256,
    ) -> Iterator[StampBatch]:
        """Cut stamps around positions.

        Parameters
        ----------
        x, y : ndarray of float, shape (N,)
            0-based pixel centres.  Those without a place on the image are left out.
        size : int
            Side of a stamp.
        pixel_scale_arcsec : float, optional
            Wanted pixel size; stamps are resampled where the mosaic's differs by more than
            `SCALE_TOLERANCE` and is known.
        wide_binning : int
            Add a wide view of `size` pixels, each of so many by so many of the stamp's; 0: none.
        batch_size : int
            Most stamps at a time.

        Yields
        ------
        StampBatch
            From the first row of the image to the last; each position once.
        """
        own = self.pixel_scale_arcsec
        ratio = 1.0 if not pixel_scale_arcsec or own is None else pixel_scale_arcsec / own
        is_resampled = abs(ratio - 1.0) > SCALE_TOLERANCE
        span = size * max(wide_binning, 1)
        side, inner = (source_size(s, ratio) if is_resampled else s for s in (span, size))
        margin = (side - inner) // 2
        batch_size = min(batch_size, _MOST_WIDE) if wide_binning else batch_size
        usable = np.flatnonzero(self.position_flags(x, y) == 0)
        order = usable[np.lexsort((x[usable], y[usable]))]
        corners = np.stack([_first_pixel(y[order], side), _first_pixel(x[order], side)], axis=1)
        for group in self._groups(corners[:, 0], side, batch_size):
            region = self._cut_group(corners[group], side)
            stamps = region[:, margin : margin + inner, margin : margin + inner]
            flags = self._stamp_flags(stamps, corners[group] + margin, inner)
            if is_resampled:
                stamps = resample_stamps(stamps, ratio=ratio, size=size)
            if wide_binning:
                flags |= _wide_flags(region)
                wide = (
                    resample_stamps(region, ratio=ratio * wide_binning, size=size)
                    if is_resampled
                    else bin_pixels(region, wide_binning)
                )
                stamps = np.concatenate([stamps, wide], axis=3)
            yield StampBatch(rows=order[group], stamps=stamps, flags=flags)

    def _groups(self, tops: np.ndarray, side: int, batch_size: int) -> Iterator[slice]:
        """Split sorted stamps so that each group spans few rows."""
        row_bytes = 4.0 * len(self.bands) * self.shape[1]
        most_rows = max(side, int(STRIP_MB * 2**20 / row_bytes))
        first = 0
        for i in range(1, len(tops) + 1):
            is_full = i - first == batch_size
            if i == len(tops) or is_full or tops[i] + side - tops[first] > most_rows:
                yield slice(first, i)
                first = i

    def _cut_group(self, corners: np.ndarray, side: int) -> np.ndarray:
        """Return squares of `side` pixels from their first rows and columns on."""
        n = len(corners)
        stamps = np.full((n, side, side, len(self.bands)), np.nan, np.float32)
        top, left = corners.min(axis=0)
        bottom, right = corners.max(axis=0) + side
        is_sparse = n * side < bottom - top  # fewer rows are read one stamp at a time
        for channel, band in enumerate(self.bands):
            plane = self._planes.get(band)
            if plane is None:
                continue
            strip = None if is_sparse else _read_window(plane, top, left, bottom, right)
            for i, (y, x) in enumerate(corners):
                if strip is None:
                    stamp = _read_window(plane, y, x, y + side, x + side)
                else:
                    stamp = strip[y - top : y - top + side, x - left : x - left + side]
                stamps[i, ..., channel] = np.where(zero_coverage(stamp), np.nan, stamp)
        return stamps

    def _stamp_flags(self, stamps: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
        height, width = self.shape
        y, x = np.arange(side), np.arange(side)
        flags = np.zeros(len(stamps), np.int32)
        with_data = bands_with_data(stamps)
        for i, (top, left) in enumerate(corners):
            inside_y = (y + top >= 0) & (y + top < height)
            inside_x = (x + left >= 0) & (x + left < width)
            inside = inside_y[:, None] & inside_x
            good = np.isfinite(stamps[i])
            if not inside.all():
                flags[i] |= CandidateFlag.EDGE
            if not good[inside][:, with_data[i]].all():
                flags[i] |= CandidateFlag.BAD_PIXELS
            if not with_data[i].all():
                flags[i] |= CandidateFlag.MISSING_BAND
        return flags

    def _check_grid(self, must_align: bool) -> None:
        """Learn shape and WCS; refuse bands that lie elsewhere."""
        planes = self._planes
        shapes = {band: plane.shape for band, plane in planes.items()}
        self.shape = next(iter(shapes.values()))
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{band} {h}x{w}" for band, (h, w) in shapes.items())
            raise ImageError(
                f"{self.name}: expected bands of one shape, found {found} px (height x width). "
                "Drizzle or reproject them to one grid."
            )
        known = {band: wcs for band, p in planes.items() if (wcs := celestial_wcs(p)) is not None}
        self.wcs: WCS | None = next(iter(known.values()), None)
        if not must_align:
            return
        for band, wcs in known.items():
            if wcs is not self.wcs and not is_aligned(self.wcs, wcs, self.shape):
                raise ImageError(
                    f"{self.name}: band {band} lies more than half a pixel off the other bands. "
                    "Drizzle or reproject them to one grid, or take pixels as they lie "
                    "(--align ignore)."
                )


def _wide_flags(region: np.ndarray) -> np.ndarray:
    """Return WIDE_PARTIAL where a band that has data lacks some, int32, shape (n,)."""
    good = np.isfinite(region)
    n_good = good.sum(axis=(1, 2))
    is_partial = ((n_good > 0) & (n_good < region.shape[1] * region.shape[2])).any(axis=1)
    return np.where(is_partial, int(CandidateFlag.WIDE_PARTIAL), 0).astype(np.int32)


def _find_planes(
    spec: str | Path, bands: tuple[str, ...], may_lack_bands: bool, stack: ExitStack
) -> dict[str, Plane]:
    """Return the image of each wanted band that is there."""
    found = resolve_input(spec)
    if isinstance(found, FitsFile):
        planes = name_planes(
            open_planes(found, stack), None if may_lack_bands else bands, str(spec)
        )
        named = {str(plane.band): plane for plane in planes}
        chosen = choose_bands(list(named), _present(list(named), bands), str(spec))
        result = {band: replace(named[here], band=band) for band, here in chosen.items()}
    else:
        wanted = _present(list(found), bands)
        lacking = [band for band in bands if band not in wanted]
        if wanted and lacking and not may_lack_bands:
            raise ImageError(
                f"{spec}: expected bands {', '.join(bands)}; found {', '.join(found)}. Add "
                f"{', '.join(lacking)}, do without (--missing-bands blank), or use weights for the "
                "bands at hand (--weights)."
            )
        wanted = wanted if may_lack_bands else bands
        chosen = choose_bands(list(found), wanted, str(spec))
        result = {band: plane_of_band(found[here], here, stack) for band, here in chosen.items()}
        _refuse_swapped(result, str(spec))
        _refuse_repeated(result, str(spec))
    if not result:
        raise ImageError(
            f"{spec}: expected bands {', '.join(bands)}; found none of them. Name the files: "
            f"{bands[0]}=FILE,..."
        )
    return result


def _refuse_swapped(planes: Mapping[str, Plane], spec: str) -> None:
    """Raise if a file that was given to one HST filter says that it is of another."""
    for band, plane in planes.items():
        own, given = str(plane.band or "").upper(), (plane.file.alias or band).upper()
        if own != given and is_space_filter(own) and is_space_filter(given):
            raise ImageError(
                f"{spec}: {plane.file} is given as {given}, but is of {own} by its header or name. "
                f"Check the order of the files; {given}={own}=FILE lets one filter stand for "
                "another."
            )


def _refuse_repeated(planes: Mapping[str, Plane], spec: str) -> None:
    """Raise if the same image was given for two bands."""
    first: dict[tuple[Any, ...], str] = {}
    for band, plane in planes.items():
        image = (plane.file.path.resolve(), plane.hdu.name, plane.hdu.ver, plane.index)
        earlier = first.setdefault(image, band)
        if earlier != band:
            raise ImageError(
                f"{spec}: expected an image for each band; found {plane.file} given as {earlier} "
                f"and as {band}. Give each band its own."
            )


def _present(known: Sequence[str], bands: Sequence[str]) -> list[str]:
    letters = {band.casefold() for band in known}
    return [band for band in bands if band.casefold() in letters]


def _first_pixel(centre: np.ndarray, side: int) -> np.ndarray:
    """Return the first pixel of stamps whose middle is nearest to `centre`."""
    return np.floor(centre - (side - 1) / 2 + 0.5).astype(int)


def _read_window(plane: Plane, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """Read ``[top:bottom, left:right]`` of a plane; NaN outside it; float32."""
    height, width = plane.shape
    window = np.full((bottom - top, right - left), np.nan, np.float32)
    y1, y2, x1, x2 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
    if y1 >= y2 or x1 >= x2:
        return window
    leading = (0,) * (len(plane.hdu.shape) - 2) if plane.index is None else (plane.index,)
    with readable(plane.file), np.errstate(over="ignore", invalid="ignore"):
        values = plane.hdu.section[(*leading, slice(y1, y2), slice(x1, x2))]
        window[y1 - top : y2 - top, x1 - left : x2 - left] = values
    return np.where(np.isfinite(window), window, np.float32(np.nan))
