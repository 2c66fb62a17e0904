"""Run a trained network on stamps with known truth and learn its calibration."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from astro_io.cli import progress
from cluster_cnn.calibration import Calibration, fit_temperature, level_table, whitening
from cluster_cnn.data import ClusterSequence
from cluster_cnn.heads import CLASS_OUTPUT, VISIBILITY_OUTPUT, visibility_of
from cluster_cnn.model import FEATURES
from cluster_cnn.noise import NoiseRange
from cluster_cnn.posteriors import Posterior
from cluster_cnn.predictor import Predictor


def measure_calibration(predictor: Predictor, sequence: ClusterSequence) -> Calibration:
    """Measure everything that `Calibration` holds.

    Parameters
    ----------
    predictor : Predictor
        Not calibrated.
    sequence : ClusterSequence
        Stamps that training has not seen, in order and without augmentation.

    Returns
    -------
    Calibration
        Unchanged where the stamps cannot say: no clusters, or no class.
    """
    outputs = _all_outputs(predictor, sequence)
    source, rows = sequence.source, sequence.rows
    truth = source.parameters(predictor.config.parameter_names)[rows]
    is_cluster, log_snr = source.is_cluster()[rows], source.log_snr()[rows]
    known = is_cluster & np.isfinite(truth).all(axis=1)
    n_parameters = truth.shape[1]
    identity = Calibration.identity(n_parameters)
    if not known.any():
        return identity
    of_clusters = {name: value[known] for name, value in outputs.items()}
    spread = _spread(predictor, of_clusters, truth[known])
    mean, matrix, limit = whitening(outputs[FEATURES].astype(np.float64))
    partly = Calibration(
        levels=identity.levels,
        spread=spread,
        temperature=_temperature(outputs, is_cluster),
        snr_levels=_snr_levels(predictor, of_clusters, log_snr[known]),
        feature_mean=mean,
        feature_whitening=matrix,
        largest_distance=limit,
        noise=_noise_range(predictor, sequence),
        n_stamps=int(known.sum()),
    )
    predictor.calibration = partly
    posterior = predictor.posterior(of_clusters)
    levels = _levels(posterior, truth[known])
    known_levels = {
        name: _levels(posterior.given(p, truth[known][:, p]), np.delete(truth[known], p, axis=1))
        for p, name in enumerate(predictor.config.parameter_names)
        if n_parameters > 1
    }
    return Calibration(**{**vars(partly), "levels": levels, "known_levels": known_levels})


def _noise_range(predictor: Predictor, sequence: ClusterSequence) -> NoiseRange:
    """Return how much pixels scatter in stamps as they are."""
    size = sequence.batch_size
    firsts = range(0, len(sequence.rows), size)
    parts = [
        predictor.noise_of(sequence.source.read(sequence.rows[first : first + size]))
        for first in firsts
    ]
    return NoiseRange.of(np.concatenate(parts))


def _levels(posterior: Posterior, truth: np.ndarray) -> np.ndarray:
    """Return the level table of each parameter, shape (P, L)."""
    pit = posterior.cdf(truth)
    return np.stack([level_table(pit[:, p]) for p in range(truth.shape[1])])


def _all_outputs(predictor: Predictor, sequence: ClusterSequence) -> dict[str, np.ndarray]:
    batches = progress(range(len(sequence)), description="calibration", unit="batch")
    parts = [predictor.outputs(sequence[i][0]) for i in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _spread(
    predictor: Predictor, outputs: dict[str, np.ndarray], truth: np.ndarray
) -> np.ndarray | None:
    """Return the covariance of the errors of a point head, outliers left out."""
    if predictor.config.head != "point":
        return None
    error = predictor.posterior(outputs).mean() - truth
    median = np.median(error, axis=0)
    width = 1.4826 * np.median(np.abs(error - median), axis=0) + 1e-9
    usual = (np.abs(error - median) < 5 * width).all(axis=1)
    n_parameters = truth.shape[1]
    if usual.sum() <= n_parameters:
        return np.diag(width**2)
    covariance = np.atleast_2d(np.cov(error[usual], rowvar=False))
    return covariance + 1e-9 * np.eye(n_parameters)


def _temperature(outputs: dict[str, np.ndarray], is_cluster: np.ndarray) -> float:
    if CLASS_OUTPUT not in outputs:
        return 1.0
    return fit_temperature(outputs[CLASS_OUTPUT][:, 0].astype(np.float64), is_cluster)


def _snr_levels(
    predictor: Predictor, outputs: dict[str, np.ndarray], log_snr: np.ndarray
) -> np.ndarray:
    if VISIBILITY_OUTPUT not in outputs:
        return level_table(np.empty(0))
    mean, error = visibility_of(predictor.config, outputs[VISIBILITY_OUTPUT])
    return level_table(ndtr((log_snr - mean) / np.maximum(error, 1e-9)))
