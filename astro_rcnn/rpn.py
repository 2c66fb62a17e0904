"""Region proposals: the network that scores anchors, and the choice of the best of them.

Ren et al. 2015 (Faster R-CNN); details as in the matterport implementation.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from astro_rcnn.boxes import clip_boxes, decode_boxes, suppress_each


def proposal_network(*, width: int, channels: int, n_ratios: int, stride: int) -> keras.Model:
    """Build the sub-network that is slid over every pyramid level.

    Returns
    -------
    keras.Model
        From (N, H, W, width) to class logits (N, A, 2), background first, and box deltas
        (N, A, 4), with A = H W n_ratios / stride**2 in the order of the anchors.
    """
    features = layers.Input((None, None, width), name="rpn_features")
    shared = layers.Conv2D(
        channels, 3, strides=stride, padding="same", activation="relu", name="rpn_conv_shared"
    )(features)
    logits = layers.Conv2D(2 * n_ratios, 1, name="rpn_class_raw")(shared)
    deltas = layers.Conv2D(4 * n_ratios, 1, name="rpn_bbox_pred")(shared)
    logits = layers.Reshape((-1, 2), name="rpn_class_logits")(logits)
    deltas = layers.Reshape((-1, 4), name="rpn_bbox")(deltas)
    return keras.Model(features, [logits, deltas], name="rpn_model")


def propose(
    foreground,
    deltas,
    anchors,
    *,
    box_std: tuple[float, ...],
    n_before: int,
    n_proposals: int,
    iou_threshold: float,
):
    """Turn scored anchors into proposals.

    Parameters
    ----------
    foreground : tensor, shape (N, A)
        Probability that an anchor holds a source.
    deltas : tensor, shape (N, A, 4)
        In units of `box_std`.
    anchors : tensor, shape (A, 4)
        Normalised frame.
    n_before, n_proposals : int
        The best so many go into non-maximum suppression; so many rows come out.
    iou_threshold : float
        Of the suppression.

    Returns
    -------
    tensor, shape (N, n_proposals, 4)
        Normalised frame, clipped to the image; rows of zeros where there are fewer. A gradient
        passes to `deltas` alone: stop it where the reference has none.
    """
    foreground = ops.stop_gradient(ops.cast(foreground, "float32"))
    deltas = ops.cast(deltas, "float32")
    n_anchors = anchors.shape[0]
    best_scores, best = ops.top_k(foreground, min(n_before, n_anchors))
    chosen = ops.take_along_axis(deltas, best[..., None], axis=1)
    chosen = chosen * np.array(box_std, np.float32)
    boxes = decode_boxes(ops.take(anchors, best, axis=0), chosen)
    boxes = clip_boxes(boxes, (0.0, 0.0, 1.0, 1.0))
    # A network that has diverged must come to its loss, which says so, and not to a wrong index.
    boxes = ops.where(ops.isfinite(boxes), boxes, 0.0)

    index, is_valid = suppress_each(
        ops.stop_gradient(boxes), best_scores, max_boxes=n_proposals, iou_threshold=iou_threshold
    )
    return ops.take_along_axis(boxes, index[..., None], axis=1) * is_valid[..., None]
