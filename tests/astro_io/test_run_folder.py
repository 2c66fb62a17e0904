"""The folder of a run: nothing lost unasked, history without gaps, curves that can be drawn."""

from __future__ import annotations

import math

import pytest

from astro_io.errors import OutputExistsError
from astro_io.run_folder import (
    append_history,
    draw_curves,
    refuse_existing_run,
    remove_run,
    write_tensorboard,
)


def test_a_folder_with_a_run_is_refused_and_removed_only_when_asked(tmp_path):
    refuse_existing_run(tmp_path, overwrite=False)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "a.weights.h5").write_text("")
    remove_run(tmp_path)
    assert (tmp_path / "checkpoints").exists(), "without a config.toml it is no run"
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(OutputExistsError, match="Pass --resume to go on"):
        refuse_existing_run(tmp_path, overwrite=False)
    refuse_existing_run(tmp_path, overwrite=True)
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_history_goes_on_from_a_resumed_epoch(tmp_path):
    path = tmp_path / "history.csv"
    append_history(path, {"epoch": 1, "loss": 3.0})
    append_history(path, {"epoch": 2, "loss": 2.5})
    rows = append_history(path, {"epoch": 2, "loss": 2.0, "val_loss": 2.2})
    assert [row["loss"] for row in rows] == [3.0, 2.0]
    assert rows[1]["val_loss"] == 2.2
    again = append_history(path, {"epoch": 3, "loss": 1.0})
    assert math.isnan(again[0]["val_loss"]) and again[2]["epoch"] == 3


def test_curves_and_tensorboard_are_written(tmp_path):
    history = [{"epoch": e, "loss": 1.0 / e, "val_loss": 2.0 / e, "nll": 1 - e} for e in (1, 2)]
    draw_curves(history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    write_tensorboard(tmp_path / "tensorboard", history[1])
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
