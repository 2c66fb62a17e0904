"""Aperture photometry of all stamps of a set, for the baselines."""

from __future__ import annotations

import numpy as np

from astro_io.cli import progress
from cluster_cnn.data import StampSource
from cluster_cnn.photometry_baseline import BaselineSettings, aperture_fluxes

_BATCH = 128  # stamps
_PIXEL_SCALE_ARCSEC = 0.05  # where a set does not say


def read_photometry(
    source: StampSource, rows: np.ndarray, settings: BaselineSettings
) -> np.ndarray:
    """Measure stamps of a set.

    Parameters
    ----------
    source : StampSource
    rows : ndarray of int, shape (N,)
    settings : BaselineSettings
        The apertures.

    Returns
    -------
    ndarray of float64, shape (N, F)
        Of each view, stamp first: as `aperture_fluxes`.
    """
    scale = source.pixel_scale_arcsec or _PIXEL_SCALE_ARCSEC
    views = [(settings.apertures_arcsec, scale)]
    if source.wide_binning:
        views.append((settings.wide_apertures_arcsec, scale * source.wide_binning))
    parts = []
    blocks = [rows[first : first + _BATCH] for first in range(0, len(rows), _BATCH)]
    for block in progress(blocks, description="photometry", unit="batch"):
        stamps = np.split(source.read(block), len(views), axis=3)
        fluxes = [
            aperture_fluxes(view, pixel_scale_arcsec=pixel, radii_arcsec=radii)
            for view, (radii, pixel) in zip(stamps, views, strict=True)
        ]
        parts.append(np.concatenate(fluxes, axis=1))
    return np.concatenate(parts)


def feature_sets(source: StampSource, settings: BaselineSettings) -> dict[str, slice]:
    """Return the columns of `read_photometry` that each baseline sees.

    ``integrated`` is the largest aperture alone, ``apertures`` all of them with the level of the
    border, ``wide_apertures`` these and those of the wide view, where there is one.
    """
    n_bands, n_radii = len(source.bands), len(settings.apertures_arcsec)
    chosen = {
        "integrated": slice((n_radii - 1) * n_bands, n_radii * n_bands),
        "apertures": slice(0, (n_radii + 1) * n_bands),
    }
    return chosen | ({"wide_apertures": slice(None)} if source.wide_binning else {})
