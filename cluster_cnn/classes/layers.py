"""Small layers of the class networks: which bands are there; centre, range and size of an image."""

from __future__ import annotations

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="cluster_cnn")
class BandPresence(layers.Layer):
    """Tell which bands of a stamp hold anything but zeros.

    Notes
    -----
    From (N, H, W, B) to (N, B): 1 where a band has data, else 0.
    """

    def call(self, x):
        """Look for a value that is not 0."""
        return ops.cast(ops.max(ops.abs(x), axis=(1, 2)) > 0, x.dtype)

    def compute_output_shape(self, shape):
        """Return (N, B)."""
        return (shape[0], shape[3])


@keras.saving.register_keras_serializable(package="cluster_cnn")
class UnitRange(layers.Layer):
    """Bring each band of each image to [0, 1]: its lowest value to 0, its highest to 1.

    A band that is the same everywhere, as a missing one, becomes 0.

    Notes
    -----
    From (N, H, W, B) to the same.
    """

    def call(self, x):
        """Subtract the minimum, divide by the range."""
        low = ops.min(x, axis=(1, 2), keepdims=True)
        width = ops.max(x, axis=(1, 2), keepdims=True) - low
        return ops.where(width > 0, (x - low) / ops.where(width > 0, width, 1.0), 0.0)

    def compute_output_shape(self, shape):
        """Return the same shape."""
        return shape


@keras.saving.register_keras_serializable(package="cluster_cnn")
class ChannelPart(layers.Layer):
    """Take channels ``first`` to ``first + count``, with zeros where there are none.

    Parameters
    ----------
    first, count : int

    Notes
    -----
    From (N, H, W, B) to (N, H, W, count).
    """

    def __init__(self, first: int, count: int, **options) -> None:
        super().__init__(**options)
        self.first, self.count = first, count

    def call(self, x):
        """Cut, and fill up with zeros."""
        part = x[..., self.first : self.first + self.count]
        lacking = self.count - part.shape[-1]
        return ops.pad(part, ((0, 0), (0, 0), (0, 0), (0, lacking))) if lacking else part

    def compute_output_shape(self, shape):
        """Return (N, H, W, count)."""
        return (*shape[:3], self.count)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "first": self.first, "count": self.count}


@keras.saving.register_keras_serializable(package="cluster_cnn")
class BilinearResize(layers.Layer):
    """Resize an image bilinearly, pixel corners aligned on corners (half-pixel centres).

    Parameters
    ----------
    size : int

    Notes
    -----
    From (N, H, W, C) to (N, size, size, C).
    """

    def __init__(self, size: int, **options) -> None:
        super().__init__(**options)
        self.size = size

    def call(self, x):
        """Interpolate."""
        return ops.image.resize(
            x, (self.size, self.size), interpolation="bilinear", data_format="channels_last"
        )

    def compute_output_shape(self, shape):
        """Return (N, size, size, C)."""
        return (shape[0], self.size, self.size, shape[3])

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "size": self.size}
