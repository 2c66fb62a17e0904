"""ClusterSequence: sets of stamps on disk to batches for `fit`, without TensorFlow."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from astro_io.cluster_set import ClusterSetReader, is_cluster
from astro_io.errors import DatasetError
from cluster_cnn.config import ModelConfig
from cluster_cnn.heads import make_targets
from cluster_cnn.joining import common_pixel_scale, common_zeropoints
from cluster_cnn.normalise import StampScale, measure_scale, normalise_stamps

log = logging.getLogger(__name__)

VALIDATION_SHARE = 0.05
"""Without a validation set, every so many stamps of the training set are set aside."""

SCALE_SAMPLE = 400
"""Stamps that the noise is measured on."""

Batch = tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]


class StampSource:
    """Stamps and truth of several sets as one, in the bands and size of a network.

    Parameters
    ----------
    paths : sequence of path
        Sets made by ``simulate.clusters``.
    bands : sequence of str
        Channels, in this order; the sets may have more.
    stamp_size : int
        Side of the stamps in pixels; the sets' may be larger.
    wide_binning : int
        Read wide views of that binning too; 0: stamps alone.

    Attributes
    ----------
    channels : tuple of str
        What each channel is: bands of the stamp, then those of the wide view.
    pixel_scale_arcsec : float
        0 where the sets do not say.
    zeropoint_mag : dict of str to float
        AB magnitude of one unit of flux, where the sets say.
    attributes : dict
        Of the first set.

    Raises
    ------
    DatasetError
        If a set lacks a band or a wide view, or has smaller stamps; if the pixel scales of sets
        differ by more than 1 %, or only some have zero points (others are converted to those of
        the first).
    """

    @classmethod
    def seen_by(cls, model, paths: Sequence[str | Path]) -> StampSource:
        """Open sets as a network sees them: `model` is a `ModelConfig` or `ClassModelConfig`."""
        return cls(
            paths,
            bands=model.bands,
            stamp_size=model.stamp_size,
            wide_binning=getattr(model, "wide_binning", 0),  # classes have no wide view
        )

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        bands: Sequence[str],
        stamp_size: int,
        wide_binning: int = 0,
    ) -> None:
        if not paths:
            raise DatasetError("no set of stamps given: name at least one.")
        self.paths = [Path(path) for path in paths]
        self.bands = tuple(bands)
        self.stamp_size, self.wide_binning = stamp_size, wide_binning
        wide = [f"wide {band}" for band in bands] if wide_binning else []
        self.channels = (*self.bands, *wide)
        self._sets = [ClusterSetReader(path) for path in self.paths]
        for reader in self._sets:
            self._check(reader)
        self._channels = [[r.bands.index(band) for band in bands] for r in self._sets]
        self._first = np.cumsum([0, *(len(reader) for reader in self._sets)])
        self.margin_px = min((min(r.stamp_shape[:2]) - stamp_size) // 2 for r in self._sets)
        if wide_binning:
            self.margin_px = 0  # a wide view does not move by pixels of the stamp
        names = [path.name for path in self.paths]
        scales = [float(r.attributes.get("pixel_scale_arcsec") or 0.0) for r in self._sets]
        self.pixel_scale_arcsec = common_pixel_scale(names, scales)
        points = [_zeropoints(reader, self.bands) for reader in self._sets]
        absent = [reader.attributes.get("absent_bands") or () for reader in self._sets]
        self.zeropoint_mag, self._factors = common_zeropoints(names, self.bands, points, absent)
        self.attributes = self._sets[0].attributes

    def conform(
        self, zeropoint_mag: Mapping[str, float], pixel_scale_arcsec: float, *, of: str
    ) -> None:
        """Bring fluxes to other zero points, those of weights or of a training set.

        Parameters
        ----------
        zeropoint_mag : mapping of str to float
            AB magnitude of one unit of flux, of the bands where it is known.
        pixel_scale_arcsec : float
            0 where not known.
        of : str
            Whose they are, for messages.

        Raises
        ------
        DatasetError
            If the pixel scale differs by more than 1 %.
        """
        name, own = self.paths[0].name, self.pixel_scale_arcsec
        if own and pixel_scale_arcsec:
            common_pixel_scale([of, name], [pixel_scale_arcsec, own])
        known = [b for b in self.bands if b in self.zeropoint_mag and b in zeropoint_mag]
        for band in known:
            ratio = 10.0 ** (0.4 * (zeropoint_mag[band] - self.zeropoint_mag[band]))
            self._factors[:, self.bands.index(band)] *= ratio
            self.zeropoint_mag[band] = float(zeropoint_mag[band])
        if silent := [b for b in self.bands if b in zeropoint_mag and b not in known]:
            log.warning(
                "%s: no zero point of %s; taken for that of %s.", name, ", ".join(silent), of
            )

    @property
    def distance_kpc(self) -> tuple[float, float] | None:
        """Least and greatest distance that the sets were made for; None where one is silent."""
        sections = [r.attributes.get("config", {}).get("cluster", {}) for r in self._sets]
        ranges = [section.get("distance_kpc") for section in sections]
        return None if None in ranges else (min(r[0] for r in ranges), max(r[1] for r in ranges))

    def __len__(self) -> int:
        """Return the number of stamps in all sets."""
        return int(self._first[-1])

    def read(self, rows: np.ndarray, shifts: np.ndarray | None = None) -> np.ndarray:
        """Return stamps, cut to size around their middle.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
        shifts : ndarray of int, shape (n, 2), optional
            Rows and columns by which the cut is moved; at most `margin_px`.

        Returns
        -------
        ndarray of float32, shape (n, S, S, C)
            One channel each of `channels`.
        """
        size, n_bands = self.stamp_size, len(self.bands)
        stamps = np.empty((len(rows), size, size, len(self.channels)), np.float32)
        shifts = np.zeros((len(rows), 2), int) if shifts is None else shifts
        for place, row in enumerate(rows):
            which = int(np.searchsorted(self._first, row, side="right")) - 1
            own, channels = [int(row) - int(self._first[which])], self._channels[which]
            whole = self._sets[which].read_stamps(own)[0]
            stamps[place, ..., :n_bands] = _cut(whole, size, shifts[place])[..., channels]
            if self.wide_binning:
                whole = self._sets[which].read_wide(own)[0]
                stamps[place, ..., n_bands:] = _cut(whole, size, (0, 0))[..., channels]
            stamps[place] *= np.tile(self._factors[which], len(self.channels) // n_bands)
        return stamps

    def column(self, name: str) -> np.ndarray:
        """Return one column of the truth, all sets joined."""
        return np.concatenate([reader.column(name) for reader in self._sets])

    def parameters(self, names: Sequence[str]) -> np.ndarray:
        """Return true parameters in their units, shape (N, P); NaN without a cluster."""
        return np.stack([self._parameter(name) for name in names], axis=1)

    def is_cluster(self) -> np.ndarray:
        """Return True where a stamp holds a star cluster."""
        return is_cluster(self.column("class"))

    def log_snr(self) -> np.ndarray:
        """Return log10 of the signal to noise; -inf where it is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(self.column("snr"))

    def close(self) -> None:
        """Close the files."""
        for reader in self._sets:
            reader.close()

    def _parameter(self, name: str) -> np.ndarray:
        linear = {"log_radius": "half_light_radius_arcsec", "log_metallicity": "metallicity"}
        if name not in linear:
            return self.column(name)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(self.column(linear[name]))

    def _check(self, reader: ClusterSetReader) -> None:
        missing = [band for band in self.bands if band not in reader.bands]
        if missing:
            raise DatasetError(
                f"{reader.path}: expected bands {', '.join(self.bands)}; found "
                f"{', '.join(reader.bands)}. Take bands that all sets have (model.bands)."
            )
        if min(reader.stamp_shape[:2]) < self.stamp_size:
            raise DatasetError(
                f"{reader.path}: expected stamps of at least {self.stamp_size} px, found "
                f"{reader.stamp_shape[0]}x{reader.stamp_shape[1]} px. Set model.stamp_size."
            )
        if self.wide_binning and reader.wide_binning != self.wide_binning:
            raise DatasetError(
                f"{reader.path}: expected wide views of binning {self.wide_binning}, found "
                f"{reader.wide_binning or 'none'}. Simulate them (--set "
                f"instrument.wide_binning={self.wide_binning}), or set model.wide_binning."
            )


