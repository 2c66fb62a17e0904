"""Scenes made ready for training: normalised once, masks packed, kept within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_io.normalize import measure_statistics, normalize
from astro_io.scene import Scene
from astro_io.truth import MaskRule, scene_masks
from astro_rcnn.crops import Crop, tight_box

_STORAGE = {"paper": np.int16, "asinh": np.float16, "lupton": np.float16}
"""Compact dtypes that lose nothing: 16-bit counts, and stretches that stay below 100.

Anything else stays float32: in a plain z-score a saturated star passes the range of float16.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedScene:
    """One normalised image and the G masks in it, packed. G may be zero.

    Attributes
    ----------
    image : ndarray of float32, float16 or int16, shape (H, W, B)
        Normalised pixels; bad ones hold 0.
    class_ids : ndarray of int32, shape (G,)
        1 star, 2 galaxy.
    brightness : ndarray of float64, shape (G,)
        Signal to noise, or the mask area where the truth table does not tell it.
    boxes : ndarray of int32, shape (G, 4)
        ``y1, x1, y2, x2`` pixel edges inside the image; they hug the masks.
    areas : ndarray of int64, shape (G,)
        True pixels of each mask, at least one.
    packed : ndarray of uint8
        The masks as bits, one after the other, each from a new byte on.
    starts : ndarray of int64, shape (G,)
        First byte of each mask.
    """

    image: np.ndarray
    class_ids: np.ndarray
    brightness: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    packed: np.ndarray
    starts: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, in bytes."""
        return sum(array.nbytes for array in vars(self).values())

    def mask(self, index: int) -> np.ndarray:
        """Return mask number `index`: ndarray of bool, of the shape of its box."""
        y1, x1, y2, x2 = (int(edge) for edge in self.boxes[index])
        n_pixels = (y2 - y1) * (x2 - x1)
        start = int(self.starts[index])
        bits = np.unpackbits(self.packed[start : start + (n_pixels + 7) // 8], count=n_pixels)
        return bits.view(bool).reshape(y2 - y1, x2 - x1)


def prepare_scene(
    scene: Scene,
    *,
    bands: tuple[str, ...],
    mask_rule: MaskRule,
    method: str,
    method_parameters: Mapping[str, Any],
    truth_min_snr: float = 0.0,
) -> PreparedScene:
    """Normalise a scene by the statistics of its whole image, and make its masks.

    Parameters
    ----------
    scene : Scene
        Image and noiseless truth.
    bands : tuple of str
        Channels of the result, in this order.
    mask_rule : MaskRule
        How a mask is made of a noiseless image.
    method : str
        One of `astro_io.normalize.METHODS`.
    method_parameters : mapping
        Passed on to `astro_io.normalize.normalize`.
    truth_min_snr : float
        Sources below are not taught; sources of unknown signal to noise stay.

    Returns
    -------
    PreparedScene
        Sources without a mask pixel in the image are left out. A band without a good pixel
        is 0 throughout.

    Raises
    ------
    ImageError
        If a band is missing.
    """
    image = scene.image.select(bands)
    statistics = measure_statistics(image.pixels, image.bad, method, allow_empty=True)
    pixels = normalize(image.pixels, statistics, method, bad=image.bad, **method_parameters)
    boxes, masks = scene_masks(scene, mask_rule)
    snr = _signal_to_noise(scene)
    areas = np.array([np.count_nonzero(mask) for mask in masks], np.int64)
    kept = np.flatnonzero((areas > 0) & ~(snr < truth_min_snr))
    packed = [np.packbits(masks[i]) for i in kept]
    ends = np.cumsum([0, *(bits.size for bits in packed)])
    brightness = snr[kept]
    return PreparedScene(
        image=pixels.astype(_STORAGE.get(method, np.float32), copy=False),
        class_ids=np.asarray(scene.catalog["class_id"], np.int32)[kept],
        brightness=brightness if np.isfinite(brightness).all() else areas[kept].astype(float),
        boxes=boxes[kept],
        areas=areas[kept],
        packed=np.concatenate(packed) if packed else np.zeros(0, np.uint8),
        starts=ends[:-1].astype(np.int64),
    )


def _signal_to_noise(scene: Scene) -> np.ndarray:
    """Return the signal to noise of every source, NaN where the table does not tell it."""
    if "snr" not in scene.catalog.colnames:
        return np.full(len(scene), np.nan)
    return np.asarray(scene.catalog["snr"], np.float64)


def cut_crop(
    scene: PreparedScene,
    y1: int,
    x1: int,
    shape: tuple[int, int],
    *,
    max_instances: int,
    min_visible_fraction: float = 0.0,
    min_visible_px: int = 1,
) -> Crop:
    """Cut a window out of a scene, with the truth that can be seen in it.

    Parameters
    ----------
    scene : PreparedScene
        Where to cut.
    y1, x1 : int
        Upper left corner, a pixel of the scene.
    shape : tuple of int
        Height and width of the crop; what lies beyond the scene is filled with 0 (background).
    max_instances : int
        If more objects are visible, the brightest are kept.
    min_visible_fraction : float
        Share of an object's mask that must lie inside.
    min_visible_px : int
        Mask pixels that must lie inside; at least 1 is asked for in any case.

    Returns
    -------
    Crop
        Objects from bright to faint.
    """
    height, width = shape
    visible = scene.image[y1 : y1 + height, x1 : x1 + width]
    image = np.zeros((height, width, visible.shape[2]), np.float32)
    image[: visible.shape[0], : visible.shape[1]] = visible
    corner = np.array([y1, x1, y1, x1], np.int32)
    inside = np.clip(scene.boxes - corner, 0, [height, width, height, width]).astype(np.int32)
    touches = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    order = np.argsort(-scene.brightness, kind="stable")
    indices, boxes, masks = [], [], []
    for index in order[touches[order]]:
        mask, box = _visible_part(scene, index, inside[index], corner)
        least = max(min_visible_fraction * scene.areas[index], min_visible_px, 1)
        if box is None or np.count_nonzero(mask) < least:
            continue
        indices.append(index)
        boxes.append(box)
        masks.append(mask)
        if len(masks) == max_instances:
            break
    return Crop(
        image=image,
        class_ids=scene.class_ids[indices],
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
    )


def _visible_part(
    scene: PreparedScene, index: int, inside: np.ndarray, corner: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the part of a mask in the window and the box that hugs it, in crop pixels."""
    mask = scene.mask(index)
    box = scene.boxes[index] - corner
    if (box == inside).all():
        return mask, inside
    part = mask[inside[0] - box[0] : inside[2] - box[0], inside[1] - box[1] : inside[3] - box[1]]
    tight = tight_box(part)
    if tight is None:
        return part, None
    hugging = part[tight[0] : tight[2], tight[1] : tight[3]]
    return hugging, np.tile(inside[:2], 2) + np.array(tight, np.int32)


