"""The task ``classes`` of `cluster_cnn.predict`: probabilities, entropy, class; galleries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from astro_io.errors import ConfigError
from cluster_cnn.band_order import OrderWatch
from cluster_cnn.classes.config import CLASS_NAMES, PAPER_NETWORKS
from cluster_cnn.classes.figures import draw_gallery
from cluster_cnn.classes.predictor import COMPACT, NO_CLUSTER, ClassEstimates, ClassPredictor
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.noise import NoiseWatch
from cluster_cnn.tasks import ColumnNote

GALLERY_COLUMNS = 10
"""Stamps in a row of a gallery."""

NO_ANSWER = -1
"""Value of ``is_cluster`` without a result."""

DISTANCE = "distance_kpc"
"""What the user may know of a candidate."""


class ClassTask:
    """Columns from a `ClassPredictor`; see `cluster_cnn.tasks.StampTask` for the attributes.

    Parameters
    ----------
    predictor : ClassPredictor
    """

    def __init__(self, predictor: ClassPredictor) -> None:
        self.predictor = predictor
        self.bands = predictor.config.bands
        self.stamp_size = predictor.config.stamp_size
        self.wide_binning = 0
        self.pixel_scale_arcsec = predictor.pixel_scale_arcsec
        self.zeropoint_mag = predictor.zeropoint_mag
        self.facts = {**predictor.describe(), "task": "classes"}
        order = predictor.calibration.order
        self._order = OrderWatch(order, self.bands) if order else None
        self._noise = NoiseWatch(predictor.calibration.noise, self.bands)
        self._gallery = {i: _Examples() for i in predictor.config.class_ids}

    @classmethod
    def load(cls, weights: str | Path) -> ClassTask:
        """Load weights by registry name, file or run folder."""
        return cls(ClassPredictor.load(weights))

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Classes that the network tells apart."""
        return self.predictor.config.class_ids

    @property
    def may_know(self) -> tuple[str, ...]:
        """Return what the user may know: the distance, where the network asks for it."""
        config = self.predictor.config
        has_distance = config.has_distance and config.network not in PAPER_NETWORKS
        return (DISTANCE,) if has_distance else ()

    def columns(self) -> dict[str, ColumnNote]:
        """Return unit and meaning of each result column, in order."""
        notes = {
            f"p_class_{i}": ColumnNote("", f"probability of class {i}: {CLASS_NAMES[i - 1]}")
            for i in self.class_ids
        }
        notes["class"] = ColumnNote("", "most probable class; 0 without a result", 0)
        notes["p_cluster"] = ColumnNote("", "probability of any class but 4")
        if set(COMPACT) <= set(self.class_ids):
            notes["p_compact"] = ColumnNote("", "probability of class 1 or 2")
        notes["is_cluster"] = ColumnNote(
            "", "1 where p_cluster is at least 0.5, else 0; -1 without a result", NO_ANSWER
        )
        largest = np.log(len(self.class_ids))
        notes["entropy"] = ColumnNote("", f"of the probabilities, nats; at most {largest:.2f}")
        notes["p_spread"] = ColumnNote("", "deviation of the ensemble about the chosen class")
        notes["strangeness"] = ColumnNote("", "how unlike the training set; usual ones about 1")
        return notes

    def measure(
        self, stamps: np.ndarray, known: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Classify stamps; ``known`` may hold `DISTANCE`."""
        estimates = self.predictor.predict(stamps, distance_kpc=known.get(DISTANCE))
        self._keep_examples(stamps, estimates)
        has_result = estimates.chosen > 0
        is_odd = estimates.is_strange.copy()
        if DISTANCE in known:
            is_odd |= self.predictor.calibration.is_far(known[DISTANCE])
        flags = np.where(has_result & is_odd, int(CandidateFlag.OUT_OF_RANGE), 0)
        self._noise.look(estimates.noise[has_result])
        if self._order:
            is_exchanged = has_result & self._order.look(stamps)
            flags |= np.where(is_exchanged, int(CandidateFlag.BAND_ORDER), 0)
        flags |= np.where(has_result, 0, int(CandidateFlag.NO_RESULT))
        return self._values(estimates), flags.astype(np.int32)

    def check_known(self, known: Mapping[str, float | str]) -> None:
        """Take anything: distances that no training object has are flagged row by row."""

    def judge(self) -> tuple[int, str]:
        """Say whether all stamps since the last call look odd: order of bands, unit."""
        exchanged = self._order.judge() if self._order else ""
        odd = self._noise.judge()
        flag = int(CandidateFlag.BAND_ORDER) if exchanged else 0
        flag |= int(CandidateFlag.OUT_OF_RANGE) if odd else 0
        return flag, " ".join(filter(None, (exchanged, odd)))

    def restrict(self, within: Mapping[str, tuple[float, float]]) -> None:
        """Refuse: classes have no ranges."""
        raise ConfigError("--within: these weights give classes, not parameters. Leave it out.")

    def beside(self, output: Path) -> list[Path]:
        """Return ``NAME.class_1.png`` and so on beside the table `output`."""
        stem = output.name.split(".")[0]
        return [output.with_name(f"{stem}.class_{class_id}.png") for class_id in self.class_ids]

    def finish(self, output: Path) -> None:
        """Draw a gallery of each class: the most and the least certain candidates.

        Parameters
        ----------
        output : Path
            The table; see `beside`.
        """
        for path, class_id in zip(self.beside(output), self.class_ids, strict=True):
            examples = self._gallery[class_id]
            draw_gallery(
                path,
                [
                    ("most certain", *examples.sorted(False)),
                    ("least certain", *examples.sorted(True)),
                ],
                title=f"class {class_id}: {CLASS_NAMES[class_id - 1]}, {examples.n} candidates",
            )

    def _values(self, estimates: ClassEstimates) -> dict[str, np.ndarray]:
        p_cluster = estimates.probability_of([i for i in self.class_ids if i != NO_CLUSTER])
        values = {
            f"p_class_{i}": estimates.probabilities[:, k] for k, i in enumerate(self.class_ids)
        }
        values["class"] = estimates.chosen.astype(np.int16)
        values["p_cluster"] = p_cluster
        if set(COMPACT) <= set(self.class_ids):
            values["p_compact"] = estimates.probability_of(COMPACT)
        is_cluster = np.where(np.isfinite(p_cluster), p_cluster >= 0.5, NO_ANSWER)
        values["is_cluster"] = is_cluster.astype(np.int16)
        values["entropy"] = estimates.entropy
        values["p_spread"] = estimates.spread
        values["strangeness"] = estimates.distance
        return values

    def _keep_examples(self, stamps: np.ndarray, estimates: ClassEstimates) -> None:
        chosen, entropy = estimates.chosen, estimates.entropy
        for class_id, examples in self._gallery.items():
            own = np.flatnonzero(chosen == class_id)
            best = estimates.probabilities[own].max(axis=1) if len(own) else np.zeros(0)
            examples.add(stamps[own], entropy[own], best)


class _Examples:
    """The candidates of a class with the least and with the greatest entropy."""

    def __init__(self) -> None:
        self.n = 0
        self._kept: dict[bool, list[tuple[float, float, np.ndarray]]] = {False: [], True: []}

    def add(self, stamps: np.ndarray, entropy: np.ndarray, best: np.ndarray) -> None:
        """Look at more candidates."""
        self.n += len(stamps)
        for is_doubtful, kept in self._kept.items():
            order = np.argsort(-entropy if is_doubtful else entropy)[:GALLERY_COLUMNS]
            kept += [(float(entropy[i]), float(best[i]), stamps[i].copy()) for i in order]
            kept.sort(key=lambda item: item[0], reverse=is_doubtful)
            del kept[GALLERY_COLUMNS:]

    def sorted(self, is_doubtful: bool) -> tuple[np.ndarray, list[str]]:
        """Return stamps and a line for each."""
        kept = self._kept[is_doubtful]
        stamps = np.stack([item[2] for item in kept]) if kept else np.zeros((0, 2, 2, 1))
        return stamps, [f"p {item[1]:.2f}, H {item[0]:.2f}" for item in kept]
