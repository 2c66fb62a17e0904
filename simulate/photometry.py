"""Synthetic photometry: AB magnitudes of redshifted galaxy spectra through the filters of surveys.

Spectra (Coleman, Wu & Weedman 1980, extended) and filter curves come with GalSim.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import galsim
import numpy as np
from scipy.integrate import trapezoid

from astro_io.errors import ConfigError

_FILTER_FILES = {
    **{band: f"LSST_{band}.dat" for band in "ugrizy"},
    **{band: f"ACS_wfc_{band}.dat" for band in ("F435W", "F606W", "F775W", "F814W", "F850LP")},
    **{band: f"WFC3_ir_{band}.dat" for band in ("F105W", "F125W", "F160W")},
    **{band: f"WFC3_uvis_{band}.dat" for band in ("F275W", "F336W")},
}
BANDS = tuple(_FILTER_FILES)
"""Bands with a filter curve; those of LSST stand for the u to y of other surveys as well."""

_SPECTRA = ("CWW_E_ext.sed", "CWW_Sbc_ext.sed", "CWW_Scd_ext.sed", "CWW_Im_ext.sed")
_TYPE_OF_SPECTRUM = np.array([1.0, 0.5, 0.25, 0.0])
_REDSHIFTS = np.arange(0.0, 6.01, 0.05)

# Mean opacity of the intergalactic medium: wavelength of a Lyman line in nm and its coefficient,
# Madau 1995, ApJ 441, 18, equation 15.
_LYMAN_LINES = ((121.567, 0.0036), (102.572, 0.0017), (97.254, 0.0012), (94.974, 0.00093))
_LYMAN_LIMIT_NM = 91.2


def filter_curve(band: str) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength in nm and throughput of a band.

    Raises
    ------
    ConfigError
        If the band is not one of `BANDS`.
    """
    if band not in _FILTER_FILES:
        raise ConfigError(
            f"[survey] bands: no filter curve for {band}; expected one of {', '.join(BANDS)}."
        )
    path = Path(galsim.meta_data.share_dir) / "bandpasses" / _FILTER_FILES[band]
    wavelength, throughput = np.loadtxt(path, unpack=True, usecols=(0, 1))
    return wavelength, throughput


def pivot_wavelength(band: str) -> float:
    """Return the pivot wavelength of a band in nm: sqrt(int T lam dlam / int T / lam dlam)."""
    wavelength, throughput = filter_curve(band)
    top = trapezoid(throughput * wavelength, wavelength)
    return float(np.sqrt(top / trapezoid(throughput / wavelength, wavelength)))


def galaxy_magnitudes(
    spectral_type: np.ndarray, redshift: np.ndarray, bands: tuple[str, ...]
) -> np.ndarray:
    """Return magnitudes of galaxies, up to one constant a galaxy.

    Parameters
    ----------
    spectral_type : ndarray of float, shape (N,)
        1 elliptical, 0.5 Sbc, 0.25 Scd, 0 irregular; in between, and a little beyond at the
        blue end, magnitudes are interpolated.
    redshift : ndarray of float, shape (N,)
        Beyond 6 they are taken as 6.
    bands : tuple of str

    Returns
    -------
    ndarray of float64, shape (N, B)
        AB magnitudes; only their differences have a meaning.
    """
    table = _magnitude_table(bands)
    kind = np.clip(np.asarray(spectral_type, dtype=float), -0.4, 1.0)
    # the types fall: intervals (Im, Scd), (Scd, Sbc), (Sbc, E) from the back
    rising = _TYPE_OF_SPECTRUM[::-1]
    low = np.clip(np.searchsorted(rising, kind) - 1, 0, len(rising) - 2)
    weight = (kind - rising[low]) / (rising[low + 1] - rising[low])
    step = np.clip(np.asarray(redshift, dtype=float) / _REDSHIFTS[1], 0.0, len(_REDSHIFTS) - 1.001)
    z_low = step.astype(int)
    z_weight = (step - z_low)[:, None]
    last = len(rising) - 1
    parts = []
    for index in (last - low, last - low - 1):
        near, far = table[index, z_low], table[index, z_low + 1]
        parts.append((1.0 - z_weight) * near + z_weight * far)
    return (1.0 - weight)[:, None] * parts[0] + weight[:, None] * parts[1]


@lru_cache(maxsize=8)
def _magnitude_table(bands: tuple[str, ...]) -> np.ndarray:
    """Tabulate magnitudes of the spectra, shape (spectra, redshifts, B)."""
    table = np.empty((len(_SPECTRA), len(_REDSHIFTS), len(bands)))
    for s, name in enumerate(_SPECTRA):
        path = Path(galsim.meta_data.share_dir) / "SEDs" / name
        angstrom, flux = np.loadtxt(path, unpack=True, usecols=(0, 1))
        for b, band in enumerate(bands):
            wavelength, throughput = filter_curve(band)
            table[s, :, b] = _ab_magnitudes(angstrom / 10.0, flux, wavelength, throughput)
    return table


def _ab_magnitudes(
    rest_nm: np.ndarray, flux: np.ndarray, wavelength: np.ndarray, throughput: np.ndarray
) -> np.ndarray:
    """Return magnitudes at all redshifts of a spectrum in flux per wavelength."""
    norm = trapezoid(throughput / wavelength, wavelength)
    magnitudes = np.empty(len(_REDSHIFTS))
    for i, z in enumerate(_REDSHIFTS):
        seen = np.interp(wavelength / (1.0 + z), rest_nm, flux) / (1.0 + z)
        seen = seen * np.exp(-forest_opacity(wavelength, z))
        light = trapezoid(seen * throughput * wavelength, wavelength)
        magnitudes[i] = -2.5 * np.log10(max(light / norm, 1e-12))
    return magnitudes


def forest_opacity(wavelength_nm: np.ndarray, redshift: float) -> np.ndarray:
    """Return the mean opacity of the Lyman-alpha forest before a source; opaque below the limit.

    Parameters
    ----------
    wavelength_nm : ndarray of float
        As observed.
    redshift : float
        Of the source.

    Returns
    -------
    ndarray of float
        Of the shape of `wavelength_nm`.

    References
    ----------
    Madau 1995, ApJ 441, 18.
    """
    opacity = np.zeros(np.shape(wavelength_nm))
    for line_nm, coefficient in _LYMAN_LINES:
        absorbed = wavelength_nm < line_nm * (1.0 + redshift)
        opacity += np.where(absorbed, coefficient * (wavelength_nm / line_nm) ** 3.46, 0.0)
    beyond = wavelength_nm < _LYMAN_LIMIT_NM * (1.0 + redshift)
    return opacity + np.where(beyond & (redshift > 0.0), 5.0, 0.0)
