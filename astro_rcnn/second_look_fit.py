"""Teach a finished network to look twice: cut-outs of its detections, and what they truly are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from astro_io.cli import progress
from astro_io.errors import DatasetError, WeightsError
from astro_io.scene import Scene, SceneSource
from astro_io.truth import band_in_turn
from astro_io.weights import resolve
from astro_rcnn.completeness import distances
from astro_rcnn.config import ModelConfig
from astro_rcnn.detector import Detector
from astro_rcnn.evaluation_run import as_seen_by, in_bands
from astro_rcnn.named_weights import assign_strictly, named_variables
from astro_rcnn.second_look import (
    cut_outs,
    log_probabilities,
    second_look_head,
    without_second_look,
)
from astro_rcnn.weights_file import read_weights

MATCH_PX = 2.0
"""A detection whose middle is as near as this to a true centre may be that source."""

MATCH_FRACTION = 0.25
"""So many sides of its box serve as well: large and blended sources lie less well in it."""

LEAST_SCORE = 0.05
"""Detections down to this are looked at."""

ASIDE = 10
"""Every so many scenes are set aside to validate."""

HISTORY_FILE = "second_look.csv"


@dataclass(frozen=True, kw_only=True)
class LookSettings:
    """How the second look is trained.

    Attributes
    ----------
    side : int
        Of the cut-outs in pixels.
    epochs, batch_size : int
    learning_rate : float
        At the start; it falls to nothing along a cosine.
    seed : int
    """

    side: int = 25
    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Looks:
    """Detections that are true sources, seen at full resolution.

    Attributes
    ----------
    pixels : ndarray of float16, shape (K, side, side, B)
        Of normalised images.
    first : ndarray of float32, shape (K, C)
        Log-probabilities by the first head.
    class_ids : ndarray of int32, shape (K,)
        True classes, from 1.
    is_aside : ndarray of bool, shape (K,)
        To validate.
    """

    pixels: np.ndarray
    first: np.ndarray
    class_ids: np.ndarray
    is_aside: np.ndarray

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.class_ids)

    def take(self, rows: np.ndarray) -> Looks:
        """Return some of them."""
        return Looks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class LookFinder:
    """Detections of a network in scenes with truth.

    Parameters
    ----------
    weights : str or Path
        Its own second look, if it has one, is not asked.
    side : int
        Of the cut-outs.
    """

    def __init__(self, weights: str | Path, side: int) -> None:
        self.side = side
        self._weights = weights
        self._detectors: dict[int, Detector] = {}
        self.settings = self._detector(0).settings

    def look(self, scene: Scene) -> tuple[np.ndarray, ...]:
        """Return pixels, log-probabilities and true classes of the detections in one scene."""
        detector = self._detector(len(scene.catalog))
        scene = as_seen_by(detector.bands, scene, band_in_turn(scene))
        image = in_bands(detector.bands, scene.image)
        prepared = detector.prepare(image.pixels, image.bad)[None]
        found = {k: v[0] for k, v in detector.find_boxes(prepared, image.shape).items()}
        boxes = found["boxes"][found["class_ids"] > 0]
        probabilities = found["probabilities"][found["class_ids"] > 0]
        class_ids = true_classes(scene, boxes)
        known = class_ids > 0
        boxes, probabilities, class_ids = boxes[known], probabilities[known], class_ids[known]
        centres = np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float32)[None]
        pixels = ops.convert_to_numpy(cut_outs(prepared, centres, self.side))[0]
        first = ops.convert_to_numpy(log_probabilities(probabilities))
        limit = np.finfo(np.float16).max  # a saturated star is more, as a plain z-score
        pixels = np.clip(pixels, -limit, limit).astype(np.float16)
        return pixels, np.asarray(first), class_ids

    def _detector(self, n_sources: int) -> Detector:
        """Return the network with room for that many sources, built once for each room."""
        room = 0
        if self._detectors and n_sources > self.settings.max_detections:
            room = 1000 * math.ceil(0.75 * n_sources / 1000)
        if room not in self._detectors:
            self._detectors[room] = Detector.load(
                self._weights,
                max_detections=room or None,
                min_confidence=LEAST_SCORE,
                drops_background=False,
                second_look_px=0,
            )
        return self._detectors[room]


def true_classes(scene: Scene, boxes: np.ndarray) -> np.ndarray:
    """Say what detections truly are: of what lies at their middle, the brightest.

    Parameters
    ----------
    scene : Scene
        Where the truth has a column ``snr`` it is the brightness; else all are alike.
    boxes : ndarray of float, shape (D, 4)
        y1, x1, y2, x2 in pixel edges: the middle of the first pixel at 0.5.

    Returns
    -------
    ndarray of int32, shape (D,)
        0 where there is nothing within `MATCH_PX`, a half-light radius or `MATCH_FRACTION` of
        the box.
    """
    truth = scene.catalog
    if not len(truth) or not len(boxes):
        return np.zeros(len(boxes), np.int32)
    yx = np.stack([truth["y"], truth["x"]], axis=1) + 0.5
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    radius = np.fmax(MATCH_PX, MATCH_FRACTION * np.sqrt(sides.prod(axis=1)))[:, None]
    if "half_light_radius" in truth.colnames:
        radius = np.fmax(radius, np.asarray(truth["half_light_radius"], float))
    light = np.asarray(truth["snr"], float) if "snr" in truth.colnames else np.ones(len(truth))
    apart = distances(centres, yx) / radius
    seen = np.where(apart < 1.0, np.nan_to_num(light) * np.exp(-2.0 * apart**2), 0.0)
    best = seen.argmax(axis=1)
    class_ids = np.asarray(truth["class_id"], np.int32)[best]
    return np.where(seen[np.arange(len(best)), best] > 0, class_ids, 0).astype(np.int32)


def collect(finder: LookFinder, sets: Sequence[SceneSource], *, limit: int | None = None) -> Looks:
    """Look at all detections in some sets.

    Parameters
    ----------
    finder : LookFinder
    sets : sequence of SceneSource
    limit : int, optional
        Only the first so many scenes of each.

    Returns
    -------
    Looks

    Raises
    ------
    DatasetError
        If no detection is a true source of each class, to learn from and to validate with.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    jobs = [
        (scenes, i)
        for scenes in sets
        for i in range(len(scenes) if limit is None else min(limit, len(scenes)))
    ]
    for scenes, i in progress(jobs, description="scenes", total=len(jobs), unit="scene"):
        pixels, first, class_ids = finder.look(scenes[i])
        aside = np.full(len(class_ids), i % ASIDE == ASIDE - 1)
        parts.append((pixels, first, class_ids, aside))
    looks = Looks(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    for name, own in (("to learn from", ~looks.is_aside), ("set aside", looks.is_aside)):
        counts = np.bincount(looks.class_ids[own], minlength=finder.settings.n_classes)[1:]
        if not counts.all():
            raise DatasetError(
                f"expected detections of every class {name}; found "
                f"{', '.join(map(str, counts))} of {', '.join(finder.settings.class_names[1:])} "
                f"in {len(jobs)} scenes. Name larger sets: every {ASIDE}th scene is set aside."
            )
    return looks


def fit_second_look(
    looks: Looks,
    settings: LookSettings,
    *,
    head: keras.Model | None = None,
    output: Path | None = None,
    verbose: int = 0,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train the head of the second look; the epoch that validates best is kept.

    Parameters
    ----------
    looks : Looks
    settings : LookSettings
    head : keras.Model, optional
        To begin with, from `second_look_of`; a new one by default.
    output : Path, optional
        Folder for `HISTORY_FILE`.
    verbose : int
        As of `keras.Model.fit`.

    Returns
    -------
    head : keras.Model
        `second_look_head`.
    facts : dict
        ``n``, ``loss_before``, ``loss_after`` (cross-entropy in nats) and ``right_before``,
        ``right_after`` (per cent in the right class), of what was set aside.
    """
    keras.utils.set_random_seed(settings.seed)
    if head is None:
        n_bands, n_classes = looks.pixels.shape[-1], looks.first.shape[1]
        head = second_look_head(side=settings.side, n_bands=n_bands, n_classes=n_classes)
    training, aside = looks.take(~looks.is_aside), looks.take(looks.is_aside)
    batches = _LookBatches(training, settings, is_turned=True)
    validation = _LookBatches(aside, settings, is_turned=False)
    pixels, first = head.inputs
    logits = keras.layers.Add(dtype="float32")([first[:, 1:], head.output])
    model = keras.Model([pixels, first], logits)
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, max(1, settings.epochs * len(batches))
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    before = model.evaluate(validation, verbose=0)
    callbacks: list[keras.callbacks.Callback] = [_KeepBest()]
    if output is not None:
        callbacks.append(keras.callbacks.CSVLogger(str(output / HISTORY_FILE)))
    model.fit(
        batches,
        validation_data=validation,
        epochs=settings.epochs,
        callbacks=callbacks,
        verbose=verbose,
    )
    after = model.evaluate(validation, verbose=0)
    if not math.isfinite(after[0]):
        raise DatasetError(f"the second look learnt nothing: its loss is {after[0]}.")
    facts = {"n_learnt_from": len(training), "n": len(aside), **asdict(settings)}
    for name, (loss, right) in (("before", before), ("after", after)):
        facts |= {f"loss_{name}": float(loss), f"right_{name}": float(100 * right)}
    return head, facts


def second_look_of(weights: str | Path, settings: ModelConfig, *, side: int) -> keras.Model:
    """Build the second look that some weights have, to begin another with.

    Parameters
    ----------
    weights : str or Path
    settings : ModelConfig
        Of the network that is to look twice.
    side : int
        Of the cut-outs.

    Raises
    ------
    WeightsError
        If they have none, or one for other cut-outs, bands or classes.
    """
    path, _ = resolve(weights)
    other, tensors, _ = read_weights(path)
    rest = without_second_look(tensors)
    if len(rest) == len(tensors):
        raise WeightsError(
            f"{path.name} has no second look to begin with. Name weights that look twice, such as "
            "decam-grz, or begin at random."
        )
    if (other.bands, other.class_names) != (settings.bands, settings.class_names):
        raise WeightsError(
            f"{path.name}: expected a second look of bands {', '.join(settings.bands)} and classes "
            f"{', '.join(settings.class_names)}; found bands {', '.join(other.bands)}, classes "
            f"{', '.join(other.class_names)}. Begin at random."
        )
    sizes = {"n_bands": len(settings.bands), "n_classes": settings.n_classes}
    head = second_look_head(side=side, **sizes)
    own = {name: value for name, value in tensors.items() if name not in rest}
    assign_strictly(head, own, where=f"the second look of {path.name}")
    return head


def with_second_look(tensors: dict[str, np.ndarray], head: keras.Model) -> dict[str, np.ndarray]:
    """Return the tensors of a network and of its new second look, in place of an older one."""
    new = {name: _numbers(variable) for name, variable in named_variables(head).items()}
    return {**without_second_look(tensors), **new}


def _numbers(variable: keras.Variable) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.copy(variable)))


class _KeepBest(keras.callbacks.Callback):
    """Give the model the weights of the epoch of least validation loss, at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._loss, self._values = math.inf, []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember the weights where they are the best so far."""
        loss = float((logs or {}).get("val_loss", math.inf))
        if loss < self._loss:
            self._loss = loss
            # A copy: JAX gives the memory of the old values away.
            self._values = [ops.copy(w.value) for w in self.model.weights]

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Take the best."""
        for weight, value in zip(self.model.weights, self._values, strict=False):
            weight.assign(value)


class _LookBatches(keras.utils.PyDataset):
    """Batches of looks; in training in random order, each batch turned or mirrored."""

    def __init__(self, looks: Looks, settings: LookSettings, *, is_turned: bool) -> None:
        super().__init__()
        self.looks, self.settings, self.is_turned = looks, settings, is_turned
        self._rng = np.random.default_rng(settings.seed)
        self._order = np.arange(len(looks))
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self._order) / self.settings.batch_size)

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Return inputs and classes of one batch."""
        size = self.settings.batch_size
        rows = self._order[index * size : (index + 1) * size]
        pixels = self.looks.pixels[rows].astype(np.float32)
        if self.is_turned:
            turns, is_mirrored = divmod(int(self._rng.integers(8)), 2)
            pixels = np.rot90(pixels, turns, axes=(1, 2))
            pixels = pixels[:, :, ::-1] if is_mirrored else pixels
        inputs = (np.ascontiguousarray(pixels), self.looks.first[rows])
        return inputs, self.looks.class_ids[rows] - 1

    def on_epoch_end(self) -> None:
        """Draw a new order."""
        if self.is_turned:
            self._order = self._rng.permutation(len(self.looks))
