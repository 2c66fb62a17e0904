from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from detection_fields import ThresholdDetector, random_field, simple_wcs, write_folder

import astro_rcnn.survey as survey
from astro_io.catalog import Flag, catalog_columns, read_catalog
from astro_io.errors import ConfigError, ImageError, InputNotFoundError, OutputExistsError
from astro_io.fits_write import read_masks
from astro_rcnn.config import ANY_BAND
from astro_rcnn.jobs import SurveyConfig, fingerprint, plan_jobs
from astro_rcnn.survey import read_bands, run_survey
from astro_rcnn.tile_cache import TileCache
from astro_rcnn.tiled import detect_tiled

SHAPE = (300, 420)
CONFIG = SurveyConfig(weights="threshold", tile=128, overlap=48, has_overlay=False)
WITH_OVERLAY = replace(CONFIG, has_overlay=True)
ENDINGS = ("catalog.fits", "masks.fits", "segmentation.fits", "overlay.png", "reg")


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    rng = np.random.default_rng(5)
    planes, places = random_field(rng, SHAPE, 40)
    folder = write_folder(tmp_path_factory.mktemp("sky") / "field", planes, wcs=simple_wcs())
    return folder, places


@pytest.fixture(autouse=True)
def no_detector_is_left_over():
    survey._loaded.clear()


def load_threshold(config):
    return ThresholdDetector()


def catalog(output: Path, name: str = "field"):
    return read_catalog(output / f"{name}.catalog.fits")


def assert_same_sources(one, other):
    assert one["source_id"].tolist() == other["source_id"].tolist()
    for name in ("x", "y", "flux_r", "score", "a", "parent_id"):
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]))


class Limited(ThresholdDetector):
    """Lets the best ten sources of a tile through, and says when there were more."""

    def describe(self):
        return {"name": "limited", "max_detections": "10"}

    def detect_batch(self, pixels, **options):
        found = super().detect_batch(pixels, **options)
        return [replace(part.take(np.arange(min(len(part), 10))), is_full=len(part) > 10)
                for part in found]  # fmt: skip


# -- tiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tile", "overlap"), [(128, 48), (100, 40), (211, 64), (400, 50)])
def test_tiles_give_the_sources_of_the_whole_image(field, tmp_path, tile, overlap):
    folder, places = field
    for name, settings in (("whole", (0, 0)), ("tiled", (tile, overlap))):
        config = replace(CONFIG, tile=settings[0], overlap=settings[1])
        run_survey([folder], tmp_path / name, config, load_threshold)
    whole, tiled = catalog(tmp_path / "whole"), catalog(tmp_path / "tiled")
    assert len(whole) == len(places)
    assert_same_sources(whole, tiled)


def test_binned_images_give_sources_of_the_same_place_and_light(field, tmp_path):
    folder, places = field
    for n in (1, 2):
        run_survey([folder], tmp_path / str(n), replace(CONFIG, bin=n), load_threshold)
    plain, binned = catalog(tmp_path / "1"), catalog(tmp_path / "2")
    at = {n: SkyCoord(t["ra"], t["dec"]) for n, t in (("plain", plain), ("binned", binned))}
    index, separation, _ = at["binned"].match_to_catalog_sky(at["plain"])
    assert len(binned) >= 0.9 * len(places) and np.median(separation.arcsec) < 0.1
    ratio = np.asarray(binned["flux_r"]) / np.asarray(plain["flux_r"])[index]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)


def test_every_source_on_a_seam_is_found_once(rng):
    """Sources in a row across a seam, every half pixel: none is doubled, none is lost."""
    from detection_fields import gaussian, sky_image

    shape, offsets = (900, 200), np.arange(0, 40)
    plane = rng.normal(0, 1, shape)
    for i, offset in enumerate(offsets):
        plane += gaussian(shape, 80 + offset / 2 + 20 * (i % 2), 20 + 22 * i, flux=4000, a=2)
    image = sky_image([plane], bands=("r",))
    found, _ = detect_tiled(image, ThresholdDetector(["r"]), tile=120, overlap=40)
    assert len(found) == len(offsets)


