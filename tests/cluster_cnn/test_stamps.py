"""From a mosaic and a LEGUS table to stamps, to a training set, to a network, to classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astro_io.cluster_set import ClusterSetReader, ClusterSetWriter
from astro_io.legus import read_legus
from benchmarks import wei_et_al
from cluster_cnn import evaluate, predict, stamps, train
from cluster_cnn.flags import CandidateFlag

BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")
STEP, N_SIDE, SIZE = 40, 10, 32


def make_sky(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return five planes with a lattice of blobs (class 1) and points (class 4), x, y, classes."""
    rng = np.random.default_rng(seed)
    side = STEP * (N_SIDE + 1)
    y, x = np.mgrid[:side, :side]
    places = np.array(
        [(STEP * (i + 1), STEP * (j + 1)) for i in range(N_SIDE) for j in range(N_SIDE)]
    )
    classes = np.where(rng.random(len(places)) < 0.5, 1, 4)
    light = np.zeros((side, side))
    for (cy, cx), class_id in zip(places, classes, strict=True):
        sigma, near = (4.0 if class_id == 1 else 1.2), np.s_[cy - 20 : cy + 20, cx - 20 : cx + 20]
        shape = np.exp(-((y[near] - cy) ** 2 + (x[near] - cx) ** 2) / (2 * sigma**2))
        light[near] += 1500 * shape / shape.sum()
    planes = {band: (k + 1) * light + rng.normal(0, 1, light.shape) for k, band in enumerate(BANDS)}
    return planes, places[:, ::-1].astype(float), classes


def write_mosaic(folder, planes, *, without=(), scale=0.0396, **cards):
    folder.mkdir(exist_ok=True)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [65.0, -54.9], [1, 1]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    for band, plane in planes.items():
        if band not in without:
            header = wcs.to_header()
            header.update(cards)
            fits.writeto(folder / f"img_{band}.fits", plane.astype(np.float32), header)
    return str(folder)


def write_legus(path, xy, classes):
    """Write a table of 34 columns as LEGUS publishes them: positions from 1 on, no header."""
    rows = np.zeros((len(xy), 34))
    rows[:, 0] = np.arange(len(xy)) + 1
    rows[:, 1:3] = xy + 1
    rows[:, 5:15] = 22.0
    rows[:, 32], rows[:, 33] = 5, classes
    np.savetxt(path, rows, fmt="%.3f")
    return str(path)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    planes, xy, classes = make_sky(1)
    mosaic = write_mosaic(folder / "mosaic", planes)
    return mosaic, write_legus(folder / "legus.tab", xy, classes), planes, classes


def test_a_network_trained_on_a_mosaic_and_its_legus_table_classifies_the_mosaic(sky, tmp_path):
    """The whole of Wei et al. but for the size of the network, in four commands."""
    mosaic, table, _, classes = sky
    dataset = tmp_path / "train.h5"
    line = [mosaic, "--catalog", table, "--size", str(SIZE), "--output", str(dataset), "-q"]
    assert stamps.main([*line, "--distance-kpc", "18000"]) == 0
    with ClusterSetReader(dataset) as reader:
        np.testing.assert_array_equal(reader.column("class"), classes[reader.column("row")])
        assert reader.bands == BANDS
        assert reader.attributes["pixel_scale_arcsec"] == pytest.approx(0.0396)
        assert reader.column("distance_kpc")[0] == 18000
    config = tmp_path / "tiny.toml"
    config.write_text(
        'task = "classes"\nname = "tiny"\nmembers = 1\nepochs = 6\n'
        f"[model]\nstamp_size = {SIZE}\nclass_ids = [1, 4]\nwidths = [4, 6, 8]\nhead_width = 16\n"
        f'[data]\ntraining = ["{dataset}"]\nbatch_size = 16\nband_dropout = 0.0\n'
        "[optimizer]\nlearning_rate = 5e-3\nwarmup_steps = 5\n"
    )
    run = tmp_path / "run"
    assert train.main([str(config), "--output", str(run), "-q"]) == 0
    output = tmp_path / "classes.fits"
    line = [mosaic, "--catalog", table, "--weights", str(run), "--output", str(output), "-q"]
    assert predict.main([*line, "--task", "classes", "--distance-kpc", "18000"]) == 0
    result = Table.read(output)
    assert len(result) == 100
    # The table's own class stays; ours is beside it.
    assert (result["cnn_class"] == classes).mean() > 0.9
    np.testing.assert_allclose(result["p_class_1"] + result["p_class_4"], 1, atol=1e-5)
    assert (result["flags"] & CandidateFlag.NO_RESULT == 0).all()
    for class_id in (1, 4):
        with (tmp_path / f"classes.class_{class_id}.png").open("rb") as file:
            assert file.read(4) == b"\x89PNG"


