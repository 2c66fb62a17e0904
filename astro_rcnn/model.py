"""The network put together: wiring only, the parts live in their own files."""

from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
from keras import layers, ops

from astro_rcnn import losses
from astro_rcnn.anchors import pyramid_anchors
from astro_rcnn.boxes import denormalize_boxes, normalize_boxes
from astro_rcnn.config import ModelConfig, TargetConfig
from astro_rcnn.detection_layer import move_boxes, refine_detections, without_doubles
from astro_rcnn.draws import uniform
from astro_rcnn.fpn import feature_pyramid
from astro_rcnn.heads import class_box_head, mask_head
from astro_rcnn.replicas import n_replicas, reducible
from astro_rcnn.resnet import compact, resnet
from astro_rcnn.roi_align import assign_levels, bin_centres, pyramid_roi_align
from astro_rcnn.rpn import proposal_network, propose
from astro_rcnn.second_look import decide_again, in_chunks, look_again, second_look_head
from astro_rcnn.targets import anchor_targets, region_targets

LOSS_NAMES = ("rpn_class", "rpn_bbox", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask")
IMITATION = "imitation"


def feature_network(config: ModelConfig) -> keras.Model:
    """Build trunk and pyramid: (N, H, W, B) to one map for each level, ascending.

    H and W are multiples of ``config.size_multiple``.
    """
    image = layers.Input((None, None, len(config.bands)), name="image")
    if config.trunk == "compact":
        features = compact(
            image,
            widths=config.trunk_widths,
            blocks=config.trunk_blocks,
            is_frozen=config.is_batch_norm_frozen,
        )
    else:
        features = resnet(image, depth=config.trunk, is_frozen=config.is_batch_norm_frozen)
    pyramid = feature_pyramid(features, width=config.fpn_width, levels=pyramid_levels(config))
    return keras.Model(image, pyramid, name="features")


def pyramid_levels(config: ModelConfig) -> tuple[int, ...]:
    """Every level from the finest to the coarsest that proposals or regions need."""
    wanted = config.rpn_levels + config.roi_levels
    return tuple(range(min(wanted), max(wanted) + 1))


class MaskRCNN(keras.Model):
    """Mask R-CNN on normalised images of any number of bands and any size.

    Parameters
    ----------
    config : ModelConfig
        Layers and inference settings.
    targets : TargetConfig, optional
        Targets and losses; only training reads them.
    seed : int
        Of the random choice of anchors and regions in training.

    Notes
    -----
    Called with a dict that holds ``image`` (N, H, W, B) and truth (``gt_class_ids`` (N, G),
    ``gt_boxes`` (N, G, 4) pixel edges, ``gt_masks`` (N, G, M, M)) it returns the five losses;
    called with an image alone it returns what `detect` does. H and W are multiples of
    ``config.size_multiple``; images without a source are allowed. ``image_key`` (N,), if given,
    decides the random choice of anchors and regions of each image; divided among replicas, each
    loss is a replica's share, and their sum is that of the whole batch.
    """

    def __init__(
        self, config: ModelConfig, targets: TargetConfig | None = None, *, seed: int = 0
    ) -> None:
        # float32 whatever its layers are: boxes in pixels would be rounded with the images.
        super().__init__(name="mask_rcnn", dtype="float32")
        self.settings = config
        self.target_settings = targets or TargetConfig()
        self.features = feature_network(config)
        self.rpn = proposal_network(
            width=config.fpn_width,
            channels=config.rpn_width,
            n_ratios=len(config.anchor_ratios),
            stride=config.anchor_stride,
        )
        self.class_head = class_box_head(
            pool_size=config.pool_size,
            width=config.fpn_width,
            channels=config.class_head_width,
            n_classes=config.n_classes,
            is_frozen=config.is_batch_norm_frozen,
        )
        self.mask_head = mask_head(
            pool_size=config.mask_pool_size,
            width=config.fpn_width,
            channels=config.mask_head_width,
            depth=config.mask_head_depth,
            n_classes=config.n_classes,
            is_frozen=config.is_batch_norm_frozen,
        )
        self.second_look = None
        if config.second_look_px:
            self.second_look = second_look_head(
                side=config.second_look_px,
                n_bands=len(config.bands),
                n_classes=config.n_classes,
            )
            self.second_look.trainable = False  # by the five losses; see astro_rcnn.refine
        self.seed = seed
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in LOSS_NAMES]
        self._show_features = None
        self._imitation_weight = 0.0
        self.built = True

    def imitate(self, teacher: MaskRCNN, weight: float) -> None:
        """Learn to see what another network sees: its pyramid adds a loss to the five.

        Parameters
        ----------
        teacher : MaskRCNN
            Does not learn, and is not saved with this network. Its pyramid has the same levels
            and width, and it takes the same pixels.
        weight : float
            Of `astro_rcnn.losses.imitation_loss` in the sum of the losses.
        """
        teacher.trainable = False
        # In a closure Keras does not see it: it would count as a part of this network.
        self._show_features = lambda image: teacher.pyramid(image)
        self._imitation_weight = weight
        self.loss_trackers.append(keras.metrics.Mean(name=IMITATION))

    # === forward pieces ===

    def pyramid(self, image, training: bool = False):
        """Normalised image (N, H, W, B) to feature maps, one for each pyramid level."""
        mean = np.array(self.settings.mean_pixel, np.float32)
        image = image - mean if np.any(mean) else image
        return self.features(image, training=training)

    def score_anchors(self, pyramid, training: bool = False):
        """Class logits (N, A, 2) and deltas (N, A, 4) of all anchors."""
        levels = pyramid_levels(self.settings)
        outputs = [
            self.rpn(pyramid[levels.index(level)], training=training)
            for level in self.settings.rpn_levels
        ]
        logits, deltas = zip(*outputs, strict=True)
        return ops.concatenate(logits, axis=1), ops.concatenate(deltas, axis=1)

    def to_frame(self, boxes, shape: tuple[int, int]):
        """Pixel boxes in the normalised frame of this network."""
        return normalize_boxes(boxes, shape, is_exact=self.settings.is_alignment_exact)

    def to_pixels(self, boxes, shape: tuple[int, int]):
        """Inverse of `to_frame`."""
        return denormalize_boxes(boxes, shape, is_exact=self.settings.is_alignment_exact)

    def anchors(self, shape: tuple[int, int]) -> np.ndarray:
        """Anchors in pixels, shape (A, 4), for an image of `shape`."""
        config = self.settings
        return pyramid_anchors(
            shape,
            levels=config.rpn_levels,
            scales=config.anchor_scales,
            ratios=config.anchor_ratios,
            stride=config.anchor_stride,
        )

    def propose(
        self, logits, deltas, shape: tuple[int, int], n_proposals: int, n_before: int | None = None
    ):
        """Proposals (N, n_proposals, 4), normalised frame, from scored anchors."""
        config = self.settings
        return propose(
            ops.softmax(ops.cast(logits, "float32"), axis=-1)[..., 1],
            deltas,
            ops.convert_to_tensor(self.to_frame(self.anchors(shape), shape)),
            box_std=config.rpn_box_std,
            n_before=n_before or config.pre_nms_limit,
            n_proposals=n_proposals,
            iou_threshold=config.rpn_nms_iou,
        )

    def pool(self, pyramid, boxes, shape: tuple[int, int], size: int):
        """RoIAlign of boxes (N, R, 4), normalised frame, to (N R, size, size, C)."""
        config = self.settings
        levels = pyramid_levels(config)
        maps = [pyramid[levels.index(level)] for level in config.roi_levels]
        canonical = config.canonical_size_px / np.sqrt(float(shape[0] * shape[1]))
        index = assign_levels(
            boxes,
            config.roi_levels,
            canonical_size=canonical,
            canonical_level=config.canonical_level,
        )
        if config.is_alignment_exact:
            cells = np.array([level.shape[1:3] for level in maps], np.int32)
            strides = 2.0 ** np.array(config.roi_levels, np.float32)
            boxes = bin_centres(
                self.to_pixels(boxes, shape),
                size,
                ops.take(cells, index, axis=0),
                ops.take(strides, index),
            )
            pooled = pyramid_roi_align(maps, boxes, index, size, edge_slack=0.5)
        else:
            pooled = pyramid_roi_align(maps, boxes, index, size)
        return ops.reshape(pooled, (-1, size, size, config.fpn_width))

    def classify(self, pyramid, boxes, shape: tuple[int, int], training: bool = False):
        """Class logits (N, R, C) and deltas (N, R, C, 4) of boxes (N, R, 4)."""
        pooled = self.pool(pyramid, boxes, shape, self.settings.pool_size)
        logits, deltas = self.class_head(pooled, training=training)
        n_boxes, n_classes = boxes.shape[1], self.settings.n_classes
        return (
            ops.reshape(logits, (-1, n_boxes, n_classes)),
            ops.reshape(deltas, (-1, n_boxes, n_classes, 4)),
        )

    def draw_masks(self, pyramid, boxes, shape: tuple[int, int], training: bool = False):
        """Mask probabilities (N, R, S, S, C) of boxes (N, R, 4)."""
        pooled = self.pool(pyramid, boxes, shape, self.settings.mask_pool_size)
        masks = self.mask_head(pooled, training=training)
        side = 2 * self.settings.mask_pool_size
        return ops.reshape(masks, (-1, boxes.shape[1], side, side, self.settings.n_classes))

    def draw_class_masks(self, pyramid, boxes, class_ids, shape: tuple[int, int]):
        """Mask probabilities (N, R, S, S) of boxes (N, R, 4), each for its class (N, R)."""
        masks = self.draw_masks(pyramid, boxes, shape)
        index = ops.cast(class_ids, "int32")[..., None, None, None]
        return ops.take_along_axis(masks, index, axis=-1)[..., 0]

    # === inference ===

    def detect(self, image, window=None):
        """Find sources, without their masks.

        Parameters
        ----------
        image : tensor, shape (N, H, W, B)
            Normalised pixels.
        window : tensor, shape (N, 4), optional
            Pixel box of the real image inside the padded one.

        Returns
        -------
        dict of tensor
            ``pyramid`` (list of maps); ``boxes`` (N, D, 4) normalised frame, ``class_ids``
            (N, D) with 0 for unused rows, ``scores`` (N, D), ``probabilities`` (N, D, C); best
            score first. ``is_full`` (N,): a limit on proposals or detections was reached, and
            sources may be missing.
        """
        config = self.settings
        shape = (image.shape[1], image.shape[2])
        pyramid = self.pyramid(image)
        logits, deltas = self.score_anchors(pyramid)
        config = _scale_limits(config, shape)
        rois = self.propose(
            logits, deltas, shape, config.post_nms_inference, n_before=config.pre_nms_limit
        )
        class_logits, class_deltas = self.classify(pyramid, rois, shape)
        if window is None:
            window = np.array([0, 0, *shape], np.float32)
        window = self.to_frame(ops.cast(window, "float32"), shape)
        found = refine_detections(rois, class_logits, class_deltas, window, config)
        if self.second_look is not None:
            found = self.look_twice(image, pyramid, found, window, shape)
        is_full = ops.logical_or(found["is_full"], _are_proposals_full(logits, rois, config))
        return {"pyramid": pyramid, **found, "is_full": is_full}

    def look_twice(self, image, pyramid, found, window, shape: tuple[int, int]):
        """Decide anew on what `refine_detections` found, by the pixels and by boxes fitted again.

        Parameters are those of `astro_rcnn.second_look` and of `fit_boxes`.
        """
        config = self.settings
        boxes = self.to_pixels(found["boxes"], shape)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2

        def look(centres, probabilities, class_boxes):
            again = look_again(
                self.second_look, image, centres, probabilities, side=config.second_look_px
            )
            return centres, again, self.fit_boxes(pyramid, class_boxes, window, shape)

        n_used = ops.max(ops.sum(ops.cast(found["class_ids"] > 0, "int32"), axis=1))
        rows = (centres, found["probabilities"], found["class_boxes"])
        _, again, class_boxes = in_chunks(look, rows, n_used)
        found = decide_again(found, again, class_boxes)
        return without_doubles(found, fraction=config.concentric_fraction)

    def fit_boxes(self, pyramid, class_boxes, window, shape: tuple[int, int]):
        """Move the box of each class of source once more, seen from where it lies now.

        A star's mask of Burke et al. is several times as large as a galaxy's of the same
        appearance: seen from a region of the one, the box of the other is a guess.

        Parameters
        ----------
        class_boxes : tensor, shape (N, D, C, 4)
            Normalised frame; those of background stay.
        window : tensor, shape (4,) or (N, 4)
            They end there.
        """
        n_found, n_classes = class_boxes.shape[1], self.settings.n_classes
        ids = np.tile(np.arange(1, n_classes), n_found)
        rois = ops.reshape(class_boxes[:, :, 1:], (-1, len(ids), 4))
        _, deltas = self.classify(pyramid, rois, shape)
        own = ops.take_along_axis(deltas, ids[None, :, None, None], axis=2)
        moved = move_boxes(rois, own, window, self.settings)
        moved = ops.reshape(moved, (-1, n_found, n_classes - 1, 4))
        return ops.concatenate([class_boxes[:, :, :1], moved], axis=2)

    # === training ===

    def call(self, inputs, training: bool = False):
        """Losses where truth is given, detections otherwise."""
        if isinstance(inputs, dict) and "gt_boxes" in inputs:
            return self._truth_losses(inputs, training)
        return self.detect(inputs["image"] if isinstance(inputs, dict) else inputs)

    def _truth_losses(self, inputs, training: bool):
        config, targets = self.settings, self.target_settings
        image, gt_boxes = inputs["image"], ops.cast(inputs["gt_boxes"], "float32")
        shape = (image.shape[1], image.shape[2])
        pyramid = self.pyramid(image, training)
        logits, deltas = self.score_anchors(pyramid, training)
        anchors = ops.convert_to_tensor(self.anchors(shape))
        match, target_deltas = anchor_targets(
            anchors,
            gt_boxes,
            self.draw(inputs, logits.shape[1], stream=0),
            n_sampled=targets.rpn_anchors,
            positive_iou=targets.rpn_positive_iou,
            negative_iou=targets.rpn_negative_iou,
            box_std=config.rpn_box_std,
        )
        proposals = self.propose(logits, deltas, shape, config.post_nms_train)
        head_losses = self.region_losses(pyramid, proposals, inputs, shape, training)
        if self._show_features is not None:
            shown = [ops.stop_gradient(level) for level in self._show_features(image)]
            head_losses |= {IMITATION: losses.imitation_loss(pyramid, shown)}
        return {
            "rpn_class": losses.anchor_class_loss(match, logits),
            "rpn_bbox": losses.anchor_box_loss(match, target_deltas, deltas),
            **head_losses,
        }

    def draw(self, inputs, n: int, *, stream: int):
        """Random numbers (N, n) that choose anchors and regions: a function of the image's key."""
        keys = inputs.get("image_key")
        if keys is None:
            keys = ops.arange(ops.shape(inputs["gt_boxes"])[0])
        return uniform(keys, n, stream=stream, seed=self.seed)

    def region_losses(self, pyramid, proposals, inputs, shape, training: bool = False):
        """Class, box and mask loss of given proposals (N, R, 4), normalised frame."""
        config, targets = self.settings, self.target_settings
        gt_class_ids = ops.cast(inputs["gt_class_ids"], "int32")
        gt_boxes = self.to_frame(ops.cast(inputs["gt_boxes"], "float32"), shape)
        if targets.has_truth_proposals:
            real = ops.cast((gt_class_ids > 0)[..., None], "float32")
            proposals = ops.concatenate([proposals, gt_boxes * real], axis=1)
        wanted = region_targets(
            proposals,
            gt_class_ids,
            gt_boxes,
            inputs["gt_masks"],
            self.draw(inputs, proposals.shape[1], stream=1),
            n_rois=targets.n_rois,
            positive_fraction=targets.roi_positive_fraction,
            positive_iou=targets.roi_positive_iou,
            box_std=config.box_std,
            mask_size=2 * config.mask_pool_size,
            is_negative_count_tied=targets.is_negative_count_tied,
            is_alignment_exact=config.is_alignment_exact,
            concentric_iou=targets.roi_concentric_iou,
        )
        pulls = ("deltas",) if targets.has_proposal_gradient else ()
        wanted = {
            name: value if name in pulls else ops.stop_gradient(value)
            for name, value in wanted.items()
        }
        n_positive = wanted["deltas"].shape[1]
        positive_ids = wanted["class_ids"][:, :n_positive]
        logits, deltas = self.classify(pyramid, wanted["rois"], shape, training)
        masks = self.draw_masks(pyramid, wanted["rois"][:, :n_positive], shape, training)
        is_counted = wanted["is_used"]
        if targets.is_padding_background:
            is_counted = ops.ones_like(is_counted)
        return {
            "mrcnn_class": losses.class_loss(wanted["class_ids"], logits, is_counted),
            "mrcnn_bbox": losses.box_loss(positive_ids, wanted["deltas"], deltas[:, :n_positive]),
            "mrcnn_mask": losses.mask_loss(positive_ids, wanted["masks"], masks),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training: bool = True):
        """Weighted sum of the five losses and weight decay; on a replica, its share."""
        weights = self.target_settings.loss_weights
        total = sum(weight * y_pred[name] for weight, name in zip(weights, LOSS_NAMES, strict=True))
        if IMITATION in y_pred:
            total = total + self._imitation_weight * y_pred[IMITATION]
        if self.target_settings.weight_decay > 0.0:
            decay = losses.weight_decay(self.trainable_variables, self.target_settings.weight_decay)
            total = total + decay / n_replicas()
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Average each loss over the epoch (Keras averages over replicas: shares are summed)."""
        for tracker in self.loss_trackers:
            tracker.update_state(y_pred[tracker.name] * n_replicas())
        return reducible(self.get_metrics_result())

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Leave out a dry run of Keras: all is built, and it cannot take a worker's batch."""


