"""The photometry baseline for classes: what magnitudes and colours tell of the same stamps."""

from __future__ import annotations

from typing import Any

import numpy as np

from cluster_cnn.classes.data import label_index
from cluster_cnn.classes.scores import class_scores
from cluster_cnn.data import StampSource
from cluster_cnn.photometry_baseline import (
    CLASS_APERTURES_ARCSEC,
    BaselineSettings,
    ClassPhotometryBaseline,
    flux_unit,
    stretched,
)
from cluster_cnn.set_photometry import feature_sets, read_photometry

TITLES = {"integrated": "photometry, one aperture", "apertures": "photometry, three apertures"}
"""Heading of each baseline; the second also sees the level of the border."""

SETTINGS = BaselineSettings(apertures_arcsec=CLASS_APERTURES_ARCSEC)


def score_baselines(
    source: StampSource,
    rows: np.ndarray,
    class_ids: tuple[int, ...],
    training: tuple[StampSource, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Score gradient boosting on aperture photometry of stamps.

    Parameters
    ----------
    source : StampSource
    rows : ndarray of int
        What is scored.
    class_ids : tuple of int
    training : tuple of StampSource and ndarray of int, optional
        Set and rows that it learns from; without any, the other four fifths of what is scored.

    Returns
    -------
    dict
        `class_scores` of ``integrated`` (the largest aperture of each band) and ``apertures`` (all
        three); ``trained_on``.

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    DatasetError
        If the training set has other classes.
    """
    baseline = ClassPhotometryBaseline(class_ids, SETTINGS)
    truth = source.column("class")[rows]
    fluxes = read_photometry(source, rows, SETTINGS)
    result: dict[str, Any] = {"trained_on": "itself, 5-fold"}
    unit = flux_unit(fluxes)
    if training is not None:
        learnt_from, learnt_rows = training
        classes = learnt_from.column("class")[learnt_rows]
        label_index(classes, class_ids)  # refuses classes that are not asked for
        known = read_photometry(learnt_from, learnt_rows, SETTINGS)
        unit = flux_unit(known)
        names = ", ".join(path.name for path in learnt_from.paths)
        result["trained_on"] = f"{len(learnt_rows)} stamps of {names}"
    for label, columns in feature_sets(source, SETTINGS).items():
        seen = stretched(fluxes, unit)[:, columns]
        if training is None:
            said = baseline.cross_predict(seen, truth)
        else:
            said = baseline.fit(stretched(known, unit)[:, columns], classes).predict(seen)
        result[label] = class_scores(truth, said, np.zeros(len(said)), class_ids)
    return result
