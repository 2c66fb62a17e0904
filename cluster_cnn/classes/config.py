"""Settings of a class network and of its training: defaults, units and checks.

The defaults are our own network for the five bands of PHANGS-HST and LEGUS;
``configs/classes_*.toml`` hold those of Wei et al. 2020 (MNRAS 493, 3178).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from astro_io.errors import ConfigError
from cluster_cnn.config import OptimizerConfig

CLASS_IDS = (1, 2, 3, 4)
CLASS_NAMES = ("symmetric", "asymmetric", "multiple peaks", "no cluster")

NETWORKS = ("multiscale", "resnet18", "vgg19_bn")
PAPER_NETWORKS = ("resnet18", "vgg19_bn")

PHANGS_BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")


@dataclass(frozen=True, kw_only=True)
class ClassModelConfig:
    """One network: what it sees and its layers.

    Attributes
    ----------
    bands : tuple of str
        Bands in channel order.  Those that a stamp lacks are zero; the network is told.
    stamp_size : int
        Side of a stamp in pixels.
    pixel_scale_arcsec : float
        Pixel size of the training stamps; 0: taken from the training set.
    class_ids : tuple of int
        Values of the column ``class`` that the network tells apart, rising.
    network : {"multiscale", "resnet18", "vgg19_bn"}
        Ours at native resolution, or one of those of Wei et al.
    normalization, softening, scale, background
        As of `cluster_cnn.config.ModelConfig`; the networks of Wei et al. bring each band to
        [0, 1] themselves.
    widths : tuple of int
        Channels of the three stages of each view (``multiscale``).
    head_width : int
        Units of the dense layer before the classes (``multiscale``).
    dropout : float
        Share of these units left out in training.
    has_distance : bool
        Give the head the logarithm of the distance, where it is known (``multiscale``).
    crop_size, image_size : int
        Centre that is cut out and the size that it is blown up to (Wei et al.).
    """

    bands: tuple[str, ...] = PHANGS_BANDS
    stamp_size: int = 64
    pixel_scale_arcsec: float = 0.0
    class_ids: tuple[int, ...] = CLASS_IDS
    network: Literal["multiscale", "resnet18", "vgg19_bn"] = "multiscale"
    normalization: Literal["asinh", "zscore"] = "asinh"
    softening: float = 1.0
    scale: Literal["band", "common"] = "band"
    background: Literal["border", "none"] = "border"
    widths: tuple[int, ...] = (16, 32, 48)
    head_width: int = 128
    dropout: float = 0.3
    has_distance: bool = True
    crop_size: int = 50
    image_size: int = 299

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together."""
        if not self.bands or len(set(self.bands)) < len(self.bands):
            raise ConfigError(f"[model]: bands must be named once each; found {self.bands}.")
        if len(self.class_ids) < 2 or list(self.class_ids) != sorted(set(self.class_ids)):
            raise ConfigError(
                f"[model]: class_ids must be two or more, rising; found {list(self.class_ids)}."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"[model]: dropout must lie in 0..1; found {self.dropout}.")
        if self.network == "multiscale":
            self._check_views()
        else:
            self._check_paper()

    def _check_views(self) -> None:
        if self.stamp_size % 8 or self.stamp_size < 32:
            raise ConfigError(
                f"[model]: stamp_size must be a multiple of 8, at least 32; found "
                f"{self.stamp_size}."
            )
        if len(self.widths) != 3 or min(self.widths) < 1 or self.head_width < 1:
            raise ConfigError(
                f"[model]: widths must be three positive numbers; found {list(self.widths)}."
            )

    def _check_paper(self) -> None:
        if len(self.bands) > 6:
            raise ConfigError(
                f"[model]: {self.network} takes at most six bands; found {len(self.bands)}."
            )
        if self.normalization != "zscore" or self.background != "none":
            raise ConfigError(
                f"[model]: {self.network} needs normalization = 'zscore' and background = 'none': "
                "it brings each band to [0, 1] itself."
            )
        if not 8 <= self.crop_size <= self.stamp_size or self.image_size < 32:
            raise ConfigError(
                "[model]: crop_size must lie between 8 and stamp_size, image_size be at least 32; "
                f"found {self.crop_size}, {self.image_size}."
            )


