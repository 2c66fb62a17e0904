"""Dimming by dust."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from astro_io.errors import ConfigError
from simulate.star_clusters.extinction import CURVES, extinction_ratios
from simulate.star_clusters.filters import FILTERS, get_filters

NAMES = tuple(FILTERS)


@pytest.mark.parametrize("curve", CURVES)
def test_bluer_filters_lose_more(curve):
    filters = get_filters(("WFC3_F275W", "WFC3_F336W", "ACS_F475W", "ACS_F814W", "WFC3_F160W"))
    ratios = extinction_ratios(filters, curve)
    assert np.all(np.diff(ratios) < 0)
    # V lies between F475W (475 nm) and F814W (806 nm).
    assert ratios[2] > 1 > ratios[3]


def test_cardelli_curve_matches_the_grid_file(shared_data):
    with h5py.File(shared_data / "clusters" / "isochrones_hst.h5") as file:
        names = tuple(str(name) for name in file.attrs["filters"])
        expected = file["A_over_AV_CCM89_Rv3p1"][()]
    np.testing.assert_allclose(extinction_ratios(get_filters(names), "CCM89"), expected, rtol=2e-3)


def test_flatter_dust_dims_the_ultraviolet_less():
    filters = get_filters(("WFC3_F275W",))
    assert extinction_ratios(filters, "F99", 5.0)[0] < extinction_ratios(filters, "F99", 3.1)[0]


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"\[extinction\] curve: expected F99.*found 'calzetti'"):
        extinction_ratios(get_filters(("ACS_F814W",)), "calzetti")
    with pytest.raises(ConfigError, match=r"\[extinction\] r_v"):
        extinction_ratios(get_filters(("ACS_F814W",)), "F99", 99.0)
    with pytest.raises(ConfigError, match="ACS_F999W not known; expected some of WFC3_F275W"):
        get_filters(("ACS_F999W",))


def test_filter_table_matches_the_grid_file(shared_data):
    with h5py.File(shared_data / "clusters" / "isochrones_hst.h5") as file:
        for i, name in enumerate(file.attrs["filters"]):
            item = FILTERS[str(name)]
            assert item.pivot_nm == pytest.approx(file["pivot_wavelength_A"][i] / 10, abs=0.1)
            assert item.ab_minus_vega == pytest.approx(file["ab_minus_vega"][i], abs=6e-4)
            assert item.range_nm[0] < item.pivot_nm < item.range_nm[1]
    assert FILTERS["ACS_F475W"].band == "F475W"
