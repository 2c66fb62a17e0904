"""What made a file."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import astropy
import numpy as np

from astro_io import provenance as module
from astro_io.provenance import command_line, provenance

ROOT = Path(__file__).resolve().parents[2]


def test_versions_date_and_extras_are_text():
    facts = provenance(weights="w", tile=512, nothing=None)
    assert all(isinstance(text, str) and text for text in facts.values())
    assert (facts["numpy"], facts["astropy"]) == (np.__version__, astropy.__version__)
    assert (facts["weights"], facts["tile"]) == ("w", "512")
    assert "nothing" not in facts
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", facts["python"])
    age = datetime.now(UTC) - datetime.fromisoformat(facts["date"])
    assert 0 <= age.total_seconds() < 10


def test_libraries_that_are_not_in_use_are_not_listed():
    code = "from astro_io.provenance import provenance; print(sorted(provenance()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "'numpy'" in done.stdout
    assert "keras" not in done.stdout and "scipy" not in done.stdout


def test_command_line_can_be_typed_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/astro-rcnn", "detect", "a b.fits"])
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert command_line() == "astro-rcnn detect 'a b.fits'"
    main = types.ModuleType("__main__")
    main.__spec__ = types.SimpleNamespace(name="astro_rcnn.detect")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert command_line() == "python -m astro_rcnn.detect detect 'a b.fits'"


def test_commit_is_named_in_a_checkout_and_left_out_elsewhere(monkeypatch, tmp_path):
    module._commit.cache_clear()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "astro_io" / "provenance.py"))
    assert "commit" not in provenance()
    module._commit.cache_clear()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert re.fullmatch(r"[0-9a-f]{12}", provenance()["commit"])
    module._commit.cache_clear()
