"""Candidates to a table: every row answered, doubts flagged, the input's columns kept."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from cluster_mosaics import write_plane

from astro_io.catalog import check_storable, read_catalog, write_catalog
from astro_io.errors import CatalogError, ConfigError, ImageError
from astro_io.positions import candidates_of
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.prediction_run import (
    PredictionSettings,
    known_values,
    metadata,
    predict_candidates,
    result_table,
)
from cluster_cnn.tasks import ColumnNote

DUPLICATE, NO_RESULT = CandidateFlag.DUPLICATE, CandidateFlag.NO_RESULT
OFF, NONE = CandidateFlag.OFF_IMAGE, CandidateFlag.NOT_FINITE
HEIGHT, WIDTH = 60, 90


class MiddleTask:
    """Says what light stands in the middle of the stamp."""

    bands = ("F475W", "F814W")
    stamp_size = 5
    wide_binning = 0
    pixel_scale_arcsec = 0.05

    def __init__(self, zeropoint_mag=None):
        self.facts = {"weights": "middle", "weights_sha256": "0" * 64, "task": "parameters"}
        self.zeropoint_mag = zeropoint_mag or {}

    def columns(self):
        return {"light": ColumnNote("electron / s", "in the middle"), "av": ColumnNote("mag", "")}

    def measure(self, stamps, known):
        light = np.nan_to_num(stamps[:, 2, 2]).sum(axis=1)
        flags = np.where(light < 0, int(CandidateFlag.OUT_OF_RANGE), 0)
        av = known.get("av", np.full(len(stamps), np.nan))
        return {"light": light, "av": av}, flags.astype(np.int32)

    def check_known(self, known):
        if isinstance(known.get("av"), float) and known["av"] > 2:
            raise ConfigError("av: not taught.")

    def judge(self):
        return 0, ""


class SuspiciousTask(MiddleTask):
    """Finds fault with every mosaic as a whole, and remembers what it was asked about."""

    def judge(self):
        return int(CandidateFlag.BAND_ORDER), "bands look exchanged."


def image(offset: float = 0.5) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (100 * y + x + offset).astype(np.float32)


@pytest.fixture
def spec(tmp_path):
    a = write_plane(tmp_path / "a.fits", image(), MAGZERO=26.0, BUNIT="electron/s")
    b = write_plane(tmp_path / "b.fits", image(), MAGZERO=25.0, BUNIT="electron/s")
    return f"F475W={a},F814W={b}"


def test_every_row_is_answered_in_its_place(spec):
    table = Table({"id": list("abcde"), "x": [40.0, np.nan, 40.2, 95, 0], "y": [30.0, 1, 30, 1, 5]})
    candidates = candidates_of(table)
    prediction = predict_candidates(MiddleTask(), [spec], candidates)
    np.testing.assert_array_equal(prediction.values["light"], [6081, np.nan, 6081, np.nan, 1001])
    expected = [0, NONE | NO_RESULT, DUPLICATE, OFF | NO_RESULT, CandidateFlag.EDGE]
    assert prediction.flags.tolist() == expected
    assert prediction.has_result.tolist() == [True, False, True, False, True]
    result = result_table(MiddleTask(), candidates, prediction, ["m31"])
    assert result.colnames == ["id", "x", "y", "light", "av", "flags"]
    assert list(result["id"]) == list("abcde")


def test_fluxes_reach_the_network_in_the_unit_of_the_training_set(spec):
    candidates = candidates_of(Table({"x": [40.0], "y": [30.0]}))
    task = MiddleTask({"F475W": 26.0, "F814W": 27.5})
    prediction = predict_candidates(task, [spec], candidates)
    # F814W is 2.5 magnitudes of zero point off: ten of the wanted units in one of the image's.
    assert prediction.values["light"][0] == pytest.approx(11 * 3040.5)


def test_a_conversion_without_a_unit_is_not_used_and_said(tmp_path, caplog):
    cards = {"PHOTFLAM": 1e-18, "PHOTPLAM": 4747.0}
    blue = write_plane(tmp_path / "a.fits", image(), **cards)
    red = write_plane(tmp_path / "b.fits", image(), BUNIT="electron/s", **cards)
    candidates = candidates_of(Table({"x": [40.0], "y": [30.0]}))
    task = MiddleTask({"F475W": 26.0})
    prediction = predict_candidates(task, [f"F475W={blue},F814W={red}"], candidates)
    assert prediction.values["light"][0] == 6081
    (line,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "PHOTFLAM of F475W is not used, for no BUNIT says" in line


def test_doubt_about_a_whole_mosaic_is_on_each_row_that_was_measured_there(spec, caplog):
    candidates = candidates_of(Table({"x": [40.0, 500.0], "y": [30.0, 30.0]}))
    prediction = predict_candidates(SuspiciousTask(), [spec], candidates)
    assert prediction.flags.tolist() == [CandidateFlag.BAND_ORDER, OFF | NO_RESULT]
    (line,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert line.endswith("bands look exchanged. All its rows are flagged BAND_ORDER.")


def test_each_row_is_measured_on_the_first_mosaic_it_lies_on(spec, tmp_path):
    far = write_plane(tmp_path / "far.fits", image(7.5), CRVAL1=20.0)
    red = write_plane(tmp_path / "far_red.fits", image(7.5), CRVAL1=20.0)
    other = f"F475W={far},F814W={red}"
    table = Table({"ra": [10.0, 20.0, 30.0], "dec": [41.0, 41.0, 41.0]})
    candidates = candidates_of(table)
    prediction = predict_candidates(MiddleTask(), [spec, other], candidates)
    # Pixel (50, 40) of both.
    np.testing.assert_allclose(prediction.values["light"], [8101, 8115, np.nan])
    assert prediction.mosaic.tolist() == [0, 1, -1]
    assert prediction.flags.tolist() == [0, 0, OFF | NO_RESULT]
    result = result_table(MiddleTask(), candidates, prediction, ["near", "far"])
    assert list(result["mosaic"]) == ["near", "far", ""]
    np.testing.assert_allclose(result["x"].value[:2], 50.0, atol=1e-6)


def test_rows_without_data_on_one_mosaic_are_measured_on_the_next(spec, tmp_path):
    gap = image(7.5)
    gap[:, 45:] = np.nan  # pixel (50, 40) lies in a blank corner
    blue, red = (write_plane(tmp_path / f"gap_{name}.fits", gap) for name in ("blue", "red"))
    first = f"F475W={blue},F814W={red}"
    candidates = candidates_of(Table({"ra": [10.0, 10.0005], "dec": [41.0, 41.0]}))
    prediction = predict_candidates(MiddleTask(), [first, spec], candidates)
    assert prediction.mosaic.tolist() == [1, 0] and prediction.flags.tolist() == [0, 0]
    assert prediction.values["light"][0] == 8101
    alone = predict_candidates(MiddleTask(), [first], candidates)
    assert alone.flags[0] & NO_RESULT and alone.flags[0] & CandidateFlag.MISSING_BAND


def test_a_candidate_in_a_gap_is_measured_where_it_has_data(spec, tmp_path):
    gap = image(7.5)
    gap[:, 49:] = np.nan  # pixel (50, 40) has none; the stamp around it has
    blue, red = (write_plane(tmp_path / f"edge_{name}.fits", gap) for name in ("blue", "red"))
    first = f"F475W={blue},F814W={red}"
    candidates = candidates_of(Table({"ra": [10.0], "dec": [41.0]}))
    prediction = predict_candidates(MiddleTask(), [first, spec], candidates)
    assert prediction.mosaic.tolist() == [1] and prediction.flags.tolist() == [0]
    alone = predict_candidates(MiddleTask(), [first], candidates)
    assert alone.flags[0] == NO_RESULT | CandidateFlag.BAD_PIXELS
    assert np.isnan(alone.values["light"][0])


def test_an_unfit_mosaic_among_several_is_one_line(spec, tmp_path, caplog):
    coarse = tmp_path / "coarse.fits"
    write_plane(coarse, image(), CDELT1=-0.5 / 3600, CDELT2=0.5 / 3600)
    bare = tmp_path / "bare.fits"
    fits.writeto(bare, image())
    for path in (coarse, bare):
        shutil.copy(path, path.with_stem("red"))
        candidates = candidates_of(Table({"ra": [10.0], "dec": [41.0]}))
        one = f"F475W={path},F814W={path.with_stem('red')}"
        prediction = predict_candidates(MiddleTask(), [one, spec], candidates)
        assert list(prediction.failed) == [one] and prediction.has_result.all()
        path.with_stem("red").unlink()
    lines = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "the weights want 0.05" in lines[0] and "has no sky coordinates" in lines[1]
    assert len(lines) == 2


def test_a_bad_mosaic_among_several_does_not_stop_the_others(spec, tmp_path):
    (tmp_path / "bad.fits").write_bytes(b"")
    bad = f"F475W={tmp_path / 'bad.fits'},F814W={tmp_path / 'bad.fits'}"
    candidates = candidates_of(Table({"ra": [10.0], "dec": [41.0]}))
    prediction = predict_candidates(MiddleTask(), [bad, spec], candidates)
    assert list(prediction.failed) == [bad] and "empty" in prediction.failed[bad]
    assert prediction.has_result.all()
    with pytest.raises(ImageError, match="the file is empty"):
        predict_candidates(MiddleTask(), [bad], candidates)
    with pytest.raises(CatalogError, match="expected ra and dec, for 2 mosaics"):
        predict_candidates(MiddleTask(), [bad, spec], candidates_of(Table({"x": [1], "y": [1]})))


def test_gaps_leave_rows_without_result(spec, tmp_path):
    nothing = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    blue, red = (write_plane(tmp_path / f"{name}.fits", nothing) for name in ("blue", "red"))
    candidates = candidates_of(Table({"x": [40.0], "y": [30.0]}))
    prediction = predict_candidates(MiddleTask(), [f"F475W={blue},F814W={red}"], candidates)
    assert prediction.flags[0] & NO_RESULT and prediction.flags[0] & CandidateFlag.MISSING_BAND
    assert np.isnan(prediction.values["light"][0])


def test_known_parameters_come_from_a_number_or_a_column(spec):
    table = Table({"x": [40.0, 41.0], "y": [30.0, 30.0], "dust": [0.3, np.nan]})
    candidates = candidates_of(table)
    for source, expected in ((0.5, [0.5, 0.5]), ("dust", [0.3, np.nan])):
        settings = PredictionSettings(known={"av": source})
        prediction = predict_candidates(MiddleTask(), [spec], candidates, settings)
        np.testing.assert_array_equal(prediction.values["av"], expected)
    with pytest.raises(CatalogError, match="expected a column E with av"):
        known_values(candidates, {"av": "E"})
    table["note"] = ["low", "high"]
    with pytest.raises(CatalogError, match="one number a row in column note with av; found <U4"):
        known_values(candidates, {"av": "note"})
    with pytest.raises(ConfigError, match="av: not taught"):
        predict_candidates(
            MiddleTask(), ["none"], candidates, PredictionSettings(known={"av": 5.0})
        )


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
def test_tables_survive_files_with_odd_columns(spec, tmp_path, suffix):
    table = Table({"x": [40.0, 50.0], "y": [30.0, 31.0], "av": [1.0, 2.0], "flags": [7, 8]})
    table["mag"] = MaskedColumn([20.5, 0.0], mask=[False, True], unit="mag")
    table["note"] = np.array(["a", None], object)
    table["ra_text"] = MaskedColumn(["0 40 00", ""], mask=[False, True], unit="hourangle")
    candidates = candidates_of(table)
    prediction = predict_candidates(MiddleTask(), [spec], candidates)
    result = result_table(MiddleTask(), candidates, prediction, ["m31"])
    result.meta.update(metadata(MiddleTask(), [spec], "pos.fits"))
    path = tmp_path / f"out.{suffix}"
    write_catalog(path, result)
    back = read_catalog(path)
    assert back.colnames[-3:] == ["light", "cnn_av", "cnn_flags"]
    assert list(back["av"]) == [1.0, 2.0] and list(back["flags"]) == [7, 8]
    assert np.isnan(back["mag"].value[1]) and str(back["mag"].unit) == "mag"
    assert list(back["ra_text"]) == ["0 40 00", ""]
    assert back.meta["weights"] == "middle"
    assert back.meta["flag_meanings"]["DUPLICATE"][0] == int(DUPLICATE)


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
def test_any_kind_of_column_comes_back(spec, tmp_path, suffix):
    table = Table({"x": [40.0, 50.0], "y": [30.0, 31.0], "cnn_flags": [1, 2], "Flags": [3, 4]})
    table["id"] = MaskedColumn([2**62 + 1, 0], mask=[False, True], description="Nº")
    table["short"] = np.array([-5, 7], np.int8)
    table["big"] = np.array([2**63 + 5, 7], np.uint64)
    table["date"] = np.array(["2020-01-01", "NaT"], "datetime64[D]")
    table["shape"] = np.arange(6.0).reshape(2, 3)
    table["mag"] = Column([20.0, 21.0], unit="mag(AB)")
    table["name"] = ["Ω Cen", "Müller"]
    table["text"] = ["Ω Cen".encode(), b""]
    candidates = candidates_of(table)
    prediction = predict_candidates(MiddleTask(), [spec], candidates)
    result = result_table(MiddleTask(), candidates, prediction, ["m31"])
    check_storable(result, {"vot": "votable"}.get(suffix, suffix))
    back = read_catalog(write_catalog(tmp_path / f"out.{suffix}", result))
    assert back["id"].dtype == np.int64 and back["id"].tolist() == [2**62 + 1, None]
    assert back["short"].tolist() == [-5, 7]
    assert list(back["big"]) == [str(2**63 + 5), "7"]
    assert list(back["date"]) == ["2020-01-01", ""]
    np.testing.assert_array_equal(back["shape"], table["shape"])
    assert str(back["mag"].unit) == "mag" and back["mag"].value.tolist() == [20.0, 21.0]
    escaped = ["\\u03a9 Cen", "M\\xfcller"], ["\\u03a9 Cen", ""]
    plain = ["Ω Cen", "Müller"], ["Ω Cen", ""]
    expected = escaped if suffix == "fits" else plain
    assert (list(back["name"]), list(back["text"])) == expected
    assert back["cnn_flags"].tolist() == [1, 2] and "cnn_cnn_flags" in back.colnames
    if suffix == "fits":
        stored = fits.getdata(tmp_path / "out.fits")
        assert stored.columns["id"].null == stored["id"][1] == np.iinfo(np.int64).min
        assert stored["name"].tolist() == escaped[0]


def test_flag_cards_of_a_fits_table_are_those_of_candidates(spec, tmp_path):
    candidates = candidates_of(Table({"x": [40.0], "y": [30.0]}))
    prediction = predict_candidates(MiddleTask(), [spec], candidates)
    result = result_table(MiddleTask(), candidates, prediction, ["m31"])
    result.meta.update(metadata(MiddleTask(), [spec], "pos.fits"))
    write_catalog(tmp_path / "out.fits", result)
    header = fits.getheader(tmp_path / "out.fits", 1)
    assert header["FLAG5"] == "DUPLICATE" and header["FLAG0"] == "NOT_FINITE"


def test_no_candidates_are_no_rows_and_odd_scales_are_refused(spec):
    candidates = candidates_of(Table({"x": np.empty(0), "y": np.empty(0)}))
    prediction = predict_candidates(MiddleTask(), [spec], candidates)
    assert len(result_table(MiddleTask(), candidates, prediction, ["m31"])) == 0
    task = MiddleTask()
    task.pixel_scale_arcsec = 0.5
    with pytest.raises(ConfigError, match=r"pixels of 0\.05 arcsec, the weights want 0\.5"):
        predict_candidates(task, [spec], candidates)


def test_pixels_of_a_mosaic_without_wcs_are_assumed_aloud(tmp_path, caplog):
    from astropy.io import fits

    for band in ("F475W", "F814W"):
        fits.writeto(tmp_path / f"img_{band}.fits", np.ones((20, 20), np.float32))
    with caplog.at_level("INFO", logger="cluster_cnn"):
        candidates = candidates_of(Table({"x": [9.0], "y": [9.0]}))
        predict_candidates(MiddleTask(), [str(tmp_path)], candidates)
    assert "no sky coordinates (WCS) in the header; pixels taken to be 0.0500 arcsec" in caplog.text
