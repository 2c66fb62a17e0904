"""Random numbers that belong to an image: the same on any device, backend and number of replicas.

A generator with a state would give an image other numbers when a batch is divided among replicas.
Here every number is a hash of the image's key, of what it is drawn for, and of its place.
"""

from __future__ import annotations

from keras import ops

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_MANTISSA_BITS = 24


def uniform(keys, n: int, *, stream: int, seed: int = 0):
    """Draw `n` numbers for each of N images.

    Parameters
    ----------
    keys : int tensor, shape (N,)
        One number an image; the same key gives the same numbers.
    n : int
        Numbers an image.
    stream : int
        What they are for; streams are independent of each other.
    seed : int
        Of the run.

    Returns
    -------
    float32 tensor, shape (N, n)
        In [0, 1), multiples of 2**-24.
    """
    salt = _mix_number(_mix_number(seed) ^ ((stream * _GOLDEN) & _MASK))
    start = _mix(ops.bitwise_xor(ops.cast(keys, "uint32"), _constant(salt)))
    place = _mix(ops.cast(ops.arange(n, dtype="int32"), "uint32") * _constant(_GOLDEN))
    bits = _mix(ops.bitwise_xor(start[:, None], place[None, :]))
    top = ops.cast(ops.right_shift(bits, _constant(32 - _MANTISSA_BITS)), "int32")
    return ops.cast(top, "float32") * 2.0**-_MANTISSA_BITS


def _constant(value: int):
    return ops.convert_to_tensor(value, dtype="uint32")


def _mix(x):
    """Spread the bits of uint32 numbers: "lowbias32" of Wellons 2018, hash-prospector."""
    x = ops.bitwise_xor(x, ops.right_shift(x, _constant(16))) * _constant(0x7FEB352D)
    x = ops.bitwise_xor(x, ops.right_shift(x, _constant(15))) * _constant(0x846CA68B)
    return ops.bitwise_xor(x, ops.right_shift(x, _constant(16)))


def _mix_number(x: int) -> int:
    """Do what `_mix` does to one Python number."""
    x &= _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
