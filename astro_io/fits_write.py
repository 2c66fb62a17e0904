"""Images, masks and segmentations to FITS, with an atomic rename; masks back again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import ImageError, InputNotFoundError
from astro_io.regions import write_regions

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    from astro_io.image import SkyImage

__all__ = [
    "MaskedSources",
    "SourceMasks",
    "atomic_path",
    "label_image",
    "read_masks",
    "write_band_images",
    "write_masks",
    "write_regions",
    "write_segmentation",
]

_BLOCK_BYTES = 2880  # FITS files grow by whole blocks


class MaskedSources(Protocol):
    """What the writers need to know: fields of equal length, as `Detections` has them.

    ``mask_boxes`` are whole-pixel ``y1, x1, y2, x2`` inside the image that the masks fill.
    """

    @property
    def class_ids(self) -> np.ndarray:
        """Class of each source, shape (N,)."""
        ...

    @property
    def scores(self) -> np.ndarray:
        """Confidence of each source, shape (N,)."""
        ...

    @property
    def mask_boxes(self) -> np.ndarray:
        """Box of each mask, shape (N, 4)."""
        ...

    @property
    def masks(self) -> Sequence[np.ndarray]:
        """Mask of each source, in its box."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceMasks:
    """The content of a mask file.

    Attributes
    ----------
    source_ids, class_ids : ndarray of int64, int32, shape (N,)
    scores : ndarray of float32, shape (N,)
    mask_boxes : ndarray of int32, shape (N, 4)
    masks : tuple of ndarray of bool
        In their boxes.
    """

    source_ids: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    mask_boxes: np.ndarray
    masks: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.masks)


def write_masks(
    path: str | Path,
    sources: MaskedSources,
    *,
    source_ids: np.ndarray | None = None,
    wcs: WCS | None = None,
    metadata: Mapping[str, str | int | float] | None = None,
    compress: Literal["auto", "all", "none"] = "auto",
    overwrite: bool = False,
) -> Path:
    """Write one HDU a source, after an empty primary HDU.

    Each holds the uint8 mask cut to its box, ``CLASS_ID``, ``SCORE`` and ``BBOX``
    (``[y1 x1 y2 x2]``, 0-based, end exclusive) as Astro R-CNN writes them, and ``SOURCE_ID``,
    ``EXTNAME`` and the WCS of the cut-out.

    Parameters
    ----------
    path : str or Path
    sources : MaskedSources
        For example `Detections`; zero sources are fine.
    source_ids : ndarray of int, shape (N,), optional
        By default 1 to N.
    wcs : astropy.wcs.WCS, optional
        Of the image.
    metadata : mapping, optional
        Cards for the primary header, with keys of at most 8 characters.
    compress : {"auto", "all", "none"}
        Tile compression.  ``"auto"`` compresses masks of more than two FITS blocks (5760 pixels).
        A smaller one would grow by a block, and take four times as long (1000 sources of 9 to
        49 pixels: 1.1 s and 5.8 MB plain, 4.1 s and 8.6 MB compressed).
    overwrite : bool

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    """
    from astropy.io import fits

    ids = _ids(source_ids, len(sources.masks))
    primary = fits.PrimaryHDU()
    primary.header["NSOURCES"] = (len(ids), "one extension each")
    primary.header.update(dict(metadata or {}))
    frame = _wcs_header(wcs)
    hdus = fits.HDUList([primary])
    for i, mask in enumerate(sources.masks):
        box = [int(edge) for edge in sources.mask_boxes[i]]
        header = _cutout_header(frame, box)
        header["CLASS_ID"] = (int(sources.class_ids[i]), "1 star, 2 galaxy")
        header["SCORE"] = (round(float(sources.scores[i]), 6), "confidence")
        header["BBOX"] = (f"[{' '.join(map(str, box))}]", "y1 x1 y2 x2, 0-based")
        header["HIERARCH SOURCE_ID"] = (int(ids[i]), "as in the catalogue")
        hdus.append(_mask_hdu(np.asarray(mask), header, f"SOURCE_{ids[i]}", compress))
    with atomic_path(path, overwrite=overwrite) as part:
        hdus.writeto(part)
    return Path(path)


def read_masks(path: str | Path) -> SourceMasks:
    """Read a mask file, ours or Astro R-CNN's own (which has no empty primary HDU).

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    SourceMasks
        ``source_ids`` count from 1 where the file does not give them.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    ImageError
        If it is no FITS file, or an HDU's mask does not fill its ``BBOX``.
    """
    from astropy.io import fits

    path = Path(path)
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such mask file.")
    try:
        with fits.open(path, memmap=False) as hdus:
            found = [_read_mask(hdu, path) for hdu in hdus if "BBOX" in hdu.header]
    except OSError as error:
        raise ImageError(f"{path}: not a readable FITS file ({error}).") from error
    headers = [header for header, _, _ in found]
    ids = [header.get("SOURCE_ID", i) for i, header in enumerate(headers, start=1)]
    return SourceMasks(
        source_ids=np.array(ids, np.int64),
        class_ids=np.array([header.get("CLASS_ID", 0) for header in headers], np.int32),
        scores=np.array([header.get("SCORE", np.nan) for header in headers], np.float32),
        mask_boxes=np.array([box for _, box, _ in found], np.int32).reshape(-1, 4),
        masks=tuple(mask for _, _, mask in found),
    )


