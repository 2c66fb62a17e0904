"""What the processor can do, and what a training asks of it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # the last of ARM


def enable_onednn() -> None:
    """Let TensorFlow compute with oneDNN, unless ``TF_ENABLE_ONEDNN_OPTS`` says otherwise.

    By itself it does so only on processors with the dot products of AVX-512 VNNI or later.
    Elsewhere, too, a training takes a third to three quarters of the time; last digits differ
    (some 1e-4 of the largest value).  Where TensorFlow is imported already it is too late, and
    nothing is changed.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def lacks_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether the processor is known to have no arithmetic in bfloat16.

    Parameters
    ----------
    cpu_info : Path
        As Linux lists processors; without such a file nothing is known.
    """
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return listed is not None and not _BFLOAT16_FLAGS & set(listed[1].split())
