"""Pictures of blends, bright stars and large galaxies: the sky, the truth, what was detected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.scene import CLASS_NAMES
from astro_rcnn.deblending import BLENDED_BELOW
from astro_rcnn.example_figure import colour_picture, draw_outlines
from astro_rcnn.scoring import Columns

if TYPE_CHECKING:
    from astro_rcnn.detections import Detections
    from astro_rcnn.evaluation import ScoredScene

N_CUTOUTS = 12
MIN_SNR = 50.0
"""Blends of fainter sources show nothing to the eye."""

_COLUMNS = 2
Outlined = tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray, np.ndarray]
"""Boxes in pixels of the cut-out, masks, class ids, and which are wrong."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a gallery shows.

    Attributes
    ----------
    title : str
    rank : callable
        From the columns of the true sources of an image to a number for each: the largest come
        first, NaN not at all.
    note : callable
        From these columns and a row to a few words about it.
    half_px : int
        Half the side of a cut-out.
    """

    title: str
    rank: Callable[[Columns], np.ndarray]
    note: Callable[[Columns, int], str]
    half_px: int


def _blended(rows: Columns) -> np.ndarray:
    is_shown = (rows["rho"] < BLENDED_BELOW) & ~(rows["snr"] < MIN_SNR)
    return np.where(is_shown, np.nan_to_num(rows["snr"]), np.nan)


def _of_class(name: str, values: Callable[[Columns], np.ndarray]) -> Callable[..., np.ndarray]:
    def rank(rows: Columns) -> np.ndarray:
        return np.where(rows["class_id"] == CLASS_NAMES.index(name), values(rows), np.nan)

    return rank


def _magnitude_and_iou(rows: Columns, row: int) -> str:
    return f"{rows['mag'][row]:.1f} mag, IoU {rows['iou'][row]:.2f}"


SUBJECTS = {
    "blends": Subject(
        title="blends",
        rank=_blended,
        note=lambda rows, row: f"purity {rows['rho'][row]:.2f}, IoU {rows['iou'][row]:.2f}",
        half_px=24,
    ),
    "bright_stars": Subject(
        title="bright stars",
        rank=_of_class("star", lambda rows: -rows["mag"]),
        note=_magnitude_and_iou,
        half_px=40,
    ),
    "large_galaxies": Subject(
        title="large galaxies",
        rank=_of_class("galaxy", lambda rows: rows["radius_px"]),
        note=_magnitude_and_iou,
        half_px=56,
    ),
}
"""By the names of their files: what the paper calls its weaknesses among them."""


@dataclass(frozen=True, eq=False)
class _Cutout:
    title: str
    picture: np.ndarray
    truth: Outlined
    found: Outlined


class CutoutGallery:
    """Collects sources of one kind over the images of an evaluation.

    Parameters
    ----------
    subject : Subject
    operating_score : float
        Detections below are left out.
    n_images : int
        Images to come: so many cut-outs are taken of each that `N_CUTOUTS` come together.
    """

    def __init__(self, subject: Subject, *, operating_score: float, n_images: int) -> None:
        self._subject = subject
        self._operating_score = operating_score
        self._per_image = -(-N_CUTOUTS // max(n_images, 1))
        self._cutouts: list[_Cutout] = []

    def __len__(self) -> int:
        """Return the number of cut-outs so far."""
        return len(self._cutouts)

    def add(self, scored: ScoredScene) -> None:
        """Take the first few of one image, found or not."""
        if len(self) >= N_CUTOUTS:
            return
        rank = self._subject.rank(scored.score.truth)
        order = np.argsort(-rank, kind="stable")  # NaN last
        chosen = [i for i in order if not np.isnan(rank[i])][: self._per_image]
        self._cutouts += [self._cut(scored, int(i)) for i in chosen]

    def _cut(self, scored: ScoredScene, source: int) -> _Cutout:
        truth, rows = scored.truth, scored.score.truth
        shape, half = truth.image.shape, self._subject.half_px
        y1, x1 = (
            int(np.clip(round(float(rows[axis][source])) - half, 0, max(n - 2 * half, 0)))
            for axis, n in (("y", shape[0]), ("x", shape[1]))
        )
        found: Detections = scored.detections.take(
            scored.detections.scores >= self._operating_score
        )
        is_true = scored.score.found["is_true_iou"][: len(found)]
        corner = np.array([y1, x1, y1, x1])
        y2, x2 = min(y1 + 2 * half, shape[0]), min(x1 + 2 * half, shape[1])
        return _Cutout(
            title=f"{truth.image.name}: {self._subject.note(rows, source)}",
            picture=colour_picture(truth.image.cutout(y1, x1, y2, x2), truth.statistics),
            truth=(truth.boxes - corner, truth.masks, truth.class_ids, ~rows["is_found_iou"]),
            found=(found.mask_boxes - corner, found.masks, found.class_ids, ~is_true),
        )

    def write(self, path: Path) -> Path | None:
        """Draw what was collected; None, and no file, where there is nothing."""
        if not self._cutouts:
            return None
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        n_rows = -(-len(self) // _COLUMNS)
        figure = Figure(figsize=(7.2 * _COLUMNS, 2.6 * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(n_rows, 3 * _COLUMNS, squeeze=False).reshape(-1, 3)
        for trio in panels[len(self) :]:
            for panel in trio:
                panel.axis("off")
        for trio, cutout in zip(panels, self._cutouts, strict=False):
            nothing: Outlined = (np.zeros((0, 4), int), (), np.zeros(0, int), np.zeros(0, bool))
            for panel, outlined in zip(trio, (nothing, cutout.truth, cutout.found), strict=True):
                draw_outlines(panel, cutout.picture, *outlined)
                height, width = cutout.picture.shape[:2]
                panel.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
            trio[0].set_title(cutout.title, fontsize=7, loc="left")
            trio[1].set_title("truth", fontsize=8)
            trio[2].set_title("detected", fontsize=8)
        title = self._subject.title
        figure.suptitle(f"{title}: stars blue, galaxies orange, missed or false magenta")
        with atomic_path(path, overwrite=True) as part:
            figure.savefig(part, dpi=100, format="png")
        return path
