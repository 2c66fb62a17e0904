"""Sums over the replicas of a network that TensorFlow trains on several devices.

Losses and gradients are averages over the whole batch, so what is counted on one replica has to be
counted on all. On JAX, and outside of a strategy, an array is whole already: nothing happens here.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops


def n_replicas() -> int:
    """Return the number of replicas that work on one batch; 1 where it is not divided."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def sum_over_replicas(values: Sequence) -> list:
    """Add up tensors over the replicas; no gradient passes.

    Parameters
    ----------
    values : sequence of tensor
        The same number and shapes on every replica.

    Returns
    -------
    list of tensor
        The sums, alike on every replica.
    """
    values = [ops.stop_gradient(value) for value in values]
    if n_replicas() == 1:
        return values
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return values
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, values))


def reducible(numbers: dict) -> dict:
    """Give scalars the axis that Keras reduces over where several machines train together.

    Keras 3.15 takes the mean of a step's numbers over the first axis of each, and a scalar has
    none. The mean is over equal numbers: metrics are summed over replicas before.
    """
    if keras.backend.backend() != "tensorflow":
        return numbers
    import tensorflow as tf

    if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return numbers
    return {name: ops.reshape(value, (1,)) for name, value in numbers.items()}


class TrainingOptimizer:
    """Mix-in for an optimiser: clipping of the whole batch's gradient; averages kept apart.

    Keras clips on each replica before it adds the gradients up, so that the step would depend on
    the number of replicas. At the end of `fit` it puts the moving averages in the place of the
    weights; here the weights stay what a resumed run would go on from.
    """

    def finalize_variable_values(self, var_list):
        """Leave the weights as they are."""

    def _clip_gradients(self, grads):
        """Clip the sum over the replicas; each then hands in its share of it."""
        n = n_replicas()
        if n == 1:
            return super()._clip_gradients(grads)
        known = [grad for grad in grads if grad is not None]
        summed = iter(super()._clip_gradients(sum_over_replicas(known)))
        return [None if grad is None else next(summed) / n for grad in grads]


class SGD(TrainingOptimizer, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""


class Adam(TrainingOptimizer, keras.optimizers.Adam):
    """Adam; a decay of weights, where there is one, is part of the loss."""
