"""Run functions of tensors on whichever backend Keras has."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np


def compiled(function: Callable) -> Callable:
    """Compile for the backend, with XLA."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Wrapped, because the options of a `functools.partial` would become tensors.
        return tf.function(lambda *tensors: function(*tensors), jit_compile=True, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def quick(function: Callable) -> Callable:
    """Compile where running one operation after the other is slow: JAX compiles each."""
    return compiled(function) if keras.backend.backend() == "jax" else function


def numpy(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))
