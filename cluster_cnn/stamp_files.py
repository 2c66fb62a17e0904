"""Stamps on disk: a FITS file with one extension a band for each object, as Wei et al. keep them.

References
----------
Wei et al. 2020, MNRAS 493, 3178, section 2: bands without data are zero, objects that lack more
than one are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path
from cluster_cnn.stamp_coverage import bands_with_data

MOST_MISSING = 1
"""Bands that an object may lack in the paper."""


def count_missing(stamps: np.ndarray) -> np.ndarray:
    """Return how many bands of each stamp have no data, int, shape (N,).

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
        NaN where there is no data.
    """
    return (~bands_with_data(stamps)).sum(axis=1)


def write_stamp(
    path: Path,
    stamp: np.ndarray,
    bands: Sequence[str],
    *,
    header: Mapping[str, Any] | None = None,
    units: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write one object: an empty primary HDU, then an image extension a band.

    Parameters
    ----------
    path : Path
        Ends in ``.fits``.
    stamp : ndarray of float, shape (H, W, B)
        Pixels without data become 0.
    bands : sequence of str
        EXTNAME and FILTER of the extensions, in channel order.
    header : mapping of str to value, optional
        Cards of the primary HDU.
    units : sequence of str, optional
        BUNIT of each band; empty where unknown.
    overwrite : bool
        Replace a file that is there.
    """
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    for key, value in (header or {}).items():
        if value is not None and not (isinstance(value, float) and not np.isfinite(value)):
            primary.header[key] = _printable(value) if isinstance(value, str) else value
    hdus = [primary]
    with_data = bands_with_data(stamp[None])[0]
    for channel, band in enumerate(bands):
        plane = stamp[..., channel]
        good = np.isfinite(plane) & with_data[channel]
        hdu = fits.ImageHDU(np.where(good, plane, 0).astype(np.float32), name=band)
        hdu.header["FILTER"] = band
        hdu.header["HASDATA"] = (bool(with_data[channel]), "zeros throughout if False")
        if channel < len(units) and units[channel]:
            hdu.header["BUNIT"] = units[channel]
        hdus.append(hdu)
    with atomic_path(path, overwrite=overwrite) as part:
        fits.HDUList(hdus).writeto(part)


def _printable(text: str) -> str:
    """Return text that a FITS card can hold: what is not printable ASCII becomes ``?``."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)
