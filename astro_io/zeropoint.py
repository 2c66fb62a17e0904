"""What a FITS header says about flux: unit, AB zero point, saturation level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ZEROPOINT_KEYS = ("MAGZERO", "MAGZPT", "ZEROPOINT", "ZEROPNT", "PHOTZP", "MAGZP")
"""Header cards that hold the AB magnitude of one count of the image, first found wins."""

SATURATION_KEYS = ("SATURATE", "SATLEVEL", "SATURVAL")

LEGACY_SURVEYS = ("DECALS", "LEGACYSURVEY", "LEGACYSURVEYS", "BASS", "MZLS", "BASS/MZLS")
"""``SURVEY`` cards of cut-outs whose pixels are nanomaggies although no ``BUNIT`` says so."""

AB_ZERO_JY = 3631.0
"""Flux density of AB magnitude 0 (Oke & Gunn 1983, ApJ 266, 713)."""

UNIT_JY = {
    "nanomaggy": 3.631e-6,
    "nanomaggies": 3.631e-6,
    "nmgy": 3.631e-6,
    "maggy": 3631.0,
    "maggies": 3631.0,
    "jy": 1.0,
    "mjy": 1e-3,
    "ujy": 1e-6,
    "microjy": 1e-6,
    "njy": 1e-9,
}
"""Flux density of one unit in Jy, by the lower-case ``BUNIT``. ``MJy`` is not among them."""

_RATE_MARKS = ("/s", "s-1", "s^-1", "s**-1", "per s", "cps")
_COUNT_UNITS = ("electron", "count", "dn", "adu", "e-", "cps")


def flux_unit(header: Mapping[str, Any]) -> str:
    """Return the unit of the pixels: ``BUNIT``, or nanomaggy for a Legacy Surveys cut-out.

    Parameters
    ----------
    header : mapping
        FITS header; a missing card is absent.

    Returns
    -------
    str
        ``""`` where the header does not say.
    """
    unit = str(header.get("BUNIT") or "").strip()
    if unit:
        return unit
    survey = str(header.get("SURVEY") or "").replace(" ", "").upper()
    return "nanomaggy" if survey in LEGACY_SURVEYS else ""


def zeropoint_mag(header: Mapping[str, Any]) -> float | None:
    """Return the AB magnitude of a source of one flux unit, where the header says reliably.

    In this order: a physical unit (nanomaggy, nJy, ...); a zero-point card
    (`ZEROPOINT_KEYS`); ``FLUXMAG0`` (HSC); ``PHOTFLAM`` and ``PHOTPLAM`` (HST).

    Parameters
    ----------
    header : mapping
        FITS header of the band.

    Returns
    -------
    float or None
        None where the header does not say.

    References
    ----------
    HST: ACS Data Handbook, section 5.1: ``-2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408``.
    """
    unit = flux_unit(header)
    unit_jy = None if unit.startswith("MJ") else UNIT_JY.get(unit.lower())
    if unit_jy is not None:
        return 2.5 * math.log10(AB_ZERO_JY / unit_jy)
    for key in ZEROPOINT_KEYS:
        value = _number(header.get(key))
        if value is not None and 1.0 < value < 60.0:
            return value
    flux_of_mag0 = _number(header.get("FLUXMAG0"))
    if flux_of_mag0 is not None and flux_of_mag0 > 0:
        return 2.5 * math.log10(flux_of_mag0)
    return _hst_zeropoint(header, unit)


def saturation_level(header: Mapping[str, Any]) -> float | None:
    """Return the pixel value at which the detector saturates; None where the header is silent."""
    for key in SATURATION_KEYS:
        value = _number(header.get(key))
        if value is not None and value > 0:
            return value
    return None


def _hst_zeropoint(header: Mapping[str, Any], unit: str) -> float | None:
    """Return the AB zero point of an HST image in counts a second, or in counts with a time."""
    photflam, pivot = _number(header.get("PHOTFLAM")), _number(header.get("PHOTPLAM"))
    if photflam is None or pivot is None or photflam <= 0 or pivot <= 0:
        return None
    of_rate = -2.5 * math.log10(photflam) - 5.0 * math.log10(pivot) - 2.408
    words = unit.lower()
    if not words.startswith(_COUNT_UNITS):
        return None
    if any(mark in words.replace(" / ", "/") for mark in _RATE_MARKS):
        return of_rate
    exposure_s = _number(header.get("EXPTIME"))
    if exposure_s is None or exposure_s <= 0:
        return None
    return of_rate + 2.5 * math.log10(exposure_s)


def _number(value: object) -> float | None:
    """Return a header value as a finite float; text that holds a number counts."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
