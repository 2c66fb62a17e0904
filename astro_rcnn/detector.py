"""Detector: one in-memory image to Detections. Knows weights, normalisation and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io.errors import ImageError
from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics, measure_statistics, normalize
from astro_io.weights import file_sha256, resolve
from astro_rcnn.config import ModelConfig
from astro_rcnn.detections import Detections
from astro_rcnn.engine import check_engine, install_engine
from astro_rcnn.initial_weights import load_any
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.other_classes import with_other_classes
from astro_rcnn.paste import paste_masks
from astro_rcnn.weights_file import read_weights

# Numbers of boxes whose masks are drawn at once: few enough shapes to compile, little waste.
_MASK_BATCH = 64


class Detector:
    """A network ready to use on raw pixels.

    Parameters
    ----------
    model : MaskRCNN
        With its weights.
    name : str
        Of the weights, for the catalogue.
    sha256 : str
        Of the weights file.
    other_classes_below : float
        The less probable classes of a source are detections too, of their own probability, where
        it lies under this; 0: none. For scores, see `astro_rcnn.other_classes`.

    Notes
    -----
    Functions are compiled once for each image shape that occurs.
    """

    def __init__(
        self,
        model: MaskRCNN,
        *,
        name: str = "unnamed",
        sha256: str = "",
        other_classes_below: float = 0.0,
    ) -> None:
        self.model = model
        self.other_classes_below = other_classes_below
        self.name = name
        self.sha256 = sha256
        self._find = compiled(model, model.detect)
        self._draw = {}

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        engine: str = "keras",
        config: ModelConfig | None = None,
        max_detections: int | None = None,
        other_classes_below: float = 0.0,
        **overrides: Any,
    ) -> Detector:
        """Load weights by registry name or path.

        Parameters
        ----------
        weights : str or Path
        engine : {"keras", "openvino", "openvino-bf16"}
            What runs the layers.
        config : ModelConfig, optional
            Settings for a file of the matterport layout (which carries none); by default the
            paper's.
        max_detections : int, optional
            Most detections in 512 x 512 pixels, for crowded fields; proposals and anchors keep
            pace (`let_through`). By default as the weights say.
        other_classes_below : float
            As of the class.
        **overrides
            Fields of `ModelConfig` to change, for example ``min_confidence=0.3``.

        Raises
        ------
        WeightsError
            If the file is unknown, changed, or does not fit.
        BackendError
            If the engine is not installed, or cannot run here.
        """
        check_engine(engine)
        path, entry = resolve(str(weights))
        settings = config or _settings_of(path)
        settings = replace(settings, **overrides)
        if max_detections is not None:
            settings = let_through(settings, max_detections)
        model = build_model(settings)
        load_any(model, path)
        install_engine(model, engine)
        sha256 = getattr(entry, "sha256", "") or file_sha256(path)
        return cls(
            model,
            name=str(weights) if entry else path.name,
            sha256=sha256,
            other_classes_below=other_classes_below,
        )

    @property
    def settings(self) -> ModelConfig:
        """The network's configuration."""
        return self.model.settings

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that the network wants, in channel order."""
        return self.settings.bands

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes, background first."""
        return self.settings.class_names

    @property
    def grid_px(self) -> int:
        """Side of the coarsest cell: tiles that start at its multiples see a source alike."""
        return self.settings.size_multiple

    def describe(self) -> dict[str, str]:
        """Facts for a catalogue's metadata."""
        return {
            "weights": self.name,
            "weights_sha256": self.sha256,
            "bands": ",".join(self.bands),
            "normalization": self.settings.normalization,
            "min_confidence": str(self.settings.min_confidence),
            "nms_iou": str(self.settings.detection_nms_iou),
            "max_detections": str(self.settings.max_detections),
            "backend": keras.backend.backend(),
        }

    def statistics(self, image: SkyImage) -> BandStatistics:
        """Measure the normalisation of a whole image, once; a band without data passes."""
        return measure_statistics(
            image.pixels,
            image.bad,
            self.settings.normalization,
            bands=image.bands,
            allow_empty=True,
        )

    def detect(
        self,
        pixels: np.ndarray,
        *,
        bad: np.ndarray | None = None,
        statistics: BandStatistics | None = None,
    ) -> Detections:
        """Find the sources of one array.

        Parameters
        ----------
        pixels : ndarray of float32, shape (H, W, B)
            Raw flux in the order of `bands`.
        bad : ndarray of bool, same shape, optional
            Unusable pixels.
        statistics : BandStatistics, optional
            Of the whole image; by default measured here.

        Returns
        -------
        Detections
            In pixel coordinates of the array, best score first.
        """
        return self.detect_batch([pixels], bad=[bad], statistics=statistics)[0]

    def detect_batch(
        self,
        pixels: Sequence[np.ndarray],
        *,
        bad: Sequence[np.ndarray | None] | None = None,
        statistics: BandStatistics | None = None,
    ) -> list[Detections]:
        """Find the sources of several arrays; those of one shape run together.

        Parameters are those of `detect`, a sequence each.
        """
        bad = [None] * len(pixels) if bad is None else bad
        results: list[Detections | None] = [None] * len(pixels)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, array in enumerate(pixels):
            if array.ndim != 3 or array.shape[2] != len(self.bands):
                raise ImageError(
                    f"array {index}: expected pixels of shape (H, W, {len(self.bands)}) for bands "
                    f"{', '.join(self.bands)}; found {array.shape}."
                )
            groups.setdefault(array.shape[:2], []).append(index)
        for shape, members in groups.items():
            prepared = np.stack([self.prepare(pixels[i], bad[i], statistics) for i in members])
            for i, found in zip(members, self._run(prepared, shape), strict=True):
                results[i] = found
        return [found for found in results if found is not None]

    def detect_prepared(self, images: np.ndarray) -> list[Detections]:
        """Find the sources of normalised images, ndarray of float32, shape (N, H, W, B).

        H and W are multiples of ``settings.size_multiple``.
        """
        return self._run(images, images.shape[1:3])

    def prepare(
        self,
        pixels: np.ndarray,
        bad: np.ndarray | None = None,
        statistics: BandStatistics | None = None,
    ) -> np.ndarray:
        """Normalise, and fill up with background to a shape that the pyramid divides.

        Parameters are those of `detect`; returns ndarray of float32, shape (H', W', B).
        """
        method = self.settings.normalization
        if statistics is None:
            statistics = measure_statistics(pixels, bad, method, allow_empty=True)
        scaled = normalize(
            pixels, statistics, method, bad=bad, softening=self.settings.normalization_softening
        )
        multiple = self.settings.size_multiple
        padding = [(0, -size % multiple) for size in scaled.shape[:2]]
        return np.pad(scaled, [*padding, (0, 0)])

    def find_boxes(
        self, images: np.ndarray, shape: tuple[int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Find sources without their masks, which take most of the time of a crowded field.

        Parameters
        ----------
        images : ndarray of float32, shape (N, H, W, B)
            As `prepare` makes them.
        shape : tuple of int, optional
            Of the images before they were filled up.

        Returns
        -------
        dict of ndarray
            ``boxes`` (N, D, 4) in pixels, ``class_ids`` (N, D) with 0 for unused rows,
            ``probabilities`` (N, D, C).
        """
        found = self._find(images, self._window(images, shape or images.shape[1:3]))
        boxes = self.model.to_pixels(found["boxes"], images.shape[1:3])
        wanted = {"boxes": boxes, **{k: found[k] for k in ("class_ids", "probabilities")}}
        return {k: np.asarray(keras.ops.convert_to_numpy(v)) for k, v in wanted.items()}

    def _window(self, images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Return the boxes (N, 4) of the real images inside the padded ones."""
        return np.tile(np.array([0, 0, *shape], np.float32), (len(images), 1))

    def _run(self, images: np.ndarray, shape: tuple[int, int]) -> list[Detections]:
        padded = images.shape[1:3]
        found = self._find(images, self._window(images, shape))
        pyramid = found.pop("pyramid")
        found = {name: np.asarray(keras.ops.convert_to_numpy(v)) for name, v in found.items()}
        if self.other_classes_below > 0.0:
            least = self.settings.min_confidence
            found = with_other_classes(found, least=least, below=self.other_classes_below)
        n_found = (found["class_ids"] > 0).sum(axis=1)
        masks = self._masks(pyramid, found["boxes"], found["class_ids"], n_found, padded)
        results = []
        for i, n in enumerate(n_found):
            boxes = np.asarray(self.model.to_pixels(found["boxes"][i, :n], padded), np.float32)
            mask_boxes, pasted = paste_masks(masks[i, :n], boxes, shape)
            results.append(
                Detections(
                    boxes=boxes,
                    class_ids=found["class_ids"][i, :n].astype(np.int32),
                    scores=found["scores"][i, :n],
                    probabilities=found["probabilities"][i, :n],
                    mask_boxes=mask_boxes,
                    masks=pasted,
                    class_names=self.class_names,
                    is_full=bool(found["is_full"][i]),
                )
            )
        return results

    def _masks(self, pyramid, boxes, class_ids, n_found, padded: tuple[int, int]) -> np.ndarray:
        """Mask probabilities of the found class, (N, D, S, S), drawn for the rows in use only."""
        side = 2 * self.settings.mask_pool_size
        drawn = np.zeros((*class_ids.shape, side, side), np.float32)
        draw = self._draw.setdefault(
            padded, compiled(self.model, partial(self.model.draw_class_masks, shape=padded))
        )
        last = int(n_found.max(initial=0))
        for start in range(0, last, _MASK_BATCH):
            rows = slice(start, start + _MASK_BATCH)
            part_boxes, part_ids = boxes[:, rows], class_ids[:, rows]
            missing = _MASK_BATCH - part_boxes.shape[1]
            part_boxes = np.pad(part_boxes, [(0, 0), (0, missing), (0, 0)])
            part_ids = np.pad(part_ids, [(0, 0), (0, missing)])
            masks = keras.ops.convert_to_numpy(draw(pyramid, part_boxes, part_ids))
            drawn[:, rows] = masks[:, : _MASK_BATCH - missing]
        return drawn


def let_through(settings: ModelConfig, max_detections: int) -> ModelConfig:
    """Return settings whose every stage lets so many detections through.

    Parameters
    ----------
    settings : ModelConfig
    max_detections : int
        In 512 x 512 pixels. Twice as many proposals and four times as many anchors are looked
        at, unless the settings look at more anyway.
    """
    return replace(
        settings,
        max_detections=max_detections,
        post_nms_inference=max(settings.post_nms_inference, 2 * max_detections),
        pre_nms_limit=max(settings.pre_nms_limit, 4 * max_detections),
    )


def _settings_of(path: Path) -> ModelConfig:
    from astro_rcnn.initial_weights import is_our_format

    return read_weights(path)[0] if is_our_format(path) else ModelConfig()


def compiled(model: MaskRCNN, function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors, which reads the weights of `model`, for the backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # AutoGraph is of no use to keras.ops, and took most of the time of a first call.
        return tf.function(function, reduce_retracing=False, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        @jax.jit
        def with_weights(values, *arguments):
            # As arguments: JAX would build them into the program as constants.
            scope = zip(model.weights, values, strict=True)
            with keras.StatelessScope(state_mapping=list(scope)):
                return function(*arguments)

        return lambda *arguments: with_weights([v.value for v in model.weights], *arguments)
    return function