@dataclass(frozen=True, kw_only=True)
class ClassDataConfig:
    """Training and validation sets, and how stamps are varied.

    Attributes
    ----------
    training, validation : tuple of str
        Sets of stamps.  Without a validation set, some training stamps are set aside.
    validation_share : float
        What share of them; at most one half.
    labels : str
        Column with the labels to learn from, ``class`` or ``class_human``.
    batch_size : int
    augmentation : bool
        Turn and mirror stamps.
    rotation : float
        Probability that a stamp is turned by any angle, not by right ones alone.
    zoom : float
        Standard deviation, in ln, of the size of the stamps that are turned so.
    max_shift_px : int
        Move the centre by up to so many pixels, where the set's stamps are larger.
    band_dropout : float
        Probability that a band of a stamp is blanked, so that missing bands can be borne.
    flux_jitter, band_jitter : float
        Standard deviation, in ln, of a factor for all bands and of one for each.
    distance_dropout : float
        Probability that the distance is kept from the network.
    cache_mb : int
        Memory for normalised stamps.
    """

    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    validation_share: float = 0.05
    labels: str = "class"
    batch_size: int = 64
    augmentation: bool = True
    rotation: float = 0.3
    zoom: float = 0.0
    max_shift_px: int = 0
    band_dropout: float = 0.12
    flux_jitter: float = 0.3
    band_jitter: float = 0.1
    distance_dropout: float = 0.3
    cache_mb: int = 2000

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.batch_size < 1 or self.max_shift_px < 0 or self.cache_mb < 0:
            raise ConfigError(
                "[data]: batch_size must be positive, max_shift_px and cache_mb not negative."
            )
        if not 0 < self.validation_share <= 0.5:
            raise ConfigError(
                f"[data]: validation_share must lie in 0..0.5; found {self.validation_share}."
            )
        for name in ("rotation", "band_dropout", "distance_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"[data]: {name} must lie in 0..1; found {getattr(self, name)}.")
        if min(self.flux_jitter, self.band_jitter, self.zoom) < 0:
            raise ConfigError("[data]: flux_jitter, band_jitter, zoom must not be negative.")


@dataclass(frozen=True, kw_only=True)
class ClassTrainConfig:
    """Independent trainings of one network, joined to an ensemble.

    Attributes
    ----------
    task : str
        ``classes``: what a configuration of this kind begins with.
    name : str
        Name of the weights that come out.
    init : str
        ``random``, or a weights file whose trunk is taken over.
    torch_weights : str
        Published ImageNet weights of the network of Wei et al.: safetensors or a PyTorch state
        dict; empty: random.
    members : int
        Independent trainings; their probabilities are averaged.
    epochs : int
    steps_per_epoch : int
        Batches an epoch; 0: the whole set.
    budget_s : float
        Processor seconds for each member: a training stops after the epoch that exceeds them;
        0: no limit.
    jit_compile : bool
        Compile the steps with XLA on TensorFlow too (on JAX they always are): slow to begin, and
        worth it where the optimiser is much of the work, as with the 280 million parameters of
        two VGG19.
    seed : int
        Of the first member; the next have the next.
    confusion : tuple of tuple of float
        Known probability of each label (columns) given the true class (rows); the network then
        learns the true class (forward correction).  Empty: labels are the truth.
    """

    task: Literal["classes"] = "classes"
    name: str = "classes-phangs"
    init: str = "random"
    torch_weights: str = ""
    members: int = 5
    epochs: int = 12
    steps_per_epoch: int = 0
    budget_s: float = 0.0
    jit_compile: bool = False
    seed: int = 0
    confusion: tuple[tuple[float, ...], ...] = ()
    model: ClassModelConfig = field(default_factory=ClassModelConfig)
    data: ClassDataConfig = field(default_factory=ClassDataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.epochs < 1 or self.members < 1 or self.steps_per_epoch < 0 or self.budget_s < 0:
            raise ConfigError(
                "epochs and members must be positive, steps_per_epoch and budget_s not negative."
            )
        n = len(self.model.class_ids)
        if self.confusion:
            is_square = len(self.confusion) == n and all(len(row) == n for row in self.confusion)
            if not is_square or any(abs(sum(row) - 1) > 1e-3 for row in self.confusion):
                raise ConfigError(
                    f"confusion: expected {n} rows of {n} probabilities that add up to 1."
                )
        if self.torch_weights and self.model.network not in PAPER_NETWORKS:
            raise ConfigError(
                f"torch_weights: expected model.network to be {' or '.join(PAPER_NETWORKS)}; "
                f"found {self.model.network}."
            )
