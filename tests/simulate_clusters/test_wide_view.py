"""The surroundings of a stamp: its own pixels in the middle, the same stars around them."""

from __future__ import annotations

import numpy as np
import pytest
from simulate_clusters.conftest import SMALL

from astro_io.binning import bin_pixels
from astro_io.cluster_set import ClusterSetReader
from astro_io.errors import ConfigError, ImageError
from simulate.clusters import main
from simulate.star_clusters.backgrounds import MosaicBackgrounds
from simulate.star_clusters.class_mock import ClassMockMaker
from simulate.star_clusters.config import GridConfig, load_preset
from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.mock import MockMaker
from simulate.star_clusters.preview import make_grid, preview_grid
from simulate.star_clusters.render import StampGrid, convolve, convolve_pair, psf_spectra

WIDE = (*SMALL, "instrument.wide_binning=4")


def make(*overrides: str, seed: int = 1, n: int = 1):
    maker = MockMaker(load_preset("phat", (*WIDE, *overrides)))
    return [maker.make(seed, index) for index in range(n)]


def test_middle_is_the_stamp_and_the_stamp_is_the_one_without_a_wide_view():
    for overrides in ((), ("others.fraction=1", "others.weights=[0,0,0,1]")):
        mock = make(*overrides)[0]
        plain = MockMaker(load_preset("phat", (*SMALL, *overrides))).make(1, 0)
        np.testing.assert_array_equal(mock.stamp, plain.stamp)
        assert mock.wide.shape == mock.stamp.shape == (32, 32, 2) and plain.wide is None
        # 32 px are 8 wide ones: 12 to 20 of 32.
        np.testing.assert_array_equal(mock.wide[12:20, 12:20], bin_pixels(mock.stamp, 4))


def test_coarse_stars_are_those_of_fine_pixels_summed(rng):
    """Stars anywhere: 1.5 % of the peak of a star in the summed image of a fine grid."""
    filters = get_filters(("WFC3_F275W", "ACS_F814W", "WFC3_F160W"))
    fine = StampGrid(128, 0.05)
    coarse = StampGrid(32, 0.2, oversampling=3, binning=4)
    y, x = rng.uniform(30, 98, (2, 12))
    flux = np.ones((12, 3))
    image = convolve(fine.deposit(y, x, flux), psf_spectra(filters, fine), fine)
    expected = bin_pixels(image, 4)
    at = [coarse.positions_of(fine, position) for position in (y, x)]
    found = convolve(coarse.deposit(*at, flux), psf_spectra(filters, coarse), coarse)
    for b in range(3):
        np.testing.assert_allclose(found[..., b], expected[..., b], atol=0.015 * expected.max())
    assert coarse.positions_of(fine, 1.5) == 0.0, "the middle of the first four pixels"


def test_one_scene_alone_equals_one_of_a_pair(rng):
    grid = StampGrid(24, 0.05)
    spectra = psf_spectra(get_filters(("ACS_F814W",)), grid)
    planes = grid.deposit(*rng.uniform(0, 24, (2, 9)), np.ones((9, 1)))
    pair = convolve_pair(planes, np.zeros_like(planes), spectra, grid)[0]
    np.testing.assert_allclose(convolve(planes, spectra, grid), pair, atol=1e-6)


def test_cluster_goes_on_outside_the_stamp():
    """A large rich cluster: the wide ring about the stamp is as bright as the stamp's border."""
    fixed = (
        "others.fraction=0",
        "grid.log_mass=[5]",
        "grid.log_age=[9]",
        "grid.half_light_radius_arcsec=[2.5]",
        "field.surface_brightness_mag=[30,30]",
    )
    views = np.stack([mock.wide[..., 1] for mock in make(*fixed, n=6)])
    y, x = np.mgrid[:32, :32] - 15.5
    ring = np.hypot(y, x).astype(int)
    level = [np.median(views[:, ring == r], axis=1).mean() for r in range(14)]
    assert level[4] / level[3] == pytest.approx(0.85, abs=0.12), "no step at the stamp's edge"
    assert level[0] > 1.5 * level[5] > 5 * level[12] > 0


