"""The command that trains: the task of a configuration, settings on the line, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_stamps import write_set

from astro_io.config import load_config
from astro_io.errors import ConfigError, InputNotFoundError
from cluster_cnn.config import TrainConfig
from cluster_cnn.train import TASKS, main, read_task
from cluster_cnn.weights_file import read_weights

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("cluster_*.toml"))

TINY = """
name = "tiny"
epochs = 1
steps_per_epoch = 2
[model]
bands = ["F475W", "F814W"]
stamp_size = 16
widths = [4]
blocks = [1]
head_width = 8
n_components = 2
[data]
batch_size = 16
"""


def test_a_configuration_and_the_line_make_a_run(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(TINY)
    data = write_set(tmp_path / "set.h5", 100, seed=1)
    run = tmp_path / "run"
    line = [str(tmp_path / "tiny.toml"), "--output", str(run), "--quiet"]
    line += ["--set", f'data.training=["{data}"]', "--set", "name=other", "--seed", "3"]
    assert main(line) == 0
    assert "other.weights.h5: written" in capsys.readouterr().out
    config = load_config(TrainConfig, run / "config.toml")
    assert config.seed == 3 and config.name == "other" and config.epochs == 1
    metadata = read_weights(run / "other.weights.h5").metadata
    assert metadata["seed"] == 3 and metadata["band_dropout"] == 0.0
    assert main(line) == 2
    assert "holds a run. Pass --resume" in capsys.readouterr().err


def test_the_task_stands_in_the_configuration(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("epochs = 2\n")
    assert read_task(path) == "parameters"
    path.write_text('task = "weather"\n')
    with pytest.raises(ConfigError, match="task 'weather' unknown; expected parameters"):
        read_task(path)
    path.write_text("task = \n")
    with pytest.raises(ConfigError, match=r"a\.toml: not valid TOML"):
        read_task(path)
    with pytest.raises(InputNotFoundError, match="no such configuration"):
        read_task(tmp_path / "none.toml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    task = read_task(path)
    assert task in TASKS
    if task == "parameters":
        config = load_config(TrainConfig, path)
        assert config.name and config.data.training
