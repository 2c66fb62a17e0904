"""Named arrays and facts come back as they were, or the file is refused by name."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from astro_io.errors import InputNotFoundError, OutputExistsError, WeightsError
from astro_io.tensor_file import read_tensors, write_tensors

TENSORS = {
    "stem/kernel": np.array([[1.0, 2.5]]),
    "stem/moving_variance": np.array([1e-9]),
    "step": np.array(7),
}


def test_arrays_and_facts_come_back(tmp_path):
    path = tmp_path / "w.h5"
    facts = {"bands": ["a"], "table": list(range(40000))}  # more than an attribute holds
    write_tensors(path, TENSORS, format="f 1", facts=facts, dtype="float16")
    tensors, back = read_tensors(path, format="f 1")
    assert back == facts and list(tensors) == list(TENSORS)
    np.testing.assert_array_equal(tensors["stem/kernel"], [[1.0, 2.5]])
    assert tensors["stem/moving_variance"][0] == np.float32(1e-9), "kept in single precision"
    assert all(value.dtype == np.float32 for value in tensors.values())


def test_each_array_may_stay_in_its_own_type(tmp_path):
    value = {"a": np.array([0.5], np.float32), "n": np.array([2**40 + 1]), "step": np.array(3)}
    path = tmp_path / "w.h5"
    write_tensors(path, value, format="f", facts={}, dtype=None)
    with h5py.File(path) as file:
        assert {name: file["tensors"][name].dtype for name in value} == {
            name: array.dtype for name, array in value.items()
        }
        assert file["tensors/a"].compression is None
    tensors, _ = read_tensors(path, format="f")
    assert tensors == value and tensors["n"].dtype == np.float64


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="big holds values that float16 cannot"):
        write_tensors(
            tmp_path / "w.h5", {"big": np.array([1e6])}, format="f", facts={}, dtype="float16"
        )
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "w.h5"
    write_tensors(path, TENSORS, format="f", facts={})
    with pytest.raises(OutputExistsError, match="Pass --overwrite"):
        write_tensors(path, TENSORS, format="f", facts={})
    write_tensors(path, {}, format="f", facts={"n": 1}, overwrite=True)
    assert read_tensors(path, format="f") == ({}, {"n": 1})


def test_unfit_files_are_named(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such weights file"):
        read_tensors(tmp_path / "none.h5", format="f")
    write_tensors(tmp_path / "w.h5", TENSORS, format="f 2", facts={})
    with pytest.raises(WeightsError, match="expected format 'f 1', found 'f 2'"):
        read_tensors(tmp_path / "w.h5", format="f 1")
    (tmp_path / "torn.h5").write_bytes((tmp_path / "w.h5").read_bytes()[:900])
    with pytest.raises(WeightsError, match=r"torn.h5: not a readable weights file"):
        read_tensors(tmp_path / "torn.h5", format="f 2")
