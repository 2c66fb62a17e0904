"""The surroundings of a stamp through the whole chain: sets, network, mosaics, scores."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from cluster_mosaics import write_plane
from cluster_stamps import BANDS, SIZE, make_stamps, tiny_model, tiny_run, write_set

from astro_io.binning import bin_pixels
from astro_io.catalog import read_catalog
from astro_io.cluster_set import ClusterSetWriter
from astro_io.errors import ConfigError, DatasetError
from cluster_cnn import evaluate, predict
from cluster_cnn.data import ClusterSequence, StampSource, blank_bands, measure_source_scale
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.model import build_model
from cluster_cnn.mosaics import Mosaic
from cluster_cnn.photometry_baseline import BaselineSettings
from cluster_cnn.predictor import Predictor
from cluster_cnn.trainer import train
from cluster_cnn.weights_file import assign_strictly, named_variables, take_bands

BINNING = 2
SPAN = SIZE * BINNING
WIDE = {"wide_binning": BINNING, "wide_widths": (4, 6), "wide_blocks": (0, 1)}


def make_views(n: int, *, seed: int):
    """Return stamps with the wide views of the same blobs behind them, and the truth."""
    whole, rows = make_stamps(n, seed=seed, size=SPAN)
    cut = SIZE // 2
    return whole[:, cut:-cut, cut:-cut], bin_pixels(whole, BINNING), rows, whole


def write_views(path, n: int, *, seed: int):
    stamps, wide, rows, _ = make_views(n, seed=seed)
    attributes = {"pixel_scale_arcsec": 0.05, "zeropoint_mag": [26.0, 25.0]}
    attributes["wide_binning"] = BINNING
    with ClusterSetWriter(path, bands=BANDS, attributes=attributes) as writer:
        writer.append(stamps, rows, wide)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A set with wide views, and weights of a few steps."""
    folder = tmp_path_factory.mktemp("wide")
    path = write_views(folder / "train.h5", 320, seed=1)
    config = tiny_run(path, epochs=1, head_epochs=1, model=tiny_model(**WIDE))
    return path, train(config, folder / "run", resume=False, overwrite=False, verbose=0)


def test_both_views_come_as_channels_in_the_bands_asked_for(tmp_path):
    path = write_views(tmp_path / "a.h5", 6, seed=2)
    stamps, wide, _, _ = make_views(6, seed=2)
    source = StampSource([path], bands=BANDS[::-1], stamp_size=10, wide_binning=BINNING)
    assert source.channels == ("F814W", "F475W", "wide F814W", "wide F475W")
    assert source.margin_px == 0, "a view in larger pixels cannot be moved by a small one"
    expected = np.concatenate([stamps[..., ::-1], wide[..., ::-1]], axis=3)[[4, 1], 3:13, 3:13]
    np.testing.assert_array_equal(source.read(np.array([4, 1])), expected)
    alone = StampSource([path], bands=BANDS, stamp_size=SIZE)
    np.testing.assert_array_equal(alone.read(np.array([5]))[0], stamps[5])


def test_sets_without_the_view_are_refused(tmp_path):
    path = write_set(tmp_path / "plain.h5", 5, seed=1)
    with pytest.raises(DatasetError, match="wide views of binning 2, found none"):
        StampSource([path], bands=BANDS, stamp_size=SIZE, wide_binning=2)
    path = write_views(tmp_path / "a.h5", 5, seed=2)
    with pytest.raises(DatasetError, match="of binning 4, found 2"):
        StampSource([path], bands=BANDS, stamp_size=SIZE, wide_binning=4)


def test_a_band_is_left_out_of_both_views():
    stamps = np.ones((300, 2, 2, 6), np.float32)
    blanked = blank_bands(stamps, 0.5, np.random.default_rng(1), n_bands=3)[:, 0, 0]
    np.testing.assert_array_equal(blanked[:, :3], blanked[:, 3:])
    assert 0.3 < blanked.mean() < 0.8 and blanked.any(axis=1).all()


