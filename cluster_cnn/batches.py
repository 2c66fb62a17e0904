"""How stamps are handed to a compiled network: turned as asked, in few shapes."""

from __future__ import annotations

import numpy as np

N_ORIENTATIONS = 8
"""Of a square: four turns, each as it is and mirrored."""


def orient(stamps: np.ndarray, number: int) -> np.ndarray:
    """Return square stamps in one of the eight orientations, shape (N, S, S, B); 0: as they are."""
    number %= N_ORIENTATIONS
    turned = np.rot90(stamps, number % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if number >= 4 else turned)


def pad_rows(values: np.ndarray) -> np.ndarray:
    """Repeat the last row up to a power of two, so that few shapes are compiled."""
    n = len(values)
    size = 1 << (n - 1).bit_length()
    return values if size == n else np.concatenate([values, np.repeat(values[-1:], size - n, 0)])