def test_sources_cut_by_a_tile_are_flagged(rng):
    from detection_fields import gaussian, sky_image

    shape = (100, 300)
    plane = rng.normal(0, 1, shape) + gaussian(shape, 150, 50, flux=3e6, a=25, b=6)
    plane += gaussian(shape, 30, 30, flux=4000, a=2)
    image = sky_image([plane], bands=("r",))
    found, flags = detect_tiled(image, ThresholdDetector(["r"]), tile=160, overlap=20)
    assert flags[np.argmin(found.boxes[:, 1])] == 0
    widest = np.argmax(found.boxes[:, 3] - found.boxes[:, 1])
    assert flags[widest] & Flag.SEAM
    assert flags[widest] & Flag.LARGE
    assert not detect_tiled(image, ThresholdDetector(["r"]), tile=0, overlap=0)[1].any()


# -- files ---------------------------------------------------------------------------------------


def crowded(rng):
    """An image of 100 x 300 pixels with fifteen sources left of its middle, and five right."""
    from detection_fields import sky_image

    left, right = random_field(rng, (100, 150), 15)[0], random_field(rng, (100, 150), 5)[0]
    return sky_image([np.hstack(pair) for pair in zip(left, right, strict=True)], name="crowd")


def test_tiles_with_too_many_sources_are_named_in_one_line(rng, caplog):
    found, _ = detect_tiled(crowded(rng), Limited(), tile=150, overlap=0)
    assert found.is_full
    (record,) = caplog.records
    assert record.getMessage() == (
        "crowd: sources may be missing, 1 of 2 tiles are too crowded for the limit of the network: "
        "[0:100, 0:150]. Raise --max-detections (now 10)."
    )


def test_tiles_with_few_sources_are_passed_over_in_silence(rng, caplog):
    found, _ = detect_tiled(crowded(rng), ThresholdDetector(), tile=150, overlap=0)
    assert not found.is_full and not caplog.records


def test_a_resumed_run_still_says_which_tiles_were_too_crowded(rng, tmp_path, caplog):
    image = crowded(rng)
    cache = TileCache(folder=tmp_path / ".x.partial", key="k")
    cache.begin()
    for _ in range(2):  # the second time from the store
        detect_tiled(image, Limited(), tile=150, overlap=0, cache=cache)
    messages = [r.getMessage() for r in caplog.records if "too crowded" in r.getMessage()]
    assert len(messages) == 2 and messages[0] == messages[1]


def test_all_files_are_written_and_agree(field, tmp_path):
    folder, _ = field
    (outcome,) = run_survey([folder], tmp_path, WITH_OVERLAY, load_threshold)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"field.{ending}" for ending in ENDINGS
    )
    table = catalog(tmp_path)
    masks = read_masks(tmp_path / "field.masks.fits")
    labels = fits.getdata(tmp_path / "field.segmentation.fits")
    assert labels.shape == SHAPE
    assert masks.source_ids.tolist() == table["source_id"].tolist()
    assert [mask.sum() for mask in masks.masks] == table["n_pix"].tolist()
    for row in table:
        y, x = round(row["y"].value), round(row["x"].value)
        assert labels[y, x] == row["source_id"]
    assert (np.diff(table["score"]) <= 0).all()
    assert outcome.n_by_class == {
        kind: int(np.count_nonzero(table["class"] == kind)) for kind in ("star", "galaxy")
    }
    assert (tmp_path / "field.reg").read_text().count("ellipse(") == len(table)


def test_the_catalogue_says_how_it_was_made(field, tmp_path):
    folder, _ = field
    config = replace(CONFIG, weights_sha256="ab" * 32)
    run_survey([folder], tmp_path, config, load_threshold)
    meta = catalog(tmp_path).meta
    assert meta["weights"] == "threshold"
    assert meta["weights_sha256"] == "ab" * 32
    assert meta["config"]["tile"] == 128
    assert meta["inputs"].count("img_") == 3
    assert meta["detector"] == {"name": "threshold"}
    assert {"date", "version", "numpy", "command"} <= set(meta)


