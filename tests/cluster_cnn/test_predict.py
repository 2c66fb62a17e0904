"""The command from mosaics and a table of positions to a table of parameters."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from cluster_mosaics import write_plane
from cluster_stamps import SIZE, make_stamps

from astro_io.catalog import read_catalog
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.predict import main
from cluster_cnn.predictor import Predictor


@pytest.fixture
def weights(run):
    return run / "tiny.weights.h5"


@pytest.fixture
def field(tmp_path):
    """Six stamps side by side as a mosaic: 16 x 96 pixels."""
    stamps, _ = make_stamps(6, seed=5)
    mosaic = np.concatenate(list(stamps), axis=1)
    cards = {"BUNIT": "electron/s"}
    a = write_plane(tmp_path / "a.fits", mosaic[..., 0], MAGZERO=26.0, **cards)
    b = write_plane(tmp_path / "b.fits", mosaic[..., 1], MAGZERO=25.0, **cards)
    return f"F475W={a},F814W={b}", stamps


def positions(path, **columns):
    Table(columns).write(path)
    return str(path)


def test_the_table_holds_what_the_network_says_of_each_stamp(weights, field, tmp_path, capsys):
    spec, stamps = field
    # The middle of stamp k is at x = 16 k + 7.5, y = 7.5.
    x = 16.0 * np.array([3, 0, 5]) + 7.5
    table = positions(tmp_path / "pos.csv", name=["c", "a", "e"], x=x, y=[7.5, 7.5, 7.5])
    out = tmp_path / "out.fits"
    code = main([spec, "--catalog", table, "--weights", str(weights), "--output", str(out), "-q"])
    assert code == 0
    assert "3 of 3 candidates measured" in capsys.readouterr().out
    result = read_catalog(out)
    assert result.colnames[:3] == ["name", "x", "y"] and list(result["name"]) == ["c", "a", "e"]
    expected = Predictor.load(weights).predict(stamps[[3, 0, 5]])
    for p, name in enumerate(("log_mass", "log_radius")):
        for q, level in enumerate(("p16", "p50", "p84")):
            values = np.asarray(result[f"{name}_{level}"])
            np.testing.assert_allclose(values, expected.quantiles[:, p, q], atol=1e-4)
        best = np.asarray(result[f"{name}_best"])
        np.testing.assert_allclose(best, expected.best[:, p], atol=1e-3)
    np.testing.assert_allclose(result["p_cluster"], expected.p_cluster, atol=1e-5)
    assert (np.asarray(result["flags"]) & ~int(CandidateFlag.OUT_OF_RANGE | 128) == 0).all()
    assert result.meta["task"] == "parameters" and len(result.meta["weights_sha256"]) == 64
    assert result.meta["bands"] == ["F475W", "F814W"]
    assert str(result["log_snr"].unit or "") == ""


def test_known_parameters_are_kept_and_change_the_others(weights, field, tmp_path):
    _, stamps = field
    predictor = Predictor.load(weights)
    free = predictor.predict(stamps)
    told = predictor.predict(stamps, known={"log_radius": np.array([-0.5] * 5 + [np.nan])})
    assert (told.quantiles[:5, 1] == -0.5).all() and (told.best[:5, 1] == -0.5).all()
    np.testing.assert_allclose(told.best[5], free.best[5], rtol=1e-12)
    np.testing.assert_allclose(told.quantiles[5], free.quantiles[5], rtol=1e-12)
    assert (told.quantiles[:5, 0, 0] < told.quantiles[:5, 0, 2]).all()
    assert np.abs(told.quantiles[:5, 0] - free.quantiles[:5, 0]).max() > 1e-4
    np.testing.assert_allclose(told.correlations[0], np.eye(2), atol=1e-12)


def test_ranges_that_are_known_bound_the_results(weights, field, tmp_path):
    spec, stamps = field
    table = positions(tmp_path / "pos.csv", x=[7.5, 23.5], y=[7.5, 7.5])
    out = tmp_path / "out.fits"
    line = [spec, "--catalog", table, "--weights", str(weights), "--output", str(out), "-q"]
    assert main([*line, "--within", "log_mass=2.9,3.1"]) == 0
    result = read_catalog(out)
    for level in ("p16", "p50", "p84"):
        values = np.asarray(result[f"log_mass_{level}"])
        assert (values >= 2.9).all() and (values <= 3.1).all()
    best = np.asarray(result["log_mass_best"])
    assert (best >= 2.9).all() and (best <= 3.1).all()
    assert result.meta["within"] == {"log_mass": [2.9, 3.1]}
    wide = Predictor.load(weights).predict(stamps, within={"log_mass": (0.0, 9.0)})
    assert wide.quantiles[:, 0].min() >= 2 and wide.quantiles[:, 0].max() <= 4, "as trained"


def test_requests_that_cannot_be_met_end_with_one_line(weights, field, tmp_path, capsys):
    spec, _ = field
    table = positions(tmp_path / "pos.csv", x=[7.5], y=[7.5])
    out = str(tmp_path / "out.fits")

    def refused(*arguments) -> str:
        assert main([*arguments, "--output", out, "-q"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    known = ["--weights", str(weights), "--catalog"]
    assert "no such table of positions" in refused(spec, *known, str(tmp_path / "no.csv"))
    assert "Add F814W" in refused(spec.split(",")[0], *known, table)
    with pytest.raises(SystemExit, match="2"):
        refused(spec, *known, table, "--task", "weather")
    assert "invalid choice: 'weather'" in capsys.readouterr().err
    assert "unknown weights 'cluster-pat'" in refused(
        spec, "--catalog", table, "--weights", "cluster-pat"
    )
    assert "expected weights of cluster_cnn" in refused(
        spec, "--catalog", table, "--weights", "decam-grz"
    )
    assert "expected one of log_mass, log_radius" in refused(spec, *known, table, "--av", "0.1")
    assert "--distance-kpc: these weights have no use for it" in refused(
        spec, *known, table, "--distance-kpc", "785"
    )
    assert "range of log_age: expected low < high" in refused(
        spec, *known, table, "--within", "log_age=6,7"
    )
    pairs = Table({"x": [7.5], "y": [7.5], "pair": [["a", "b"]]})
    pairs.write(tmp_path / "pairs.fits")
    out = str(tmp_path / "out.vot")
    assert "found pair (<U1, shape (1, 2))" in refused(spec, *known, str(tmp_path / "pairs.fits"))
    assert not (tmp_path / "out.fits").exists()
    out = str(tmp_path / "out.fits")
    (tmp_path / "out.fits").write_text("mine")
    assert "exists. Pass --overwrite" in refused(spec, *known, table)
    assert main([spec, *known, table, "--output", str(tmp_path / "out.png")]) == 2
    assert "unknown kind of catalogue" in capsys.readouterr().err


def test_a_missing_band_can_be_borne_and_is_flagged(weights, field, tmp_path, caplog):
    spec, _ = field
    table = positions(tmp_path / "pos.csv", x=[7.5], y=[7.5])
    out = tmp_path / "out.ecsv"
    arguments = [spec.split(",")[0], "--catalog", table, "--weights", str(weights), "-q"]
    assert main([*arguments, "--output", str(out), "--missing-bands", "blank"]) == 0
    flags = int(read_catalog(out)["flags"][0])
    assert flags & CandidateFlag.MISSING_BAND and not flags & CandidateFlag.NO_RESULT
    assert flags & CandidateFlag.OUT_OF_RANGE, "trained with all bands"
    (line,) = [r.message for r in caplog.records if "weights were not trained without" in r.message]
    assert "no data in F814W" in line and "All its rows are flagged OUT_OF_RANGE" in line


def test_a_table_without_rows_gives_one(weights, field, tmp_path):
    spec, _ = field
    table = positions(tmp_path / "pos.csv", x=np.empty(0), y=np.empty(0))
    out = tmp_path / "out.fits"
    code = main([spec, "--catalog", table, "--weights", str(weights), "-q", "--output", str(out)])
    assert code == 0
    assert len(read_catalog(out)) == 0 and "log_mass_p50" in read_catalog(out).colnames
    assert SIZE == 16
