"""Picture of one scored image: the truth and what was missed, the detections and what is false."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from astro_rcnn.evaluation import ScoredScene

CLASS_COLOURS = {1: "#56c4f0", 2: "#f5a623"}
"""As in the overlays of ``detect``."""

OTHER_COLOUR = "#7dff6b"
WRONG_COLOUR = "#ff30ff"


def write_example(scored: ScoredScene, path: Path, *, operating_score: float) -> Path:
    """Draw one image twice, with truth and with detections; what is missed or false in magenta.

    Parameters
    ----------
    scored : ScoredScene
    path : Path
        PNG file; replaced.
    operating_score : float
        Detections below are left out.

    Returns
    -------
    Path
        `path`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth, found = scored.truth, scored.detections
    figure = Figure(figsize=(16.0, 8.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    picture = colour_picture(truth.image, truth.statistics)
    is_found = scored.score.truth["is_found_iou"]
    draw_outlines(left, picture, truth.boxes, truth.masks, truth.class_ids, ~is_found)
    left.set_title(f"truth: {len(is_found)}, missed at IoU 0.5 (magenta): {np.sum(~is_found)}")
    shown = found.take(found.scores >= operating_score)
    is_true = scored.score.found["is_true_iou"][: len(shown)]
    draw_outlines(right, picture, shown.mask_boxes, shown.masks, shown.class_ids, ~is_true)
    right.set_title(f"detections: {len(shown)}, false at IoU 0.5 (magenta): {np.sum(~is_true)}")
    figure.suptitle(f"{truth.image.name}; stars blue, galaxies orange")
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=100)
    return path


def colour_picture(image: SkyImage, statistics: BandStatistics) -> np.ndarray:
    """Return an RGB picture, each band in units of its sky noise, row 0 first.

    Red, green and blue are the last, middle and first band.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    scaled = (image.pixels - statistics.center) / statistics.scale
    scaled = np.where(image.bad | ~np.isfinite(scaled), 0.0, scaled)
    channels = (scaled[..., i] for i in (-1, scaled.shape[2] // 2, 0))
    return np.asarray(make_lupton_rgb(*channels, minimum=-1.0, stretch=10.0, Q=8.0))


def draw_outlines(
    panel: Axes,
    picture: np.ndarray,
    boxes: np.ndarray,
    masks: Iterable[np.ndarray],
    class_ids: np.ndarray,
    is_wrong: np.ndarray,
) -> None:
    """Show a picture with the outlines of masks.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
    picture : ndarray, shape (H, W, 3)
    boxes : ndarray of int, shape (G, 4)
        Whole-pixel boxes that the masks fill.
    masks : iterable of G ndarray of bool
    class_ids : ndarray of int, shape (G,)
    is_wrong : ndarray of bool, shape (G,)
        These are drawn in magenta, the others in the colour of their class.
    """
    from matplotlib.collections import LineCollection
    from skimage.measure import find_contours

    panel.imshow(picture, origin="lower", interpolation="nearest")
    lines, colours = [], []
    for box, mask, class_id, wrong in zip(boxes, masks, class_ids, is_wrong, strict=True):
        for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
            lines.append(contour[:, ::-1] - 1.0 + np.array([box[1], box[0]]))
            colours.append(
                WRONG_COLOUR if wrong else CLASS_COLOURS.get(int(class_id), OTHER_COLOUR)
            )
    panel.add_collection(LineCollection(lines, colors=colours, linewidths=0.8))
    panel.set_xticks([])
    panel.set_yticks([])
