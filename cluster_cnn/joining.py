"""Whether stamps of several fields or sets may be put together: pixel scales and zero points."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from astro_io.errors import DatasetError

SCALE_TOLERANCE = 0.01
"""Pixel scales that differ by no more than this share are one: sizes are not known better."""


def common_pixel_scale(names: Sequence[str], scales: Sequence[float]) -> float:
    """Return the pixel scale of stamps from several places: that of the first.

    Parameters
    ----------
    names : sequence of str
        For messages.
    scales : sequence of float
        arcsec; 0 where not known.

    Raises
    ------
    DatasetError
        If they differ by more than `SCALE_TOLERANCE`, or only some are known.
    """
    for name, scale in zip(names, scales, strict=True):
        if abs(scale - scales[0]) > SCALE_TOLERANCE * min(scale, scales[0]):
            raise DatasetError(
                f"{names[0]} and others: pixel_scale_arcsec differs: {scales[0]:.4g} in "
                f"{names[0]}, {scale:.4g} in {name} (0: not known); expected one, to "
                f"{100 * SCALE_TOLERANCE:.0f} %. Cut stamps of one scale (cluster_cnn.stamps "
                "--pixel-scale)."
            )
    return scales[0]


def common_zeropoints(
    names: Sequence[str],
    bands: Sequence[str],
    zeropoints: Sequence[Mapping[str, float]],
    absent: Sequence[Collection[str]],
) -> tuple[dict[str, float], np.ndarray]:
    """Return one zero point a band for all places, and what brings their fluxes to it.

    Parameters
    ----------
    names : sequence of str, length F
        Places, for messages.
    bands : sequence of str, length B
    zeropoints : sequence of mapping of str to float
        AB magnitude of one unit of flux, of the bands where it is known.
    absent : sequence of collection of str
        Bands that a place has no data in; their zero points do not matter.

    Returns
    -------
    zeropoints : dict of str to float
        Those of the first place that has the band.
    factors : ndarray of float32, shape (F, B)

    Raises
    ------
    DatasetError
        If the zero point of a band is known in some places and not in others.
    """
    common: dict[str, float] = {}
    factors = np.ones((len(names), len(bands)), np.float32)
    for channel, band in enumerate(bands):
        present = [f for f in range(len(names)) if band not in absent[f]]
        known = [f for f in present if band in zeropoints[f]]
        if not known:
            continue
        if len(known) < len(present):
            silent = next(names[f] for f in present if f not in known)
            raise DatasetError(
                f"{names[known[0]]} and others: zeropoint_mag differs: {band} has "
                f"{zeropoints[known[0]][band]:.3f} in {names[known[0]]}, none in {silent}. Write "
                "zero points into all headers (MAGZERO, or PHOTFLAM and PHOTPLAM), or into none."
            )
        common[band] = float(zeropoints[known[0]][band])
        for f in known:
            factors[f, channel] = 10.0 ** (0.4 * (common[band] - zeropoints[f][band]))
    return common, factors
