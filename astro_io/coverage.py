"""Pixels that hold exactly zero because nothing was observed there."""

from __future__ import annotations

import numpy as np

MIN_AREA_PX = 16
"""Connected exact zeros of at least this many pixels are taken for missing data."""

SPARSE_COUNTS = 10.0
"""Integer images with a smaller typical non-zero value hold true zeros all over."""

SPARSE_SHARE = 0.5
"""So do images in which more than this share of what is not zero touches a zero."""

SOLID_SIDE_PX = 16
"""In such images only zeros that fill a square of this side count as missing."""


def zero_coverage(values: np.ndarray) -> np.ndarray:
    """Find areas without data that are marked by exact zeros.

    Measured flux is exactly zero by chance only: never for real numbers, now and then for
    integers. So isolated zeros stay, and connected ones are missing data. Images of few counts
    (or of few counts over a time), where zeros touch each other everywhere, need a solid square
    of them.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W)
        One band. Non-finite pixels are ignored.

    Returns
    -------
    ndarray of bool, shape (H, W)
        True where there is no coverage.
    """
    zero: np.ndarray = values == 0
    if np.count_nonzero(zero) < MIN_AREA_PX:
        return np.zeros_like(zero)
    is_sparse = _is_sparse_counts(values) or _is_mixed(zero)
    return _solid_squares(zero) if is_sparse else _large_groups(zero)


def _is_sparse_counts(values: np.ndarray) -> bool:
    counts = values[np.isfinite(values) & (values != 0)]
    if counts.size == 0 or not np.array_equal(counts, np.rint(counts)):
        return False
    return bool(np.median(np.abs(counts)) < SPARSE_COUNTS)


def _is_mixed(zero: np.ndarray) -> bool:
    """Return whether zeros lie all over the image, not in areas of their own."""
    from scipy import ndimage

    beside = ndimage.binary_dilation(zero) & ~zero
    return bool(np.count_nonzero(beside) > SPARSE_SHARE * np.count_nonzero(~zero))


def _large_groups(zero: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labels, _ = ndimage.label(zero)
    is_large = np.bincount(labels.ravel()) >= MIN_AREA_PX
    is_large[0] = False
    groups: np.ndarray = is_large[labels]
    return groups


def _solid_squares(zero: np.ndarray) -> np.ndarray:
    """Return the union of all squares that hold nothing but zeros (a morphological opening)."""
    from scipy import ndimage

    side = min(SOLID_SIDE_PX, *zero.shape)
    opened = ndimage.grey_opening(zero.view(np.uint8), size=(side, side), mode="constant", cval=0)
    solid: np.ndarray = opened.astype(bool)
    return solid