def _cut(whole: np.ndarray, size: int, shift: Sequence[int]) -> np.ndarray:
    """Return the middle of a stamp, moved by rows and columns, shape (size, size, B)."""
    y = (whole.shape[0] - size) // 2 + int(shift[0])
    x = (whole.shape[1] - size) // 2 + int(shift[1])
    return whole[y : y + size, x : x + size]


def _zeropoints(reader: ClusterSetReader, bands: Sequence[str]) -> dict[str, float]:
    """Return the AB magnitude of one unit of flux by band, where the set says (in its order)."""
    values = reader.attributes.get("zeropoint_mag") or ()
    known = dict(zip(reader.bands, values, strict=True)) if values else {}
    return {band: float(known[band]) for band in bands if known.get(band) is not None}


class ClusterSequence(keras.utils.PyDataset):
    """Batches of normalised stamps with targets and weights, for `keras.Model.fit`.

    Batch `index` of epoch `epoch` is a function of `seed`, `epoch` and `index` alone, so that a
    resumed run sees what the uninterrupted one would have seen.  Pass ``shuffle=False`` to `fit`
    and `epoch_callback` to it.

    Parameters
    ----------
    source : StampSource
    rows : ndarray of int
        Which stamps of the source.
    model : ModelConfig
    scale : StampScale
    batch_size : int
    augmentation : bool
        Turn and mirror at random, in steps of 90 degrees.
    max_shift_px : int
        Largest random shift of the middle; bounded by the source's margin.
    band_dropout : float
        Probability that a band of a stamp is blanked; never all of them.
    min_snr : float
        See `cluster_cnn.heads.make_targets`.
    shuffle : bool
        False: rows in order, for validation.
    steps : int
        Batches in an epoch; 0: all rows.
    seed : int
    cache_mb : float
        Memory for normalised stamps, kept in half precision; 0 keeps none.  Shifted stamps are
        not kept.
    """

    def __init__(
        self,
        source: StampSource,
        rows: np.ndarray,
        model: ModelConfig,
        scale: StampScale,
        *,
        batch_size: int,
        augmentation: bool = False,
        max_shift_px: int = 0,
        band_dropout: float = 0.0,
        min_snr: float = 0.0,
        shuffle: bool = True,
        steps: int = 0,
        seed: int = 0,
        cache_mb: float = 0.0,
    ) -> None:
        super().__init__(workers=1)
        self.source, self.rows, self.scale = source, np.asarray(rows), scale
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.augmentation, self.band_dropout = augmentation, band_dropout
        self.max_shift_px = min(max_shift_px, source.margin_px)
        self.steps = steps or -(-len(self.rows) // batch_size)
        self.epoch = 0
        self.targets, self.weights = self.read_truth(model, min_snr)
        shape = (model.stamp_size, model.stamp_size, len(source.channels))
        self._cache = _StampCache(shape, len(self.rows), 0 if self.max_shift_px else cache_mb)
        self._ahead = ThreadPoolExecutor(1, "batch")
        self._pending: dict[tuple[int, int], Future] = {}

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return self.steps

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        """Return stamps (N, S, S, B) float32, targets and weights of one batch."""
        key, following = (self.epoch, index), (self.epoch, index + 1)
        future = self._pending.pop(key, None)
        self._pending = {k: v for k, v in self._pending.items() if k == following}
        batch = self._make(*key) if future is None else future.result()
        if index + 1 < len(self) and following not in self._pending:
            self._pending[following] = self._ahead.submit(self._make, *following)
        return batch

    def read_truth(
        self, model: ModelConfig, min_snr: float
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return targets and weights of all `rows`; see `cluster_cnn.heads.make_targets`."""
        return make_targets(
            model,
            self.source.parameters(model.parameter_names)[self.rows],
            self.source.is_cluster()[self.rows],
            self.source.log_snr()[self.rows],
            min_snr=min_snr,
        )

    def vary(self, stamps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return stamps turned, mirrored, with bands left out, as the settings say."""
        if self.augmentation:
            stamps = turn_and_mirror(stamps, rng)
        if self.band_dropout > 0:
            stamps = blank_bands(stamps, self.band_dropout, rng, n_bands=len(self.source.bands))
        return stamps

    def epoch_callback(self) -> keras.callbacks.Callback:
        """Return a callback that keeps `epoch` at the number of the epoch that `fit` is in."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs=None: setattr(self, "epoch", epoch)
        )

    def close(self) -> None:
        """Stop the thread that works ahead."""
        self._ahead.shutdown(cancel_futures=True)

    def _make(self, epoch: int, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        places = self._places(epoch, index)
        rng = np.random.default_rng([self.seed, epoch if self.shuffle else 0, index, 1])
        stamps = self.vary(self.read_stamps(places, rng), rng)
        return (
            stamps,
            {name: values[places] for name, values in self.targets.items()},
            {name: values[places] for name, values in self.weights.items()},
        )

    def _places(self, epoch: int, index: int) -> np.ndarray:
        """Return which of `rows` are in a batch: one endless series of shuffles."""
        n = len(self.rows)
        if not self.shuffle:
            return np.arange(index * self.batch_size, min((index + 1) * self.batch_size, n))
        first = (epoch * self.steps + index) * self.batch_size
        rounds, place = np.divmod(np.arange(first, first + self.batch_size), n)
        result = np.empty(self.batch_size, int)
        for number in np.unique(rounds):
            order = np.random.default_rng([self.seed, int(number), 0]).permutation(n)
            result[rounds == number] = order[place[rounds == number]]
        return result

    def read_stamps(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return normalised stamps of some places in `rows`, shifted as the settings say."""
        if self.max_shift_px:
            shifts = rng.integers(-self.max_shift_px, self.max_shift_px + 1, (len(places), 2))
            return normalise_stamps(self.source.read(self.rows[places], shifts), self.scale)
        return self._cache.get(
            places, lambda rest: normalise_stamps(self.source.read(self.rows[rest]), self.scale)
        )


class _StampCache:
    """Keep the first so many normalised stamps in half precision."""

    def __init__(self, shape: tuple[int, int, int], n_rows: int, megabytes: float) -> None:
        n_kept = min(n_rows, int(megabytes * 2**20 / (2 * math.prod(shape))))
        self._values = np.empty((n_kept, *shape), np.float16)
        self._is_there = np.zeros(n_kept, bool)

    def get(self, places: np.ndarray, make) -> np.ndarray:
        """Return stamps; ``make(places)`` gives those that are not kept."""
        n_kept = len(self._is_there)
        is_kept = np.zeros(len(places), bool)
        low = places < n_kept
        is_kept[low] = self._is_there[places[low]]
        result = np.empty((len(places), *self._values.shape[1:]), np.float32)
        result[is_kept] = self._values[places[is_kept]]
        if not is_kept.all():
            # Rounded at once, so that a stamp is the same when it comes from memory.
            made = make(places[~is_kept]).astype(np.float16)
            result[~is_kept] = made
            keep = places[~is_kept] < n_kept
            self._values[places[~is_kept][keep]] = made[keep]
            self._is_there[places[~is_kept][keep]] = True
        return result


def split_rows(n_rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those set aside: evenly through the set, none for share 0."""
    rows = np.arange(n_rows)
    aside = rows % round(1 / share) == 0 if share > 0 else np.zeros(n_rows, bool)
    return rows[~aside], rows[aside]


def measure_source_scale(source: StampSource, model: ModelConfig) -> StampScale:
    """Measure the fixed scale of a network on a regular sample of its training stamps."""
    step = max(1, len(source) // SCALE_SAMPLE)
    return measure_scale(
        source.read(np.arange(0, len(source), step)[:SCALE_SAMPLE]),
        bands=source.channels,
        method=model.normalization,
        softening=model.softening,
        background=model.background,
        scale=model.scale,
    )


def turn_and_mirror(stamps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each square stamp in one of its eight orientations, shape (N, S, S, B)."""
    turned = np.empty_like(stamps)
    for i, choice in enumerate(rng.integers(0, 8, len(stamps))):
        stamp = np.rot90(stamps[i], int(choice) % 4)
        turned[i] = stamp[:, ::-1] if choice >= 4 else stamp
    return turned


def blank_bands(
    stamps: np.ndarray,
    probability: float,
    rng: np.random.Generator,
    *,
    n_bands: int | None = None,
) -> np.ndarray:
    """Return stamps with some bands set to 0, at least one band of each left.

    Where there are more channels than bands, a band is set to 0 in every view.
    """
    n_bands = n_bands or stamps.shape[3]
    blank = rng.random((len(stamps), n_bands)) < probability
    kept = rng.integers(0, n_bands, len(stamps))
    blank[np.arange(len(stamps)), kept] = False
    blank = np.tile(blank, stamps.shape[3] // n_bands)
    return np.where(blank[:, None, None], np.float32(0), stamps)


def metadata_of(source: StampSource) -> Mapping[str, object]:
    """Return what prediction must know of the stamps beside their bands."""
    return {
        "pixel_scale_arcsec": source.pixel_scale_arcsec,
        "zeropoint_mag": source.zeropoint_mag,
        "distance_kpc": source.distance_kpc,
        "training_set": [path.name for path in source.paths],
    }
