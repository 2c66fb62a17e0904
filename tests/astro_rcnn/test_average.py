"""The command that averages weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import WeightsError
from astro_rcnn import average
from astro_rcnn.average import average_tensors
from astro_rcnn.model import build_model
from astro_rcnn.weights_file import read_weights, save_weights


def test_tensors_lie_between_the_two():
    first, second = {"a/k": np.array([0.0, 2.0])}, {"a/k": np.array([4.0, 2.0])}
    np.testing.assert_allclose(average_tensors(first, second, 0.25)["a/k"], [1.0, 2.0])


@pytest.mark.parametrize("second", [{"b/k": np.zeros(2)}, {"a/k": np.zeros(3)}])
def test_other_networks_are_refused(second):
    with pytest.raises(WeightsError, match="expected two networks of the same layers"):
        average_tensors({"a/k": np.zeros(2)}, second, 0.5)


def test_the_command_writes_weights_with_the_settings_of_the_first(tmp_path, capsys):
    paths = []
    for seed, least in ((1, 0.6), (2, 0.3)):
        paths.append(tmp_path / f"{seed}.weights.h5")
        save_weights(build_model(replace(TINY_MODEL, min_confidence=least), seed=seed), paths[-1])
    names = [str(path) for path in paths]
    output = ["--output", str(tmp_path / "out"), "--name", "mean", "-q"]
    assert average.main([*names, "--share", "0.25", *output]) == 0
    settings, tensors, metadata = read_weights(tmp_path / "out" / "mean.weights.h5")
    (_, first, _), (_, second, _) = (read_weights(path) for path in paths)
    for name, value in tensors.items():
        np.testing.assert_allclose(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6)
    assert settings.min_confidence == 0.6 and metadata["share"] == 0.25
    assert average.main([*names, "--min-score", "0.7", *output]) == 2, "it is there already"
    assert (
        average.main([*names, "--min-score", "0.7", *output, "--overwrite", "--half-precision"])
        == 0
    )
    assert read_weights(tmp_path / "out" / "mean.weights.h5")[0].min_confidence == 0.7
    assert average.main([*names, "--share", "2", *output, "--overwrite"]) == 2
    assert "--share: expected 0 to 1; found 2" in capsys.readouterr().err


def test_a_second_look_is_left_out(tmp_path):
    """It belongs to one network; it need not keep others from being averaged."""
    paths = [tmp_path / "looks.weights.h5", tmp_path / "plain.weights.h5"]
    for path, side in zip(paths, (9, 0), strict=True):
        save_weights(build_model(replace(TINY_MODEL, second_look_px=side), seed=1), path)
    assert average.main([*map(str, paths), "--output", str(tmp_path / "out"), "-q"]) == 0
    settings, tensors, _ = read_weights(tmp_path / "out" / "average.weights.h5")
    assert settings.second_look_px == 0
    assert set(tensors) == set(read_weights(paths[1])[1])