class SceneCache:
    """Keep the scenes used last, within a memory budget; safe to share between threads.

    Parameters
    ----------
    load : callable
        Makes prepared scene number ``i``.
    budget_bytes : int
        Memory for all scenes kept; a scene that alone exceeds it is not kept.
    """

    def __init__(self, load: Callable[[int], PreparedScene], budget_bytes: int) -> None:
        self._load = load
        self._budget_bytes = budget_bytes
        self._scenes: OrderedDict[int, PreparedScene] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0
        """Memory of the scenes kept now, in bytes."""
        self.n_loaded = 0
        """How many times a scene was made so far."""

    def __len__(self) -> int:
        """Return the number of scenes kept now."""
        return len(self._scenes)

    def __getitem__(self, index: int) -> PreparedScene:
        """Return scene number `index`, made now or kept from before."""
        with self._lock:
            if index in self._scenes:
                self._scenes.move_to_end(index)
                return self._scenes[index]
        scene = self._load(index)
        with self._lock:
            self.n_loaded += 1
            if index not in self._scenes and scene.nbytes <= self._budget_bytes:
                self._scenes[index] = scene
                self.nbytes += scene.nbytes
            while self.nbytes > self._budget_bytes:
                self.nbytes -= self._scenes.popitem(last=False)[1].nbytes
        return scene
