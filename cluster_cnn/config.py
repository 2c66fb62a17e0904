"""Model and training settings: the single place for defaults, units and checks.

The defaults are those of our own network for the six PHAT bands; ``configs/cluster_*.toml`` hold
the networks of Bialopetravicius et al. 2019 (A&A 621, A103) and 2020 (A&A 633, A148).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from astro_io.errors import ConfigError

TRUNKS = ("compact", "paper1", "resnet50")

PARAMETER_MEANINGS: dict[str, tuple[str, str]] = {
    "log_age": ("", "log10 of the age in years"),
    "log_mass": ("", "log10 of the initial mass in solar masses"),
    "av": ("mag", "extinction in V"),
    "log_radius": ("", "log10 of the projected half-light radius in arcsec"),
    "log_metallicity": ("", "log10 of the mass fraction of metals"),
}
"""Unit and meaning of everything that a network can be asked for."""


@dataclass(frozen=True, kw_only=True)
class ParameterConfig:
    """One parameter that the network predicts.

    Attributes
    ----------
    name : str
        One of `PARAMETER_MEANINGS`.
    low, high : float
        Range of the training set, in the unit of the parameter; predictions stay inside.
    n_bins : int
        Bins of a binned head.
    """

    name: str
    low: float
    high: float
    n_bins: int = 20

    def __post_init__(self) -> None:
        """Check name and range."""
        if self.name not in PARAMETER_MEANINGS:
            raise ConfigError(
                f"[model]: parameter '{self.name}' unknown; choose among "
                f"{', '.join(PARAMETER_MEANINGS)}."
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"[model]: {self.name} needs low < high; found low {self.low}, high {self.high}."
            )
        if self.n_bins < 2:
            raise ConfigError(f"[model]: {self.name} needs n_bins of at least 2.")


MOST_CELLS = 100_000
"""Cells of the grid of a binned head; each is an output of the network."""

PHAT_BANDS = ("F275W", "F336W", "F475W", "F814W", "F110W", "F160W")

DEFAULT_PARAMETERS = (
    ParameterConfig(name="log_age", low=6.6, high=10.1, n_bins=20),
    ParameterConfig(name="log_mass", low=1.7, high=5.0, n_bins=14),
    ParameterConfig(name="av", low=0.0, high=2.0, n_bins=10),
    ParameterConfig(name="log_radius", low=-0.83, high=1.0, n_bins=14),
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network: what it sees, its layers, and what it says.

    Attributes
    ----------
    bands : tuple of str
        Bands in channel order.
    stamp_size : int
        Side of a stamp in pixels.
    pixel_scale_arcsec : float
        Pixel size of the training stamps; 0: taken from the training set.
    normalization : {"asinh", "zscore"}
        Stretch of `astro_io.normalize`, with one fixed scale for all stamps: brightness and
        colours stay.
    softening : float
        Where asinh turns from linear to logarithmic, in sky sigma.
    scale : {"band", "common"}
        A fixed scale for each band, or one number for all.
    background : {"border", "none"}
        Subtract the median of each stamp's border, band by band, or leave the level as it is.
    trunk : {"compact", "paper1", "resnet50"}
        Our residual network; the small one of Paper I; the 50 layers of Paper II.
    widths, blocks : tuple of int
        Channels and residual blocks of each stage (``compact`` and ``paper1``); without blocks,
        a stage is the stem alone.
    has_photometry : bool
        Give the head sums in concentric rings beside the features of the trunk.
    profile_channels : int
        Radial profiles of so many kinds of features, read off the finer maps of ``compact``
        trunks, for the head; 0: none.
    wide_binning : int
        See the surroundings too: a second view of `stamp_size` pixels around the same centre,
        each the sum of so many by so many of the stamp's; 0: the stamp alone.
    wide_widths, wide_blocks : tuple of int
        Of a ``compact`` trunk of its own for that view.
    head : {"mixture", "bins", "point"}
        Joint density as a mixture of Gaussians; softmax over bins; one number a parameter.
    parameters : tuple of ParameterConfig
        What to predict.
    joint : tuple of tuple of str
        Parameters that share a binned head; empty: all share one.
    n_components : int
        Gaussians in the mixture.
    head_width, head_layers : int
        Units of each dense layer before the outputs, and their number.
    dropout : float
        Share of these units left out in training.
    has_class, has_visibility : bool
        Predict cluster against background, and log10 of the signal to noise.
    views : int
        Orientations of a stamp, out of eight, whose answers are joined in prediction.
    visibility_low, visibility_high, visibility_bins
        Range of log10 S/N, and its bins in a binned head.
    """

    bands: tuple[str, ...] = PHAT_BANDS
    stamp_size: int = 80
    pixel_scale_arcsec: float = 0.0
    normalization: Literal["asinh", "zscore"] = "asinh"
    softening: float = 1.0
    scale: Literal["band", "common"] = "band"
    background: Literal["border", "none"] = "border"
    trunk: Literal["compact", "paper1", "resnet50"] = "compact"
    widths: tuple[int, ...] = (24, 48, 96, 128)
    blocks: tuple[int, ...] = (0, 1, 1, 1)
    has_photometry: bool = True
    profile_channels: int = 0
    wide_binning: int = 0
    wide_widths: tuple[int, ...] = (16, 32, 64, 96)
    wide_blocks: tuple[int, ...] = (0, 1, 1, 1)
    head: Literal["mixture", "bins", "point"] = "mixture"
    parameters: tuple[ParameterConfig, ...] = DEFAULT_PARAMETERS
    joint: tuple[tuple[str, ...], ...] = ()
    n_components: int = 8
    head_width: int = 256
    head_layers: int = 2
    dropout: float = 0.0
    has_class: bool = True
    has_visibility: bool = True
    views: int = 1
    visibility_low: float = -0.5
    visibility_high: float = 3.5
    visibility_bins: int = 20

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together."""
        names = self.parameter_names
        if not self.bands or len(set(self.bands)) < len(self.bands):
            raise ConfigError(f"[model]: bands must be named once each; found {self.bands}.")
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"[model]: parameters must be named once each; found {names}.")
        for widths, blocks in (
            (self.widths, self.blocks),
            (self.wide_widths, self.wide_blocks),
        )[: len(self.views_of_stamp)]:
            self._check_stages(widths, blocks)
        if self.wide_binning and (self.wide_binning < 2 or self.stamp_size % self.wide_binning):
            raise ConfigError(
                f"[model]: wide_binning must be 0, or at least 2 and divide stamp_size; found "
                f"{self.wide_binning}."
            )
        if self.joint and sorted(name for group in self.joint for name in group) != sorted(names):
            raise ConfigError(
                f"[model]: joint must hold each of {', '.join(names)} once; found {self.joint}."
            )
        if (
            min(self.n_components, self.head_width, self.head_layers) < 1
            or self.profile_channels < 0
            or not 0 <= self.dropout < 1
        ):
            raise ConfigError(
                "[model]: n_components, head_width and head_layers must be positive, dropout in "
                "0..1."
            )
        if not 1 <= self.views <= 8:
            raise ConfigError(f"[model]: views must lie in 1..8; found {self.views}.")
        if self.softening <= 0:
            raise ConfigError(f"[model]: softening must be positive; found {self.softening}.")
        low, high = self.visibility_low, self.visibility_high
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                f"[model]: visibility_low must be below visibility_high; found {low}, {high}."
            )
        if self.visibility_bins < 2:
            raise ConfigError(
                f"[model]: visibility_bins must be at least 2; found {self.visibility_bins}."
            )
        if self.head == "bins":
            self._check_grids()

    def _check_grids(self) -> None:
        n_bins = {parameter.name: parameter.n_bins for parameter in self.parameters}
        for group in self.joint_groups:
            n_cells = math.prod(n_bins[name] for name in group)
            if n_cells > MOST_CELLS:
                raise ConfigError(
                    f"[model]: the grid of {', '.join(group)} has {n_cells} cells, at most "
                    f"{MOST_CELLS} are trained. Lower n_bins, or split the group (joint)."
                )

    def _check_stages(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        if len(widths) != len(blocks):
            raise ConfigError(
                f"[model]: expected one number of blocks a stage; found {len(widths)} widths, "
                f"{len(blocks)} blocks."
            )
        if min(widths, default=0) < 1 or min(blocks) < 0:
            raise ConfigError(
                f"[model]: expected stages with widths from 1 and blocks from 0 on; found "
                f"{list(widths)}, {list(blocks)}."
            )
        if self.stamp_size < 2 ** len(widths):
            raise ConfigError(
                f"[model]: stamp_size {self.stamp_size} is too small for {len(widths)} "
                "stages; give fewer widths and blocks."
            )

    @property
    def views_of_stamp(self) -> tuple[str, ...]:
        """Prefix of the layers of each view: the stamp, and its surroundings if they are seen."""
        return ("", "wide_") if self.wide_binning else ("",)

    @property
    def n_channels(self) -> int:
        """Channels of the input: all bands of the stamp, then all bands of the wide view."""
        return len(self.bands) * len(self.views_of_stamp)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the output."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def joint_groups(self) -> tuple[tuple[str, ...], ...]:
        """Parameters of each binned head."""
        return self.joint or (self.parameter_names,)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training and validation sets, and how stamps are varied.

    Attributes
    ----------
    training, validation : tuple of str
        Sets made by ``simulate.clusters``.  Without a validation set, every twentieth stamp of
        the training sets is set aside.
    batch_size : int
    augmentation : bool
        Turn and mirror stamps.
    max_shift_px : int
        Move the centre by up to so many pixels, where the set's stamps are larger than the
        network's.
    band_dropout : float
        Probability that a band of a stamp is blanked, so that missing bands can be borne.
    min_snr : float
        Fainter clusters do not teach parameters.
    cache_mb : int
        Memory for normalised stamps.
    """

    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    batch_size: int = 64
    augmentation: bool = True
    max_shift_px: int = 0
    band_dropout: float = 0.0
    min_snr: float = 0.0
    cache_mb: int = 4000

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.batch_size < 1 or self.max_shift_px < 0 or self.cache_mb < 0:
            raise ConfigError(
                "[data]: batch_size must be positive, max_shift_px and cache_mb not negative."
            )
        if not 0 <= self.band_dropout < 1:
            raise ConfigError(f"[data]: band_dropout must lie in 0..1; found {self.band_dropout}.")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay.

    Attributes
    ----------
    learning_rate : float
        After the warm-up.
    final_fraction : float
        Learning rate at the end, in units of `learning_rate`.
    warmup_steps : int
    weight_decay : float
    clip_norm : float
        Global gradient norm is clipped at this; 0: not.
    """

    learning_rate: float = 1e-3
    final_fraction: float = 0.01
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(
                f"[optimizer]: learning_rate must be positive; found {self.learning_rate}."
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes
    ----------
    task : {"parameters"}
        What is learnt; the key by which ``cluster_cnn.train`` chooses the trainer.
    name : str
        Name of the weights that come out.
    init : str
        ``random``, a registry name, or a weights file of the same network.
    epochs : int
    steps_per_epoch : int
        Batches an epoch; 0: the whole set.
    seed : int
        Of everything random in the run.
    class_weight, visibility_weight : float
        Weights of these losses beside that of the parameters.
    head_epochs : int
        After that, epochs in which only the dense layers learn, from the finished trunk's view of
        all stamps: hundreds of times cheaper.  They end where validation gets no better.
    head_learning_rate : float
    head_dropout : float
        Share of the last hidden units left out in these epochs.
    """

    task: Literal["parameters"] = "parameters"
    name: str = "cluster-phat"
    init: str = "random"
    epochs: int = 20
    steps_per_epoch: int = 0
    seed: int = 0
    class_weight: float = 1.0
    visibility_weight: float = 0.2
    head_epochs: int = 0
    head_learning_rate: float = 1e-3
    head_dropout: float = 0.1
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.epochs < 1 or min(self.steps_per_epoch, self.head_epochs) < 0:
            raise ConfigError(
                "epochs must be positive, steps_per_epoch and head_epochs not negative."
            )


def bin_edges(parameter: ParameterConfig) -> tuple[float, ...]:
    """Return the ``n_bins + 1`` edges of a parameter's bins, of equal width."""
    step = (parameter.high - parameter.low) / parameter.n_bins
    edges = [parameter.low + i * step for i in range(parameter.n_bins)] + [parameter.high]
    assert all(a < b for a, b in pairwise(edges))
    return tuple(edges)