def write_segmentation(
    path: str | Path,
    sources: MaskedSources,
    shape: tuple[int, int],
    *,
    source_ids: np.ndarray | None = None,
    wcs: WCS | None = None,
    metadata: Mapping[str, str | int | float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an int32 label image: 0 background, else ``source_id``.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.fits.fz`` gives a tile-compressed image in the first extension;
        otherwise the image is the primary HDU (``.fits.gz`` packs the whole file).
    sources : MaskedSources
    shape : tuple of int
        Height and width of the image.
    source_ids : ndarray of int, shape (N,), optional
        By default 1 to N.
    wcs : astropy.wcs.WCS, optional
    metadata : mapping, optional
        Cards with keys of at most 8 characters.
    overwrite : bool

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    """
    from astropy.io import fits

    labels = label_image(sources, shape, source_ids=source_ids)
    header = _wcs_header(wcs)
    header.update(dict(metadata or {}))
    hdus = fits.HDUList([fits.PrimaryHDU(labels, header)])
    if str(path).endswith(".fz"):
        packed = fits.CompImageHDU(labels, header, name="SEGMENTATION", compression_type="GZIP_1")
        hdus = fits.HDUList([fits.PrimaryHDU(), packed])
    with atomic_path(path, overwrite=overwrite) as part:
        hdus.writeto(part)
    return Path(path)


def write_band_images(
    folder: str | Path,
    image: SkyImage,
    *,
    metadata: Mapping[str, str | int | float] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write an image as a folder of bands, which `astro_io.fits_read.read_image` reads.

    Parameters
    ----------
    folder : str or Path
    image : SkyImage
    metadata : mapping, optional
        Cards with keys of at most 8 characters.
    overwrite : bool

    Returns
    -------
    list of Path
        ``img_<band>.fits``: float32 in the primary HDU, NaN where a pixel is bad.

    Raises
    ------
    OutputExistsError
        If a file exists and `overwrite` is False.
    """
    from astropy.io import fits

    paths = []
    for i, band in enumerate(image.bands):
        header = _wcs_header(image.wcs)
        header["FILTER"] = band
        facts = {
            "BUNIT": image.unit[i] or None,
            "MAGZERO": image.zeropoint_mag[i],
            "SATURATE": image.saturation[i],
        }
        header.update({key: value for key, value in facts.items() if value is not None})
        header.update(dict(metadata or {}))
        pixels = np.where(image.bad[..., i], np.float32(np.nan), image.pixels[..., i])
        paths.append(Path(folder) / f"img_{band}.fits")
        with atomic_path(paths[-1], overwrite=overwrite) as part:
            fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(part)
    return paths


def label_image(
    sources: MaskedSources, shape: tuple[int, int], *, source_ids: np.ndarray | None = None
) -> np.ndarray:
    """Paint all masks into one image; the better score wins a shared pixel.

    Parameters
    ----------
    sources : MaskedSources
    shape : tuple of int
        Height and width.
    source_ids : ndarray of int, shape (N,), optional
        By default 1 to N.

    Returns
    -------
    ndarray of int32, shape `shape`
        0 where there is no source.  Of equal scores the earlier source wins.
    """
    ids = _ids(source_ids, len(sources.masks))
    labels = np.zeros(shape, np.int32)
    best_last = np.argsort(-np.asarray(sources.scores, np.float64), kind="stable")[::-1]
    for i in best_last:
        y1, x1, y2, x2 = (int(edge) for edge in sources.mask_boxes[i])
        labels[y1:y2, x1:x2][np.asarray(sources.masks[i], bool)] = ids[i]
    return labels


def _ids(source_ids: np.ndarray | None, n: int) -> np.ndarray:
    """Return the numbers of the sources: those given, else 1 to `n`."""
    ids = np.arange(1, n + 1) if source_ids is None else np.asarray(source_ids)
    if len(ids) != n:
        raise TypeError(f"{n} masks but {len(ids)} source_ids")
    return ids


def _wcs_header(wcs: WCS | None) -> Header:
    """Return the cards of a WCS; none without one."""
    from astropy.io.fits import Header

    return Header() if wcs is None else wcs.celestial.to_header(relax=True)


def _cutout_header(frame: Header, box: Sequence[int]) -> Header:
    """Return the WCS cards of a cut-out: the reference pixel moves with its corner."""
    header = frame.copy()
    if "CRVAL1" in header:
        header["CRPIX1"] = header.get("CRPIX1", 0.0) - box[1]
        header["CRPIX2"] = header.get("CRPIX2", 0.0) - box[0]
    return header


def _mask_hdu(mask: np.ndarray, header: Header, name: str, compress: str) -> Any:
    """Return a plain or tile-compressed image HDU; one without data for an empty box."""
    from astropy.io import fits

    if mask.size == 0:
        return fits.ImageHDU(None, header, name=name)
    pixels = mask.astype(np.uint8)
    if compress == "all" or (compress == "auto" and pixels.size > 2 * _BLOCK_BYTES):
        return fits.CompImageHDU(
            pixels, header, name=name, compression_type="GZIP_1", tile_shape=pixels.shape
        )
    return fits.ImageHDU(pixels, header, name=name)


def _read_mask(hdu: Any, path: Path) -> tuple[Header, tuple[int, ...], np.ndarray]:
    """Return header, box and mask of one HDU."""
    text = str(hdu.header["BBOX"])
    box = tuple(int(word) for word in re.findall(r"-?\d+", text))
    where = f"{path}[{hdu.name or 'PRIMARY'}]"
    if len(box) != 4:
        raise ImageError(f"{where}: expected BBOX as four whole numbers, found {text!r}.")
    shape = (box[2] - box[0], box[3] - box[1])
    mask = np.zeros(shape, bool) if hdu.data is None else np.asarray(hdu.data) > 0
    if mask.shape != shape:
        raise ImageError(f"{where}: BBOX {text} asks for a mask of {shape}, found {mask.shape}.")
    return hdu.header.copy(), box, mask
