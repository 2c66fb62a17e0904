"""Sums over blocks, with and without gaps."""

from __future__ import annotations

import numpy as np

from astro_io.binning import bin_pixels


def test_blocks_are_summed_and_height_is_not_width():
    pixels = np.arange(8.0).reshape(2, 4, 1)
    # 0 + 1 + 4 + 5 and 2 + 3 + 6 + 7.
    np.testing.assert_array_equal(bin_pixels(pixels, 2)[..., 0], [[10, 18]])
    stack = np.stack([pixels, 2 * pixels])
    np.testing.assert_array_equal(bin_pixels(stack, 2)[..., 0], [[[10, 18]], [[20, 36]]])


def test_other_pixels_of_a_block_stand_for_those_without_data():
    pixels = np.full((4, 4, 2), 3.0, np.float32)
    pixels[0, 0, 0] = np.nan  # 3 of 4 are left: 9 / 0.75
    pixels[:2, 2:, 1] = np.nan  # none
    pixels[2:, :1, 1], pixels[3, 1, 1] = np.nan, np.inf  # 1 of 4: too few
    found = bin_pixels(pixels, 2)
    np.testing.assert_array_equal(found[..., 0], [[12, 12], [12, 12]])
    np.testing.assert_array_equal(found[..., 1], [[12, np.nan], [np.nan, 12]])
    assert found.dtype == np.float32
