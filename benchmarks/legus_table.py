"""A LEGUS table alone: class fractions, agreement of the voters, and what photometry can tell.

::

    python benchmarks/legus_table.py shared/data/clusters/legus/hlsp_legus_*_ngc1566_*.tab.gz

Prints the fractions, how two people agree, and the accuracy of gradient boosting, five-fold, on
magnitudes and colours, and with their errors and the concentration index beside them: what a
network that sees the pixels must beat. Exit code 1 if the first is not what is expected.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astro_io.legus import (
    count_agreement,
    photometry_features,
    read_legus,
    votes_of,
)
from cluster_cnn.classes.scores import confusion_matrix, row_shares

CLASS_IDS = (1, 2, 3, 4)
ASKED, TOLERANCE = 47.3, 2.0
N_FOLDS = 5


def photometry_accuracy(features: np.ndarray, classes: np.ndarray, *, seed: int = 0):
    """Return the class of each object by gradient boosting on the other folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    model = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=15, random_state=seed
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(model, features, classes, cv=folds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    table = read_legus(options.table)
    classes = np.asarray(table["class"])
    seen = np.isin(classes, CLASS_IDS)
    counts = {i: int((classes == i).sum()) for i in CLASS_IDS}
    print(f"{len(table)} rows, {seen.sum()} with a class: {counts}")
    if "vote_1" in table.colnames:
        agreement = row_shares(count_agreement(votes_of(table)))
        print("two people on the same object, per cent (rows: first, columns: second):")
        for class_id, row in zip(CLASS_IDS, agreement, strict=True):
            print(f"  class {class_id}: " + " ".join(f"{value:5.1f}" for value in row))
    accuracy = {}
    for name, has_quality in (("magnitudes", False), ("magnitudes, errors, concentration", True)):
        features = photometry_features(table, has_quality=has_quality)[seen]
        said = photometry_accuracy(features, classes[seen], seed=options.seed)
        accuracy[name] = 100.0 * float(np.mean(said == classes[seen]))
        print(f"{name}: {accuracy[name]:.1f} % in the right class; rows, per cent:")
        shares = row_shares(confusion_matrix(classes[seen], said, CLASS_IDS))
        for class_id, row in zip(CLASS_IDS, shares, strict=True):
            print(f"  class {class_id}: " + " ".join(f"{value:5.1f}" for value in row))
    majority = 100.0 * max(counts.values()) / seen.sum()
    found = accuracy["magnitudes"]
    print(
        f"photometry alone: {found:.1f} % (expected {ASKED} +- {TOLERANCE}); the largest class "
        f"alone: {majority:.1f} %"
    )
    return 0 if abs(found - ASKED) <= TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())
