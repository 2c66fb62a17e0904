"""The command: results, resuming, workers, exit codes."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from astro_io.dataset import DatasetReader, open_dataset
from astro_io.scene import Scene
from astro_io.truth import MaskRule, scene_masks
from simulate.config import load_preset
from simulate.fields import main, output_path
from simulate.pool import WorkerError, make_fields

SMALL = ("--set", "survey.height=64", "--set", "survey.width=80", "--quiet")


def _fields(output: Path, *arguments: str, n: int = 3) -> int:
    return main(
        ["--preset", "decam", "--n", str(n), "--seed", "4", "--output", str(output)]
        + [*SMALL, *arguments]
    )


def _pixels(path: Path) -> list[np.ndarray]:
    with open_dataset(path) as dataset:
        return [scene.image.pixels for scene in dataset]


def test_summary_names_the_file_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert _fields(tmp_path / "a.h5") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "a.h5: 3 new fields of 3" in out


def test_two_workers_give_the_bytes_of_one(tmp_path: Path):
    assert _fields(tmp_path / "one.h5") == 0
    assert _fields(tmp_path / "two.h5", "--workers", "2") == 0
    for one, two in zip(_pixels(tmp_path / "one.h5"), _pixels(tmp_path / "two.h5"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_rerun_finishes_what_was_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    assert _fields(whole) == 0
    assert _fields(parts, n=2) == 0
    capsys.readouterr()
    assert _fields(parts) == 0
    assert "1 new fields of 3" in capsys.readouterr().out
    for one, two in zip(_pixels(whole), _pixels(parts), strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_seed_in_the_same_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert _fields(tmp_path / "a.h5") == 0
    assert _fields(tmp_path / "a.h5", "--seed", "5") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert _fields(tmp_path / "a.h5", "--seed", "5", "--overwrite") == 0


def test_first_field_index_is_honoured(tmp_path: Path):
    assert _fields(tmp_path / "all.h5") == 0
    assert _fields(tmp_path / "last.h5", "--first", "2", n=1) == 0
    np.testing.assert_array_equal(_pixels(tmp_path / "last.h5")[0], _pixels(tmp_path / "all.h5")[2])


def test_preview_is_a_picture_of_both_views(tmp_path: Path):
    from matplotlib.image import imread

    assert _fields(tmp_path / "a.h5", "--preview", n=2) == 0
    picture = imread(tmp_path / "a.preview.png")
    assert picture.shape[:2] == (2 * 64, 2 * 80 + 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "decan"], "--preset decan: expected one of decam, decam-deep"),
        (["--n", "-1"], "--n: expected at least 0; found -1"),
        (["--workers", "0"], "--workers: expected at least 1; found 0"),
        (["--set", "stars.density=[1,1]"], "density"),
        (["--set", "psf.fwhm_arcsec=[2.0,1.0]"], "expected [low, high] with 0 <= low <= high"),
        (["--set", "survey.sky_mag_arcsec2=[21.0]"], "expected one value a band (g, r, z)"),
    ],
)
def test_bad_request_exits_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert _fields(tmp_path / "a.h5", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0
    assert not (tmp_path / "a.h5").exists()


def test_output_is_a_file_or_a_folder():
    assert output_path(Path("a.h5"), "hdf5") == Path("a.h5")
    assert output_path(Path("a"), "hdf5") == Path("a/fields.h5")
    assert output_path(Path("a"), "coco") == Path("a")


def test_full_disk_is_one_line_and_keeps_what_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    free = iter([10**12, 10**12, 1000])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, next(free)))
    assert _fields(tmp_path / "a.h5") == 2
    err = capsys.readouterr().err
    assert "a.h5: no room for scene_000002, about" in err
    assert "(No space left on device)" in err
    assert err.strip().count("\n") == 0
    with DatasetReader(tmp_path / "a.h5", allow_incomplete=True) as dataset:
        assert dataset.indices == (0, 1)
    monkeypatch.undo()
    assert _fields(tmp_path / "a.h5") == 0
    with open_dataset(tmp_path / "a.h5") as dataset:
        assert len(dataset) == 3


def test_killed_worker_says_what_to_do():
    config = load_preset("decam", ("survey.height=64", "survey.width=64"))
    fields = make_fields(config, seed=1, indices=range(40), workers=2)
    next(fields)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(WorkerError, match=r"killed \(out of memory\?\).* fewer --workers"):
        list(fields)


def test_help_loads_neither_galsim_nor_keras():
    code = (
        "import sys, simulate.fields as f\n"
        "try: f.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'galsim', 'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("file_format", ["astro-rcnn", "coco"])
def test_other_formats_hold_the_same_fields(tmp_path: Path, file_format: str):
    assert _fields(tmp_path / "a.h5", n=2) == 0
    assert _fields(tmp_path / "b", "--format", file_format, n=2) == 0
    with open_dataset(tmp_path / "a.h5") as one, open_dataset(tmp_path / "b") as two:
        assert len(one) == len(two) == 2
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a.image.pixels, b.image.pixels)
            np.testing.assert_array_equal(a.catalog["class_id"], b.catalog["class_id"])
            np.testing.assert_allclose(a.catalog["x"], b.catalog["x"], atol=1e-3)
            for mask_a, mask_b in zip(_full_masks(a), _full_masks(b), strict=True):
                if mask_a[1:-1, 1:-1].sum() == mask_a.sum():  # a cut mask is blurred otherwise
                    # stamps in HDF5 keep 12 bits: a pixel on the threshold may change sides
                    assert (mask_a & mask_b).sum() >= 0.95 * (mask_a | mask_b).sum()


def _full_masks(scene: Scene) -> list[np.ndarray]:
    """Return the mask of every source on the whole image."""
    full = []
    for (y1, x1, y2, x2), mask in zip(*scene_masks(scene, MaskRule()), strict=True):
        full.append(np.zeros(scene.image.shape, bool))
        full[-1][y1:y2, x1:x2] = mask
    return full