def test_field_is_as_bright_outside_as_inside():
    """Means of 16 fields, whose few bright stars scatter them by some per cent."""
    fixed = (
        "cluster.log_mass=[0,0]",
        "others.fraction=0",
        "field.surface_brightness_mag=[21,21]",
        "field.young_fraction=[1e-6,1e-6]",
    )
    mocks = make(*fixed, n=16)
    inside = np.mean([m.wide[12:20, 12:20].mean(axis=(0, 1)) for m in mocks], axis=0)
    outside = np.mean([m.wide[:8].mean(axis=(0, 1)) for m in mocks], axis=0)
    margin = np.mean([m.wide[9:11, 12:20].mean(axis=(0, 1)) for m in mocks], axis=0)
    np.testing.assert_allclose(outside, inside, rtol=0.1)
    np.testing.assert_allclose(margin, inside, rtol=0.2)


def test_noise_of_empty_sky_is_that_of_summed_pixels():
    """16 pixels: four times the noise of one, whether summed in the middle or made outside."""
    fixed = ("cluster.log_mass=[0,0]", "others.fraction=0", "field.surface_brightness_mag=[40,40]")
    mock = make(*fixed)[0]
    expected = 4 * mock.stamp.std(axis=(0, 1))
    np.testing.assert_allclose(mock.wide[:10].std(axis=(0, 1)), expected, rtol=0.15)
    np.testing.assert_allclose(mock.wide[12:20, 12:20].std(axis=(0, 1)), expected, rtol=0.3)


def test_real_background_shows_in_both(rng):
    maker = MockMaker(load_preset("phat", (*WIDE, "others.fraction=0", "cluster.log_mass=[0,0]")))
    background = rng.normal(5.0, 0.01, (128, 128, 2)).astype(np.float32)
    mock = maker.make(1, 0, background)
    assert np.median(mock.stamp) == pytest.approx(5.0, abs=0.1)
    np.testing.assert_allclose(np.median(mock.wide, axis=(0, 1)), 80.0, rtol=0.02)
    np.testing.assert_array_equal(mock.wide[12:20, 12:20], bin_pixels(mock.stamp, 4))


def test_mosaics_are_cut_as_wide_as_the_view(tmp_path):
    from simulate_clusters.test_backgrounds import write_mosaic

    instrument = load_preset("phat", WIDE).instrument
    cut = MosaicBackgrounds([write_mosaic(tmp_path / "m", shape=(140, 140))], instrument)
    assert cut.cut(np.random.default_rng(1)).shape == (128, 128, 2)
    with pytest.raises(ImageError, match="at least 128 px"):
        MosaicBackgrounds([write_mosaic(tmp_path / "s", shape=(100, 140))], instrument)


def test_command_stores_both_in_half_the_space(tmp_path):
    settings = [item for setting in WIDE for item in ("--set", setting)]
    path = tmp_path / "a.h5"
    line = ["--preset", "phat", "--n", "2", "--output", str(path), "--quiet", "--half-precision"]
    assert main([*line, *settings]) == 0
    with ClusterSetReader(path) as reader:
        assert reader.wide_binning == reader.attributes["wide_binning"] == 4
        wide, stamps = reader.read_wide([0, 1]), reader.read_stamps([0, 1])
    expected = np.stack([bin_pixels(stamp, 4) for stamp in stamps])
    noise = stamps.std(axis=(0, 1, 2)) * 4
    assert (np.abs(wide[:, 12:20, 12:20] - expected) < 0.02 * noise).all(), "but for the rounding"


def test_preview_shows_the_wide_view():
    config = load_preset("phat", (*WIDE, "cluster.log_mass=[2,2.1]"))
    assert max(preview_grid(config).half_light_radius_arcsec) > 1.6, "half of 32 px is 0.8 arcsec"
    grid = GridConfig(log_age=(8.0,), half_light_radius_arcsec=(1.0,), log_mass=(3.0,))
    picture = make_grid(config, grid, seed=4)[0, 0, 0]
    only = (*WIDE, "others.fraction=0", "grid.log_age=[8]", "grid.log_mass=[3]")
    mock = MockMaker(
        load_preset(
            "phat", (*only, "cluster.log_mass=[2,2.1]", "grid.half_light_radius_arcsec=[1]")
        )
    ).make(4, 0)
    np.testing.assert_array_equal(picture, mock.wide)


@pytest.mark.parametrize("binning", [1, 3, 32])
def test_views_that_share_no_centre_are_refused(binning):
    with pytest.raises(ConfigError, match="wide_binning: expected 0, or at least 2"):
        load_preset("phat", (*SMALL, f"instrument.wide_binning={binning}"))


def test_classes_have_no_wide_view():
    with pytest.raises(ConfigError, match="classes are told from the stamp alone"):
        ClassMockMaker(load_preset("phat", WIDE))
