"""The truth table of a set of mocks: its columns, and rows from what a mock says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.cluster_set import CLUSTER_COLUMNS

if TYPE_CHECKING:
    from astropy.table import Table

Columns = dict[str, tuple[str, str, str]]

_MORE: Columns = {
    "kind": ("str", "", "cluster, or field, star, pair, galaxy"),
    "x": ("float32", "pixel", "centre, 0-based pixel centres of the stamp"),
    "y": ("float32", "pixel", "centre, 0-based pixel centres of the stamp"),
    "distance_kpc": ("float32", "kpc", "distance of the cluster and of the field"),
    "profile": ("str", "", "eff or king"),
    "shape": ("float32", "", "gamma of an EFF profile, log10(rt/rc) of a King profile"),
    "axis_ratio": ("float32", "", "of the isophotes"),
    "angle_deg": ("float32", "deg", "of the major axis, from x towards y"),
    "n_stars": ("int32", "", "living stars of the cluster"),
    "psf_size": ("float32", "", "stretch of the point spread functions"),
    "field_surface_brightness": ("float32", "mag / arcsec2", "of the field, AB, before dust"),
    "field_young_fraction": ("float32", "", "share of field stars younger than 200 Myr, by mass"),
    "field_av": ("float32", "mag", "extinction of the field in V"),
    "index": ("int64", "", "number of the object in its set"),
    "seed": ("int64", "", "of the object's own random numbers"),
}

_OF_CLASSES: Columns = {
    "kind": ("str", "", "symmetric, asymmetric, association, or what of class 4"),
    "class_human": ("int16", "", "class as a human labels it: wrong as often as humans disagree"),
    "n_peaks": ("int16", "", "peaks of the noiseless image; 0 in class 4"),
    "asymmetry": ("float32", "", "of the noiseless image under half a turn"),
    "elongation": ("float32", "", "one minus the axis ratio of the noiseless image"),
}
"""Columns of ``--task classes`` alone."""


def column_notes(bands: Sequence[str], *, has_classes: bool = False) -> Columns:
    """Return dtype, unit and meaning of every column of a set in these bands."""
    magnitudes = {
        f"mag_{band}": ("float32", "mag", "whole object, AB, extinction included") for band in bands
    }
    of_classes = _OF_CLASSES if has_classes else {}
    return {**CLUSTER_COLUMNS, **_MORE, **of_classes, **magnitudes}


def truth_table(
    rows: Sequence[dict[str, Any]], bands: Sequence[str], *, has_classes: bool = False
) -> Table:
    """Return the truth of a block of mocks.

    Parameters
    ----------
    rows : sequence of dict
        From `simulate.star_clusters.mock.Mock`; a missing value becomes NaN, 0 or ``""``.
    bands : sequence of str
    has_classes : bool
        Of the four-class set.

    Returns
    -------
    astropy.table.Table
    """
    from astropy.table import Column, Table

    table = Table()
    for name, (kind, unit, meaning) in column_notes(bands, has_classes=has_classes).items():
        missing: Any = {"f": np.nan, "i": 0, "s": ""}[kind[0]]
        values = np.array([row.get(name, missing) for row in rows], dtype=kind)
        table[name] = Column(values, unit=unit or None, description=meaning)
    return table
