"""The PhoSim command, with a stand-in that behaves like PhoSim on the file level."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from astro_io.dataset import open_dataset
from astro_io.truth import MaskRule, scene_masks
from simulate.phosim import main
from simulate.phosim_files import parse_trimmed


@pytest.fixture
def phosim(tmp_path: Path) -> Path:
    """Return the folder of an installed stand-in."""
    folder = tmp_path / "phosim_release"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("phosim_stand_in.py"), folder / "phosim")
    (folder / "phosim").chmod(0o755)
    return folder


def _run(phosim: Path, *arguments: str, n: int = 1) -> int:
    output = str(phosim.parent / "set.h5")
    line = ["--phosim", str(phosim), "--n", str(n), "--seed", "3", "--output", output]
    return main([*line, "--workers", "4", "--quiet", *arguments])


def _calls(phosim: Path) -> list[str]:
    return (phosim / "calls.txt").read_text().splitlines()


def test_every_object_gets_its_truth(phosim: Path, capsys: pytest.CaptureFixture[str]):
    assert _run(phosim) == 0
    assert "set.h5: 1 of 1 fields" in capsys.readouterr().out
    work = phosim.parent / "set.phosim" / "pointing_000000"
    objects = parse_trimmed((work / "image_g" / "trimmed" / "4S.pars").read_text())
    with open_dataset(phosim.parent / "set.h5") as dataset:
        scene = dataset[0]
    assert scene.image.bands == ("g", "r", "z")
    assert scene.image.unit == ("electron",) * 3
    assert len(scene) == len(objects) == 4
    np.testing.assert_array_equal(scene.catalog["class_id"], [1, 1, 2, 2])
    np.testing.assert_allclose(
        scene.catalog["mag_norm"], [item.mag_norm for item in objects], atol=1e-3
    )
    # three images of the field, four of single objects
    assert len(_calls(phosim)) == 7
    for item, row, stamp in zip(objects, scene.catalog, scene.stamps, strict=True):
        words = item.lines[0].split()
        x, y = scene.image.wcs.all_world2pix(float(words[2]), float(words[3]), 0)
        assert row["x"] == pytest.approx(float(x), abs=1.0)
        assert row["y"] == pytest.approx(float(y), abs=1.0)
        flux = 10.0 ** (-0.4 * (item.mag_norm - 28.0))
        assert stamp.pixels[..., 0].sum() == pytest.approx(flux, rel=0.25)  # cut by the edge
        assert np.isnan(stamp.pixels[..., 1:]).all()


def test_masks_follow_from_the_truth_and_lie_on_the_image(phosim: Path):
    _run(phosim)
    with open_dataset(phosim.parent / "set.h5") as dataset:
        scene = dataset[0]
    boxes, masks = scene_masks(scene, MaskRule())
    sky = np.median(scene.image.pixels[..., 0])
    for box, mask in zip(boxes, masks, strict=True):
        inside = scene.image.pixels[box[0] : box[2], box[1] : box[3], 0][mask]
        assert inside.mean() > sky + 3.0
    assert scene.catalog["snr"].min() > 0.0
    assert np.isfinite(scene.catalog["visible_fraction"]).all()


def test_rerun_does_only_what_is_missing(phosim: Path):
    assert _run(phosim) == 0
    assert _run(phosim, n=2) == 0
    assert len(_calls(phosim)) == 14
    with open_dataset(phosim.parent / "set.h5") as dataset:
        assert len(dataset) == 2
        assert not np.array_equal(dataset.read_image(0).pixels, dataset.read_image(1).pixels)
    # the set is lost, PhoSim's files are not
    (phosim.parent / "set.h5").unlink()
    assert _run(phosim, n=2) == 0
    assert len(_calls(phosim)) == 14


def test_failed_run_is_told_and_resumed(
    phosim: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAND_IN_FAILS", "gal3")
    assert _run(phosim, "--workers", "1") == 1
    err = capsys.readouterr().err
    assert "pointing 0: phosim ended with 1: Error: cannot find the sky (log: " in err
    monkeypatch.delenv("STAND_IN_FAILS")
    n_before = len(_calls(phosim))
    assert _run(phosim) == 0
    assert len(_calls(phosim)) == n_before + 1
    with open_dataset(phosim.parent / "set.h5") as dataset:
        assert len(dataset[0]) == 4


def test_chips_and_truth_bands_can_be_chosen(phosim: Path):
    options = [
        "--chips",
        "4S,5S",
        "--bands",
        "g,r",
        "--truth-bands",
        "g,r",
        "--exposures",
        "100,50",
    ]
    assert _run(phosim, *options, "--format", "astro-rcnn", "--output", str(phosim / "set")) == 0
    with open_dataset(phosim / "set") as dataset:
        assert len(dataset) == 2
        assert len(dataset[0]) >= 3
        # the second chip lies 60 px north; few of its neighbour's objects reach it
        assert len(dataset[1]) < 3
    assert any("-s 4S|5S" in call for call in _calls(phosim))


def test_missing_chip_is_told(phosim: Path, capsys: pytest.CaptureFixture[str]):
    assert _run(phosim, "--chips", "9N") == 1
    err = capsys.readouterr().err
    assert "_9N_E000.fits.gz, found none. Is 9N a chip of decam?" in err


def test_dry_run_shows_the_catalogue(phosim: Path, capsys: pytest.CaptureFixture[str]):
    assert _run(phosim, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "stars 15.0 23.000 0.10000" in out
    assert "backgroundmode 0" in out
    assert not (phosim.parent / "set.h5").exists()
    assert not (phosim / "calls.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phosim", "/nowhere"], "no executable phosim there"),
        (["--bands", "g,J"], "decam has u, g, r, i, z, Y"),
        (["--exposures", "1,2"], "expected one time above 0, or one a band (g, r, z)"),
        (["--exposures", "long"], "expected seconds"),
        (["--truth-bands", "i"], "expected some of g,r,z"),
        (["--commands", "none.txt"], "expected distributed, paper, or a file; no such file"),
        (["--workers", "0"], "--workers: expected at least 1; found 0"),
        (["--fov", "0"], "--fov: expected 0 to 5 degrees; found 0.0"),
    ],
)
def test_bad_request_is_one_line(
    phosim: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert _run(phosim, *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0


def test_runs_with_other_settings_are_not_mixed(phosim: Path, capsys: pytest.CaptureFixture[str]):
    assert _run(phosim) == 0
    assert _run(phosim, "--faintest", "22", "--overwrite") == 2
    assert "holds runs of PhoSim with other settings" in capsys.readouterr().err