def test_nothing_found_still_writes_every_file(tmp_path, rng):
    folder = write_folder(tmp_path / "empty", [rng.normal(5, 1, (60, 80)) for _ in "grz"])
    (outcome,) = run_survey([folder], tmp_path / "out", WITH_OVERLAY, load_threshold)
    table = catalog(tmp_path / "out", "empty")
    assert len(table) == 0
    assert table.colnames == list(catalog_columns(["g", "r", "z"]))
    assert sum(outcome.n_by_class.values()) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"empty.{ending}" for ending in ENDINGS
    }
    assert not fits.getdata(tmp_path / "out" / "empty.segmentation.fits").any()


def test_no_overlay_and_other_formats(field, tmp_path):
    config = replace(CONFIG, catalog_format="ecsv")
    run_survey([field[0]], tmp_path, config, load_threshold)
    assert (tmp_path / "field.catalog.ecsv").exists()
    assert not (tmp_path / "field.overlay.png").exists()


def test_bands_reach_the_detector_in_its_own_order(field, tmp_path):
    seen = {}

    class Curious(ThresholdDetector):
        def statistics(self, image):
            seen["bands"], seen["means"] = image.bands, image.pixels.mean(axis=(0, 1))
            return super().statistics(image)

    run_survey([field[0]], tmp_path, CONFIG, lambda config: Curious(("z", "g")))
    assert seen["bands"] == ("z", "g")
    assert seen["means"][0] > seen["means"][1]  # the field is red
    assert "flux_z" in catalog(tmp_path).colnames


# -- interruption --------------------------------------------------------------------------------


class Killed(ThresholdDetector):
    """Is interrupted after some tiles."""

    def __init__(self, n_tiles_before):
        super().__init__()
        self.n_tiles_before = n_tiles_before

    def detect_batch(self, pixels, **options):
        if self.n_tiles >= self.n_tiles_before:
            raise KeyboardInterrupt
        return super().detect_batch(pixels, **options)


def killed_run(folder, output, config=CONFIG, n_tiles=4):
    with pytest.raises(KeyboardInterrupt):
        run_survey([folder], output, config, lambda config: Killed(n_tiles))
    survey._loaded.clear()