@pytest.fixture(scope="module")
def two_fields(sky, tmp_path_factory):
    """The sky of before with zero points, and another with F435W, in other units and pixels."""
    folder = tmp_path_factory.mktemp("fields")
    _, table, planes, _ = sky
    first = write_mosaic(folder / "ngc1", planes, MAGZERO=26.0)
    others, xy, _ = make_sky(2)
    classes = np.arange(len(xy)) % 4 + 1
    others = {"F435W" if band == "F438W" else band: plane for band, plane in others.items()}
    second = write_mosaic(folder / "ngc2", others, scale=0.0398, MAGZERO=28.5)
    alias = {band: f"{band}={second}/img_{band}.fits" for band in BANDS}
    alias["F438W"] = f"F438W=F435W={second}/img_F435W.fits"
    tables = [table, write_legus(folder / "ngc2.tab", xy, classes)]
    return [first, ",".join(alias.values())], tables, others, classes


def test_wei_et_al_from_two_fields_to_scores_of_the_fifth_set_aside(
    two_fields, tmp_path, capsys, monkeypatch
):
    """The one command of docs/classes.md, with few and small steps."""
    monkeypatch.setattr("cluster_cnn.training_run.save_checkpoint", lambda *_, **__: None)
    mosaics, tables, planes, classes = two_fields
    output = tmp_path / "wei"
    line = [*mosaics, "--catalog", *tables, "--distance-kpc", "9900", "18000"]
    line += ["--networks", "resnet18", "--output", str(output)]
    for setting in ("members=1", "epochs=1", "steps_per_epoch=1", "model.image_size=32"):
        line += ["--set", setting]
    assert wei_et_al.main(line) == 0
    printed = capsys.readouterr().out
    assert "| resnet18, the paper | 76.0 ± 4.2 |" in printed
    dataset, run = output / "legus.h5", output / "runs" / "resnet18"
    with ClusterSetReader(dataset) as reader:
        assert len(reader) == 200 and reader.attributes["zeropoint_mag"] == [26.0] * 5
        field, rows = reader.column("field"), reader.column("row")
        assert reader.column("distance_kpc")[field == 1].tolist() == [18000.0] * 100
        np.testing.assert_array_equal(reader.column("class")[field == 1], classes[rows[field == 1]])
        (first,) = np.flatnonzero((field == 1) & (rows == 45))
        stamp = reader.read_stamps([first])[0]
    # Object 45 stands at y = 200, x = 240: 64 px are 169 to 232, 209 to 272. Its unit is a tenth.
    middle = planes["F435W"][169:233, 209:273]
    np.testing.assert_allclose(stamp[..., 2], middle / 10, rtol=1e-5, atol=1e-6)
    metrics = json.loads((output / "scores" / "resnet18" / "metrics.json").read_text())
    assert metrics["classes"]["n"] == 40 and metrics["held_out"]
    assert set(metrics["ablation"]) == {"all bands", *BANDS}
    # The baseline learns from the other four fifths, as the network did.
    assert metrics["baseline"]["trained_on"] == "160 stamps of legus.h5"
    assert metrics["baseline"]["apertures"]["n"] == 40
    # Scored on the very stamps that validated the training.
    validation = json.loads((run / "validation.json").read_text())["accuracy_of_members"]
    assert metrics["members"]["accuracy"][0] == pytest.approx(100 * validation[0])
    assert wei_et_al.main(line) == 0, "all is there: the table alone"
    again = capsys.readouterr().out
    assert "| resnet18, the paper |" in again and printed.endswith(again)
    other = write_few(tmp_path / "other.h5", dataset)
    line = ["--weights", str(run), "--output", str(tmp_path / "scores"), "-q", "--held-out"]
    assert evaluate.main([*line, "--dataset", str(other)]) == 2
    assert "expected the training set, legus.h5 of 200 stamps; found other.h5 of 50" in (
        capsys.readouterr().err
    )


