"""Predictor: stamps in memory to parameters with their uncertainties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from astro_io.errors import ConfigError
from astro_io.weights import WeightsEntry, file_sha256, resolve
from cluster_cnn.batches import orient, pad_rows
from cluster_cnn.calibration import LEVELS, Calibration
from cluster_cnn.config import ModelConfig
from cluster_cnn.heads import (
    CLASS_OUTPUT,
    VISIBILITY_OUTPUT,
    join_views,
    posterior_of,
    visibility_of,
)
from cluster_cnn.model import FEATURES, build_model, with_features
from cluster_cnn.noise import quiet_noise
from cluster_cnn.normalise import StampScale, normalise_stamps
from cluster_cnn.posteriors import Posterior, correlation
from cluster_cnn.weights_file import Weights, assign_strictly, read_weights
from cluster_cnn.within import peaks, quantiles_within

PROBABILITIES = (0.16, 0.5, 0.84)
"""Quantiles that every prediction carries."""

_BOX_BATCH = 256  # clusters whose draws are in memory at a time

EDGE_SHARE = 0.01
"""A median closer than this share of the trained range to its end is at the limit."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates:
    """What the network says of N stamps.

    Attributes
    ----------
    names : tuple of str
        The P parameters.
    quantiles : ndarray of float, shape (N, P, 3)
        At `PROBABILITIES`, calibrated.
    best : ndarray of float, shape (N, P)
        Where the joint density is highest, see `cluster_cnn.within.peaks`.
    correlations : ndarray of float, shape (N, P, P)
        Between parameters, in the network's own posterior.
    p_cluster : ndarray of float, shape (N,)
        Probability of being a star cluster; NaN if the network does not say.
    entropy : ndarray of float, shape (N,)
        Of that choice, in nats (largest: ln 2).
    log_snr, log_snr_error : ndarray of float, shape (N,)
        log10 of the signal to noise and its standard deviation; NaN if the network does not say.
    distance : ndarray of float, shape (N,)
        How unusual a stamp is: about 1 for those like the training set.
    noise : ndarray of float, shape (N, B)
        Scatter of the pixels of each band, see `cluster_cnn.noise.quiet_noise`; NaN where it was
        not measured.
    is_strange : ndarray of bool, shape (N,)
        Farther than all but 1 in 1000 stamps of the training set, or of a scatter that none has:
        in another unit, perhaps.
    is_at_limit : ndarray of bool, shape (N,)
        A median, but of a parameter that the user knows, lies at an end of the trained range.
    is_contradicted : ndarray of bool, shape (N,)
        The ranges that the user knows hold less than a hundredth of the probability.
    """

    names: tuple[str, ...]
    quantiles: np.ndarray
    best: np.ndarray
    correlations: np.ndarray
    p_cluster: np.ndarray
    entropy: np.ndarray
    log_snr: np.ndarray
    log_snr_error: np.ndarray
    distance: np.ndarray
    noise: np.ndarray
    is_strange: np.ndarray
    is_at_limit: np.ndarray
    is_contradicted: np.ndarray

    def __len__(self) -> int:
        """Return the number of stamps."""
        return len(self.quantiles)

    @property
    def medians(self) -> np.ndarray:
        """Return the medians, shape (N, P)."""
        return self.quantiles[:, :, 1]


