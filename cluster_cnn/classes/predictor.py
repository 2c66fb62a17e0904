"""ClassPredictor: stamps in memory to class probabilities and how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import entr

from astro_io.weights import WeightsEntry, file_sha256, resolve
from cluster_cnn.batches import orient, pad_rows
from cluster_cnn.classes.calibration import (
    ClassCalibration,
    mean_probabilities,
)
from cluster_cnn.classes.config import PAPER_NETWORKS, ClassModelConfig
from cluster_cnn.classes.data import distance_input
from cluster_cnn.classes.networks import (
    DISTANCE,
    FEATURES,
    LOGITS,
    STAMPS,
    build_class_model,
)
from cluster_cnn.classes.weights_file import ClassWeights, read_class_weights
from cluster_cnn.noise import quiet_noise
from cluster_cnn.normalise import StampScale, normalise_stamps
from cluster_cnn.stamp_coverage import bands_with_data, has_middle
from cluster_cnn.weights_file import assign_strictly

NO_CLUSTER = 4
COMPACT = (1, 2)
"""Classes that many studies take as the only bound clusters."""

_MOST_BLOWN_UP = 8
"""Stamps at a time for the networks of Wei et al.: 299 pixels take gigabytes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassEstimates:
    """What an ensemble says of N stamps.

    Attributes
    ----------
    class_ids : tuple of int
        The C classes.
    probabilities : ndarray of float64, shape (N, C)
        Calibrated; NaN where nothing can be said.
    spread : ndarray of float64, shape (N,)
        Standard deviation over the members of the probability of the class that was chosen.
    distance : ndarray of float64, shape (N,)
        How unusual a stamp is: about 1 for those like the training set.
    noise : ndarray of float, shape (N, B)
        Scatter of the pixels of each band, see `cluster_cnn.noise.quiet_noise`.
    is_strange : ndarray of bool, shape (N,)
        Farther than all but 1 in 1000 stamps of the training set, or of a pixel scatter that no
        training stamp has: in another unit, perhaps.
    """

    class_ids: tuple[int, ...]
    probabilities: np.ndarray
    spread: np.ndarray
    distance: np.ndarray
    noise: np.ndarray
    is_strange: np.ndarray

    def __len__(self) -> int:
        """Return the number of stamps."""
        return len(self.probabilities)

    @property
    def chosen(self) -> np.ndarray:
        """Return the most probable class, int, shape (N,); 0 where nothing can be said."""
        known = np.isfinite(self.probabilities).all(axis=1)
        best = np.argmax(np.where(known[:, None], self.probabilities, 0.0), axis=1)
        return np.where(known, np.asarray(self.class_ids)[best], 0)

    @property
    def entropy(self) -> np.ndarray:
        """Return Shannon's entropy in nats, shape (N,); for four classes at most ln 4 = 1.39."""
        return entr(self.probabilities).sum(axis=1)

    @classmethod
    def join(cls, parts: Sequence[ClassEstimates]) -> ClassEstimates:
        """Put estimates of several blocks of stamps, at least one, behind one another."""
        names = ("probabilities", "spread", "distance", "noise", "is_strange")
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
        return cls(class_ids=parts[0].class_ids, **joined)

    def probability_of(self, class_ids: Sequence[int]) -> np.ndarray:
        """Return the probability of some classes together, shape (N,)."""
        is_wanted = np.isin(self.class_ids, class_ids)
        return self.probabilities[:, is_wanted].sum(axis=1)


