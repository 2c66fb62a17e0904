"""TrainingSequence: training sets on disk to batches of fixed size, without TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io.dataset import open_dataset
from astro_io.errors import AstroError, ConfigError, DatasetError
from astro_io.scene import SceneSource
from astro_io.truth import MaskRule, band_in_turn, in_one_band
from astro_rcnn.augment import Augmentation
from astro_rcnn.config import ANY_BAND
from astro_rcnn.crops import Crop, mini_masks
from astro_rcnn.scene_cache import PreparedScene, SceneCache, cut_crop, prepare_scene

Batch = tuple[dict[str, np.ndarray]]
"""Inputs alone: `tf.data` refuses a None in place of targets."""


class TrainingSequence(keras.utils.PyDataset):
    """Batches of crops with their truth, for `keras.Model.fit` on any backend.

    Batch number `index` of epoch `epoch` is a function of `seed`, `epoch` and `index` alone: a
    resumed run sees what the uninterrupted one would have seen, whatever `threads` is. Epoch
    after epoch goes on through one endless series of shuffles, so every scene is shown equally
    often, or as often as `repeats` says. Pass ``shuffle=False`` to `fit` (its own shuffle draws
    from an unseeded generator) and `epoch_callback` to it, which tells the sequence the number of
    the epoch.

    Scenes are prepared by `threads` threads of its own. The ``workers`` of Keras are not used:
    when they stop early, they hand batches of one epoch to the next.

    Parameters
    ----------
    datasets : path or sequence of paths
        Anything that `astro_io.dataset.open_dataset` opens; several sets are joined.
    bands : sequence of str
        Channels, in this order; `ANY_BAND`: one, in each scene another of those that it has.
    size : int, (int, int) or None
        Height and width of the crops in pixels; None: whole images, all of the shape of the
        first. Images smaller than a crop are filled up with 0 (background).
    batch_size : int
        Number N of crops in a batch.
    max_instances : int
        Number G of objects in a crop; if there are more, the brightest are kept.
    mini_mask_size : int
        Side M of the masks, which are cut to their boxes and resized.
    mask_rule : MaskRule
        How a mask is made of a noiseless image.
    normalization : str
        One of `astro_io.normalize.METHODS`.
    normalization_parameters : mapping, optional
        Parameters of that method.
    augmentation : callable, optional
        Policy of `astro_rcnn.augment`, called as ``policy(crop, rng)``.
    min_visible_fraction, min_visible_px : float, int
        Part of an object's mask that must lie in the crop, or it is not taught.
    truth_min_snr : float
        Fainter true sources are not taught.
    n_classes : int, optional
        Classes of the network, with background: a source of another one is refused.
    repeats : sequence of int
        How many times a shuffle shows each scene of each set; empty: once.
    steps_per_epoch : int, optional
        Batches in an epoch; by default, enough for a whole shuffle.
    shuffle : bool
        False: scenes in order, and the same crops in every epoch, for validation.
    seed, epoch : int
        Where the random numbers come from; not negative.
    cache_mb : float
        Memory for prepared scenes.
    threads : int
        Threads that prepare the next batches meanwhile; 0: none.

    Raises
    ------
    ConfigError
        If a number is out of range.
    DatasetError
        If there is no scene, or a set lacks a band.

    Attributes
    ----------
    failure : AstroError or None
        What kept a scene from being read.
    """

    failure: AstroError | None = None

    def __init__(
        self,
        datasets: str | Path | Sequence[str | Path],
        *,
        bands: Sequence[str],
        size: int | tuple[int, int] | None,
        batch_size: int,
        max_instances: int = 100,
        mini_mask_size: int = 56,
        mask_rule: MaskRule | None = None,
        normalization: str = "zscore",
        normalization_parameters: Mapping[str, Any] | None = None,
        augmentation: Augmentation | None = None,
        min_visible_fraction: float = 0.1,
        min_visible_px: int = 4,
        truth_min_snr: float = 0.0,
        n_classes: int | None = None,
        repeats: Sequence[int] = (),
        steps_per_epoch: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        cache_mb: float = 4096.0,
        threads: int = 1,
    ) -> None:
        super().__init__(workers=1)
        _require_at_least(
            1, batch_size=batch_size, max_instances=max_instances, mini_mask_size=mini_mask_size
        )
        _require_at_least(0, seed=seed, epoch=epoch, threads=threads, cache_mb=cache_mb)
        self.bands = tuple(bands)
        paths = [datasets] if isinstance(datasets, str | Path) else list(datasets)
        self._sources = _open_all(paths, self.bands)
        self._names = [Path(path).name for path in paths]
        self._first = np.cumsum([0, *(len(source) for source in self._sources)])
        self._shown = _shown_scenes([len(source) for source in self._sources], repeats)
        self.batch_size = batch_size
        self.max_instances = max_instances
        self.mini_mask_size = mini_mask_size
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.seed, self.epoch = seed, epoch
        self.steps_per_epoch = steps_per_epoch or -(-len(self._shown) // batch_size)
        _require_at_least(1, steps_per_epoch=self.steps_per_epoch)
        self._scene_options: dict[str, Any] = {
            "bands": self.bands,
            "mask_rule": mask_rule or MaskRule(),
            "method": normalization,
            "method_parameters": dict(normalization_parameters or {}),
            "truth_min_snr": truth_min_snr,
        }
        self._crop_options: dict[str, Any] = {
            "max_instances": max_instances,
            "min_visible_fraction": min_visible_fraction,
            "min_visible_px": min_visible_px,
        }
        self._has_whole_images, self._n_classes = size is None, n_classes
        self.cache = SceneCache(self._load, int(cache_mb * 2**20))
        self.shape = self._crop_shape(size)
        self._ahead = _BatchesAhead(self._batch, threads)

    @property
    def n_scenes(self) -> int:
        """Number of scenes in all sets together."""
        return int(self._first[-1])

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return self.steps_per_epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        """Return one batch of the present epoch.

        Returns
        -------
        tuple of one dict of ndarray
            ``image`` (N, H, W, B) float32, normalised; ``gt_class_ids`` (N, G) int32, 0 where
            there is no object; ``gt_boxes`` (N, G, 4) float32, pixel edges ``y1, x1, y2, x2`` in
            the crop; ``gt_masks`` (N, G, M, M) uint8, 1 on the object, each filling its box.
            Objects come first, padding with 0 last. ``image_key`` (N,) int32: the crop's number
            in the endless series. There are no targets: the network makes them from these inputs.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return (self._ahead.get(self.epoch, index, len(self)),)

    def batch(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """Return one batch of any epoch, made here and now."""
        return self._batch(epoch, index)

    def epoch_callback(self) -> keras.callbacks.Callback:
        """Return a callback that keeps `epoch` at the number of the epoch that `fit` is in."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs=None: setattr(self, "epoch", epoch)
        )

    def close(self) -> None:
        """Stop the threads and close the files."""
        self._ahead.close()
        for source in self._sources:
            source.close()

    def crop(self, position: int) -> Crop:
        """Return crop number `position` of the endless series, augmented.

        Crop ``k`` of batch ``index`` of an epoch is number
        ``(epoch * steps_per_epoch + index) * batch_size + k``.
        """
        scene = self.cache[self._scene_number(position)]
        y1, x1, rng = self._corner(position, scene)
        crop = cut_crop(scene, y1, x1, self.shape, **self._crop_options)
        return crop if self.augmentation is None else self.augmentation(crop, rng)

    def describe(self, epoch: int, index: int) -> list[str]:
        """Say for each crop of a batch where it comes from: set, scene, upper left corner."""
        first = self._first_position(epoch, index)
        words = []
        for position in range(first, first + self.batch_size):
            number = self._scene_number(position)
            which = int(np.searchsorted(self._first, number, side="right")) - 1
            y1, x1, _ = self._corner(position, self.cache[number])
            scene = number - int(self._first[which])
            words.append(f"{self._names[which]} scene {scene}, crop at y {y1}, x {x1}")
        return words

    def _corner(self, position: int, scene: PreparedScene) -> tuple[int, int, np.random.Generator]:
        """Draw the upper left corner of a crop; the generator goes on to its augmentation."""
        rng = np.random.default_rng([self.seed, position])
        height, width = scene.image.shape[:2]
        y1 = int(rng.integers(max(height - self.shape[0], 0) + 1))
        x1 = int(rng.integers(max(width - self.shape[1], 0) + 1))
        return y1, x1, rng

    def _first_position(self, epoch: int, index: int) -> int:
        """Return the place of a batch's first crop in the endless series."""
        step = (epoch if self.shuffle else 0) * self.steps_per_epoch + index
        return step * self.batch_size

    def _scene_number(self, position: int) -> int:
        """Return the scene of a place in the endless series of shuffles."""
        n_rounds, place = divmod(position, len(self._shown))
        if not self.shuffle:
            return int(self._shown[place])
        order = np.random.default_rng([self.seed, n_rounds, 1]).permutation(len(self._shown))
        return int(self._shown[order[place]])

    def _batch(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """Make one batch."""
        first = self._first_position(epoch, index)
        crops = [self.crop(first + k) for k in range(self.batch_size)]
        batch = stack_crops(crops, self.max_instances, self.mini_mask_size)
        return {**batch, "image_key": np.arange(first, first + self.batch_size, dtype=np.int32)}

    def _load(self, number: int) -> PreparedScene:
        """Read and prepare one scene."""
        try:
            return self._read(number)
        except AstroError as error:
            self.failure = error
            raise

    def _read(self, number: int) -> PreparedScene:
        which = int(np.searchsorted(self._first, number, side="right")) - 1
        scene = self._sources[which][number - int(self._first[which])]
        options = self._scene_options
        if self.bands == ANY_BAND:  # in each scene another one
            scene = in_one_band(scene, band_in_turn(scene), options["mask_rule"])
            options = {**options, "bands": scene.image.bands}
        prepared = prepare_scene(scene, **options)
        found = prepared.image.shape[:2]
        most = prepared.class_ids.max(initial=0)
        if self._n_classes is not None and most >= self._n_classes:
            raise DatasetError(
                f"{self._names[which]}, {scene.name}: expected classes up to "
                f"{self._n_classes - 1}, those of the network; found {most}. Give it that many "
                "(model.class_names), or another set."
            )
        if self._has_whole_images and number > 0 and found != self.shape:
            raise DatasetError(
                f"{scene.name}: expected the {self.shape[0]}x{self.shape[1]} px of the first "
                f"scene; found {found[0]}x{found[1]}. Train on crops: give a crop size."
            )
        return prepared

    def _crop_shape(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """Return height and width of the crops."""
        if size is None:
            return self.cache[0].image.shape[:2]
        shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        _require_at_least(1, size=min(shape))
        return shape


def stack_crops(
    crops: Sequence[Crop], max_instances: int, mini_mask_size: int
) -> dict[str, np.ndarray]:
    """Join crops of one shape into a batch, padded to a fixed number of objects.

    Parameters
    ----------
    crops : sequence of N Crop
        At least one; each with no more than `max_instances` objects.
    max_instances : int
        Number G of objects in the result.
    mini_mask_size : int
        Side M of the masks.

    Returns
    -------
    dict of ndarray
        As `TrainingSequence` returns it.
    """
    n_images = len(crops)
    class_ids = np.zeros((n_images, max_instances), np.int32)
    boxes = np.zeros((n_images, max_instances, 4), np.float32)
    masks = np.zeros((n_images, max_instances, mini_mask_size, mini_mask_size), np.uint8)
    for row, crop in enumerate(crops):
        n_objects = len(crop)
        class_ids[row, :n_objects] = crop.class_ids
        boxes[row, :n_objects] = crop.boxes
        masks[row, :n_objects] = mini_masks(crop.masks, mini_mask_size)
    image = np.stack([crop.image for crop in crops])
    return {"image": image, "gt_class_ids": class_ids, "gt_boxes": boxes, "gt_masks": masks}


class _BatchesAhead:
    """Make the batches that will be asked for next in threads."""

    def __init__(self, make: Callable[[int, int], dict[str, np.ndarray]], threads: int) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(threads, "batch") if threads else None
        self._n_ahead = 2 * threads
        self._pending: dict[tuple[int, int], Future[dict[str, np.ndarray]]] = {}
        self._lock = threading.Lock()

    def get(self, epoch: int, index: int, n_batches: int) -> dict[str, np.ndarray]:
        """Return a batch and start making those that follow it in its epoch."""
        if self._pool is None:
            return self._make(epoch, index)
        wanted = [(epoch, i) for i in range(index, min(index + self._n_ahead + 1, n_batches))]
        with self._lock:
            for key in set(self._pending) - set(wanted):
                self._pending.pop(key).cancel()
            for key in wanted:
                if key not in self._pending:
                    self._pending[key] = self._pool.submit(self._make, *key)
            future = self._pending.pop(wanted[0])
        return future.result()

    def close(self) -> None:
        """Give up what is not finished."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _open_all(paths: Sequence[str | Path], bands: tuple[str, ...]) -> list[SceneSource]:
    """Open the sets and check that they can serve."""
    sources = [open_dataset(path) for path in paths]
    for path, source in zip(paths, sources, strict=True):
        missing = [band for band in bands if band not in (*source.bands, *ANY_BAND)]
        if missing:
            raise DatasetError(
                f"{path}: expected bands {', '.join(bands)}; found {', '.join(source.bands)}. "
                f"Train on the bands that all sets have, or add {', '.join(missing)}."
            )
        if len(source) == 0:
            raise DatasetError(f"{path}: holds no scene. Make some with simulate.fields.")
    if not sources:
        raise DatasetError("no training set given: name at least one.")
    return sources


def _shown_scenes(lengths: Sequence[int], repeats: Sequence[int]) -> np.ndarray:
    """Return the numbers of the scenes that one shuffle shows."""
    if repeats and len(repeats) != len(lengths):
        raise ConfigError(
            f"training data: expected one number of repeats for each of {len(lengths)} sets; "
            f"found {len(repeats)}."
        )
    times = list(repeats) or [1] * len(lengths)
    _require_at_least(1, repeats=min(times))
    return np.repeat(np.arange(sum(lengths)), np.repeat(times, lengths))


def _require_at_least(least: int, **values: float) -> None:
    """Raise unless every value is at least `least`."""
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"training data: {name} must be at least {least}; found {value}.")
