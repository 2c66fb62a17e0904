"""What the network says: outputs, their targets and losses, and what they mean.

Three kinds of heads predict the parameters: ``mixture`` (a joint density with full covariances),
``bins`` (softmax over bins, of several parameters jointly, as in Paper II) and ``point`` (one
number each, as in Paper I).  All become a posterior (`cluster_cnn.posteriors`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import layers, ops
from scipy.special import logsumexp

from cluster_cnn import losses
from cluster_cnn.config import ModelConfig, ParameterConfig, bin_edges
from cluster_cnn.grid_posterior import GridPosterior
from cluster_cnn.posteriors import MixturePosterior, Posterior

CLASS_OUTPUT = "is_cluster"
VISIBILITY_OUTPUT = "log_snr"


def build_outputs(x, config: ModelConfig, *, seed: int) -> dict:
    """Add the output layers to a vector of features.

    Parameters
    ----------
    x : tensor of float, shape (N, F)
    config : ModelConfig
    seed : int
        Of the random starts.

    Returns
    -------
    dict of str to tensor
        Raw outputs: ``parameters``, or ``parameters_<i>`` for each binned head; `CLASS_OUTPUT`,
        `VISIBILITY_OUTPUT` where asked for.
    """
    seeds = iter(range(seed, seed + 100))
    outputs = {
        name: layers.Dense(
            size,
            name=name,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            bias_initializer=_spread_means(config, next(seeds))
            if name == "parameters" and config.head == "mixture"
            else "zeros",
        )(x)
        for name, size in output_sizes(config).items()
    }
    return outputs


def output_sizes(config: ModelConfig) -> dict[str, int]:
    """Return the length of each output."""
    n_parameters = len(config.parameters)
    if config.head == "mixture":
        sizes = {"parameters": losses.mixture_size(n_parameters, config.n_components)}
    elif config.head == "point":
        sizes = {"parameters": n_parameters}
    else:
        sizes = {
            f"parameters_{i}": math.prod(shape) for i, shape in enumerate(group_shapes(config))
        }
    if config.has_class:
        sizes[CLASS_OUTPUT] = 1
    if config.has_visibility:
        sizes[VISIBILITY_OUTPUT] = config.visibility_bins if config.head == "bins" else 2
    return sizes


def group_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Return the grid of each binned head, in the order of `ModelConfig.joint_groups`."""
    n_bins = {parameter.name: parameter.n_bins for parameter in config.parameters}
    return [tuple(n_bins[name] for name in group) for group in config.joint_groups]


def output_losses(config: ModelConfig) -> dict[str, Callable]:
    """Return the loss of each output: ``loss(truth, raw)`` of shape (N,)."""
    chosen: dict[str, Callable] = {}
    for name in output_sizes(config):
        if name == CLASS_OUTPUT:
            chosen[name] = losses.class_loss
        elif config.head == "bins":
            chosen[name] = losses.bin_loss
        elif name == VISIBILITY_OUTPUT:
            chosen[name] = losses.gaussian_loss
        elif config.head == "point":
            chosen[name] = losses.point_loss
        else:
            chosen[name] = _mixture_loss(config.n_components)
    return chosen


