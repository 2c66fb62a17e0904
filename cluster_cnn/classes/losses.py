"""Cross-entropy of class labels, which may be known to be wrong at known rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

_SMALLEST = 1e-7


def label_loss(confusion: Sequence[Sequence[float]] = ()) -> Callable:
    """Return the loss of a batch: ``loss(labels, logits)``.

    Parameters
    ----------
    confusion : sequence of sequence of float, shape (C, C), optional
        Probability of each label (columns) given the true class (rows).  The network's
        probabilities of the true class are turned into those of the label before they are
        compared, so that the network itself learns the truth (forward correction).

    Returns
    -------
    callable
        Labels are int, shape (N,) or (N, 1); logits (N, C); the result has shape (N,), in nats.

    References
    ----------
    Patrini et al. 2017, CVPR (arXiv 1609.03683), theorem 2.
    """
    matrix = np.asarray(confusion, np.float32)

    def loss(labels, logits):
        index = ops.reshape(ops.cast(labels, "int32"), (-1, 1))
        if matrix.size:
            of_labels = ops.matmul(ops.softmax(logits, axis=-1), ops.convert_to_tensor(matrix))
            log_p = ops.log(ops.maximum(of_labels, _SMALLEST))
        else:
            log_p = ops.log_softmax(logits, axis=-1)
        return -ops.take_along_axis(log_p, index, axis=-1)[:, 0]

    return loss