def test_a_killed_run_goes_on_from_its_last_tile(field, tmp_path):
    folder, _ = field
    run_survey([folder], tmp_path / "straight", CONFIG, load_threshold)
    n_all = survey._detector_of_this_process(load_threshold, CONFIG).n_tiles
    killed_run(folder, tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [".field.partial"]
    detector = ThresholdDetector()
    run_survey([folder], tmp_path / "killed", CONFIG, lambda config: detector)
    assert detector.n_tiles == n_all - 4
    assert_same_sources(catalog(tmp_path / "straight"), catalog(tmp_path / "killed"))
    assert not (tmp_path / "killed" / ".field.partial").exists()


def test_a_run_killed_while_writing_is_finished_without_detecting(field, tmp_path, monkeypatch):
    folder, _ = field

    def die(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(survey, "write_catalog", die)
        with pytest.raises(KeyboardInterrupt):
            run_survey([folder], tmp_path, CONFIG, load_threshold)
    assert not (tmp_path / "field.catalog.fits").exists()
    detector = ThresholdDetector()
    run_survey([folder], tmp_path, CONFIG, lambda config: detector)
    assert detector.n_tiles == 0
    assert len(catalog(tmp_path)) == 40


def test_tiles_made_with_other_settings_or_from_another_file_are_not_used(field, tmp_path):
    folder, _ = field
    killed_run(folder, tmp_path)
    detector = ThresholdDetector()
    config = replace(CONFIG, overlap=40)
    run_survey([folder], tmp_path, config, lambda config: detector)
    assert detector.n_tiles == 3 * 5  # (300 - 40) / 88 and (420 - 40) / 88, rounded up


def test_a_damaged_tile_result_is_made_again(field, tmp_path):
    folder, _ = field
    killed_run(folder, tmp_path)
    (tmp_path / ".field.partial" / "00001.npz").write_bytes(b"half a file")
    (outcome,) = run_survey([folder], tmp_path, CONFIG, load_threshold)
    assert sum(outcome.n_by_class.values()) == 40


def test_tile_results_come_back_as_they_were(tmp_path, rng):
    found = ThresholdDetector()._detect(
        np.stack(random_field(rng, (90, 110), 6)[0], axis=-1),
        np.zeros((90, 110, 3), bool),
        survey_statistics(),
    )
    cache = TileCache(folder=tmp_path / ".x.partial", key="k")
    cache.begin()
    for index, part in enumerate((found, found.take(np.zeros(0, int)))):
        cache.save(index, part)
        back = cache.load(index)
        for name in ("boxes", "class_ids", "scores", "probabilities", "mask_boxes"):
            np.testing.assert_array_equal(getattr(back, name), getattr(part, name))
            assert getattr(back, name).dtype == getattr(part, name).dtype
        for mask, old in zip(back.masks, part.masks, strict=True):
            np.testing.assert_array_equal(mask, old)
        assert back.class_names == part.class_names
    assert cache.load(7) is None


def survey_statistics():
    from astro_io.normalize import BandStatistics

    return BandStatistics(center=np.full(3, 20.0), scale=np.ones(3))


# -- reruns --------------------------------------------------------------------------------------


def test_finished_images_are_skipped_without_loading_anything(field, tmp_path):
    folder, _ = field
    run_survey([folder], tmp_path, CONFIG, load_threshold)
    before = os.stat(tmp_path / "field.catalog.fits").st_mtime_ns

    def fail(config):
        raise AssertionError("loaded")

    (outcome,) = run_survey([folder], tmp_path, replace(CONFIG, batch_size=7), fail)
    assert outcome.is_skipped
    assert os.stat(tmp_path / "field.catalog.fits").st_mtime_ns == before


def test_results_of_other_settings_are_not_replaced_unasked(field, tmp_path):
    folder, _ = field
    run_survey([folder], tmp_path, CONFIG, load_threshold)
    other = replace(CONFIG, min_score=0.9)
    with pytest.raises(OutputExistsError, match=r"field.catalog.fits exists, made .* --overwrite"):
        run_survey([folder], tmp_path, other, load_threshold)
    run_survey([folder], tmp_path, other, load_threshold, overwrite=True)
    assert catalog(tmp_path).meta["config"]["min_score"] == 0.9


def test_no_file_of_earlier_settings_stays_beside_the_new_ones(field, tmp_path):
    run_survey([field[0]], tmp_path, WITH_OVERLAY, load_threshold)
    other = replace(CONFIG, min_score=0.9, catalog_format="ecsv")
    run_survey([field[0]], tmp_path, other, load_threshold, overwrite=True)
    assert not (tmp_path / "field.catalog.fits").exists()
    assert not (tmp_path / "field.overlay.png").exists()
    with pytest.raises(OutputExistsError, match=r"field\.\w+.* exists\. Pass --overwrite"):
        run_survey([field[0]], tmp_path, WITH_OVERLAY, load_threshold)


def test_photon_noise_is_in_the_errors_where_the_gain_is_known(field, tmp_path):
    run_survey([field[0]], tmp_path / "sky", CONFIG, load_threshold)
    with_gain = replace(CONFIG, gain=(0.01,))
    run_survey([field[0]], tmp_path / "all", with_gain, load_threshold)
    sky, both = (catalog(tmp_path / name) for name in ("sky", "all"))
    flux, error = (np.asarray(both[name].value) for name in ("flux_r", "flux_err_r"))
    expected = np.sqrt(np.asarray(sky["flux_err_r"].value) ** 2 + flux / 0.01)
    assert len(flux) > 20
    np.testing.assert_allclose(error, expected, rtol=1e-3)
    with pytest.raises(ConfigError, match="--gain: expected one number, or one for each of"):
        run_survey([field[0]], tmp_path / "x", replace(CONFIG, gain=(1.0, 2.0)), load_threshold)


def test_files_of_somebody_else_are_not_replaced_unasked(field, tmp_path):
    (tmp_path / "field.reg").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"field.reg exists. Pass --overwrite"):
        run_survey([field[0]], tmp_path, CONFIG, load_threshold)
    assert (tmp_path / "field.reg").read_text() == "mine"


def test_a_missing_file_of_a_finished_image_is_made_again(field, tmp_path):
    run_survey([field[0]], tmp_path, CONFIG, load_threshold)
    (tmp_path / "field.reg").unlink()
    (outcome,) = run_survey([field[0]], tmp_path, CONFIG, load_threshold)
    assert not outcome.is_skipped
    assert (tmp_path / "field.reg").exists()


def test_the_fingerprint_follows_the_file_and_not_the_folder(tmp_path, rng):
    folder = write_folder(tmp_path / "a", [rng.normal(5, 1, (20, 30)) for _ in "grz"])
    before = fingerprint(str(folder), CONFIG)
    moved = folder.rename(tmp_path / "b")
    assert fingerprint(str(moved), CONFIG) == before
    os.utime(moved / "img_g.fits", ns=(1, 1))
    assert fingerprint(str(moved), CONFIG) != before


# -- several images ------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path, rng):
    folders = [write_folder(tmp_path / name, random_field(rng, (90, 110), 5)[0]) for name in "abc"]
    data = (folders[1] / "img_r.fits").read_bytes()
    (folders[1] / "img_r.fits").write_bytes(data[: len(data) // 2])
    return folders


def test_one_bad_image_is_recorded_and_the_others_are_done(three, tmp_path):
    output = tmp_path / "out"
    outcomes = run_survey(three, output, CONFIG, load_threshold)
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    (record,) = json.loads((output / "failed.json").read_text())
    assert record["name"] == "b"
    assert "img_r.fits" in record["error"]
    assert not list(output.glob("b.*")) and not list(output.glob(".b*"))
    assert len(catalog(output, "a")) == len(catalog(output, "c")) == 5


def test_a_mended_image_leaves_the_list_of_failures(three, tmp_path, rng):
    output = tmp_path / "out"
    run_survey(three, output, CONFIG, load_threshold)
    fits.writeto(three[1] / "img_r.fits", rng.normal(0, 1, (90, 110)), overwrite=True)
    outcomes = run_survey(three, output, CONFIG, load_threshold)
    assert [outcome.is_skipped for outcome in outcomes] == [True, False, True]
    assert not (output / "failed.json").exists()


def test_a_failure_of_another_run_stays_recorded(three, tmp_path):
    output = tmp_path / "out"
    run_survey(three[:2], output, CONFIG, load_threshold)
    run_survey([three[2]], output, CONFIG, load_threshold)
    assert json.loads((output / "failed.json").read_text())[0]["name"] == "b"


def test_a_bug_in_one_image_does_not_stop_the_others(three, tmp_path):
    class Broken(ThresholdDetector):
        def statistics(self, image):
            if image.name == "a":
                raise ZeroDivisionError("oops")
            return super().statistics(image)

    outcomes = run_survey([three[0], three[2]], tmp_path / "out", CONFIG, lambda c: Broken())
    assert [outcome.error for outcome in outcomes] == ["ZeroDivisionError: oops", ""]


def test_a_lone_bad_image_raises_and_leaves_nothing(three, tmp_path):
    with pytest.raises(ImageError, match=r"img_r.fits"):
        run_survey([three[1]], tmp_path / "out", CONFIG, load_threshold)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputNotFoundError, match="no such file or folder"):
        run_survey([tmp_path / "nowhere"], tmp_path / "out", CONFIG, load_threshold)


def test_truncated_real_cube_is_refused_in_one_line(shared_data, tmp_path):
    cube = shared_data / "sky" / "decals_grz_cubes" / "TRUNCATED_FILE.fits"
    with pytest.raises(ImageError, match=r"TRUNCATED_FILE.fits.*(cut short|damaged)"):
        run_survey([cube], tmp_path / "out", CONFIG, load_threshold)
    assert not (tmp_path / "out").exists()


def test_real_cube_without_coverage_is_flagged(shared_data, tmp_path):
    """The brightest source of the z band has no g pixel and only some in r."""
    name = "ra147.457_dec1.093_0.130arcsec_DR3_BADPIX"
    cube = shared_data / "sky" / "decals_grz_cubes" / f"{name}.fits"
    config = replace(CONFIG, tile=512)
    run_survey([cube], tmp_path, config, lambda config: ThresholdDetector(threshold=4))
    table = catalog(tmp_path, name)
    missing = (table["flags"] & int(Flag.MISSING_BAND)) > 0
    partly = (table["flags"] & int(Flag.BAD_PIXELS)) > 0
    assert missing.any() and partly.any()
    assert np.isnan(table["flux_g"][missing].value).any()
    assert np.isfinite(table["flux_z"].value).all()


def test_two_inputs_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"would both be written as field\.\*"):
        plan_jobs([tmp_path / "a" / "field.fits", tmp_path / "b" / "field.fits"], tmp_path)


# -- bands ---------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "registry.toml").write_text(
        '[one-band]\nfile = "one.h5"\nbands = ["F814W"]\n'
        '[blue]\nfile = "blue.h5"\nbands = ["g", "r"]\n'
    )
    monkeypatch.setenv("ASTRO_WEIGHTS_DIR", str(folder))