def make_targets(
    config: ModelConfig,
    values: np.ndarray,
    is_cluster: np.ndarray,
    log_snr: np.ndarray,
    *,
    min_snr: float = 0.0,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Turn the truth of some stamps into targets and weights of each output.

    Parameters
    ----------
    config : ModelConfig
    values : ndarray of float, shape (N, P)
        Parameters in their own units; anything, also NaN, for stamps without a cluster.
    is_cluster : ndarray of bool, shape (N,)
    log_snr : ndarray of float, shape (N,)
        log10 of the signal to noise.
    min_snr : float
        Fainter clusters do not count in the loss of the parameters.

    Returns
    -------
    targets, weights : dict of str to ndarray
        Weights have shape (N,): 0 where a stamp says nothing about an output.
    """
    known = is_cluster & np.isfinite(values).all(axis=1)
    is_bright = known & (log_snr >= (math.log10(min_snr) if min_snr > 0 else -np.inf))
    values = np.where(known[:, None], values, 0.0)
    targets: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for name in output_sizes(config):
        if name == CLASS_OUTPUT:
            targets[name] = is_cluster[:, None].astype(np.float32)
            weights[name] = np.ones(len(values), np.float32)
        elif name == VISIBILITY_OUTPUT:
            targets[name] = _visibility_target(config, log_snr)
            weights[name] = (is_cluster & np.isfinite(log_snr)).astype(np.float32)
        else:
            targets[name] = _parameter_target(config, name, values)
            weights[name] = is_bright.astype(np.float32)
    return targets, weights


def scale_values(config: ModelConfig, values: np.ndarray) -> np.ndarray:
    """Map each parameter's range to -1 .. 1; float32, shape (N, P)."""
    low, high = _ranges(config)
    return ((2.0 * values - low - high) / (high - low)).astype(np.float32)


def posterior_of(config: ModelConfig, outputs: Mapping[str, object], spread: np.ndarray | None):
    """Turn raw outputs into a posterior in the units of the parameters.

    Parameters
    ----------
    config : ModelConfig
    outputs : mapping of str to tensor
        As the network returns them.
    spread : ndarray of float, shape (P, P), optional
        Covariance of the errors of a ``point`` head, in the units of the parameters; without
        it, a hundredth of each range.

    Returns
    -------
    Posterior
    """
    low, high = _ranges(config)
    half, middle = (high - low) / 2, (high + low) / 2
    if config.head == "bins":
        return _grid_posterior(config, outputs)
    raw = outputs["parameters"]
    n = int(raw.shape[0])
    if config.head == "point":
        means = _numpy(raw)[:, None] * half + middle
        if spread is None:
            spread = np.diag((0.02 * half) ** 2)
        covariances = np.broadcast_to(spread, (n, 1, *spread.shape))
        return MixturePosterior(np.ones((n, 1)), means, covariances, low, high)
    n_parameters = len(config.parameters)
    n_components = int(raw.shape[1]) // losses.mixture_size(n_parameters, 1)
    log_weights, means, factors = losses.unpack_mixture(
        ops.convert_to_tensor(raw), n_parameters, n_components
    )
    # L L^T is the inverse of the covariance, which is L^-T L^-1 then.
    inverse = np.linalg.inv(_numpy(factors))
    covariances = np.einsum("nkji,nkjl->nkil", inverse, inverse) * half[:, None] * half
    return MixturePosterior(
        np.exp(_numpy(log_weights)), _numpy(means) * half + middle, covariances, low, high
    )


def join_views(
    config: ModelConfig, views: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Join the outputs for several orientations of the same stamps.

    Parameters
    ----------
    config : ModelConfig
    views : sequence of mapping of str to ndarray of float, shape (N, F)
        Raw outputs, or other numbers by name.

    Returns
    -------
    dict of str to ndarray
        A mixture gets the Gaussians of all views, bins the mean of their probabilities,
        everything else its mean.
    """
    if len(views) == 1:
        return dict(views[0])
    joined: dict[str, np.ndarray] = {}
    for name in views[0]:
        values = [np.asarray(view[name]) for view in views]
        is_binned = config.head == "bins" and name in output_sizes(config) and name != CLASS_OUTPUT
        if is_binned:
            shares = [v - logsumexp(v, axis=1, keepdims=True) for v in values]
            joined[name] = logsumexp(shares, axis=0) - math.log(len(views))
        elif name == "parameters" and config.head == "mixture":
            joined[name] = np.concatenate([_own_weights(config, v) for v in values], axis=1)
        else:
            joined[name] = np.mean(values, axis=0)
    return joined


def visibility_of(config: ModelConfig, raw) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of log10 S/N, each of shape (N,)."""
    raw = _numpy(raw)
    low, high = config.visibility_low, config.visibility_high
    if config.head == "bins":
        probabilities = np.exp(raw - raw.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        edges = np.linspace(low, high, config.visibility_bins + 1)
        centers = (edges[1:] + edges[:-1]) / 2
        mean = probabilities @ centers
        return mean, np.sqrt(np.maximum(probabilities @ centers**2 - mean**2, 0.0))
    half = (high - low) / 2
    bound = losses.LOG_SCALE_BOUND
    return raw[:, 0] * half + (high + low) / 2, half * np.exp(bound * np.tanh(raw[:, 1] / bound))


def _own_weights(config: ModelConfig, raw: np.ndarray) -> np.ndarray:
    """Return the numbers of a mixture with weights that sum to 1 by themselves."""
    parts = raw.reshape(len(raw), config.n_components, -1).copy()
    parts[..., 0] -= logsumexp(parts[..., 0], axis=1, keepdims=True)
    return parts.reshape(len(raw), -1)


def _mixture_loss(n_components: int) -> Callable:
    def loss(truth, raw):
        return losses.mixture_loss(truth, raw, n_components=n_components)

    return loss


def _spread_means(config: ModelConfig, seed: int):
    """Start the Gaussians at different places: equal ones would stay equal."""
    k, p = config.n_components, len(config.parameters)
    start = np.zeros((k, losses.mixture_size(p, 1)), np.float32)
    start[:, 1 : 1 + p] = np.random.default_rng(seed).uniform(-0.8, 0.8, (k, p))
    start[:, 1 + p : 1 + 2 * p] = 1.0
    return _FixedStart(start.ravel())


class _FixedStart(keras.initializers.Initializer):
    """A given array as the start of a variable."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(self, shape, dtype=None, **_):
        """Return the values."""
        return ops.reshape(ops.convert_to_tensor(self.values, dtype=dtype), shape)


def _ranges(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([parameter.low for parameter in config.parameters]),
        np.array([parameter.high for parameter in config.parameters]),
    )


def _visibility_target(config: ModelConfig, log_snr: np.ndarray) -> np.ndarray:
    low, high = config.visibility_low, config.visibility_high
    value = np.clip(np.nan_to_num(log_snr, nan=low, neginf=low, posinf=high), low, high)
    if config.head == "bins":
        step = (high - low) / config.visibility_bins
        return _bin_of(value, low, step, config.visibility_bins)
    return ((2 * value - low - high) / (high - low))[:, None].astype(np.float32)


def _parameter_target(config: ModelConfig, name: str, values: np.ndarray) -> np.ndarray:
    if config.head != "bins":
        return scale_values(config, values)
    group = config.joint_groups[int(name.rpartition("_")[2])]
    index = [_parameter_bin(config, member, values) for member in group]
    shape = tuple(_parameter(config, member).n_bins for member in group)
    return np.ravel_multi_index(index, shape).astype(np.int32)


def _parameter_bin(config: ModelConfig, name: str, values: np.ndarray) -> np.ndarray:
    parameter = _parameter(config, name)
    step = (parameter.high - parameter.low) / parameter.n_bins
    column = values[:, config.parameter_names.index(name)]
    return _bin_of(column, parameter.low, step, parameter.n_bins)


def _bin_of(values: np.ndarray, low: float, step: float, n_bins: int) -> np.ndarray:
    """Return the bin of each value; values outside go to the first and last."""
    return np.clip(np.floor((values - low) / step), 0, n_bins - 1).astype(np.int32)


def _parameter(config: ModelConfig, name: str) -> ParameterConfig:
    return config.parameters[config.parameter_names.index(name)]


def _grid_posterior(config: ModelConfig, outputs: Mapping[str, object]) -> Posterior:
    grids = []
    for i, shape in enumerate(group_shapes(config)):
        probabilities = _numpy(ops.softmax(ops.convert_to_tensor(outputs[f"parameters_{i}"])))
        grids.append(probabilities.reshape(-1, *shape))
    places = [
        [config.parameter_names.index(name) for name in group] for group in config.joint_groups
    ]
    edges = [np.array(bin_edges(parameter)) for parameter in config.parameters]
    return GridPosterior(grids, places, edges)


def _numpy(tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor), np.float64)
