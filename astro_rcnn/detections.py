"""Detections: what the network found in one image, as fields of equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Detections:
    """Sources found in one image. N may be zero; every field then has length zero.

    Attributes
    ----------
    boxes : ndarray of float32, shape (N, 4)
        ``y1, x1, y2, x2`` pixel edges in the image, end exclusive.
    class_ids : ndarray of int32, shape (N,)
        Index into `class_names`; 0 (background) never occurs.
    scores : ndarray of float32, shape (N,)
        Confidence of the class, 0 to 1.
    probabilities : ndarray of float32, shape (N, C)
        Class probabilities, background first.
    mask_boxes : ndarray of int32, shape (N, 4)
        Whole-pixel boxes, inside the image, that the masks fill.
    masks : tuple of ndarray of bool
        One mask a source, of shape ``(y2 - y1, x2 - x1)`` of its mask box. May be all False.
    class_names : tuple of str
        For example ``("background", "star", "galaxy")``.
    is_full : bool
        A limit of the network was reached; sources may be missing.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    mask_boxes: np.ndarray
    masks: tuple[np.ndarray, ...]
    class_names: tuple[str, ...] = ("background", "star", "galaxy")
    is_full: bool = False

    def __post_init__(self) -> None:
        """Check that all fields speak of the same number of sources."""
        lengths = {
            len(self.boxes),
            len(self.class_ids),
            len(self.scores),
            len(self.probabilities),
            len(self.mask_boxes),
            len(self.masks),
        }
        assert len(lengths) == 1, f"fields of different length: {sorted(lengths)}"

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.scores)

    def take(self, index: np.ndarray) -> Detections:
        """Return the sources at `index` (integers or a bool array), in that order."""
        index = np.asarray(index)
        positions = np.flatnonzero(index) if index.dtype == bool else index.astype(int)
        return Detections(
            boxes=self.boxes[positions],
            class_ids=self.class_ids[positions],
            scores=self.scores[positions],
            probabilities=self.probabilities[positions],
            mask_boxes=self.mask_boxes[positions],
            masks=tuple(self.masks[i] for i in positions),
            class_names=self.class_names,
            is_full=self.is_full,
        )

    @classmethod
    def empty(cls, class_names: tuple[str, ...] = ("background", "star", "galaxy")) -> Detections:
        """Return a valid result with no source."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            class_ids=np.zeros(0, np.int32),
            scores=np.zeros(0, np.float32),
            probabilities=np.zeros((0, len(class_names)), np.float32),
            mask_boxes=np.zeros((0, 4), np.int32),
            masks=(),
            class_names=class_names,
        )

    @classmethod
    def concatenate(cls, parts: list[Detections]) -> Detections:
        """Join results of the same classes, in the order given."""
        if not parts:
            return cls.empty()
        return cls(
            boxes=np.concatenate([part.boxes for part in parts]),
            class_ids=np.concatenate([part.class_ids for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            mask_boxes=np.concatenate([part.mask_boxes for part in parts]),
            masks=tuple(mask for part in parts for mask in part.masks),
            class_names=parts[0].class_names,
            is_full=any(part.is_full for part in parts),
        )
