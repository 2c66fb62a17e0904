"""How wrong the outputs are: one function a head, in keras.ops, one number a stamp.

Parameters come scaled so that their range is -1 to 1 (`cluster_cnn.heads.scale_values`).
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

LOG_SCALE_BOUND = 6.0
"""Standard deviations stay within exp(-6) and exp(6) of a scaled unit."""

FLOOR = 1e-3
"""Share of a uniform density over the range in a mixture's loss: no outlier rules a step."""

_LOG_TWO_PI = math.log(2.0 * math.pi)


def mixture_size(n_parameters: int, n_components: int) -> int:
    """Return the numbers that describe a mixture: weight, mean, triangular factor of each."""
    return n_components * (1 + n_parameters + n_parameters * (n_parameters + 1) // 2)


def unpack_mixture(raw, n_parameters: int, n_components: int):
    """Read a mixture of Gaussians from the outputs of a dense layer.

    Parameters
    ----------
    raw : tensor of float, shape (N, mixture_size)
    n_parameters, n_components : int
        Numbers P and K.

    Returns
    -------
    log_weights : tensor, shape (N, K)
        Logarithms of weights that sum to 1.
    means : tensor, shape (N, K, P)
    factors : tensor, shape (N, K, P, P)
        Lower triangular L with positive diagonal; the inverse of the covariance is ``L L^T``
        (Williams 1996, Neural Computation 8, 843).
    """
    p, k = n_parameters, n_components
    raw = ops.reshape(raw, (-1, k, raw.shape[-1] // k))
    log_weights = ops.log_softmax(raw[..., 0], axis=-1)
    means = raw[..., 1 : 1 + p]
    log_scale = LOG_SCALE_BOUND * ops.tanh(raw[..., 1 + p : 1 + 2 * p] / LOG_SCALE_BOUND)
    entries = ops.concatenate([ops.exp(log_scale), raw[..., 1 + 2 * p :]], axis=-1)
    placing = ops.convert_to_tensor(_triangle_placing(p), dtype=raw.dtype)
    factors = ops.reshape(ops.matmul(entries, placing), (-1, k, p, p))
    return log_weights, means, factors


def mixture_loss(truth, raw, *, n_components: int):
    """Negative log density of the truth in a mixture with full covariances.

    To the mixture belongs a uniform density of weight `FLOOR` over the scaled range.

    Parameters
    ----------
    truth : tensor of float, shape (N, P)
    raw : tensor of float, shape (N, mixture_size)
    n_components : int

    Returns
    -------
    tensor of float, shape (N,)
        In nats.
    """
    p = truth.shape[-1]
    log_weights, means, factors = unpack_mixture(raw, p, n_components)
    offset = ops.expand_dims(truth, 1) - means
    whitened = ops.einsum("nkij,nki->nkj", factors, offset)
    diagonal = ops.convert_to_tensor(np.eye(p), dtype=raw.dtype)
    log_det = ops.sum(ops.log(ops.sum(factors * diagonal, axis=-1)), axis=-1)
    log_density = log_det - 0.5 * ops.sum(ops.square(whitened), axis=-1) - 0.5 * p * _LOG_TWO_PI
    log_mixture = ops.logsumexp(log_weights + log_density, axis=-1)
    return _with_floor(log_mixture, p)


def bin_loss(truth, logits):
    """Cross-entropy of the true bin.

    Parameters
    ----------
    truth : tensor of int, shape (N,) or (N, 1)
        Number of the bin.
    logits : tensor of float, shape (N, n_bins)

    Returns
    -------
    tensor of float, shape (N,)
    """
    index = ops.reshape(ops.cast(truth, "int32"), (-1,))
    chosen = ops.take_along_axis(ops.log_softmax(logits, axis=-1), index[:, None], axis=-1)
    return -chosen[:, 0]


def point_loss(truth, predicted):
    """Mean squared error over the parameters, shape (N,)."""
    return ops.mean(ops.square(predicted - truth), axis=-1)


def class_loss(truth, logit):
    """Cross-entropy of cluster (1) against background (0).

    Parameters
    ----------
    truth, logit : tensor of float, shape (N, 1)

    Returns
    -------
    tensor of float, shape (N,)
    """
    return ops.sum(ops.softplus(logit) - truth * logit, axis=-1)


def gaussian_loss(truth, raw):
    """Negative log density of a Gaussian whose width the network predicts too.

    As in `mixture_loss`, a uniform density of weight `FLOOR` over the scaled range belongs to it.

    Parameters
    ----------
    truth : tensor of float, shape (N, 1)
    raw : tensor of float, shape (N, 2)
        Mean and logarithm of the standard deviation.

    Returns
    -------
    tensor of float, shape (N,)
    """
    log_sigma = LOG_SCALE_BOUND * ops.tanh(raw[:, 1] / LOG_SCALE_BOUND)
    z = (truth[:, 0] - raw[:, 0]) * ops.exp(-log_sigma)
    log_density = -0.5 * ops.square(z) - log_sigma - 0.5 * _LOG_TWO_PI
    return _with_floor(log_density, 1)


def _with_floor(log_density, n_parameters: int):
    """Return the negative log density with the uniform one of weight `FLOOR` added."""
    log_floor = math.log(FLOOR) - n_parameters * math.log(2.0)
    return -ops.logaddexp(log_density + math.log1p(-FLOOR), ops.full_like(log_density, log_floor))


def _triangle_placing(p: int) -> np.ndarray:
    """Return the 0-1 matrix from diagonal, then strict lower triangle, to a flat P x P matrix."""
    rows, columns = np.tril_indices(p, -1)
    rows, columns = np.concatenate([np.arange(p), rows]), np.concatenate([np.arange(p), columns])
    placing = np.zeros((len(rows), p * p), np.float32)
    placing[np.arange(len(rows)), rows * p + columns] = 1.0
    return placing
