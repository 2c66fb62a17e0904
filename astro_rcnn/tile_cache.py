"""Results of the tiles of an image that is not finished yet: what a killed run had done."""

from __future__ import annotations

import logging
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.atomic import atomic_path
from astro_rcnn.detections import Detections

log = logging.getLogger(__name__)

_FIELDS = ("boxes", "class_ids", "scores", "probabilities", "mask_boxes", "class_names", "is_full")


@dataclass(frozen=True, kw_only=True)
class TileCache:
    """A folder with one ``.npz`` a tile, in pixel coordinates of the image. No pickle.

    Attributes
    ----------
    folder : Path
        ``.NAME.partial`` beside the results.
    key : str
        Says from which input and by which settings; results under other keys are not seen.
    """

    folder: Path
    key: str

    @property
    def is_begun(self) -> bool:
        """Whether a run with this key has begun and not finished."""
        return self._mark.exists()

    def begin(self) -> None:
        """Make the folder; remove what runs with other keys left in it."""
        if self.folder.exists() and not self.is_begun:
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mark.touch()

    def load(self, index: int) -> Detections | None:
        """Return the result of a tile, or None where there is none that can be read."""
        path = self._path(index)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return _unpack({name: stored[name] for name in (*_FIELDS, "mask_bits")})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s); the tile is done again", path, error)
            return None

    def save(self, index: int, detections: Detections) -> None:
        """Keep the result of a tile."""
        bits = [np.packbits(mask) for mask in detections.masks]
        with atomic_path(self._path(index), overwrite=True) as part, part.open("wb") as file:
            np.savez(
                file,
                boxes=detections.boxes,
                class_ids=detections.class_ids,
                scores=detections.scores,
                probabilities=detections.probabilities,
                mask_boxes=detections.mask_boxes,
                class_names=np.array(detections.class_names),
                is_full=detections.is_full,
                mask_bits=np.concatenate(bits) if bits else np.zeros(0, np.uint8),
            )

    def clear(self) -> None:
        """Remove the folder: the image is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _mark(self) -> Path:
        return self.folder / f"{self.key[:32]}.key"

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.npz"


def _unpack(stored: dict[str, np.ndarray]) -> Detections:
    """Rebuild detections; each mask begins at a whole byte."""
    bits, masks, start = stored.pop("mask_bits"), [], 0
    for y1, x1, y2, x2 in stored["mask_boxes"]:
        shape = (int(y2 - y1), int(x2 - x1))
        n_bytes = -(-shape[0] * shape[1] // 8)
        flat = np.unpackbits(bits[start : start + n_bytes], count=shape[0] * shape[1])
        masks.append(flat.astype(bool).reshape(shape))
        start += n_bytes
    names = tuple(str(name) for name in stored.pop("class_names"))
    is_full = bool(stored.pop("is_full"))
    return Detections(**stored, masks=tuple(masks), class_names=names, is_full=is_full)
