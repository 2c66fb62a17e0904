"""Early look at a training: the same crops after every epoch, with truth and detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from astro_io.atomic import atomic_path
from astro_io.run_folder import LOOKS
from astro_rcnn.data import TrainingSequence
from astro_rcnn.detections import Detections
from astro_rcnn.detector import Detector
from astro_rcnn.example_figure import draw_outlines
from astro_rcnn.metrics import greedy_match, mask_iou
from astro_rcnn.paste import paste_masks


class EarlyLook(keras.callbacks.Callback):
    """Draw a few crops after each epoch, the truth on the left, the detections on the right.

    Parameters
    ----------
    output : Path
        Run folder; pictures go to ``looks/epoch_NNNN.png``.
    sequence : TrainingSequence
        Where the crops come from: its first batches.
    n_crops : int
    """

    def __init__(self, output: Path, sequence: TrainingSequence, n_crops: int) -> None:
        super().__init__()
        self.folder = output / LOOKS
        self.sequence, self.n_crops = sequence, n_crops
        self.crops: list[dict[str, np.ndarray]] = []
        self.detector: Detector | None = None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Detect and draw; nothing where no crop holds a source."""
        if self.detector is None or self.detector.model is not self.model:
            self.detector = Detector(self.model)
        self.crops = self.crops or self._choose()
        if not self.crops:
            return
        found = [self.detector.detect_prepared(crop["image"][None])[0] for crop in self.crops]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epoch + 1:04d}.png"
        draw_look(self.crops, found, path, title=f"after epoch {epoch + 1}")

    def _choose(self) -> list[dict[str, np.ndarray]]:
        """Return the first crops of the sequence that hold a source."""
        crops = []
        for index in range(len(self.sequence)):
            batch = self.sequence.batch(0, index)
            for row in range(len(batch["image"])):
                if batch["gt_class_ids"][row].any():
                    crops.append({name: array[row] for name, array in batch.items()})
                if len(crops) == self.n_crops:
                    return crops
        return crops


def draw_look(
    crops: Sequence[dict[str, np.ndarray]], found: Sequence[Detections], path: Path, *, title: str
) -> None:
    """Draw crops with their truth and with detections; what is missed or false in magenta.

    Parameters
    ----------
    crops : sequence of dict of ndarray
        Rows of a batch of `astro_rcnn.data.TrainingSequence`.
    found : sequence of Detections
        One a crop.
    path : Path
        PNG file; replaced.
    title : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.8 * len(crops)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(crops), 2, squeeze=False)
    for (left, right), crop, detections in zip(rows, crops, found, strict=True):
        shape = crop["image"].shape[:2]
        is_source = crop["gt_class_ids"] > 0
        boxes, masks = paste_masks(
            crop["gt_masks"][is_source].astype(np.float32), crop["gt_boxes"][is_source], shape
        )
        iou = mask_iou(detections.mask_boxes, detections.masks, boxes, masks)
        match = greedy_match(iou, 0.5)
        is_missed = ~np.isin(np.arange(len(masks)), match)
        picture = picture_of(crop["image"])
        draw_outlines(left, picture, boxes, masks, crop["gt_class_ids"][is_source], is_missed)
        left.set_title(f"truth: {len(masks)}, missed at IoU 0.5: {np.sum(is_missed)}")
        draw_outlines(
            right,
            picture,
            detections.mask_boxes,
            detections.masks,
            detections.class_ids,
            match < 0,
        )
        right.set_title(f"detections: {len(match)}, false at IoU 0.5: {np.sum(match < 0)}")
    figure.suptitle(f"{title}; stars blue, galaxies orange, wrong ones magenta")
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=80, format="png")


def picture_of(image: np.ndarray) -> np.ndarray:
    """Return an RGB picture of a normalised crop, whatever the normalisation.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W, B)

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        From 0 to 1; red, green and blue are the last, middle and first band.
    """
    level = np.median(image, axis=(0, 1))
    noise = 1.4826 * np.median(np.abs(image - level), axis=(0, 1))
    stretched = np.arcsinh((image - level) / np.maximum(noise, 1e-6) / 3.0)
    channels = stretched[..., [-1, image.shape[2] // 2, 0]]
    white = max(float(np.percentile(channels, 99.7)), 1.0)
    return np.clip((channels + 0.5) / (white + 0.5), 0.0, 1.0)