def test_missing_bands_are_refused_and_fitting_weights_named(tmp_path, rng, registry):
    folder = write_folder(tmp_path / "f", [rng.normal(5, 1, (40, 50)) for _ in "gr"], "gr")
    expected = r"f: expected bands g, r, z of threshold; found g, r. Use --weights blue"
    with pytest.raises(ImageError, match=expected):
        run_survey([folder], tmp_path / "out", CONFIG, load_threshold)


def test_a_lone_plane_is_not_taken_for_another_band(tmp_path, rng, registry):
    path = tmp_path / "hst.fits"
    header = fits.Header({"FILTER": "F814W"})
    fits.writeto(path, rng.normal(5, 1, (40, 50)).astype(np.float32), header)

    def load_g(config):
        return ThresholdDetector(("g",))

    with pytest.raises(ImageError, match=r"found F814W. Use --weights one-band"):
        run_survey([path], tmp_path / "out", CONFIG, load_g)
    named = replace(CONFIG, bands=("g",))  # the user knows better
    run_survey([path], tmp_path / "out", named, load_g)
    assert "flux_g" in catalog(tmp_path / "out", "hst").colnames


def test_bands_no_weights_know_are_refused_with_what_to_do(tmp_path, rng, monkeypatch):
    folder = write_folder(tmp_path / "f", [rng.normal(5, 1, (40, 50)) for _ in "uy"], "uy")
    monkeypatch.setattr("astro_io.weights.registry", dict)
    with pytest.raises(ImageError, match=r"No weights at hand know u, y: train some"):
        run_survey([folder], tmp_path / "out", CONFIG, load_threshold)


