"""One mock: truth, light, noise, reproducibility."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulate_clusters.conftest import SMALL

from astro_io.cluster_set import CLUSTER_COLUMNS
from astro_io.errors import ConfigError
from simulate.star_clusters.cluster_stars import (
    FAINT_MASS,
    MAX_FAINT_STARS,
    ClusterParameters,
    draw_cluster,
)
from simulate.star_clusters.columns import column_notes, truth_table
from simulate.star_clusters.config import GridConfig, load_preset
from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrone_fit import default_isochrones
from simulate.star_clusters.mock import MockMaker, object_seed
from simulate.star_clusters.photometry import distance_modulus


@pytest.fixture(scope="module")
def maker(small) -> MockMaker:
    return MockMaker(small)


def changed(small, *overrides: str) -> MockMaker:
    return MockMaker(load_preset("phat", (*SMALL, "others.fraction=0", *overrides)))


def test_rich_cluster_has_the_magnitude_of_the_whole_isochrone(parsec, rng):
    """1e5 solar masses at log t 9 in M31 against the grid itself, which the mock never saw.

    The scatter expected of 1e5 solar masses is about 0.02 mag in F475W, 0.05 in F160W.
    """
    filters = ("WFC3_F336W", "ACS_F475W", "ACS_F814W", "WFC3_F160W")
    config = load_preset("phat")
    parameters = ClusterParameters(
        log_age=9.0, metallicity=0.014, log_mass=5.0, half_light_radius_arcsec=1.0
    )
    isochrone = default_isochrones().select(filters).nearest(9.0, 0.014)
    drawn = draw_cluster(rng, parameters, isochrone, pixel_scale_arcsec=0.05)
    whole = parsec.select(filters).nearest(9.0, 0.014).integrated_magnitudes(KroupaImf(), 1e5)
    mag = -2.5 * np.log10(drawn.total_flux)
    np.testing.assert_allclose(mag, whole, atol=0.15)
    assert abs(mag[1] - whole[1]) < 0.06
    assert drawn.total_mass == pytest.approx(1e5, rel=1e-3)
    assert distance_modulus(config.cluster.distance_kpc[0]) == pytest.approx(24.474, abs=1e-3)


def test_faint_stars_of_rich_clusters_keep_number_and_light(rng):
    parameters = ClusterParameters(
        log_age=8.0, metallicity=0.014, log_mass=5.0, half_light_radius_arcsec=1.0
    )
    isochrone = default_isochrones().nearest(8.0, 0.014)
    drawn = draw_cluster(rng, parameters, isochrone, pixel_scale_arcsec=0.05)
    imf = KroupaImf()
    n_faint = 1e5 / imf.mean_mass * float(imf.number_below(np.array(FAINT_MASS)))
    assert n_faint > 2 * MAX_FAINT_STARS
    assert drawn.n_stars == pytest.approx(1e5 / imf.mean_mass, rel=0.02)
    assert len(drawn.stars.y) < drawn.n_stars - n_faint + MAX_FAINT_STARS + 3000
    number, flux = isochrone.points(imf)
    np.testing.assert_allclose(drawn.total_flux[11], 1e5 * number @ flux[:, 11], rtol=0.1)


def test_stamp_holds_the_light_of_a_compact_cluster(small):
    """All noise off, no field to speak of: the stamp's sum is the cluster's magnitude.

    Point spread function and profile leave a few per cent outside 1.6 arcsec squares.
    """
    maker = changed(
        small,
        "field.surface_brightness_mag=[35,35]",
        "cluster.log_mass=[4,4]",
        "cluster.half_light_radius_arcsec=[0.15,0.15]",
        "cluster.king_fraction=1",
        "cluster.king_concentration=[0.7,0.7]",
        "cluster.av_mag=[0.5,0.5]",
    )
    mock = maker.make(1, 0)
    zero = np.array(maker.config.instrument.zeropoint_mag)
    mag = np.array([mock.row["mag_F475W"], mock.row["mag_F814W"]])
    expected = 10 ** (0.4 * (zero - mag))
    share = mock.stamp.sum(axis=(0, 1)) / expected
    assert np.all((share > 0.85) & (share < 1.0))


def test_field_has_the_surface_brightness_asked_for(small):
    """20 mag per square arcsec, zero point 25.943: 238.6 e/s per square arcsec, 0.596 a pixel.

    Fields scatter by their bright stars: a few per cent in the mean of 12.
    """
    maker = changed(
        small,
        "field.surface_brightness_mag=[20,20]",
        "field.young_fraction=[1e-6,1e-6]",
        "field.av_mag=[0,0]",
        "cluster.log_mass=[0,0]",
        "instrument.stamp_px=96",
    )
    means = [maker.make(5, i).stamp[..., 1].mean() for i in range(12)]
    assert np.mean(means) == pytest.approx(0.596, rel=0.06)


def test_extinction_and_distance_dim_by_their_magnitudes(small):
    fixed = ("field.surface_brightness_mag=[23,23]", "cluster.av_mag=[0,0]", "grid.log_mass=[4]")
    plain = changed(small, *fixed).make(3, 0).row
    far = changed(small, *fixed, "cluster.distance_kpc=[1570,1570]").make(3, 0).row
    dusty = changed(small, *fixed, "grid.av_mag=[1]").make(3, 0).row
    assert far["mag_F475W"] - plain["mag_F475W"] == pytest.approx(5 * np.log10(2), abs=1e-6)
    # Fitzpatrick 1999: 1.2 mag at 475 nm, 0.6 at 806 nm for 1 mag in V.
    assert dusty["mag_F475W"] - plain["mag_F475W"] == pytest.approx(1.2, abs=0.05)
    assert dusty["mag_F814W"] - plain["mag_F814W"] == pytest.approx(0.58, abs=0.05)


def test_same_seed_same_mock_and_other_seed_another(maker):
    one, again = maker.make(7, 3), MockMaker(maker.config).make(7, 3)
    np.testing.assert_array_equal(one.stamp, again.stamp)
    assert one.row == again.row
    assert not np.array_equal(one.stamp, maker.make(8, 3).stamp)
    seeds = {object_seed(seed, index) for seed in range(20) for index in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_truth_is_inside_the_ranges(maker):
    cluster = maker.config.cluster
    for i in range(12):
        row = maker.make(2, i).row
        assert cluster.log_age[0] <= row["log_age"] <= cluster.log_age[1]
        assert cluster.metallicity[0] <= row["metallicity"] <= cluster.metallicity[1]
        assert 0.15 <= row["half_light_radius_arcsec"] <= 10.0
        assert 0.0 <= row["av"] <= 2.0
        assert row["class"] == 1
        assert row["snr"] > 0
        middle = (maker.grid.stamp_px - 1) / 2
        assert np.hypot(row["y"] - middle, row["x"] - middle) <= cluster.centre_offset_px


def test_brighter_clusters_stand_out_more(small):
    maker = changed(
        small,
        "grid.log_mass=[2.5,4.5]",
        "cluster.half_light_radius_arcsec=[0.4,0.4]",
        "cluster.log_age=[8,8]",
    )
    faint, bright = (np.median([maker.make(s, i).row["snr"] for s in range(3)]) for i in (0, 1))
    assert bright > 10 * faint


def test_grid_is_walked_with_the_last_list_fastest(small):
    config = replace(small, grid=GridConfig(log_age=(7.0, 8.0), log_mass=(2.0, 3.0, 3.5)))
    assert config.grid.point(0) == {"log_age": 7.0, "log_mass": 2.0}
    assert config.grid.point(5) == {"log_age": 8.0, "log_mass": 3.5}
    assert config.grid.point(6) == config.grid.point(0)
    assert GridConfig().point(4) == {}
    row = MockMaker(config).make(1, 5).row
    assert row["log_age"] == 8.0
    assert row["log_mass"] == pytest.approx(3.5, abs=0.01)


@pytest.mark.parametrize(
    ("weights", "kind", "class_id"),
    [
        ("1,0,0,0", "field", 0),
        ("0,1,0,0", "star", 4),
        ("0,0,1,0", "pair", 4),
        ("0,0,0,1", "galaxy", 4),
    ],
)
def test_others_are_no_clusters(weights, kind, class_id):
    maker = MockMaker(
        load_preset("phat", (*SMALL, "others.fraction=1", f"others.weights=[{weights}]"))
    )
    mock = maker.make(1, 0)
    assert (mock.row["kind"], mock.row["class"]) == (kind, class_id)
    assert np.isfinite(mock.stamp).all()
    table = truth_table([mock.row], maker.config.instrument.bands)
    assert np.isnan(table["log_age"][0])
    assert (mock.row["snr"] == 0) == (kind == "field")
    if kind in ("star", "galaxy"):
        y, x = round(mock.row["y"]), round(mock.row["x"])
        window = mock.stamp[y - 3 : y + 4, x - 3 : x + 4, 1]
        assert window.mean() > 3 * np.median(mock.stamp[..., 1])


def test_galaxy_has_the_magnitude_drawn():
    settings = (
        "others.fraction=1",
        "others.weights=[0,0,0,1]",
        "others.galaxy_mag=[19,19]",
        "others.galaxy_radius_arcsec=[0.2,0.2]",
        "field.av_mag=[0,0]",
    )
    row = MockMaker(load_preset("phat", (*SMALL, *settings))).make(3, 0).row
    assert row["mag_F814W"] == pytest.approx(19.0, abs=0.05)


def test_real_background_keeps_its_pixels_where_the_cluster_is_dark(maker, rng):
    background = rng.normal(0.1, 0.01, (32, 32, 2)).astype(np.float32)
    one = maker.make(4, 0, background)
    two = maker.make(4, 0, background + 1.0)
    np.testing.assert_allclose(two.stamp - one.stamp, 1.0, atol=1e-4)
    assert "field_av" not in one.row


def test_columns_are_those_of_the_shared_layer_and_more(maker):
    notes = column_notes(("F475W",))
    assert set(CLUSTER_COLUMNS) < set(notes)
    table = truth_table([maker.make(1, 0).row], ("F475W", "F814W"))
    assert str(table["mag_F814W"].unit) == "mag"
    assert set(table.colnames) >= {"seed", "index", "x", "y", "profile", "distance_kpc"}
    assert table["seed"][0] == object_seed(1, 0)


def test_ranges_that_the_isochrones_do_not_reach_are_refused():
    for setting, message in (
        ("cluster.log_age=[5,6]", r"log_age: the isochrones have nothing in \[5.0, 6.0\]"),
        ("cluster.metallicity=[0.04,0.05]", "they reach from 0.004 to 0.02"),
        ("grid.log_age=[7,11]", r"\[grid\] log_age: the isochrones have nothing in \[11.0, 11.0\]"),
        ("grid.metallicity=[0.05]", r"\[grid\] metallicity: .* they reach from 0.004 to 0.02"),
    ):
        with pytest.raises(ConfigError, match=message):
            MockMaker(load_preset("phat", (*SMALL, setting)))


def test_radius_ranges_must_meet(small):
    maker = changed(small, "cluster.half_light_radius_pc=[500,600]")
    with pytest.raises(ConfigError, match="nothing in common at 785 kpc"):
        maker.make(1, 0)
