"""What the detector adds to a stamp, by numbers."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.star_clusters.blemishes import (
    FULL_WELL_E,
    N_EXPOSURES,
    add_bleeding,
    add_cosmic_ray,
    add_edge,
    add_hot_pixels,
)

FLUX = np.array([10.0, 20.0, 30.0])


@pytest.fixture
def stamp() -> np.ndarray:
    return np.zeros((32, 32, 3), np.float32)


def test_cosmic_ray_has_its_flux_in_one_or_two_bands_and_leaves_the_input_alone(stamp, rng):
    n_bands = []
    for _ in range(40):
        light = add_cosmic_ray(stamp, rng, (16, 16), FLUX).sum(axis=(0, 1))
        hit = light > 0
        np.testing.assert_allclose(light[hit], FLUX[hit], rtol=1e-4)
        n_bands.append(int(hit.sum()))
    assert set(n_bands) == {1, 2}
    assert n_bands.count(1) > n_bands.count(2)
    assert not stamp.any()


def test_hot_pixels_are_single_pixels_next_to_the_middle(stamp, rng):
    marked = add_hot_pixels(stamp, rng, (16.2, 15.8), FLUX)
    y, x, _ = np.nonzero(marked)
    assert 1 <= len(y) <= 3
    assert np.abs(y - 16).max() <= 1
    assert np.abs(x - 16).max() <= 1


def test_bleeding_starts_at_the_full_well(stamp, rng):
    exposure = np.array([1000.0, 1000.0, 1000.0])
    full = FULL_WELL_E * N_EXPOSURES / 1000.0
    stamp[16, 16] = [0.5 * full, full, 20 * full]
    marked = add_bleeding(stamp, rng, (16, 16), exposure)
    assert marked[16, 16].tolist() == pytest.approx([0.5 * full, full, full])
    n_full = (marked >= full * 0.999).sum(axis=(0, 1))
    assert n_full[0] == 0
    assert n_full[1] == 1  # exactly full: nothing to spill
    assert 15 <= n_full[2] <= 60  # 19 full pixels spilt along a line


def test_edge_takes_one_side_of_the_stamp_in_all_bands(stamp, rng):
    marked = add_edge(stamp, rng, (16, 16), np.ones(3))
    lost = np.isnan(marked)
    assert (lost.any(axis=2) == lost.all(axis=2)).all()
    assert 0.2 < lost.mean() < 0.5
    assert np.isfinite(marked[16, 16]).all()  # the candidate itself is on the chip
