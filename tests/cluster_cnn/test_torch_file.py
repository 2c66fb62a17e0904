"""Files as PyTorch writes them, read without PyTorch; and files that must be refused."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_referee import save_legacy, save_zip

from astro_io.errors import InputNotFoundError, WeightsError
from cluster_cnn.torch_file import read_torch_file


@pytest.fixture
def tensors(rng):
    return OrderedDict(
        {
            "conv1.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
            "bn1.running_mean": rng.normal(size=4).astype(np.float16),
            "bn1.num_batches_tracked": np.array(7, np.int64),
        }
    )


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_state_dict_is_read_as_it_was_written(tmp_path, tensors, save):
    read = read_torch_file(save(tmp_path / "a.pth", tensors))
    assert list(read) == list(tensors)
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_state_dict_may_be_plain_or_nested(tmp_path, tensors, save):
    read = read_torch_file(save(tmp_path / "a.pth", {"state_dict": dict(tensors), "epoch": 3}))
    assert list(read) == list(tensors)


def test_safetensors_are_read(tmp_path, tensors):
    save_file(dict(tensors), tmp_path / "a.safetensors")
    read = read_torch_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read["conv1.weight"], tensors["conv1.weight"])


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    """1.5 is 0x3FC00000, -2 is 0xC0000000."""
    halves = np.array([0x3FC0, 0xC000], np.uint16)
    read = read_torch_file(save_zip(tmp_path / "a.pth", {"x": halves}))
    assert read["x"].dtype == np.float32
    np.testing.assert_array_equal(read["x"], [1.5, -2.0])


class Danger:
    """Would write a file if it were unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_pickle_with_a_program_is_refused_and_not_run(tmp_path, save):
    trap = tmp_path / "trap"
    path = save(tmp_path / "a.pth", {"x": Danger(trap)})
    with pytest.raises(WeightsError, match="expected a state dict"):
        read_torch_file(path)
    assert not trap.exists()


def test_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps({"x": Danger(tmp_path / "trap")}))
    with pytest.raises(WeightsError, match="expected safetensors or a PyTorch state dict"):
        read_torch_file(path)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_truncated_file_is_refused(tmp_path, tensors, save):
    path = save(tmp_path / "a.pth", tensors)
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(WeightsError, match=r"a\.pth"):
            read_torch_file(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such weights file"):
        read_torch_file(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    with pytest.raises(WeightsError, match="html"):
        read_torch_file(tmp_path / "text.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="empty"):
        read_torch_file(tmp_path / "empty.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(WeightsError, match="another zip archive"):
        read_torch_file(tmp_path / "other.zip")
    with pytest.raises(WeightsError, match="no tensor"):
        read_torch_file(save_zip(tmp_path / "nothing.pth", OrderedDict()))


def test_shape_beyond_the_numbers_is_refused(tmp_path, tensors):
    """A tensor of 48 numbers whose storage holds 47."""
    path = save_zip(tmp_path / "a.pth", tensors)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["archive/data/0"] = entries["archive/data/0"][:-4]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(WeightsError, match="188 bytes for 48 numbers"):
        read_torch_file(path)
