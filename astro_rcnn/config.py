"""Model and training settings: the single place for defaults, units and checks.

The defaults of `ModelConfig` and `TargetConfig` are those of Astro R-CNN (Burke et al. 2019,
MNRAS 490, 3952) as its released code sets them; ``configs/astro_rcnn.toml`` holds what we use
instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from astro_io.errors import ConfigError

# Bands of a network that takes one band, whatever its name.
ANY_BAND = ("any",)
TRUNKS = ("resnet101", "resnet50", "compact")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network: what it sees, its layers, and how it turns outputs into detections.

    Attributes
    ----------
    bands : tuple of str
        Bands in channel order; ``("any",)``: any one band, in training another in each scene.
    class_names : tuple of str
        Classes, background first.
    trunk : {"resnet101", "resnet50", "compact"}
        Feature extractor.
    trunk_widths, trunk_blocks : tuple of int
        Channels and residual blocks of stages 1 to 5 of the compact trunk (strides 2 to 32).
    is_batch_norm_frozen : bool
        Use the moving statistics in training too.
    fpn_width, rpn_width, class_head_width, mask_head_width, mask_head_depth : int
        Channels (and number of convolutions) of the pyramid and the heads.
    rpn_levels, roi_levels : tuple of int
        Pyramid levels (stride ``2**level``) that propose, and that regions are pooled from.
    anchor_scales : tuple of float
        Anchor size in pixels for each of `rpn_levels`.
    anchor_ratios : tuple of float
        Width over height.
    anchor_stride : int
        Place anchors at every n-th cell.
    canonical_size_px, canonical_level : float, int
        A region of this size is pooled from this level; each factor two moves a level.
    mean_pixel : tuple of float
        Subtracted from each normalised band; one number serves all.
    normalization : str
        One of ``astro_io.normalize.METHODS``.
    normalization_softening : float
        Softening of the asinh stretch in units of the sky noise.
    is_alignment_exact : bool
        Pool at bin centres in exact pixel positions. The released weights need False: their
        rule shifts regions by up to three quarters of a cell across the image.
    min_confidence, detection_nms_iou, max_detections
        A detection has at least this score (with a second look it is, of whatever class, a
        source with at least this probability); overlaps above this IoU are suppressed.
    drops_background : bool
        A region whose likeliest class is background is no detection, as in the original. False:
        its likeliest class of source counts, so that scores go down to `min_confidence`.
    temperature : float
        Logits of the classes are divided by it: above 1, scores that were too sure become modest.
        Fitted by ``python -m astro_rcnn.calibrate``.
    concentric_fraction : float
        Of two detections whose centres are nearer than this part of the smaller box, the better
        stays; 0 keeps both (the paper).
    second_look_px : int
        Side of the cut-out in which the class of a detection is looked at again, in pixels
        (`astro_rcnn.second_look`); 0: no second look. Trained by ``python -m astro_rcnn.refine``.
    """

    bands: tuple[str, ...] = ("z", "r", "g")
    class_names: tuple[str, ...] = ("background", "star", "galaxy")
    normalization: str = "paper"
    normalization_softening: float = 1.0
    mean_pixel: tuple[float, ...] = (-200.0,)
    trunk: Literal["resnet101", "resnet50", "compact"] = "resnet101"
    trunk_widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    trunk_blocks: tuple[int, ...] = (1, 2, 2, 2, 1)
    is_batch_norm_frozen: bool = True
    fpn_width: int = 256
    rpn_levels: tuple[int, ...] = (2, 3, 4, 5, 6)
    roi_levels: tuple[int, ...] = (2, 3, 4, 5)
    anchor_scales: tuple[float, ...] = (8.0, 16.0, 32.0, 64.0, 128.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_stride: int = 1
    rpn_width: int = 512
    rpn_box_std: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)
    rpn_nms_iou: float = 0.7
    pre_nms_limit: int = 6000
    post_nms_train: int = 2000
    post_nms_inference: int = 1000
    canonical_size_px: float = 224.0
    canonical_level: int = 4
    is_alignment_exact: bool = False
    pool_size: int = 7
    mask_pool_size: int = 14
    class_head_width: int = 1024
    mask_head_width: int = 256
    mask_head_depth: int = 4
    box_std: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)
    min_confidence: float = 0.5
    detection_nms_iou: float = 0.3
    is_nms_class_agnostic: bool = True
    max_detections: int = 300
    concentric_fraction: float = 0.0
    drops_background: bool = True
    temperature: float = 1.0
    second_look_px: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together."""
        if self.trunk not in TRUNKS:
            raise ConfigError(
                f"[model]: trunk '{self.trunk}' unknown; choose one of {', '.join(TRUNKS)}."
            )
        if len(self.anchor_scales) != len(self.rpn_levels):
            raise ConfigError(
                f"[model]: expected one anchor scale for each of the {len(self.rpn_levels)} "
                f"rpn_levels; found {len(self.anchor_scales)}."
            )
        if len(self.mean_pixel) not in (1, len(self.bands)):
            raise ConfigError(
                f"[model]: mean_pixel has {len(self.mean_pixel)} values for "
                f"{len(self.bands)} bands; give one, or one a band."
            )
        if min(self.rpn_levels + self.roi_levels) < 1:
            raise ConfigError(
                "[model]: there is no pyramid level under 1 (stride 2); found "
                f"rpn_levels {self.rpn_levels}, roi_levels {self.roi_levels}."
            )
        first, last = self.roi_levels[0], self.roi_levels[-1]
        if self.roi_levels != tuple(range(first, last + 1)):
            raise ConfigError(
                "[model]: regions choose among pyramid levels by their size, so roi_levels must "
                f"rise one by one; found {self.roi_levels}."
            )
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ConfigError(
                f"[model]: min_confidence must lie in 0..1; found {self.min_confidence}."
            )
        if self.second_look_px < 0 or 0 < self.second_look_px < 8:
            raise ConfigError(
                "[model]: second_look_px must be 0, or at least 8 pixels; found "
                f"{self.second_look_px}."
            )
        if not self.temperature > 0.0:
            raise ConfigError(f"[model]: temperature must be above 0; found {self.temperature}.")

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    @property
    def size_multiple(self) -> int:
        """Image sides are padded to a multiple of this many pixels."""
        return 2 ** max(self.rpn_levels + self.roi_levels + (5,))


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """What the network is asked to say in training, and how much each loss weighs.

    Attributes
    ----------
    rpn_anchors : int
        Anchors an image that the proposal losses look at, half of them positive at most.
    rpn_positive_iou, rpn_negative_iou : float
        Anchors above and below are positive and negative; between, neutral.
    n_rois, roi_positive_fraction, roi_positive_iou
        Regions an image for the heads, and how many of them may hold a source.
    roi_concentric_iou : float
        A region with the centre of a source and at least this overlap with it holds it too. The
        masks of Burke et al. make a star several times as large as a galaxy of the same
        appearance: where the proposals take it for the one and the heads for the other, neither
        would be found. 0: off (the paper).
    has_truth_proposals : bool
        Add the true boxes to the proposals.
    has_proposal_gradient : bool
        Let the box loss move the proposals through its targets, as the original does (it never
        stops that gradient), so that they come to lie where the head expects them.
    is_padding_background : bool
        Count zero-padded regions as background in the class loss (as the original does).
    is_negative_count_tied : bool
        Keep the number of negatives in proportion to the positives found (as the original
        does) instead of filling up with negatives.
    loss_weights : tuple of float
        RPN class, RPN box, class, box, mask.
    weight_decay : float
        L2 coefficient; each tensor's sum of squares is divided by its size.
    """

    rpn_anchors: int = 512
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    n_rois: int = 250
    roi_positive_fraction: float = 0.33
    roi_positive_iou: float = 0.5
    roi_concentric_iou: float = 0.0
    has_truth_proposals: bool = False
    has_proposal_gradient: bool = False
    is_padding_background: bool = True
    is_negative_count_tied: bool = True
    loss_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check ranges."""
        if len(self.loss_weights) != 5:
            raise ConfigError(
                "[targets]: expected five loss_weights (rpn class, rpn box, class, box, mask); "
                f"found {len(self.loss_weights)}."
            )
        if not 0 < self.roi_positive_fraction < 1:
            raise ConfigError(
                "[targets]: roi_positive_fraction must lie between 0 and 1; "
                f"found {self.roi_positive_fraction}."
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training and validation sets and how crops are cut from them.

    Attributes
    ----------
    training, validation : tuple of str
        Paths of data sets.
    repeats : tuple of int
        How many times a shuffle shows each scene of each training set; empty: once.
    crop : int
        Side of the square training crop in pixels; 0 takes whole images.
    batch_size, max_instances : int
        Crops a batch; true sources a crop at most.
    augmentation : {"dihedral", "paper", "none"}
        Named policy, or ``module:function`` returning an imgaug augmenter.
    truth_min_snr : float
        Sources fainter than this are not asked for.
    min_visible_fraction : float
        Share of a source's mask that must lie in the crop for it to be asked for.
    mask_rule : {"peak", "isophote"}
        Peak fraction (the paper) or isophote.
    cache_mb, workers : int
        Memory for decoded scenes; loading threads (0: none).
    """

    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    crop: int = 0
    batch_size: int = 4
    max_instances: int = 300
    augmentation: str = "paper"
    truth_min_snr: float = 0.0
    min_visible_fraction: float = 0.1
    mask_rule: str = "peak"
    cache_mb: int = 4000
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of the schedule.

    Attributes
    ----------
    until_epoch : int
        The stage ends with this epoch (counted from the start of training).
    learning_rate : float
        At the start of the stage.
    layers : {"heads", "all"}
        Which layers learn: ``heads`` leaves the trunk as it is.
    final_learning_rate : float
        A cosine leads from `learning_rate` to this; negative means constant.
    """

    until_epoch: int = 1
    learning_rate: float = 1e-3
    layers: Literal["heads", "all"] = "all"
    final_learning_rate: float = -1.0

    def __post_init__(self) -> None:
        """Check the words and numbers."""
        if self.layers not in ("heads", "all"):
            raise ConfigError(f"[schedule]: layers is 'heads' or 'all'; found '{self.layers}'.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(
                f"[schedule]: learning_rate must be positive; found {self.learning_rate}."
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimiser settings.

    Attributes
    ----------
    name : {"sgd", "adamw"}
        SGD with momentum (the paper), or Adam: the decay of weights is part of the loss.
    momentum : float
        Of SGD.
    clip_norm : float
        Global gradient norm is clipped at this.
    warmup_steps : int
        The learning rate rises linearly over so many first steps.
    ema_momentum : float
        Exponential moving average of the weights; 0 switches it off.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    clip_norm: float = 5.0
    warmup_steps: int = 0
    ema_momentum: float = 0.0


PAPER_SCHEDULE = (
    StageConfig(until_epoch=15, learning_rate=1e-3, layers="heads"),
    StageConfig(until_epoch=25, learning_rate=1e-4),
    StageConfig(until_epoch=35, learning_rate=1e-5),
    StageConfig(until_epoch=50, learning_rate=1e-6),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes
    ----------
    name : str
        Name of the weights that come out.
    init : str
        ``random``; ``coco`` or ``imagenet`` (downloaded); a name of the registry; a weights file.
    init_heads : str
        Weights, as for `init`, of another network whose pyramid and heads have the same shapes:
        these are taken over after `init`, the trunk and what joins it to the pyramid are not.
        Empty: none.
    imitate : str
        Weights, as for `init`, of a network whose feature maps this one learns to give, beside its
        own task: a large trunk that starts at random learns sooner what a trained one sees. Both
        have the same pyramid and take the same pixels. Empty: none.
    imitation_weight : float
        Of that loss, beside those of the task.
    steps_per_epoch, validation_steps : int
        Batches an epoch.
    seed : int
        Of everything random in the run.
    precision : {"float32", "bfloat16"}
        Of the layers in training; weights, losses and boxes stay float32. bfloat16 halves the
        memory, and is faster where the processor has instructions for it.
    keep_checkpoints : int
        The newest so many stay; 0 keeps all.
    n_looks : int
        Crops drawn with truth and detections after every epoch; 0 draws none.
    schedule : tuple of StageConfig
        Stages in order.
    """

    name: str = "astro-rcnn"
    init: str = "random"
    init_heads: str = ""
    imitate: str = ""
    imitation_weight: float = 1.0
    steps_per_epoch: int = 62
    validation_steps: int = 10
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    keep_checkpoints: int = 2
    n_looks: int = 2
    model: ModelConfig = field(default_factory=ModelConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: tuple[StageConfig, ...] = PAPER_SCHEDULE

    def __post_init__(self) -> None:
        """Check words and numbers, and that stages follow one another."""
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision is 'float32' or 'bfloat16'; found '{self.precision}'.")
        for name in ("keep_checkpoints", "n_looks"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative; found {getattr(self, name)}.")
        if self.steps_per_epoch < 1:
            raise ConfigError(f"steps_per_epoch must be at least 1; found {self.steps_per_epoch}.")
        ends = [stage.until_epoch for stage in self.schedule]
        if not ends or ends != sorted(set(ends)):
            raise ConfigError(
                f"[schedule]: until_epoch must rise from stage to stage; found {ends}."
            )