class Predictor:
    """A network with its weights, scale and calibration.

    Parameters
    ----------
    weights : Weights
    where : str
        Name of the file for messages.
    entry : WeightsEntry, optional
        What the registry knows of it.
    """

    def __init__(
        self, weights: Weights, *, where: str = "weights", entry: WeightsEntry | None = None
    ) -> None:
        model = build_model(weights.config)
        assign_strictly(model, weights.tensors, where=where)
        self._set_up(model, weights.config, weights.scale, weights.calibration)
        self.metadata, self.entry, self.where = weights.metadata, entry, where
        self.sha256 = entry.sha256 if entry else ""

    def _set_up(
        self,
        model: keras.Model,
        config: ModelConfig,
        scale: StampScale,
        calibration: Calibration,
    ) -> None:
        self.config, self.scale, self.calibration = config, scale, calibration
        self._network = with_features(model)
        # A compiled model predicts in fixed shapes; nothing is trained.
        self._network.compile(jit_compile=keras.backend.backend() == "jax")

    @classmethod
    def load(cls, name_or_path: str | Path) -> Predictor:
        """Load weights by registry name, file, or run folder, verified.

        Raises
        ------
        InputNotFoundError, WeightsError
            As `astro_io.weights.resolve` and `cluster_cnn.weights_file.read_weights`.
        """
        path, entry = resolve(name_or_path)
        predictor = cls(read_weights(path), where=path.name, entry=entry)
        predictor.sha256 = entry.sha256 if entry else file_sha256(path)
        return predictor

    @classmethod
    def from_model(
        cls,
        model: keras.Model,
        *,
        config: ModelConfig,
        scale: StampScale,
        calibration: Calibration | None = None,
    ) -> Predictor:
        """Wrap a network in memory, for example one that has just been trained."""
        predictor = cls.__new__(cls)
        known = calibration or Calibration.identity(len(config.parameters))
        predictor._set_up(model, config, scale, known)
        predictor.metadata, predictor.entry = {}, None
        predictor.where, predictor.sha256 = "memory", ""
        return predictor

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in channel order."""
        return self.config.bands

    @property
    def stamp_size(self) -> int:
        """Side of a stamp in pixels."""
        return self.config.stamp_size

    @property
    def pixel_scale_arcsec(self) -> float:
        """Pixel size of the training stamps; 0 where it is not known."""
        return self.config.pixel_scale_arcsec or float(
            self.metadata.get("pixel_scale_arcsec") or 0.0
        )

    @property
    def zeropoint_mag(self) -> dict[str, float]:
        """AB magnitude of one unit of flux of the training stamps, where known."""
        return dict(self.metadata.get("zeropoint_mag") or {})

    def describe(self) -> dict[str, Any]:
        """Return facts for metadata: file, hash, bands, network."""
        return {
            "weights": self.entry.name if self.entry else self.where,
            "sha256": self.sha256,
            "bands": list(self.bands),
            "stamp_size": self.stamp_size,
            "trunk": self.config.trunk,
            "head": self.config.head,
            "parameters": list(self.config.parameter_names),
        }

    def predict(
        self,
        stamps: np.ndarray,
        bad: np.ndarray | None = None,
        *,
        known: Mapping[str, np.ndarray] | None = None,
        within: Mapping[str, tuple[float, float]] | None = None,
        batch_size: int = 64,
    ) -> Estimates:
        """Predict the parameters of stamps.

        Parameters
        ----------
        stamps : ndarray of float, shape (N, S, S, C)
            Flux in the unit of the training set, the object in the middle; with a wide view
            (`ModelConfig.wide_binning`) the bands of that behind those of the stamp.
        bad : ndarray of bool, same shape, optional
            Pixels without data.  Non-finite ones count as such.
        known : mapping of str to ndarray of float, shape (N,), optional
            One parameter that the user knows, for example ``{"av": values}``: the others are
            those of the joint posterior where it has this value.  NaN: not known in this row.
        within : mapping of str to pair of float, optional
            Ranges that parameters are known to lie in, for example ``{"log_age": (6.6, 8.0)}``.
        batch_size : int

        Returns
        -------
        Estimates
            Zero stamps give zero rows.
        """
        size = max(batch_size, 1)
        slices = [slice(first, first + size) for first in range(0, len(stamps), size)]
        parts = [
            self.estimate(
                self.outputs(
                    normalise_stamps(stamps[part], self.scale, None if bad is None else bad[part])
                ),
                _part_of(known, part),
                within,
                self.watched_noise(stamps[part]),
            )
            for part in slices
        ]
        parts = parts or [self.estimate(self.outputs(normalise_stamps(stamps, self.scale)))]
        if len(parts) == 1:
            return parts[0]
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Estimates.__dataclass_fields__
            if name != "names"
        }
        return Estimates(names=self.config.parameter_names, **joined)

    def noise_of(self, stamps: np.ndarray) -> np.ndarray:
        """Return the scatter of pixels in units of the training set's, shape (N, B)."""
        n_bands = len(self.bands)
        return quiet_noise(stamps[..., :n_bands], self.scale.statistics.scale[:n_bands])

    def watched_noise(self, stamps: np.ndarray) -> np.ndarray | None:
        """Return `noise_of` for `estimate` where the weights know what it may be, else None."""
        return self.noise_of(stamps) if self.calibration.noise.is_known else None

    def outputs(self, normalised: np.ndarray) -> dict[str, np.ndarray]:
        """Return the raw outputs and features of normalised stamps, as numpy.

        Those of several orientations are joined where the settings ask for it.

        Parameters
        ----------
        normalised : ndarray of float32, shape (N, S, S, B)
            From `cluster_cnn.normalise.normalise_stamps`.
        """
        n = len(normalised)
        if n == 0:
            return {
                name: np.zeros((0, *tensor.shape[1:]), np.float32)
                for name, tensor in self._network.output.items()
            }
        padded = pad_rows(normalised)
        views = []
        for number in range(self.config.views):
            raw = self._network.predict_on_batch(orient(padded, number))
            views.append({name: np.asarray(value)[:n] for name, value in raw.items()})
        return join_views(self.config, views)

    def posterior(self, outputs: dict[str, np.ndarray]) -> Posterior:
        """Return the network's own posterior, before calibration."""
        return posterior_of(self.config, outputs, self.calibration.spread)

    def estimate(
        self,
        outputs: dict[str, np.ndarray],
        known: Mapping[str, np.ndarray] | None = None,
        within: Mapping[str, tuple[float, float]] | None = None,
        noise: np.ndarray | None = None,
    ) -> Estimates:
        """Turn raw outputs into calibrated estimates; `known` and `within` as of `predict`.

        `noise`, from `noise_of`, is looked at where it is given.
        """
        n = len(outputs[FEATURES])
        told = self._told(known, n)
        quantiles, best, correlations, is_contradicted = self._answers(
            self.posterior(outputs), told, within
        )
        p_cluster = self._p_cluster(outputs, n)
        log_snr, error = self._visibility(outputs, n)
        distance = self.calibration.distance(outputs[FEATURES].astype(np.float64))
        noise = np.full((n, len(self.bands)), np.nan) if noise is None else noise
        return Estimates(
            names=self.config.parameter_names,
            quantiles=quantiles,
            best=best,
            correlations=correlations,
            p_cluster=p_cluster,
            entropy=binary_entropy(p_cluster),
            log_snr=log_snr,
            log_snr_error=error,
            distance=distance,
            noise=noise,
            is_strange=(distance > self.calibration.largest_distance)
            | self.calibration.noise.is_outside(noise),
            is_at_limit=(self._at_limit(quantiles[:, :, 1]) & ~np.isfinite(told)).any(axis=1),
            is_contradicted=is_contradicted,
        )

    def _answers(
        self,
        posterior: Posterior,
        told: np.ndarray,
        within: Mapping[str, tuple[float, float]] | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return quantiles (N, P, 3), peaks (N, P), correlations (N, P, P), `is_contradicted` (N,).

        `told` is from `_told`.
        """
        names, box = self.config.parameter_names, self._box(within)
        quantiles = np.repeat(told[:, :, None], len(PROBABILITIES), axis=2)
        best, correlations = told.copy(), np.tile(np.eye(len(names)), (len(told), 1, 1))
        is_contradicted = np.zeros(len(told), bool)
        place_told = np.where(np.isfinite(told).any(axis=1), np.isfinite(told).argmax(axis=1), -1)
        for place in np.unique(place_told):
            rows, rest = np.flatnonzero(place_told == place), np.arange(len(names))
            part, levels = posterior.rows(rows), self.calibration.parameter_levels
            if place >= 0:
                part, rest = part.given(place, told[rows, place]), np.delete(rest, place)
                levels = self.calibration.levels_given(names[place], place)
            sides = None if box is None else box[:, rest]
            cells = np.ix_(rows, rest)
            wanted = levels(np.array(PROBABILITIES))
            quantiles[cells], is_contradicted[rows] = _quantiles(part, wanted, sides)
            best[cells] = _best(part, sides)
            correlations[np.ix_(rows, rest, rest)] = correlation(part.covariance())
        return quantiles, best, correlations, is_contradicted

    def _told(self, known: Mapping[str, np.ndarray] | None, n: int) -> np.ndarray:
        """Return values of parameters that the user knows, shape (N, P); NaN for the others."""
        names = self.config.parameter_names
        told = np.full((n, len(names)), np.nan)
        if not known:
            return told
        if len(known) != 1 or not set(known) <= set(names) or len(names) < 2:
            raise ConfigError(
                f"known parameters: expected one of {', '.join(names)}; found "
                f"{', '.join(known)}. Give one."
            )
        ((name, values),) = known.items()
        told[:, names.index(name)] = values
        return told

    def range_of(self, name: str) -> tuple[float, float]:
        """Return the ends of the trained range of a parameter."""
        parameter = self.config.parameters[self.config.parameter_names.index(name)]
        return parameter.low, parameter.high

    def is_untaught(self, known: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return True where a known parameter, as of `predict`, lies outside its trained range."""
        ranges = {name: self.range_of(name) for name in self.config.parameter_names}
        odd = [(v < ranges[n][0]) | (v > ranges[n][1]) for n, v in known.items() if n in ranges]
        return np.any(odd, axis=0)

    def check_ranges(self, within: Mapping[str, tuple[float, float]]) -> None:
        """Raise ConfigError unless these are ranges of parameters that the network knows."""
        names = self.config.parameter_names
        for name, (low, high) in within.items():
            if name not in names or low >= high:
                raise ConfigError(
                    f"range of {name}: expected low < high of one of {', '.join(names)}; found "
                    f"{low:g}, {high:g}."
                )
            least, most = self.range_of(name)
            if high <= least or low >= most:
                raise ConfigError(
                    f"range of {name}: expected one that shares values with {least:g} to {most:g}, "
                    f"what the network was taught; found {low:g} to {high:g}. Give log10 of ages "
                    "in years, masses in solar masses and radii in arcsec."
                )

    def _box(self, within: Mapping[str, tuple[float, float]] | None) -> np.ndarray | None:
        """Return lower and upper sides of the range of each parameter, shape (2, P)."""
        if not within:
            return None
        self.check_ranges(within)
        names = self.config.parameter_names
        return np.array([within.get(name, (-np.inf, np.inf)) for name in names], float).T

    def _p_cluster(self, outputs: dict[str, np.ndarray], n: int) -> np.ndarray:
        if CLASS_OUTPUT not in outputs:
            return np.full(n, np.nan)
        logit = outputs[CLASS_OUTPUT][:, 0].astype(np.float64) / self.calibration.temperature
        return 0.5 * (1.0 + np.tanh(0.5 * logit))

    def _visibility(self, outputs: dict[str, np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
        if VISIBILITY_OUTPUT not in outputs:
            return np.full(n, np.nan), np.full(n, np.nan)
        mean, error = visibility_of(self.config, outputs[VISIBILITY_OUTPUT])
        return mean, error * _width_factor(self.calibration.snr_levels)

    def _at_limit(self, medians: np.ndarray) -> np.ndarray:
        """Return True where a median lies at an end of its range, shape (N, P)."""
        low, high = np.transpose([self.range_of(name) for name in self.config.parameter_names])
        margin = EDGE_SHARE * (high - low)
        return (medians < low + margin) | (medians > high - margin)


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """Return ``-p ln p - (1 - p) ln(1 - p)``, shape (N,); NaN stays NaN."""
    from scipy.special import entr

    return entr(p) + entr(1.0 - p)


def _width_factor(levels: np.ndarray) -> float:
    """Return by how much a Gaussian must be wider for its 68 % interval to hold 68 %."""
    from scipy.special import ndtri

    low, high = np.interp([0.158655, 0.841345], LEVELS, levels)
    width = float(ndtri(np.clip(high, 1e-6, 1 - 1e-6)) - ndtri(np.clip(low, 1e-6, 1 - 1e-6)))
    return max(width / 2.0, 1e-3)


def _quantiles(
    posterior: Posterior, levels: np.ndarray, box: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    if box is None or not np.isfinite(box).any() or not len(posterior):
        return posterior.quantiles(levels), np.zeros(len(posterior), bool)
    parts = [quantiles_within(part, levels, *box) for part in _batches(posterior)]
    quantiles, is_contradicted = map(np.concatenate, zip(*parts, strict=True))
    return quantiles, is_contradicted


def _best(posterior: Posterior, box: np.ndarray | None) -> np.ndarray:
    n_parameters = len(posterior.limits()[0])
    low, high = np.array([[-np.inf], [np.inf]]) * np.ones(n_parameters) if box is None else box
    if not len(posterior):
        return np.zeros((0, n_parameters))
    return np.concatenate([peaks(part, low, high) for part in _batches(posterior)])


def _batches(posterior: Posterior) -> Iterator[Posterior]:
    """Yield the distributions of some clusters at a time, whose draws fit into the memory."""
    for first in range(0, len(posterior), _BOX_BATCH):
        yield posterior.rows(slice(first, first + _BOX_BATCH))


def _part_of(known: Mapping[str, np.ndarray] | None, part: slice) -> dict[str, np.ndarray] | None:
    return None if not known else {name: np.asarray(v)[part] for name, v in known.items()}
