"""The task ``parameters``: age, mass, extinction and size of candidates, with 68 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from astro_io.errors import ConfigError
from cluster_cnn.config import PARAMETER_MEANINGS
from cluster_cnn.flags import CandidateFlag
from cluster_cnn.noise import NoiseWatch
from cluster_cnn.predictor import PROBABILITIES, Estimates, Predictor
from cluster_cnn.stamp_coverage import bands_with_data
from cluster_cnn.tasks import ColumnNote

BEST = "best"
"""Ending of the column of the most probable value, all parameters together."""

SUFFIXES = tuple(f"p{round(100 * p)}" for p in PROBABILITIES)
"""Endings of the columns of a parameter: p16, p50, p84."""

_FIXED = {
    "p_cluster": ColumnNote("", "probability of being a star cluster"),
    "entropy": ColumnNote("", "of cluster against background, in nats; largest ln 2"),
    "log_snr": ColumnNote("", "log10 of the matched-filter signal to noise"),
    "log_snr_err": ColumnNote("", "standard deviation of log_snr"),
    "strangeness": ColumnNote("", "how unlike the training set the stamp is; usual ones about 1"),
}


class ParameterTask:
    """Columns from a `Predictor`; see `cluster_cnn.tasks.StampTask` for the attributes.

    Parameters
    ----------
    predictor : Predictor
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.within: dict[str, tuple[float, float]] = {}
        self._watch = NoiseWatch(predictor.calibration.noise, predictor.bands)
        self._may_lack_bands = bool(predictor.metadata.get("band_dropout"))
        # Bands with data since the last judgement.
        self._seen = np.zeros(len(predictor.bands), bool)
        self.bands = predictor.bands
        self.stamp_size = predictor.stamp_size
        self.wide_binning = predictor.config.wide_binning
        self.pixel_scale_arcsec = predictor.config.pixel_scale_arcsec
        self.zeropoint_mag = predictor.zeropoint_mag
        entry = predictor.entry
        self.facts = {
            "weights": entry.name if entry else predictor.where,
            "weights_sha256": predictor.sha256,
            "task": "parameters",
        }
        if predictor.metadata.get("distance_kpc"):
            self.facts["distance_kpc"] = predictor.metadata["distance_kpc"]

    @classmethod
    def load(cls, weights: str | Path) -> ParameterTask:
        """Load weights by registry name, file or run folder."""
        return cls(Predictor.load(weights))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.predictor.config.parameter_names

    @property
    def may_know(self) -> tuple[str, ...]:
        """Return what the user may know: any parameter."""
        return self.names

    def columns(self) -> dict[str, ColumnNote]:
        """Return unit and meaning of each result column, in order."""
        notes: dict[str, ColumnNote] = {}
        for name in self.names:
            unit, meaning = PARAMETER_MEANINGS[name]
            for p, suffix in zip(PROBABILITIES, SUFFIXES, strict=True):
                notes[f"{name}_{suffix}"] = ColumnNote(unit, f"{meaning}: {100 * p:.0f} % level")
            notes[f"{name}_{BEST}"] = ColumnNote(unit, f"{meaning}: where all are most probable")
        for first, second in self._pairs():
            notes[f"corr_{first}_{second}"] = ColumnNote(
                "", f"correlation of {first} and {second} in the posterior"
            )
        return {**notes, **_FIXED}

    def measure(
        self, stamps: np.ndarray, known: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Measure stamps; parameters that are `known` are taken as they are."""
        estimates = self.predictor.predict(stamps, known=known, within=self.within)
        self._watch.look(estimates.noise)
        has_data = bands_with_data(stamps[..., : len(self.bands)])
        self._seen |= has_data.any(axis=0)
        is_odd = estimates.is_strange | self.predictor.is_untaught(known)
        is_odd |= estimates.is_contradicted
        if not self._may_lack_bands:
            is_odd |= ~has_data.all(axis=1)
        flags = np.where(is_odd, int(CandidateFlag.OUT_OF_RANGE), 0)
        flags |= np.where(estimates.is_at_limit, int(CandidateFlag.AT_LIMIT), 0)
        return self._values(estimates), flags.astype(np.int32)

    def check_known(self, known: Mapping[str, float | str]) -> None:
        """Refuse values outside the range that the network was taught."""
        for name, value in known.items():
            if name not in self.names or isinstance(value, str):
                continue
            low, high = self.predictor.range_of(name)
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} {value:g}: expected a value between {low:g} and {high:g}, the range "
                    "that the network was taught. Leave it out, or use other weights (--weights)."
                )

    def judge(self) -> tuple[int, str]:
        """Say whether all stamps since the last call lack a band, or look to be in another unit."""
        lacking = [b for b, seen in zip(self.bands, self._seen, strict=True) if not seen]
        self._seen[:] = False
        reasons = [self._watch.judge()]
        if lacking and len(lacking) < len(self.bands) and not self._may_lack_bands:
            reasons.append(
                f"no data in {', '.join(lacking)}, and the weights were not trained without a "
                "band: the results are wrong by more than their intervals say."
            )
        reason = " ".join(filter(None, reasons))
        return (int(CandidateFlag.OUT_OF_RANGE) if reason else 0), reason

    def restrict(self, within: Mapping[str, tuple[float, float]]) -> None:
        """Keep parameters to ranges that the user knows."""
        self.predictor.check_ranges(within)
        self.within = dict(within)
        self.facts["within"] = {name: list(limits) for name, limits in within.items()}

    def beside(self, output: Path) -> list[Path]:
        """Return nothing: no file stands beside the table."""
        return []

    def finish(self, output: Path) -> None:
        """Write nothing beside the table."""

    def _values(self, estimates: Estimates) -> dict[str, np.ndarray]:
        values = {
            f"{name}_{suffix}": estimates.quantiles[:, p, q]
            for p, name in enumerate(self.names)
            for q, suffix in enumerate(SUFFIXES)
        }
        values.update({f"{name}_{BEST}": estimates.best[:, p] for p, name in enumerate(self.names)})
        for first, second in self._pairs():
            i, j = self.names.index(first), self.names.index(second)
            values[f"corr_{first}_{second}"] = estimates.correlations[:, i, j]
        return {
            **values,
            "p_cluster": estimates.p_cluster,
            "entropy": estimates.entropy,
            "log_snr": estimates.log_snr,
            "log_snr_err": estimates.log_snr_error,
            "strangeness": estimates.distance,
        }

    def _pairs(self) -> list[tuple[str, str]]:
        return [(a, b) for i, a in enumerate(self.names) for b in self.names[i + 1 :]]
