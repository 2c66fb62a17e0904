"""astro_rcnn.anchors: where anchors lie."""

from __future__ import annotations

import numpy as np
import pytest
import referee

from astro_rcnn.anchors import pyramid_anchors

OPTIONS = {"levels": (2, 4), "scales": (8.0, 30.0), "ratios": (0.5, 1.0, 2.0)}


def test_anchors_agree_with_the_referee_on_an_oblong_image():
    found = pyramid_anchors((64, 96), **OPTIONS)
    expected = referee.anchors((64, 96), (4, 16), OPTIONS["scales"], OPTIONS["ratios"])
    assert found.shape == ((16 * 24 + 4 * 6) * 3, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_first_anchors_by_hand():
    # Scale 8 at the corner of the image; ratio 4 (width over height): 4 high, 16 wide.
    found = pyramid_anchors((32, 32), levels=(3,), scales=(8.0,), ratios=(1.0, 4.0))
    np.testing.assert_allclose(found[:2], [[-4, -4, 4, 4], [-2, -8, 2, 8]])
    # The next cell to the right lies 8 pixels on.
    np.testing.assert_allclose(found[2], [-4, 4, 4, 12])


def test_a_stride_of_two_takes_every_second_cell():
    dense = pyramid_anchors((64, 64), levels=(3,), scales=(8.0,), ratios=(1.0,))
    sparse = pyramid_anchors((64, 64), levels=(3,), scales=(8.0,), ratios=(1.0,), stride=2)
    np.testing.assert_array_equal(sparse, dense.reshape(8, 8, 4)[::2, ::2].reshape(-1, 4))


def test_shared_anchors_cannot_be_spoilt():
    with pytest.raises(ValueError, match="read-only"):
        pyramid_anchors((64, 64), **OPTIONS)[0] = 0
