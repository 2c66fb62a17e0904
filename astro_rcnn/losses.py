"""How wrong the network is: the five losses of Mask R-CNN and weight decay.

He et al. 2017 (Mask R-CNN), with the averages of the matterport implementation.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
from keras import ops

from astro_rcnn.replicas import n_replicas, sum_over_replicas

# Keras 2's binary cross-entropy clips probabilities here; the reference numbers depend on it.
PROBABILITY_EPSILON = 1e-7


def anchor_class_loss(match, logits):
    """Cross-entropy of anchors, averaged over those that are not neutral.

    Parameters
    ----------
    match : int tensor, shape (N, A)
        1 source, 0 neutral, -1 background.
    logits : tensor, shape (N, A, 2)
        Background first.

    Returns
    -------
    scalar tensor
        0 where no anchor counts.
    """
    is_source = ops.cast(match == 1, "int32")
    entropy = _cross_entropy(is_source, logits)
    return _masked_mean(entropy, match != 0)


def anchor_box_loss(match, target_deltas, deltas):
    """Smooth L1 of positive anchors: `match` (N, A), both deltas (N, A, 4)."""
    error = target_deltas - ops.cast(deltas, "float32")
    return _masked_mean(ops.mean(smooth_l1(error), axis=-1), match == 1)


def class_loss(class_ids, logits, is_counted):
    """Cross-entropy of regions: ids (N, T), logits (N, T, C), `is_counted` (N, T) bool."""
    return _masked_mean(_cross_entropy(class_ids, logits), is_counted)


def box_loss(class_ids, target_deltas, deltas):
    """Smooth L1 of the deltas of the true class.

    `class_ids` (N, P) with 0 for background, `target_deltas` (N, P, 4), `deltas` (N, P, C, 4).
    """
    index = ops.cast(class_ids, "int32")[..., None, None]
    of_class = ops.take_along_axis(deltas, index, axis=2)[..., 0, :]
    error = ops.mean(smooth_l1(target_deltas - ops.cast(of_class, "float32")), axis=-1)
    return _masked_mean(error, class_ids > 0)


def mask_loss(class_ids, target_masks, masks):
    """Binary cross-entropy of the mask of the true class.

    `class_ids` (N, P) with 0 for background, `target_masks` (N, P, S, S) of 0 and 1, `masks`
    (N, P, S, S, C) probabilities.
    """
    of_class = ops.sum(
        masks * ops.one_hot(class_ids, masks.shape[-1], dtype=masks.dtype)[:, :, None, None],
        axis=-1,
    )
    probability = ops.clip(
        ops.cast(of_class, "float32"), PROBABILITY_EPSILON, 1.0 - PROBABILITY_EPSILON
    )
    entropy = -(
        target_masks * ops.log(probability) + (1.0 - target_masks) * ops.log(1.0 - probability)
    )
    return _masked_mean(ops.mean(entropy, axis=(-2, -1)), class_ids > 0)


def imitation_loss(pyramid, wanted):
    """Distance from another network's feature maps, in units of their scatter, mean over levels.

    Parameters
    ----------
    pyramid, wanted : list of tensor, shapes (N, H, W, C)
        Ours and theirs, level by level.

    Returns
    -------
    scalar tensor
        1 where ours says no more than a constant; hints of Romero et al. 2015 (FitNets, eq. 3).
    """
    terms = []
    for ours, theirs in zip(pyramid, wanted, strict=True):
        theirs = ops.cast(theirs, "float32")
        scatter = ops.mean(ops.square(theirs - ops.mean(theirs)))
        missed = ops.mean(ops.square(ops.cast(ours, "float32") - theirs))
        terms.append(missed / ops.maximum(scatter, keras.config.epsilon()))
    return sum(terms) / (len(terms) * n_replicas())


def weight_decay(variables: Iterable[keras.Variable], coefficient: float):
    """Sum over tensors of ``coefficient * mean(w**2)``; batch-norm gamma and beta left out."""
    terms = [
        ops.mean(ops.square(variable))
        for variable in variables
        if variable.path.split("/")[-1] not in ("gamma", "beta")
    ]
    return coefficient * ops.sum(ops.stack(terms)) if terms else ops.zeros(())


def smooth_l1(difference):
    """``x**2 / 2`` inside -1..1, ``|x| - 1/2`` outside; element-wise (Girshick 2015, eq. 3)."""
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * ops.square(size), size - 0.5)


def _cross_entropy(class_ids, logits):
    logits = ops.cast(logits, "float32")
    log_probability = ops.log_softmax(logits, axis=-1)
    index = ops.cast(class_ids, "int32")[..., None]
    return -ops.take_along_axis(log_probability, index, axis=-1)[..., 0]


def _masked_mean(values, is_counted):
    """Mean over what counts in the whole batch; on a replica, its share of it."""
    weight = ops.cast(is_counted, "float32")
    (n_counted,) = sum_over_replicas([ops.sum(weight)])
    return ops.sum(values * weight) / ops.maximum(n_counted, 1.0)