def test_published_weights_are_asked_for_before_the_work_begins(tmp_path):
    (tmp_path / "resnet18-f37072fd.pth").touch()
    assert wei_et_al.find_published(tmp_path, "resnet18").name == "resnet18-f37072fd.pth"
    line = ["no.fits", "--catalog", "no.tab", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"expected one file vgg19_bn-\*\.pth .*; found 0"):
        wei_et_al.main([*line, "--imagenet", str(tmp_path)])
    assert wei_et_al.main(line) == 2, "the exit code of the step that failed"


def write_few(path, dataset):
    """Copy the first 50 stamps of a set."""
    with (
        ClusterSetReader(dataset) as reader,
        ClusterSetWriter(path, bands=reader.bands, attributes=reader.attributes) as writer,
    ):
        rows = {name: reader.column(name)[:50] for name in reader.columns}
        writer.append(reader.read_stamps(range(50)), rows)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": 0.0404, "MAGZERO": 26.0}, "pixel_scale_arcsec differs: 0.0396 in ngc1, 0.0404"),
        ({}, "zeropoint_mag differs: F275W has 26.000 in ngc1, none in odd"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(two_fields, tmp_path, capsys, change, said):
    mosaics, tables, planes, _ = two_fields
    odd = write_mosaic(tmp_path / "odd", planes, **change)
    line = [mosaics[0], odd, "--catalog", *tables, "--output", str(tmp_path / "out.h5"), "-q"]
    assert stamps.main(line) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out.h5").exists()


def test_fields_of_other_scales_are_joined_by_resampling(two_fields, tmp_path):
    mosaics, tables, planes, _ = two_fields
    odd = write_mosaic(tmp_path / "odd", planes, scale=0.05, MAGZERO=26.0)
    line = [mosaics[0], odd, "--catalog", *tables, "--size", "16", "-q", "--pixel-scale", "0.0396"]
    assert stamps.main([*line, "--output", str(tmp_path / "out.h5")]) == 0
    with ClusterSetReader(tmp_path / "out.h5") as reader:
        assert reader.attributes["pixel_scale_arcsec"] == 0.0396 and len(reader) == 200


@pytest.mark.parametrize(
    "ids",
    [["a", "b", "a"], ["../x", "b", "c"], ["é", "b", "c"], ["a", "A", "b"], [[1, 2]] * 3],
)
def test_ids_that_are_no_names_of_files_lose_no_object(sky, tmp_path, ids):
    mosaic, *_ = sky
    table = Table({"id": ids, "x": [40.0, 80.0, 120.0], "y": [40.0] * 3})
    table.write(tmp_path / "t.ecsv")
    out = tmp_path / "deep" / "stamps"
    line = [mosaic, "--catalog", str(tmp_path / "t.ecsv"), "--output", str(out), "-q"]
    assert stamps.main(line) == 0
    assert {path.name for path in out.iterdir()} == {f"row_00000{i}.fits" for i in range(3)}
    assert len(list(tmp_path.rglob("*.fits"))) == 3
    wanted = str(table["id"][0]).replace("é", "?")
    assert fits.getheader(out / "row_000000.fits")["OBJECT"] == wanted


def test_fits_stamps_hold_one_extension_a_band(sky, tmp_path):
    mosaic, table, planes, classes = sky
    out = tmp_path / "stamps"
    assert (
        stamps.main([mosaic, "--catalog", table, "--size", "51", "--output", str(out), "-q"]) == 0
    )
    assert len(list(out.glob("*.fits"))) == 100
    with fits.open(out / "1.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == list(BANDS)
        assert hdus[0].header["CLASS"] == classes[0]
        # The first object stands at (40, 40); 51 px around it are 15 to 65.
        np.testing.assert_array_equal(
            hdus["F555W"].data, planes["F555W"][15:66, 15:66].astype(np.float32)
        )


def test_one_missing_band_is_zero_and_two_drop_the_object(sky, tmp_path):
    _, table, planes, _ = sky
    one = write_mosaic(tmp_path / "one", planes, without=("F275W",))
    assert stamps.main([one, "--catalog", table, "--output", str(tmp_path / "a"), "-q"]) == 0
    with fits.open(tmp_path / "a" / "1.fits") as hdus:
        assert not hdus["F275W"].data.any()
        assert hdus["F275W"].header["HASDATA"] is False
        assert hdus["F336W"].data.any()
    two = write_mosaic(tmp_path / "two", planes, without=("F275W", "F336W"))
    assert stamps.main([two, "--catalog", table, "--output", str(tmp_path / "b"), "-q"]) == 1
    assert not list((tmp_path / "b").glob("*.fits"))
    line = [two, "--catalog", table, "--output", str(tmp_path / "c"), "-q", "--most-missing", "2"]
    assert stamps.main(line) == 0


def test_phangs_catalogue_by_sky_position(sky, tmp_path):
    mosaic, table, _, classes = sky
    legus = read_legus(table)
    with fits.open(f"{mosaic}/img_F555W.fits") as hdus:
        ra, dec = WCS(hdus[0].header).all_pix2world(legus["x"], legus["y"], 0)
    phangs = Table({"ID_PHANGS_CLUSTER": np.arange(100), "PHANGS_RA": ra, "PHANGS_DEC": dec})
    phangs["PHANGS_CLUSTER_CLASS_HUMAN"] = np.where(np.arange(100) == 7, -999, classes)
    phangs.write(tmp_path / "phangs.fits")
    dataset = tmp_path / "set.h5"
    line = [mosaic, "--catalog", str(tmp_path / "phangs.fits"), "--size", "32", "-q"]
    assert stamps.main([*line, "--output", str(dataset)]) == 0
    with ClusterSetReader(dataset) as reader:
        rows = reader.column("row")
        assert sorted(rows) == [i for i in range(100) if i != 7]
        np.testing.assert_array_equal(reader.column("class"), classes[rows])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--size", "4"], "--size: expected at least 8"),
        (["--class-column", "kind"], "expected a column kind"),
        (["--bands", "F160W"], "found none of them"),
        (["--pixel-scale", "-0.04"], "--pixel-scale: expected a number above 0; found -0.04"),
        (["--pixel-scale", "4"], "--pixel-scale: expected 0.00792 to 0.198"),
        (["--distance-kpc", "0"], "--distance-kpc: expected a number above 0; found 0"),
        (["--distance-kpc", "1", "2"], "--distance-kpc: expected one for each of 1 mosaics"),
        (["--most-missing", "-1"], "--most-missing: expected at least 0"),
        (["--catalog", "a.tab", "b.tab"], "--catalog: expected one for each of 1 mosaics; found 2"),
    ],
)
def test_bad_requests_are_one_line(sky, tmp_path, capsys, change, said):
    mosaic, table, _, _ = sky
    line = [mosaic, "--catalog", table, "--output", str(tmp_path / "out.h5"), "-q", *change]
    assert stamps.main(line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_column_of_arrays_is_no_class(sky, tmp_path, capsys):
    mosaic, *_ = sky
    table = Table({"x": [40.0, 80.0], "y": [40.0, 80.0], "class": [[1, 2], [3, 4]]})
    table.write(tmp_path / "t.ecsv")
    line = [mosaic, "--catalog", str(tmp_path / "t.ecsv"), "--output", str(tmp_path / "s.h5")]
    assert stamps.main([*line, "-q"]) == 2
    assert "expected one class a row in column class" in capsys.readouterr().err


def test_a_folder_takes_one_field(two_fields, tmp_path, capsys):
    mosaics, tables, *_ = two_fields
    assert stamps.main([*mosaics, "--catalog", *tables, "--output", str(tmp_path / "out")]) == 2
    assert "expected one mosaic for a folder of FITS files; found 2" in capsys.readouterr().err


def test_results_are_not_written_over(sky, tmp_path, capsys):
    mosaic, table, _, _ = sky
    (tmp_path / "out.h5").write_bytes(b"mine")
    line = [mosaic, "--catalog", table, "--output", str(tmp_path / "out.h5"), "-q"]
    assert stamps.main(line) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out.h5").read_bytes() == b"mine"


def test_a_lone_name_is_no_pair_of_columns(capsys):
    with pytest.raises(SystemExit) as stop:
        stamps.main(["m.fits", "--catalog", "t.csv", "--columns", "ra", "--output", "s.h5"])
    assert stop.value.code == 2
    assert "expected two names such as ra,dec; found 'ra'" in capsys.readouterr().err
