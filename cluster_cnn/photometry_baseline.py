"""What photometry alone can tell: gradient boosting on aperture fluxes of the same stamps.

The network must be clearly better than this on the same noisy stamps, bands and, where it is
told, extinction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astro_io.errors import BackendError
from cluster_cnn.normalise import border_level

APERTURES_ARCSEC = (0.5, 1.0, 1.5)
"""Radii of the apertures; the largest is the integrated one."""

WIDE_APERTURES_ARCSEC = (3.0, 5.0, 7.5)
"""Radii in the wide view."""

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """The regressor, `sklearn.ensemble.HistGradientBoostingRegressor`, and what it sees.

    Attributes
    ----------
    apertures_arcsec : tuple of float
        Radii; fluxes in all of them.
    wide_apertures_arcsec : tuple of float
        The same in the wide view, where there is one.
    max_iter : int
        Trees.
    learning_rate : float
    max_leaf_nodes : int
    seed : int
    """

    apertures_arcsec: tuple[float, ...] = APERTURES_ARCSEC
    wide_apertures_arcsec: tuple[float, ...] = WIDE_APERTURES_ARCSEC
    max_iter: int = 150
    learning_rate: float = 0.08
    max_leaf_nodes: int = 31
    seed: int = 0


def aperture_fluxes(
    stamps: np.ndarray, *, pixel_scale_arcsec: float, radii_arcsec: Sequence[float]
) -> np.ndarray:
    """Sum the light in apertures around the middle, above the median of the border.

    Parameters
    ----------
    stamps : ndarray of float, shape (N, H, W, B)
        NaN pixels count as the background.
    pixel_scale_arcsec : float
    radii_arcsec : sequence of float, length R

    Returns
    -------
    ndarray of float64, shape (N, R * B + B)
        Fluxes, apertures slowest, then the level of the border of each band.
    """
    height, width = stamps.shape[1:3]
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    radius = np.hypot(y[:, None], x) * pixel_scale_arcsec
    inside = np.stack([radius <= limit for limit in radii_arcsec]).astype(np.float32)
    level = border_level(stamps)
    light = np.nan_to_num(stamps - level[:, None, None], nan=0.0)
    sums = np.einsum("nhwb,rhw->nrb", light, inside).astype(np.float64)
    return np.concatenate([sums.reshape(len(stamps), -1), level], axis=1)


def stretched(fluxes: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return ``arcsinh(flux / unit)``: like magnitudes where bright, and finite where negative."""
    return np.arcsinh(fluxes / unit)


class PhotometryBaseline:
    """One regressor for each parameter.

    Parameters
    ----------
    settings : BaselineSettings

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    """

    def __init__(self, settings: BaselineSettings | None = None) -> None:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ImportError as error:
            raise BackendError(
                "The photometry baseline needs scikit-learn. Install it "
                "(pip install 'astro-rcnn[baseline]'), or leave it out (--no-baseline)."
            ) from error
        self.settings = settings or BaselineSettings()
        self._regressor = HistGradientBoostingRegressor

    def fit(self, features: np.ndarray, truth: np.ndarray) -> PhotometryBaseline:
        """Learn parameters (N, P) from features (N, F); rows with NaN truth are left out.

        A parameter that is the same in all rows is predicted to be so.
        """
        known = np.isfinite(truth).all(axis=1)
        self._models = [
            self._fit_one(features[known], truth[known, p]) for p in range(truth.shape[1])
        ]
        return self

    def _fit_one(self, features: np.ndarray, values: np.ndarray):
        """Return a fitted regressor, or the value that all rows share."""
        if np.ptp(values) < 1e-9:
            return float(values[0])
        settings = self.settings
        return self._regressor(
            max_iter=settings.max_iter,
            learning_rate=settings.learning_rate,
            max_leaf_nodes=settings.max_leaf_nodes,
            random_state=settings.seed,
        ).fit(features, values)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return parameters, shape (N, P)."""
        columns = [
            np.full(len(features), m) if isinstance(m, float) else m.predict(features)
            for m in self._models
        ]
        return np.stack(columns, axis=1)

    def cross_predict(self, features: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Return parameters of each row from a model that has not seen it, shape (N, P)."""
        fold = np.random.default_rng(self.settings.seed).permutation(len(features)) % FOLDS
        result = np.full(truth.shape, np.nan)
        for number in range(FOLDS):
            self.fit(features[fold != number], truth[fold != number])
            result[fold == number] = self.predict(features[fold == number])
        return result