class ClassPredictor:
    """An ensemble with its weights, scale and calibration.

    Each member sees the stamps in another of the eight orientations of a square, so that the
    average depends little on how an object lies.

    Parameters
    ----------
    weights : ClassWeights
    where : str
        Name of the file for messages.
    entry : WeightsEntry, optional
        What the registry knows of it.

    Attributes
    ----------
    n_members : int
        Number of members.
    """

    def __init__(
        self, weights: ClassWeights, *, where: str = "weights", entry: WeightsEntry | None = None
    ) -> None:
        self.config, self.scale = weights.config, weights.scale
        self.calibration, self.metadata = weights.calibration, weights.metadata
        self.entry, self.where = entry, where
        self.sha256 = entry.sha256 if entry else ""
        members = []
        for k, tensors in enumerate(weights.members):
            model = build_class_model(self.config)
            assign_strictly(model, tensors, where=f"{where} [member {k}]")
            members.append(model)
        self.n_members = len(members)
        # One model of all members: one compiled function, whatever their number.
        self._network = _side_by_side(members)
        self._network.compile(jit_compile=keras.backend.backend() == "jax")

    @classmethod
    def load(cls, name_or_path: str | Path) -> ClassPredictor:
        """Load weights by registry name, file, or run folder, verified.

        Raises
        ------
        InputNotFoundError, WeightsError
            As `astro_io.weights.resolve` and `read_class_weights`.
        """
        path, entry = resolve(name_or_path)
        predictor = cls(read_class_weights(path), where=path.name, entry=entry)
        predictor.sha256 = entry.sha256 if entry else file_sha256(path)
        return predictor

    @classmethod
    def from_members(
        cls,
        members: Sequence[Mapping[str, np.ndarray]],
        *,
        config: ClassModelConfig,
        scale: StampScale,
        calibration: ClassCalibration | None = None,
    ) -> ClassPredictor:
        """Wrap tensors in memory, for example of members that have just been trained."""
        weights = ClassWeights(
            config=config,
            scale=scale,
            calibration=calibration or ClassCalibration(),
            members=[dict(member) for member in members],
        )
        return cls(weights, where="memory")

    @property
    def zeropoint_mag(self) -> dict[str, float]:
        """AB magnitude of one unit of flux of the training stamps, where known."""
        return dict(self.metadata.get("zeropoint_mag") or {})

    @property
    def pixel_scale_arcsec(self) -> float:
        """Pixel size of the training stamps; 0 where it is not known."""
        known = self.config.pixel_scale_arcsec or self.metadata.get("pixel_scale_arcsec")
        return float(known or 0.0)

    def predict(
        self,
        stamps: np.ndarray,
        *,
        distance_kpc: np.ndarray | float | None = None,
        orientations: int = 1,
        batch_size: int = 256,
    ) -> ClassEstimates:
        """Classify stamps.

        Parameters
        ----------
        stamps : ndarray of float, shape (N, S, S, B)
            Flux in the unit of the training set, the object in the middle; NaN where there is no
            data, throughout in a band that is missing.
        distance_kpc : float or ndarray of float, shape (N,), optional
            NaN where not known.
        orientations : int
            In how many of the eight orientations of a square every member sees a stamp.
        batch_size : int

        Returns
        -------
        ClassEstimates
            Zero stamps give zero rows.
        """
        turns = [
            self.outputs(stamps, distance_kpc=distance_kpc, turn=turn, batch_size=batch_size)
            for turn in range(orientations)
        ]
        logits = np.concatenate([turn[0] for turn in turns])
        return self.estimate(stamps, logits, turns[0][1])

    def estimate(
        self, stamps: np.ndarray, logits: np.ndarray, features: np.ndarray
    ) -> ClassEstimates:
        """Turn raw outputs, as `outputs` gives them for `stamps`, into calibrated estimates."""
        temperature = self.calibration.temperature
        p = mean_probabilities(logits, temperature)
        each = np.stack([mean_probabilities(one[None], temperature) for one in logits])
        best = np.argmax(p, axis=1)
        spread = each[:, np.arange(len(p)), best].std(axis=0)
        unknown = ~self.is_usable(stamps)
        p[unknown], spread[unknown] = np.nan, np.nan
        distance = self.calibration.distance(features)
        noise = self.noise_of(stamps)
        return ClassEstimates(
            class_ids=self.config.class_ids,
            probabilities=p,
            spread=spread,
            distance=distance,
            noise=noise,
            is_strange=(distance > self.calibration.largest_distance)
            | self.calibration.noise.is_outside(noise),
        )

    def noise_of(self, stamps: np.ndarray) -> np.ndarray:
        """Return the scatter of pixels in units of the training set's, shape (N, B)."""
        return quiet_noise(stamps, self.scale.statistics.scale)

    def is_usable(self, stamps: np.ndarray) -> np.ndarray:
        """Return True for stamps that can be classified, shape (N,).

        One band is enough for our network.  Those of Wei et al. bear one missing band; stamps
        that lack more are dropped, as in the paper.  The middle must have data.
        """
        n_bands = bands_with_data(stamps).sum(axis=1)
        needed = len(self.config.bands) - 1 if self.config.network in PAPER_NETWORKS else 1
        return (n_bands >= max(1, needed)) & has_middle(stamps)

    def outputs(
        self,
        stamps: np.ndarray,
        *,
        distance_kpc: np.ndarray | float | None = None,
        turn: int = 0,
        batch_size: int = 256,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return raw logits (M, N, C) and the features of the first member (N, F).

        Member `k` sees the stamps in orientation ``k + turn``.
        """
        n = len(stamps)
        if self.config.network in PAPER_NETWORKS:
            batch_size = min(batch_size, _MOST_BLOWN_UP)
        distances = np.full(n, np.nan) if distance_kpc is None else distance_kpc
        distances = np.broadcast_to(np.asarray(distances, np.float64), (n,))
        slices = [slice(first, first + batch_size) for first in range(0, n, batch_size)]
        parts = [self._batch(stamps[part], distances[part], turn) for part in slices]
        if not parts:
            n_features = self._network.output[FEATURES].shape[-1]
            shape = (self.n_members, 0, len(self.config.class_ids))
            return np.zeros(shape), np.zeros((0, n_features))
        return (
            np.concatenate([part[0] for part in parts], axis=1),
            np.concatenate([part[1] for part in parts]),
        )

    def _batch(
        self, stamps: np.ndarray, distances: np.ndarray, turn: int
    ) -> tuple[np.ndarray, np.ndarray]:
        n = len(stamps)
        normalised = pad_rows(normalise_stamps(stamps, self.scale))
        told = pad_rows(distance_input(distances))
        inputs = {f"{STAMPS}_{k}": orient(normalised, k + turn) for k in range(self.n_members)}
        if len(self._network.inputs) > self.n_members:
            inputs[DISTANCE] = told
        said = self._network.predict_on_batch(inputs)
        logits = [np.asarray(said[f"{LOGITS}_{k}"], np.float64)[:n] for k in range(self.n_members)]
        return np.stack(logits), np.asarray(said[FEATURES], np.float64)[:n]

    def describe(self) -> dict[str, Any]:
        """Return facts for metadata: file, hash, bands, network."""
        return {
            "weights": self.entry.name if self.entry else self.where,
            "weights_sha256": self.sha256,
            "network": self.config.network,
            "members": self.n_members,
        }


def _side_by_side(members: Sequence[keras.Model]) -> keras.Model:
    """Join members to one model: stamps for each, the distance for all, logits of each.

    The features are those of the first member.
    """
    inputs, outputs = {}, {}
    for k, model in enumerate(members):
        model.name = f"member_{k}"
        own = {}
        for name, tensor in model.input.items():
            key = name if name == DISTANCE else f"{name}_{k}"
            inputs.setdefault(key, keras.Input(tensor.shape[1:], name=key))
            own[name] = inputs[key]
        if k == 0:
            features = model.get_layer(FEATURES).output
            model = keras.Model(model.input, {**model.output, FEATURES: features}, name=model.name)
        said = model(own)
        outputs[f"{LOGITS}_{k}"] = said[LOGITS]
        if k == 0:
            outputs[FEATURES] = said[FEATURES]
    return keras.Model(inputs, outputs, name="ensemble")
