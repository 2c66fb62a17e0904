"""astro_rcnn.draws: numbers that depend on the image alone, and look random."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from backends import numpy

from astro_rcnn.draws import uniform

pytestmark = pytest.mark.backend


def draw(keys, n: int, **options) -> np.ndarray:
    return numpy(uniform(np.array(keys, np.int32), n, **{"stream": 0, **options}))


def lowbias32(x: int) -> int:
    """Mix bits as Wellons 2018 wrote it in C."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def test_numbers_are_those_of_a_second_implementation():
    """Key 7, stream 1, seed 3, place 2."""
    salt = lowbias32(lowbias32(3) ^ 0x9E3779B9)
    bits = lowbias32(lowbias32(7 ^ salt) ^ lowbias32(2 * 0x9E3779B9 % 2**32))
    assert draw([7], 3, stream=1, seed=3)[0, 2] == np.float32((bits >> 8) / 2**24)


def test_an_image_has_its_numbers_whatever_batch_it_is_in():
    together, alone = draw([5, 9, 2**31 - 1], 50), draw([9], 50)
    np.testing.assert_array_equal(together[1], alone[0])


@pytest.mark.parametrize("change", [{"keys": [1]}, {"stream": 1}, {"seed": 1}])
def test_another_key_stream_or_seed_gives_other_numbers(change):
    base = {"keys": [0], "n": 4000, "stream": 0, "seed": 0}
    first, second = draw(**base)[0], draw(**{**base, **change})[0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06  # 4 sigma of 1 / sqrt(4000)


def test_numbers_are_uniform():
    numbers = draw(range(8), 5000)
    assert numbers.dtype == np.float32 and numbers.min() >= 0.0 and numbers.max() < 1.0
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    np.testing.assert_allclose(counts, 2000, atol=5 * np.sqrt(2000))
    assert keras.backend.standardize_dtype(uniform(np.array([0]), 1, stream=0).dtype) == "float32"
