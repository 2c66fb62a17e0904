"""The command: results, resuming, workers, backgrounds, exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulate_clusters.conftest import SMALL
from simulate_clusters.test_backgrounds import write_mosaic

from astro_io.cluster_set import ClusterSetReader
from simulate.clusters import main, output_path
from simulate.star_clusters.config import ClusterSetConfig, load_preset, preset_names
from simulate.star_clusters.preview import colour_picture, preview_grid

SETTINGS = [item for setting in (*SMALL, "cluster.log_mass=[1.7,3]") for item in ("--set", setting)]


def clusters(output: Path, *arguments: str, n: int = 3) -> int:
    return main(
        ["--preset", "phat", "--n", str(n), "--seed", "4", "--output", str(output), "--quiet"]
        + [*SETTINGS, *arguments]
    )


def stamps(path: Path) -> np.ndarray:
    with ClusterSetReader(path) as reader:
        return reader.read_stamps(slice(None))


def test_set_says_what_it_is(tmp_path, capsys):
    assert clusters(tmp_path / "a.h5", n=5) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "a.h5: 5 new mocks of 5" in out
    with ClusterSetReader(tmp_path / "a.h5") as reader:
        assert reader.bands == ("F475W", "F814W")
        assert reader.stamp_shape == (32, 32, 2)
        assert reader.attributes["preset"] == "phat"
        assert reader.attributes["pixel_scale_arcsec"] == 0.05
        assert reader.attributes["zeropoint_mag"] == [26.059, 25.943]
        assert reader.attributes["config"]["cluster"]["log_mass"] == [1.7, 3.0]
        assert "date" in reader.provenance
        np.testing.assert_array_equal(reader.column("index"), np.arange(5))
        assert np.isfinite(reader.read_stamps(slice(None))).all()


def test_two_workers_and_a_rerun_give_the_bytes_of_one_run(tmp_path, capsys):
    assert clusters(tmp_path / "one.h5", n=36) == 0
    assert clusters(tmp_path / "two.h5", n=3) == 0
    capsys.readouterr()
    assert clusters(tmp_path / "two.h5", "--workers", "2", n=36) == 0
    assert "33 new mocks of 36" in capsys.readouterr().out
    np.testing.assert_array_equal(stamps(tmp_path / "one.h5"), stamps(tmp_path / "two.h5"))
    with ClusterSetReader(tmp_path / "one.h5") as a, ClusterSetReader(tmp_path / "two.h5") as b:
        assert a.column("seed").tolist() == b.column("seed").tolist()


def test_other_seed_in_the_same_file_is_refused(tmp_path, capsys):
    assert clusters(tmp_path / "a.h5", n=1) == 0
    assert clusters(tmp_path / "a.h5", "--seed", "5", n=1) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert clusters(tmp_path / "a.h5", "--seed", "5", "--overwrite", n=1) == 0


def test_real_mosaics_as_backgrounds(tmp_path):
    mosaic = write_mosaic(tmp_path / "m", shape=(48, 48))
    assert clusters(tmp_path / "a.h5", "--background", str(mosaic), n=2) == 0
    with ClusterSetReader(tmp_path / "a.h5") as reader:
        assert reader.attributes["background"] == ["m"]
        # The mosaic's second band is below zero everywhere, as no mock field is.
        assert np.median(reader.read_stamps([0])[..., 1]) < -1000


def test_objects_of_the_four_classes_on_real_mosaics(tmp_path):
    """The mosaic's second band is below zero everywhere; the object's light lies on it."""
    mosaic = write_mosaic(tmp_path / "m", shape=(48, 48))
    line = ["--task", "classes", "--background", str(mosaic), "--set", "classes.filter=ACS_F814W"]
    line += ["--set", "classes.min_snr=0"]
    assert clusters(tmp_path / "a.h5", *line, n=4) == 0
    with ClusterSetReader(tmp_path / "a.h5") as reader:
        assert reader.attributes["background"] == ["m"] and reader.attributes["task"] == "classes"
        assert set(reader.column("class")) <= {1, 2, 3, 4}
        assert np.median(reader.read_stamps(slice(None))[..., 1]) < -1000


def test_preview_is_a_picture(tmp_path):
    from matplotlib.image import imread

    settings = ("--set", "instrument.stamp_px=16", "--preview")
    assert clusters(tmp_path / "a.h5", *settings, n=1) == 0
    picture = imread(tmp_path / "a.preview.png")
    assert picture.shape[1] > 2 * picture.shape[0]
    assert picture[..., :3].std() > 0.05


def test_preview_grid_stays_inside_the_ranges():
    config = load_preset("phat", ("cluster.log_mass=[2,4]",))
    grid = preview_grid(config)
    np.testing.assert_allclose(grid.log_mass, [2.25, 2.75, 3.25, 3.75])
    assert 0.15 < min(grid.half_light_radius_arcsec) < max(grid.half_light_radius_arcsec) < 2.0


def test_red_stars_are_red_and_blue_ones_blue(rng):
    """Channels 1 and 2: F475W and F814W; a star in one of them only."""
    config = load_preset("phat", SMALL).instrument
    for band, channel in ((0, 2), (1, 0)):
        stamp = rng.normal(0.0, 0.01, (16, 16, 2))
        stamp[8, 8, band] = 1.0
        picture = colour_picture(stamp, config)
        assert picture[8, 8].argmax() == channel


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "fat"], "--preset fat: expected one of phangs, phat"),
        (["--n", "0"], "--n: expected at least 1; found 0"),
        (["--workers", "0"], "--workers: expected at least 1; found 0"),
        (["--set", "cluster.log_mas=[1,2]"], "did you mean 'log_mass'?"),
        (["--set", "cluster.av_mag=[2,1]"], "expected [low, high] with 0 <= low <= high"),
        (["--set", "cluster.eff_gamma=[2,3]"], "above 2.05"),
        (["--set", "grid.av_mag=[0,-1]"], "[grid] av_mag: expected numbers from 0 on; found -1"),
        (["--set", "grid.half_light_radius_arcsec=[0]"], "expected numbers above 0; found 0"),
        (["--set", "instrument.exposure_s=[1]"], "expected one value a filter"),
        (["--set", "instrument.filters=ACS_F475W,ACS_F999W"], "ACS_F999W not known"),
        (["--set", "field.surface_brightness_filter=ACS_F606W"], "surface_brightness_filter"),
        (["--set", "extinction.curve=SMC"], "expected F99"),
        (["--set", "others.weights=[1,1]"], "one for each of field, star, pair, galaxy"),
        (["--set", "isochrones.files=none.dat"], "none.dat: no such isochrone table"),
        (["--avoid", "table.csv"], "--avoid: expected --background"),
        (["--background", "nothing.fits"], "nothing.fits"),
    ],
)
def test_bad_request_exits_with_2_and_one_line(tmp_path, capsys, arguments, message):
    assert clusters(tmp_path / "a.h5", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0


def test_presets_are_whole():
    assert preset_names() == ["phangs", "phat"]
    phat, phangs = load_preset("phat"), load_preset("phangs")
    assert phat.instrument.bands == ("F275W", "F336W", "F475W", "F814W", "F110W", "F160W")
    assert phat.instrument.stamp_px == 80
    assert phat.cluster.distance_kpc == (785.0, 785.0)
    assert phat.cluster.half_light_radius_arcsec == (0.15, 10.0)
    assert len(phangs.instrument.bands) == 5
    assert phangs.cluster.distance_kpc == (4000.0, 20000.0)
    assert isinstance(phangs, ClusterSetConfig)


def test_output_is_a_file_or_a_folder():
    assert output_path(Path("a.hdf5")) == Path("a.hdf5")
    assert output_path(Path("a")) == Path("a/clusters.h5")
