"""What photometry alone can tell: gradient boosting on aperture fluxes of the same stamps.

The network must be clearly better than this on the same noisy stamps, bands and, where it is
told, extinction.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_io.errors import BackendError
from cluster_cnn.normalise import border_level

APERTURES_ARCSEC = (0.5, 1.0, 1.5)
"""Radii of the apertures; the largest is the integrated one."""

WIDE_APERTURES_ARCSEC = (3.0, 5.0, 7.5)
"""Radii in the wide view."""

CLASS_APERTURES_ARCSEC = (0.04, 0.12, 0.2)
"""Radii for classes, about 1, 3 and 5 pixels of WFC3: the first two make the concentration index of
LEGUS (Adamo et al. 2017, section 3.1), the last is close to the aperture of its photometry."""

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """Gradient boosting of scikit-learn (`HistGradientBoosting...`), and what it sees.

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


def flux_unit(fluxes: np.ndarray) -> np.ndarray:
    """Return the unit of `stretched` for each column of fluxes (N, F): a tenth of the median."""
    return np.nanmedian(np.abs(fluxes), axis=0) * 0.1 + 1e-9


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
        self.settings = settings or BaselineSettings()
        self._regressor = _boosting("HistGradientBoostingRegressor")

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
        return self._regressor(**_options(self.settings)).fit(features, values)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return parameters, shape (N, P)."""
        columns = [
            np.full(len(features), m) if isinstance(m, float) else m.predict(features)
            for m in self._models
        ]
        return np.stack(columns, axis=1)

    def cross_predict(self, features: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Return parameters of each row from a model that has not seen it, shape (N, P)."""
        return _cross_predict(self, features, truth, np.full(truth.shape, np.nan))


class ClassPhotometryBaseline:
    """One classifier for all classes.

    Parameters
    ----------
    class_ids : sequence of int
        Columns of what it predicts.
    settings : BaselineSettings

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    """

    def __init__(self, class_ids: Sequence[int], settings: BaselineSettings | None = None) -> None:
        self.class_ids = tuple(class_ids)
        self.settings = settings or BaselineSettings(apertures_arcsec=CLASS_APERTURES_ARCSEC)
        self._classifier = _boosting("HistGradientBoostingClassifier")

    def fit(self, features: np.ndarray, classes: np.ndarray) -> ClassPhotometryBaseline:
        """Learn classes (N,) from features (N, F)."""
        # scikit-learn wants two classes at least.
        self._only = int(classes[0]) if np.ptp(classes) == 0 else None
        if self._only is None:
            self._model = self._classifier(**_options(self.settings)).fit(features, classes)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C); 0 for a class that it has not seen."""
        result = np.zeros((len(features), len(self.class_ids)))
        if self._only is not None:
            result[:, self.class_ids.index(self._only)] = 1.0
            return result
        columns = [self.class_ids.index(class_id) for class_id in self._model.classes_]
        result[:, columns] = self._model.predict_proba(features)
        return result

    def cross_predict(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return probabilities of each row from a model that has not seen it, shape (N, C)."""
        empty = np.zeros((len(features), len(self.class_ids)))
        return _cross_predict(self, features, classes, empty)


def _cross_predict(
    baseline: PhotometryBaseline | ClassPhotometryBaseline,
    features: np.ndarray,
    truth: np.ndarray,
    result: np.ndarray,
) -> np.ndarray:
    """Fill `result` fold by fold."""
    fold = np.random.default_rng(baseline.settings.seed).permutation(len(features)) % FOLDS
    for number in range(FOLDS):
        own = fold == number
        result[own] = baseline.fit(features[~own], truth[~own]).predict(features[own])
    return result


def check_installed() -> None:
    """Refuse to begin where the baseline cannot be made.

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    """
    _boosting("HistGradientBoostingRegressor")


def _boosting(name: str) -> Any:
    """Return a class of `sklearn.ensemble`."""
    try:
        return getattr(importlib.import_module("sklearn.ensemble"), name)
    except ImportError as error:
        raise BackendError(
            "The photometry baseline needs scikit-learn. Install it "
            "(pip install 'astro-rcnn[baseline]'), or leave it out (--no-baseline)."
        ) from error


def _options(settings: BaselineSettings) -> dict[str, Any]:
    """Return the arguments of the estimator."""
    return {
        "max_iter": settings.max_iter,
        "learning_rate": settings.learning_rate,
        "max_leaf_nodes": settings.max_leaf_nodes,
        "random_state": settings.seed,
    }