@pytest.mark.backend
def test_network_without_the_view_is_the_one_it_was():
    """The same names, in the same order, with the same start."""
    plain, wide = (build_model(tiny_model(**more), seed=3) for more in ({}, WIDE))
    names, more = named_variables(plain), named_variables(wide)
    assert not [name for name in names if name.startswith("wide_")]
    assert set(names) < set(more)
    assert {n.split("_")[0] for n in set(more) - set(names)} == {"wide"}
    np.testing.assert_array_equal(names["stem_conv/kernel"], more["stem_conv/kernel"])
    assert plain.input_shape == (None, SIZE, SIZE, 2) and wide.input_shape == (None, SIZE, SIZE, 4)


@pytest.mark.backend
def test_both_views_count():
    config = tiny_model(**WIDE)
    model = build_model(config, seed=3)
    x = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, 4)).astype(np.float32)
    before = np.asarray(model.predict_on_batch(x)["parameters"])
    for channel in range(4):
        changed = x.copy()
        changed[..., channel] += 1.0
        assert (
            np.abs(np.asarray(model.predict_on_batch(changed)["parameters"]) - before).max() > 1e-3
        )


def test_fewer_bands_start_from_more():
    """Where the other band is dark in both views, both networks say the same."""
    two, one = tiny_model(**WIDE), tiny_model(bands=("F814W",), **WIDE)
    model = build_model(two, seed=4)
    tensors = {name: np.asarray(v) for name, v in named_variables(model).items()}
    small = build_model(one)
    taken = take_bands(tensors, bands=two.bands, wanted=one.bands, where="two")
    assign_strictly(small, taken, where="one")
    x = np.random.default_rng(1).normal(size=(3, SIZE, SIZE, 4)).astype(np.float32)
    x[..., ::2] = 0.0
    expected = np.asarray(model.predict_on_batch(x)["parameters"])
    found = np.asarray(small.predict_on_batch(x[..., 1::2])["parameters"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_batches_hold_both_views_in_their_own_scale(run):
    path, _ = run
    config = tiny_model(**WIDE)
    source = StampSource([path], bands=BANDS, stamp_size=SIZE, wide_binning=BINNING)
    scale = measure_source_scale(source, config)
    # Noise 1 a pixel; 2 in the sum of four.
    np.testing.assert_allclose(scale.statistics.scale, [1, 1, 2, 2], rtol=0.25)
    sequence = ClusterSequence(source, np.arange(40), config, scale, batch_size=20, cache_mb=0.02)
    assert sequence[0][0].shape == (20, SIZE, SIZE, 4)
    again = sequence[0][0]
    sequence._pending.clear()
    np.testing.assert_array_equal(sequence[0][0], again)


@pytest.fixture
def field(tmp_path):
    """Three blobs with their surroundings side by side, as a mosaic of 32 x 96 pixels."""
    stamps, wide, _, whole = make_views(3, seed=5)
    image = np.concatenate(list(whole), axis=1)
    cards = {"BUNIT": "electron/s"}
    a = write_plane(tmp_path / "a.fits", image[..., 0], MAGZERO=26.0, **cards)
    b = write_plane(tmp_path / "b.fits", image[..., 1], MAGZERO=25.0, **cards)
    return f"F475W={a},F814W={b}", np.concatenate([stamps, wide], axis=3), image


def test_mosaics_are_cut_and_binned_like_mocks(field):
    spec, views, _ = field
    x = SPAN * np.arange(3) + (SPAN - 1) / 2
    with Mosaic(spec, BANDS) as mosaic:
        y = np.full(3, (SPAN - 1) / 2)
        (batch,) = mosaic.cut(x, y, SIZE, wide_binning=BINNING)
        (moved,) = mosaic.cut(x[:1] - 6, y[:1], SIZE, wide_binning=BINNING)
    order = np.argsort(batch.rows)
    np.testing.assert_allclose(batch.stamps[order], views, rtol=1e-5, atol=1e-4)
    assert batch.flags.tolist() == [0, 0, 0]
    assert moved.flags.tolist() == [CandidateFlag.WIDE_PARTIAL], "the stamp itself is whole"
    assert (
        np.isnan(moved.stamps[0, :, :3, 2:]).all() and np.isfinite(moved.stamps[0, ..., :2]).all()
    )


def test_gaps_of_the_view_are_filled_in_small_and_flagged(field, tmp_path):
    _, _, image = field
    hole = image[..., 0].copy()
    hole[0, 0], hole[1, 32:34], hole[0, 32:34] = np.nan, np.nan, np.nan
    a = write_plane(tmp_path / "hole.fits", hole)
    with Mosaic(f"F475W={a},F814W={tmp_path / 'b.fits'}", BANDS) as mosaic:
        x = SPAN * np.arange(3) + (SPAN - 1) / 2
        (batch,) = mosaic.cut(x, np.full(3, (SPAN - 1) / 2), SIZE, wide_binning=BINNING)
    partial = CandidateFlag.WIDE_PARTIAL
    assert batch.flags[np.argsort(batch.rows)].tolist() == [partial, partial, 0]
    stamps = batch.stamps[np.argsort(batch.rows)]
    three = image[0, 1, 0] + image[1, 0, 0] + image[1, 1, 0]
    assert stamps[0, 0, 0, 2] == pytest.approx(three * 4 / 3, rel=1e-5)
    assert np.isnan(stamps[1, 0, 0, 2]) and np.isfinite(stamps[1, 0, 0, 3])


def test_other_pixels_are_resampled_in_both_views(field):
    """On a flat sky of 2 a pixel: pixels of 0.1 arcsec hold 8, wide ones of 0.2 hold 32."""
    spec, _, _ = field
    flat = write_plane(spec.split(",")[0].split("=")[1] + ".flat.fits", np.full((90, 90), 2.0))
    red = write_plane(spec.split(",")[0].split("=")[1] + ".red.fits", np.full((90, 90), 2.0))
    with Mosaic(f"F475W={flat},F814W={red}", BANDS) as mosaic:
        (batch,) = mosaic.cut(
            np.array([44.0]), np.array([44.0]), SIZE, pixel_scale_arcsec=0.1, wide_binning=BINNING
        )
    np.testing.assert_allclose(batch.stamps[..., :2], 8.0, rtol=1e-5)
    np.testing.assert_allclose(batch.stamps[..., 2:], 32.0, rtol=1e-5)


def test_the_command_says_what_the_network_says_of_both_views(run, field, tmp_path):
    _, weights = run
    spec, views, _ = field
    x = SPAN * np.arange(3) + (SPAN - 1) / 2
    Table({"x": x, "y": np.full(3, (SPAN - 1) / 2)}).write(tmp_path / "pos.csv")
    out = tmp_path / "out.fits"
    line = [spec, "--catalog", str(tmp_path / "pos.csv"), "--weights", str(weights), "-q"]
    assert predict.main([*line, "--output", str(out)]) == 0
    expected = Predictor.load(weights).predict(views).medians
    found = np.asarray(read_catalog(out)["log_mass_p50"])
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-4)


def test_the_baseline_sees_the_surroundings_too(run, tmp_path):
    pytest.importorskip("sklearn")
    path, weights = run
    quick = partial(
        BaselineSettings,
        max_iter=6,
        apertures_arcsec=(0.1, 0.2, 0.3),
        wide_apertures_arcsec=(0.4, 0.6, 0.8),
    )
    line = ["--weights", str(weights), "--dataset", str(path), "--output", str(tmp_path), "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster_cnn.evaluation_run.BaselineSettings", quick)
        patch.setattr("cluster_cnn.photometry_baseline.FOLDS", 2)
        assert evaluate.main([*line, "--limit", "160", "--ablation"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    scatter = {
        k: v["log_mass"]["scatter"] for k, v in metrics["baseline"].items() if k != "trained_on"
    }
    assert set(scatter) == {"integrated", "apertures", "wide_apertures"}
    # Blobs of up to 0.2 arcsec: little light lies outside of 0.3.
    assert scatter["wide_apertures"] == pytest.approx(scatter["apertures"], rel=0.5)
    assert set(metrics["ablation"]) == set(BANDS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wide_binning": 1}, "wide_binning must be 0, or at least 2"),
        ({"wide_binning": 3}, "divide stamp_size"),
        ({**WIDE, "wide_blocks": (1,)}, "one number of blocks a stage"),
    ],
)
def test_views_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_model(**changes)
    assert replace(tiny_model(), wide_blocks=(1,)).wide_binning == 0, "not looked at without a view"
