"""Pickles looked at, never run."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict

import pytest

from astro_io.errors import WeightsError
from cluster_cnn.pickled_data import Call, Name, read_pickled_data


def read(value, protocol=2):
    return read_pickled_data(io.BytesIO(pickle.dumps(value, protocol)), where="a.pth")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_comes_back(protocol):
    value = {"a": [1, -2, 300, 70_000, 2**70], "b": (1.5, None, True, False), "c": {"d": ()}}
    assert read(value, protocol) == value


def test_shared_parts_come_back():
    part = [1, 2]
    assert read({"a": part, "b": part}) == {"a": [1, 2], "b": [1, 2]}


def test_a_call_stays_a_description():
    call = read(OrderedDict(a=1))
    assert isinstance(call, Call)
    assert call.function == Name("collections", "OrderedDict")
    assert call.items == {"a": 1}


class Danger:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_a_program_is_described_and_not_run():
    call = read(Danger())
    assert str(call.function) in ("posix.system", "nt.system")
    assert call.arguments == ("exit 1",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x02", "before seeing STOP"),
        (b"\x80\x02.", "stack is empty"),
        (b"\x80\x02h\x05.", "a.pth"),  # memory that was never written
        (b"\x80\x02K\x01K\x02R.", "no name"),  # a call of a number
        (b"c__builtin__\neval\n(S'1'\ntR.", "not allowed"),  # text of protocol 0
        (b"", "a.pth"),
    ],
)
def test_damaged_pickles_are_refused(data, said):
    with pytest.raises(WeightsError, match=said):
        read_pickled_data(io.BytesIO(data), where="a.pth")


def test_endless_pickle_is_refused(monkeypatch):
    monkeypatch.setattr("cluster_cnn.pickled_data.MAX_INSTRUCTIONS", 50)
    with pytest.raises(WeightsError, match="more than 50"):
        read([str(i) for i in range(60)])


def test_instance_state_is_kept_aside():
    class Thing:
        pass

    Thing.__qualname__ = "Thing"
    globals()["Thing"] = Thing
    thing = Thing()
    thing.x = 3
    try:
        with pytest.raises(WeightsError, match="not allowed"):
            read(thing)  # NEWOBJ is not on the list
    finally:
        del globals()["Thing"]
