"""astro_io.processor: what a training is told of the processor."""

from __future__ import annotations

import os
import sys

import pytest

from astro_io.processor import enable_onednn, lacks_bfloat16

SETTING = "TF_ENABLE_ONEDNN_OPTS"


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {SETTING: "1"}), ({SETTING: "0"}, {SETTING: "0"}), ({SETTING: "1"}, {SETTING: "1"})],
)
def test_onednn_is_asked_for_unless_the_user_has_said_otherwise(monkeypatch, before, after):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(os, "environ", before)
    enable_onednn()
    assert before == after


def test_onednn_is_left_alone_once_tensorflow_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(os, "environ", {})
    enable_onednn()
    assert not os.environ


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", False),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 avx512f\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),
        ("processor\t: 0\n", False),
    ],
)
def test_processors_without_bfloat16_are_known_by_their_flags(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert lacks_bfloat16(path) is expected


def test_nothing_is_known_where_processors_are_not_listed(tmp_path):
    assert not lacks_bfloat16(tmp_path / "none")
