"""Small mosaics on disk for tests of positions, stamps and prediction."""

from __future__ import annotations

from astropy.io import fits
from astropy.wcs import WCS


def tan_wcs() -> WCS:
    """0.05 arcsec pixels, north up; pixel (50, 40) is ra 10, dec 41."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 10.0, 41.0
    wcs.wcs.crpix = 51.0, 41.0
    wcs.wcs.cdelt = -0.05 / 3600, 0.05 / 3600
    return wcs


def write_plane(path, data, **cards):
    """Write an image with this WCS and cards; return its path."""
    header = tan_wcs().to_header()
    header.update(cards)
    fits.PrimaryHDU(data, header).writeto(path)
    return path