def _are_proposals_full(logits, rois, config: ModelConfig):
    """Tell images (N,) where anchors more like a source than not were left out of account."""
    is_source = ops.cast(logits[..., 1] > logits[..., 0], "int32")
    n_sources = ops.sum(is_source, axis=1)
    is_last_used = ops.any(rois[:, -1] > 0, axis=-1)
    return ops.logical_and(is_last_used, n_sources > config.pre_nms_limit)


def _scale_limits(config: ModelConfig, shape: tuple[int, int]) -> ModelConfig:
    """Let the numbers of candidates grow with the image: they are meant for 512 x 512 pixels."""
    factor = math.ceil(shape[0] * shape[1] / 512**2)
    return replace(
        config,
        pre_nms_limit=config.pre_nms_limit * factor,
        post_nms_inference=config.post_nms_inference * factor,
        max_detections=config.max_detections * factor,
    )


def build_model(
    config: ModelConfig,
    targets: TargetConfig | None = None,
    *,
    seed: int = 0,
    precision: str = "float32",
) -> MaskRCNN:
    """Build the network of `config` with random weights drawn from `seed`.

    With a `precision` of ``"bfloat16"`` the layers compute in it; weights stay float32.
    """
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        return MaskRCNN(config, targets, seed=seed)
    finally:
        keras.config.set_dtype_policy(before)
