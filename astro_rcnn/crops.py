"""Crop: a piece of sky with the truth in it, and the exact operations on it; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

N_DIHEDRAL = 8
"""Symmetries of the square: four rotations, and the same after a left-right mirror."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Crop:
    """One training image and its G true objects. G may be zero.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W, B)
        Normalised pixels.
    class_ids : ndarray of int32, shape (G,)
        1 star, 2 galaxy; 0 (background) never occurs.
    boxes : ndarray of int32, shape (G, 4)
        ``y1, x1, y2, x2`` pixel edges inside the crop; they hug the masks.
    masks : tuple of ndarray of bool
        One mask an object, of shape ``(y2 - y1, x2 - x1)`` of its box.
    """

    image: np.ndarray
    class_ids: np.ndarray
    boxes: np.ndarray
    masks: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        """Check that all fields speak of the same number of objects."""
        lengths = {len(self.class_ids), len(self.boxes), len(self.masks)}
        assert len(lengths) == 1, f"fields of different length: {sorted(lengths)}"

    def __len__(self) -> int:
        """Return the number of true objects."""
        return len(self.class_ids)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the smallest box ``(y1, x1, y2, x2)`` around the True pixels, or None if all False.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        Footprint of one object; either side may be zero.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def dihedral_image(image: np.ndarray, element: int) -> np.ndarray:
    """Mirror left-right if ``element >= 4``, then turn counter-clockwise ``element % 4`` times.

    Counter-clockwise as displayed with row 0 at the top (`numpy.rot90`).

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, ...)
        Pixels or a mask; the result may be a view of them.
    element : int
        Symmetry of the square, 0 (identity) to 7.

    Returns
    -------
    ndarray, shape (H, W, ...) or, for odd turns, (W, H, ...)
        The same pixels, moved.
    """
    if not 0 <= element < N_DIHEDRAL:
        raise ValueError(f"element: expected 0 to {N_DIHEDRAL - 1}; found {element}.")
    mirrored = image[:, ::-1] if element >= 4 else image
    return np.rot90(mirrored, element % 4)


def dihedral_boxes(boxes: np.ndarray, element: int, shape: tuple[int, int]) -> np.ndarray:
    """Move boxes as `dihedral_image` moves the pixels of an image.

    Parameters
    ----------
    boxes : ndarray, shape (G, 4)
        ``y1, x1, y2, x2`` pixel edges in the image before the move.
    element : int
        Symmetry of the square, 0 (identity) to 7.
    shape : tuple of int
        Height and width of the image before the move.

    Returns
    -------
    ndarray, shape (G, 4)
        Boxes in the moved image, of the same dtype.
    """
    height, width = shape
    y1, x1, y2, x2 = boxes.T
    if element >= 4:
        x1, x2 = width - x2, width - x1
    for _ in range(element % 4):
        y1, x1, y2, x2 = width - x2, y1, width - x1, y2
        height, width = width, height
    return np.stack([y1, x1, y2, x2], axis=1).astype(boxes.dtype)


def dihedral_crop(crop: Crop, element: int) -> Crop:
    """Apply one symmetry of the square to the image, the boxes and the masks of a crop."""
    return replace(
        crop,
        image=dihedral_image(crop.image, element),
        boxes=dihedral_boxes(crop.boxes, element, crop.image.shape[:2]),
        masks=tuple(dihedral_image(mask, element) for mask in crop.masks),
    )


def dense_masks(crop: Crop) -> np.ndarray:
    """Paint the masks of a crop on full frames: ndarray of bool, shape (H, W, G)."""
    dense = np.zeros((*crop.image.shape[:2], len(crop)), bool)
    for index, (y1, x1, y2, x2) in enumerate(crop.boxes):
        dense[y1:y2, x1:x2, index] = crop.masks[index]
    return dense


def replace_masks(crop: Crop, image: np.ndarray, dense: np.ndarray) -> Crop:
    """Return a crop with a new image and the objects of `dense`; empty ones are left out.

    Parameters
    ----------
    crop : Crop
        Gives the classes.
    image : ndarray of float32, shape (H, W, B)
        The new pixels.
    dense : ndarray of bool, shape (H, W, G)
        One full frame for each object of `crop`, in its order.

    Returns
    -------
    Crop
        With boxes that hug the new masks.
    """
    found = [(index, tight_box(dense[..., index])) for index in range(dense.shape[2])]
    kept = [(index, box) for index, box in found if box is not None]
    return Crop(
        image=image,
        class_ids=crop.class_ids[[index for index, _ in kept]],
        boxes=np.array([box for _, box in kept], np.int32).reshape(-1, 4),
        masks=tuple(dense[box[0] : box[2], box[1] : box[3], index] for index, box in kept),
    )


def mini_masks(masks: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Resize every mask to a small square, bilinearly, and cut at one half.

    Output pixel i samples the input at ``(i + 1/2) h / size - 1/2``, clamped to its outermost
    pixel centres. The sums run in whole numbers, so that the resized mirror image of a mask is
    exactly the mirror image of the resized mask. All masks go through one gather.

    Parameters
    ----------
    masks : sequence of G ndarray of bool, shape (h, w)
        Masks cut to their boxes; no side is zero.
    size : int
        Side M of the result in pixels; at most 1000.

    Returns
    -------
    ndarray of bool, shape (G, M, M)
        True where the interpolated mask exceeds 1/2; shape (0, M, M) for no mask.

    References
    ----------
    Abdulla 2017, matterport Mask R-CNN: "mini-masks" of 56 x 56.
    """
    if not masks:
        return np.zeros((0, size, size), bool)
    flat = np.concatenate([mask.ravel() for mask in masks]).view(np.uint8)
    height = np.array([mask.shape[0] for mask in masks], np.int32)
    width = np.array([mask.shape[1] for mask in masks], np.int32)
    start = np.concatenate([[0], np.cumsum(height * width)[:-1]]).astype(np.int32)
    row_low, row_high, row_weight = _linear_taps(height, size)
    column_low, column_high, column_weight = _linear_taps(width, size)

    def blend_columns(row: np.ndarray) -> np.ndarray:
        line = (start[:, None] + row * width[:, None])[:, :, None]
        low = flat.take(line + column_low[:, None, :])
        high = flat.take(line + column_high[:, None, :])
        weight = column_weight[:, None, :]
        return low * (2 * size - weight) + high * weight

    row_weight = row_weight[:, :, None]
    total = blend_columns(row_low) * (2 * size - row_weight) + blend_columns(row_high) * row_weight
    return total > 2 * size**2


def _linear_taps(length: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower tap, upper tap and weight of the upper one, in units of 1 / (2 size).

    `length` is (G,) pixels; the results are int32 of shape (G, size).
    """
    step = 2 * size
    position = (2 * np.arange(size, dtype=np.int32) + 1) * length[:, None] - size
    last = length[:, None] - 1
    position = np.clip(position, 0, step * last)
    low = position // step
    return low, np.minimum(low + 1, last), position - step * low
