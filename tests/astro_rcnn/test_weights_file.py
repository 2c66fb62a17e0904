"""astro_rcnn.weights_file: our own weights, whole again from the file alone."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import InputNotFoundError, OutputExistsError, WeightsError
from astro_rcnn.config import ModelConfig
from astro_rcnn.initial_weights import initialise, is_our_format, load_any
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.named_weights import named_variables
from astro_rcnn.weights_file import (
    FORMAT,
    copy_with_settings,
    load_into,
    read_weights,
    save_weights,
)

pytestmark = pytest.mark.backend

OTHER = replace(
    TINY_MODEL,
    bands=("u", "i"),
    class_names=("background", "star", "galaxy", "other"),
    mean_pixel=(1.5, -2.0),
    anchor_ratios=(0.7, 1.0),
    min_confidence=0.25,
)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    model = build_model(OTHER, seed=3)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1.0, variable.shape))
    return model


def values(model: MaskRCNN) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable) for name, variable in named_variables(model).items()}


def test_full_precision_comes_back_bit_for_bit(network, tmp_path):
    save_weights(network, tmp_path / "w.h5", metadata={"epoch": 7})
    settings, tensors, metadata = read_weights(tmp_path / "w.h5")
    assert settings == OTHER and metadata == {"epoch": 7}
    other = build_model(settings, seed=4)
    report = load_into(other, tmp_path / "w.h5")
    assert set(report.loaded) == set(tensors)
    for name, value in values(network).items():
        np.testing.assert_array_equal(values(other)[name], value, err_msg=name)


def test_half_precision_rounds_but_not_the_statistics(network, tmp_path):
    save_weights(network, tmp_path / "full.h5")
    save_weights(network, tmp_path / "half.h5", dtype="float16")
    assert (tmp_path / "half.h5").stat().st_size < (tmp_path / "full.h5").stat().st_size
    _, tensors, _ = read_weights(tmp_path / "half.h5")
    for name, value in values(network).items():
        limit = 0.0 if "moving" in name else 2.0**-11
        np.testing.assert_allclose(tensors[name], value, rtol=limit, err_msg=name)
    kernel = values(network)["stem_conv/kernel"]
    assert not np.array_equal(tensors["stem_conv/kernel"], kernel)


def test_every_setting_of_the_network_is_in_the_file(network, tmp_path):
    save_weights(network, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert set(json.loads(file.attrs["model"])) == {field.name for field in fields(ModelConfig)}


def test_a_file_that_is_there_stays_unless_told(network, tmp_path):
    save_weights(network, tmp_path / "w.h5")
    with pytest.raises(OutputExistsError, match="w.h5 exists. Pass --overwrite"):
        save_weights(network, tmp_path / "w.h5")
    save_weights(network, tmp_path / "w.h5", metadata={"epoch": 2}, overwrite=True)
    assert read_weights(tmp_path / "w.h5")[2] == {"epoch": 2}


def test_another_number_of_bands_is_adapted(network, tmp_path):
    save_weights(network, tmp_path / "w.h5")
    model = build_model(replace(OTHER, bands=("g",), mean_pixel=(0.0,)))
    report = load_any(model, tmp_path / "w.h5")
    assert report.adapted == ("stem_conv/kernel 2 -> 1 bands",)


def test_another_network_is_refused_by_the_name_of_the_tensor(network, tmp_path):
    save_weights(network, tmp_path / "w.h5")
    with pytest.raises(WeightsError, match=r"w\.h5: shape differs: rpn_class_raw/kernel: network"):
        initialise(build_model(TINY_MODEL), str(tmp_path / "w.h5"))


@pytest.mark.parametrize("kept", [100, 0.5, 0.9])
def test_a_truncated_file_is_refused(network, tmp_path, kept):
    path = tmp_path / "w.h5"
    save_weights(network, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
    with pytest.raises(WeightsError, match=r"w\.h5: not a readable weights file"):
        read_weights(path)
    with pytest.raises(WeightsError, match=r"w\.h5"):
        load_any(build_model(TINY_MODEL), path)


def test_other_files_are_refused(tmp_path, network):
    with pytest.raises(InputNotFoundError, match="no such weights file. Check --weights."):
        read_weights(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["conv1/conv1/kernel:0"] = np.zeros(3)
    with pytest.raises(WeightsError, match=f"expected format '{FORMAT}', found 'none'"):
        read_weights(tmp_path / "other.h5")
    assert not is_our_format(tmp_path / "other.h5")
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file.attrs["format"] = FORMAT
    with pytest.raises(WeightsError, match=r"bare\.h5: not a readable weights file"):
        read_weights(tmp_path / "bare.h5")


def test_a_file_of_a_newer_version_says_so(network, tmp_path):
    path = tmp_path / "w.h5"
    save_weights(network, path)
    with h5py.File(path, "a") as file:
        file.attrs["model"] = json.dumps({**json.loads(file.attrs["model"]), "n_dreams": 3})
    with pytest.raises(WeightsError, match="unknown model setting n_dreams; .* Update this"):
        read_weights(path)


def test_a_random_start_is_reported_as_one(network):
    assert "all layers (random start)" in str(initialise(network, "random"))


# === in pieces ===


def test_a_large_network_is_cut_in_pieces_and_whole_again(network, tmp_path):
    path = tmp_path / "big.weights.h5"
    n_bytes = sum(value.nbytes for value in values(network).values())
    save_weights(network, path, metadata={"epoch": 1}, piece_mb=n_bytes / 2.5e6)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["big.2of3.weights.h5", "big.3of3.weights.h5", "big.weights.h5"]
    _, tensors, metadata = read_weights(path)
    assert metadata == {"epoch": 1}
    for name, value in values(network).items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


def test_a_piece_of_other_weights_is_refused(network, tmp_path):
    path, second = tmp_path / "w.h5", tmp_path / "w.2of2.h5"
    n_bytes = sum(value.nbytes for value in values(network).values())
    save_weights(network, path, piece_mb=n_bytes / 1.5e6)
    whole = second.read_bytes()
    second.write_bytes(whole + b"0")
    with pytest.raises(WeightsError, match=r"w\.2of2\.h5: SHA-256 .* is not that in w\.h5"):
        read_weights(path)
    second.unlink()
    with pytest.raises(InputNotFoundError, match=r"w\.2of2\.h5: missing; it belongs to w\.h5"):
        read_weights(path)


def test_settings_change_and_tensors_stay(network, tmp_path):
    n_bytes = sum(value.nbytes for value in values(network).values())
    save_weights(network, tmp_path / "w.h5", metadata={"epoch": 1}, piece_mb=n_bytes / 1.5e6)
    changed = replace(OTHER, temperature=1.25)
    copy_with_settings(tmp_path / "w.h5", tmp_path / "to" / "v.h5", changed, {"fit": 2})
    settings, tensors, metadata = read_weights(tmp_path / "to" / "v.h5")
    assert settings == changed and metadata == {"epoch": 1, "fit": 2}
    assert {file.name for file in (tmp_path / "to").iterdir()} == {"v.h5", "v.2of2.h5"}
    for name, value in values(network).items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)