def test_odd_bands_are_pointed_to_the_weights_for_any_one_band(tmp_path, rng):
    folder = write_folder(tmp_path / "f", [rng.normal(5, 1, (40, 50)) for _ in "uy"], "uy")
    with pytest.raises(ImageError, match=r"Use --weights mono --bands u, or"):
        run_survey([folder], tmp_path / "out", CONFIG, load_threshold)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 64, "overlap": 64}, "expected 0 <= overlap < tile"),
        ({"min_score": 1.5}, r"--min-score: expected a number from 0 to 1, found 1.5"),
        ({"nms_iou": -0.1}, r"--nms: expected a number from 0 to 1"),
        ({"max_detections": 0}, "--max-detections: expected at least 1, found 0"),
        ({"bin": 0}, "--bin: expected at least 1, found 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        SurveyConfig(**change)


# -- cluster -------------------------------------------------------------------------------------


def test_a_dask_cluster_does_the_same_work(three, tmp_path):
    distributed = pytest.importorskip("distributed")
    run_survey(three, tmp_path / "here", CONFIG, load_threshold)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        outcomes = run_survey(
            three, tmp_path / "there", CONFIG, load_threshold, scheduler=cluster.scheduler_address
        )
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    for name in "ac":
        assert_same_sources(catalog(tmp_path / "here", name), catalog(tmp_path / "there", name))


def test_weights_for_any_one_band_take_it_under_its_own_name(tmp_path, rng):
    path = tmp_path / "deep_f105w.fits"
    fits.PrimaryHDU(rng.normal(5, 1, (60, 80)).astype("f4")).writeto(path)
    image = read_bands(f"F105W={path}", ANY_BAND, CONFIG)
    assert image.bands == ("F105W",)


def test_weights_for_any_one_band_refuse_several_until_one_is_chosen(field):
    with pytest.raises(ImageError, match=r"expected one band .* found g, r, z. .*--bands g"):
        read_bands(str(field[0]), ANY_BAND, CONFIG)
    assert read_bands(str(field[0]), ANY_BAND, replace(CONFIG, bands=("z",))).bands == ("z",)
