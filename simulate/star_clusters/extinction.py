"""Dimming of starlight by dust: magnitudes lost in each filter for one magnitude lost in V."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from astro_io.errors import ConfigError
from simulate.star_clusters.filters import HstFilter

CURVES = ("F99", "CCM89", "O94", "F19", "G23")


@lru_cache(maxsize=16)
def extinction_ratios(
    filters: tuple[HstFilter, ...], curve: str = "F99", r_v: float = 3.1
) -> np.ndarray:
    """Return ``A(filter) / A(V)`` at the pivot wavelengths.

    Wide filters dim hot stars a little more than cool ones; that second-order colour term is
    left out (below 4 % of the extinction redwards of F336W).

    Parameters
    ----------
    filters : tuple of HstFilter
    curve : str
        One of `CURVES`: parameter averages of the package dust_extinction.
    r_v : float
        Ratio of total to selective extinction.

    Returns
    -------
    ndarray of float64, shape (B,)

    Raises
    ------
    ConfigError
        If the curve is not known, or `r_v` outside its range.

    References
    ----------
    Fitzpatrick 1999, PASP 111, 63 (``F99``); Gordon 2024, JOSS 9, 7023 (dust_extinction).
    """
    if curve not in CURVES:
        raise ConfigError(f"[extinction] curve: expected {', '.join(CURVES)}; found {curve!r}.")
    from astropy import units
    from dust_extinction import parameter_averages

    pivots: Sequence[float] = [item.pivot_nm for item in filters]
    try:
        model = getattr(parameter_averages, curve)(Rv=r_v)
    except ValueError as error:
        raise ConfigError(f"[extinction] r_v: {error}") from error
    return np.asarray(model(np.array(pivots) * units.nm), dtype=np.float64)
