"""Saturation: full wells are clipped, their surplus bleeds along columns."""

from __future__ import annotations

import numpy as np


def bleed(electrons: np.ndarray, full_well_e: float) -> tuple[np.ndarray, np.ndarray]:
    """Clip at full well and let the surplus run up and down its column.

    Half of the surplus of each saturated run of pixels goes either way, filling pixel after
    pixel; what reaches the edge of the detector is lost.

    Parameters
    ----------
    electrons : ndarray of float64, shape (H, W)
    full_well_e : float

    Returns
    -------
    electrons : ndarray of float64, shape (H, W)
        A new array, nowhere above `full_well_e`.
    saturated : ndarray of bool, shape (H, W)
    """
    result = electrons.copy()
    for column in np.flatnonzero((electrons > full_well_e).any(axis=0)):
        result[:, column] = _bleed_column(electrons[:, column], full_well_e)
    return result, result >= full_well_e


def clip(electrons: np.ndarray, full_well_e: float) -> tuple[np.ndarray, np.ndarray]:
    """Clip at full well without a trail; returns the same as `bleed`."""
    return np.minimum(electrons, full_well_e), electrons >= full_well_e


def _bleed_column(column: np.ndarray, full: float) -> np.ndarray:
    """Return one column after bleeding."""
    result = np.minimum(column, full)
    over = np.concatenate([[False], column > full, [False]])
    edges = np.flatnonzero(over[1:] != over[:-1])
    for start, stop in edges.reshape(-1, 2):
        surplus = float((column[start:stop] - full).sum())
        _fill(result[stop:], 0.5 * surplus, full)
        _fill(result[:start][::-1], 0.5 * surplus, full)
    return result


def _fill(pixels: np.ndarray, surplus: float, full: float) -> None:
    """Pour `surplus` into a view of pixels, first to last, each up to `full`."""
    room = full - pixels
    poured = np.minimum(room, np.maximum(0.0, surplus - np.cumsum(room) + room))
    pixels += poured
