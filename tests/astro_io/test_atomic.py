"""Write aside, then rename."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from astro_io import atomic
from astro_io.atomic import atomic_path
from astro_io.errors import OutputExistsError

ROOT = Path(__file__).resolve().parents[2]


def test_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "er" / "a.catalog.fits"
    with atomic_path(path) as part:
        part.write_text("new")
        assert not path.exists()
        assert part.parent == path.parent
        assert part.name.endswith("a.catalog.fits")  # writers choose the format by the suffix
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["a.catalog.fits"]


def test_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with atomic_path(path, overwrite=True) as part:
            part.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_existing_file_is_refused_before_the_work(tmp_path):
    path = tmp_path / "cat.fits"
    path.write_text("old")
    worked = []
    text = r"cat\.fits exists\. Pass --overwrite, or choose another --output\."
    with pytest.raises(OutputExistsError, match=text), atomic_path(path):
        worked.append(True)
    assert not worked and path.read_text() == "old"


def test_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a.txt"

    def write_too_late():
        with atomic_path(path) as part:
            part.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError, match="exists"):
        write_too_late()
    assert path.read_text() == "theirs"


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path, overwrite=True) as one, atomic_path(path, overwrite=True) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one"


def test_killed_process_leaves_no_result_and_its_litter_goes(tmp_path):
    code = (
        "import sys, time\nfrom astro_io.atomic import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.txt')!r}) as part:\n"
        "    part.write_text('half')\n    print('x', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".part-")
    (tmp_path / f".part-{atomic._host()}-{os.getpid()}-abc-a.txt").write_text("alive")
    with atomic_path(tmp_path / "b.txt") as part:
        part.write_text("another file: not its litter")
    assert left in os.listdir(tmp_path)
    with atomic_path(tmp_path / "a.txt") as part:
        part.write_text("full")
    names = os.listdir(tmp_path)
    assert left not in names and "a.txt" in names
    assert any("-abc-" in name for name in names), "a running process keeps its file"
