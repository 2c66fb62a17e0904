"""ClassSequence: stamps on disk to batches for `fit`, with labels in place of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from astro_io.errors import DatasetError
from cluster_cnn.classes.config import PAPER_NETWORKS, ClassDataConfig, ClassModelConfig
from cluster_cnn.classes.networks import DISTANCE, LOGITS, STAMPS
from cluster_cnn.data import ClusterSequence, StampSource
from cluster_cnn.normalise import StampScale, normalise_stamps

DISTANCE_COLUMN = "distance_kpc"

REFERENCE_DISTANCE_KPC = 10_000.0
"""Where the logarithm of the distance that the network sees is 0."""


class ClassSequence(ClusterSequence):
    """Batches of normalised stamps with class labels.

    Parameters
    ----------
    source : StampSource
    rows : ndarray of int
        Which stamps of the source.
    model : ClassModelConfig
    scale : StampScale
    data : ClassDataConfig
    varied : bool
        Shuffle, turn, shift and jitter: for training.
    steps : int
        Batches in an epoch; 0: all rows.
    seed : int

    Raises
    ------
    DatasetError
        If a label is none of the network's classes.
    """

    def __init__(
        self,
        source: StampSource,
        rows: np.ndarray,
        model: ClassModelConfig,
        scale: StampScale,
        data: ClassDataConfig,
        *,
        varied: bool,
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        self.model, self.data, self.varied = model, data, varied
        # The networks of the paper see linear flux, which half precision cannot hold.
        self._is_linear = model.network in PAPER_NETWORKS or model.normalization == "zscore"
        super().__init__(
            source,
            rows,
            model,
            scale,
            batch_size=data.batch_size,
            augmentation=varied and data.augmentation,
            max_shift_px=data.max_shift_px if varied else 0,
            band_dropout=data.band_dropout if varied else 0.0,
            shuffle=varied,
            steps=steps,
            seed=seed,
            cache_mb=0 if self._is_linear else data.cache_mb,
        )
        self.distances = read_distances(source)[self.rows]

    def read_truth(self, model: ClassModelConfig, min_snr: float):
        """Return labels from 0 on and weights of 1."""
        labels = label_index(self.source.column(self.data.labels)[self.rows], model.class_ids)
        return {LOGITS: labels}, {LOGITS: np.ones(len(labels), np.float32)}

    def read_stamps(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return normalised stamps; linear ones in full precision."""
        if not self._is_linear or self.max_shift_px:
            return super().read_stamps(places, rng)
        return normalise_stamps(self.source.read(self.rows[places]), self.scale)

    def vary(self, stamps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return stamps turned, brightened and with bands left out, as the settings say."""
        if not self.varied:
            return stamps
        if self.data.augmentation and self.data.rotation > 0:
            turned = rng.random(len(stamps)) < self.data.rotation
            stamps = stamps.copy()
            if turned.any():
                n = int(turned.sum())
                zoom = np.exp(rng.normal(0, self.data.zoom, n))
                stamps[turned] = rotate(stamps[turned], rng.uniform(0, 360, n), zoom)
        stamps = super().vary(stamps, rng)
        if self.data.flux_jitter > 0 or self.data.band_jitter > 0:
            stamps = self._jitter(stamps, rng)
        return stamps

    def __getitem__(self, index: int):
        """Return inputs by name, labels and weights of one batch."""
        epoch = self.epoch
        stamps, targets, weights = super().__getitem__(index)
        inputs = {STAMPS: stamps}
        if self.model.network == "multiscale" and self.model.has_distance:
            rng = np.random.default_rng([self.seed, epoch if self.shuffle else 0, index, 2])
            distances = self.distances[self._places(epoch, index)]
            if self.varied:
                hidden = rng.random(len(distances)) < self.data.distance_dropout
                distances = np.where(hidden, np.nan, distances)
            inputs[DISTANCE] = distance_input(distances)
        return inputs, targets, weights

    def _jitter(self, stamps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Multiply the flux of stamps and of their bands by random factors near 1."""
        n, n_bands = len(stamps), stamps.shape[3]
        log_factor = rng.normal(0, self.data.flux_jitter, (n, 1))
        log_factor = log_factor + rng.normal(0, self.data.band_jitter, (n, n_bands))
        factor = np.exp(log_factor).astype(np.float32)[:, None, None]
        if self.scale.method == "asinh":
            return np.arcsinh(np.sinh(stamps) * factor)
        return stamps * factor


def read_distances(source: StampSource) -> np.ndarray:
    """Return the distance of each stamp in kpc; NaN where a set does not say."""
    try:
        return source.column(DISTANCE_COLUMN)
    except DatasetError:
        return np.full(len(source), np.nan)


def label_index(labels: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Return the place of each label among the classes, int32.

    Raises
    ------
    DatasetError
        If a label is none of them.
    """
    labels = np.asarray(labels)
    odd = sorted(set(labels.tolist()) - set(class_ids))
    if odd:
        raise DatasetError(
            f"labels: expected classes {', '.join(map(str, class_ids))}; found "
            f"{', '.join(map(str, odd[:5]))}. Make the set with --task classes, or set "
            "model.class_ids."
        )
    return np.searchsorted(np.asarray(class_ids), labels).astype(np.int32)


def distance_input(distance_kpc: np.ndarray) -> np.ndarray:
    """Return what the network is told of distances, float32, shape (N, 2).

    log10 in units of `REFERENCE_DISTANCE_KPC` and 1; both 0 where the distance is not known.
    """
    known = np.isfinite(distance_kpc) & (np.nan_to_num(distance_kpc) > 0)
    logs = np.log10(np.where(known, distance_kpc, REFERENCE_DISTANCE_KPC) / REFERENCE_DISTANCE_KPC)
    return np.stack([logs, known], axis=1).astype(np.float32)


def rotate(
    stamps: np.ndarray, angles_deg: np.ndarray, zoom: np.ndarray | float = 1.0
) -> np.ndarray:
    """Turn stamps about their middles by any angle, bilinearly; corners are reflected.

    Parameters
    ----------
    stamps : ndarray of float32, shape (N, S, S, B)
    angles_deg : ndarray of float, shape (N,)
    zoom : ndarray of float, shape (N,), or float
        Sizes are multiplied by this.

    Returns
    -------
    ndarray of float32, shape (N, S, S, B)
    """
    angle = np.radians(np.asarray(angles_deg, np.float64))
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    middle = (stamps.shape[1] - 1) / 2
    zero = np.zeros_like(cos)
    # Where each pixel of the result comes from: x, then y.
    rows = (cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - cos - sin), zero, zero)
    turned = ops.image.affine_transform(
        stamps,
        np.stack(rows, axis=1).astype(np.float32),
        interpolation="bilinear",
        fill_mode="reflect",
        data_format="channels_last",
    )
    return np.asarray(ops.convert_to_numpy(turned), np.float32)
