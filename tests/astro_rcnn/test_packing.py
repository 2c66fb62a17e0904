"""astro_rcnn.packing: checkpoints in small pieces, and going on from any of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_rcnn.packing import (
    find_checkpoint,
    from_bfloat16,
    pack_checkpoint,
    to_bfloat16,
    unpack_checkpoint,
)


@pytest.fixture
def checkpoint(tmp_path, rng) -> Path:
    """A checkpoint with a kernel, statistics, a tiny momentum and a counter."""
    path = tmp_path / "run" / "epoch_0007.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file.attrs["epoch"] = 7
        file["model/conv|kernel"] = rng.normal(0, 0.1, (3, 3, 8, 8)).astype(np.float32)
        file["model/bn|moving_variance"] = np.array([1e-9, 3e5], np.float32)
        file["optimizer/adam|kernel_velocity"] = np.full((4, 4), 1.5e-12, np.float32)
        file["optimizer/adam|iteration"] = np.array(123, np.int64)
    return path


def test_a_checkpoint_survives_packing(checkpoint, tmp_path):
    pack_checkpoint(checkpoint, tmp_path / "packed")
    path, epoch = unpack_checkpoint(tmp_path / "packed", tmp_path / "other")
    assert epoch == 7 and path == tmp_path / "other" / "epoch_0007.h5"
    with h5py.File(checkpoint) as old, h5py.File(path) as new:
        kernel, packed = old["model/conv|kernel"][()], new["model/conv|kernel"][()]
        assert packed.dtype == np.float32
        np.testing.assert_allclose(packed, kernel, rtol=2**-11, atol=1e-7)
        np.testing.assert_array_equal(
            new["model/bn|moving_variance"][()], old["model/bn|moving_variance"][()]
        )
        # Half precision would have made it 0.
        np.testing.assert_allclose(new["optimizer/adam|kernel_velocity"][()], 1.5e-12, rtol=2**-8)
        assert new["optimizer/adam|iteration"][()] == 123
        assert new["optimizer/adam|iteration"].dtype == np.int64


def test_pieces_are_cut_between_tensors(checkpoint, tmp_path):
    """8 bytes of statistics, 1152 of kernel, 8 of counter; 32 of velocity do not go into 1170."""
    pieces = pack_checkpoint(checkpoint, tmp_path / "packed", piece_mb=0.00117)
    assert [path.name for path in pieces] == ["piece_01.h5", "piece_02.h5"]
    pieces[1].unlink()
    with pytest.raises(WeightsError, match="expected 2 pieces, found 1. Copy all of them"):
        unpack_checkpoint(tmp_path / "packed", tmp_path / "other")
    assert len(pack_checkpoint(checkpoint, tmp_path / "packed")) == 1
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_weights_alone_leave_the_optimiser_out(checkpoint, tmp_path):
    pack_checkpoint(checkpoint, tmp_path / "packed", has_optimizer=False)
    path, _ = find_checkpoint(tmp_path / "other", str(tmp_path / "packed"))
    with h5py.File(path) as file:
        assert set(file) == {"model"}


def test_pieces_of_two_checkpoints_do_not_mix(checkpoint, tmp_path):
    first = pack_checkpoint(checkpoint, tmp_path / "one", piece_mb=0.00117)
    with h5py.File(checkpoint, "a") as file:
        file.attrs["epoch"] = 8
    second = pack_checkpoint(checkpoint, tmp_path / "two", piece_mb=0.00117)
    second[1].replace(first[1])
    with pytest.raises(WeightsError, match=r"piece_02\.h5: expected a piece of epoch 7"):
        unpack_checkpoint(tmp_path / "one", tmp_path / "other")


def test_bfloat16_rounds_to_nearest_even():
    """Between 1 and 1 + 2**-7 lies 1 + 2**-8: to even is 1; three halves of a step go up."""
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, 1e-30, 0.0], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2**-6, -2.5, 1e-30, 0.0], np.float32)
    np.testing.assert_allclose(from_bfloat16(to_bfloat16(values)), expected, rtol=2**-9)
    assert from_bfloat16(to_bfloat16(values[:3])).tolist() == expected[:3].tolist()


def test_checkpoints_are_found_by_epoch_and_by_file(checkpoint):
    folder = checkpoint.parent
    assert find_checkpoint(folder, "7") == (checkpoint, 7)
    assert find_checkpoint(folder / "elsewhere", str(checkpoint)) == (checkpoint, 7)
    with pytest.raises(InputNotFoundError, match=r"found epoch_0007\.h5. keep_checkpoints = 0"):
        find_checkpoint(folder, "6")
    with pytest.raises(InputNotFoundError, match="no such checkpoint. Check --resume-from"):
        find_checkpoint(folder, str(folder / "none.h5"))
    with pytest.raises(InputNotFoundError, match="no checkpoint here"):
        find_checkpoint(folder, str(folder))
    with h5py.File(folder / "other.h5", "w"):
        pass
    with pytest.raises(ConfigError, match=r"other\.h5: not a checkpoint .* --set init=FILE"):
        find_checkpoint(folder, str(folder / "other.h5"))
