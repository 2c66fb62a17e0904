"""Stars to pixels: flux, position, and the pair of scenes."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.psf_hst import transfer_function
from simulate.star_clusters.render import StampGrid, convolve_pair, psf_spectra

FILTERS = get_filters(("WFC3_F275W", "ACS_F814W", "WFC3_F160W"))
GRID = StampGrid(40, 0.05)


def render(y, x, flux, grid: StampGrid = GRID) -> np.ndarray:
    planes = grid.deposit(np.asarray(y, float), np.asarray(x, float), np.asarray(flux, float))
    return convolve_pair(planes, np.zeros_like(planes), psf_spectra(FILTERS, grid), grid)[0]


def exact_star(item, dy: float, dx: float) -> np.ndarray:
    """Shift theorem on a grid eight times finer than the pixels."""
    k = np.fft.fftfreq(GRID.wide_px * 8, 0.05 / 8)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    phase = np.exp(-2j * np.pi * (ky * dy + kx * dx) * 0.05)
    image = np.fft.ifft2(transfer_function(item, ky, kx) * phase).real * 64
    return np.fft.fftshift(image)[::8, ::8]


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.1), (-0.37, 0.42)])
def test_star_between_pixels_is_exact_to_a_thousandth_of_its_peak(dy, dx):
    stamp = render([20.0 + dy], [20.0 + dx], np.ones((1, 3)))
    for b, item in enumerate(FILTERS):
        exact = exact_star(item, dy, dx)
        middle = exact.shape[0] // 2
        exact = exact[middle - 20 : middle + 20, middle - 20 : middle + 20]
        np.testing.assert_allclose(stamp[..., b], exact, atol=1.2e-3 * exact.max())


def test_flux_is_conserved(rng):
    """At frequency 0 grid and point spread function give the sum over the wide field."""
    y, x = GRID.draw_positions(rng, 50)
    planes = GRID.deposit(y, x, np.full((50, 3), 2.0))
    spectra = psf_spectra(FILTERS, GRID)
    totals = [planes[b].sum() * spectra[b, 0, 0] for b in range(3)]
    np.testing.assert_allclose(totals, 100.0, rtol=1e-3)


def test_star_far_inside_keeps_its_light_in_the_stamp():
    """ACS F814W has 0.96 of the light within 1 arcsec."""
    stamp = render([19.5], [19.5], [[1.0, 1.0, 1.0]])
    assert 0.94 < stamp[..., 1].sum() < 1.0


def test_height_and_width_are_not_swapped():
    stamp = render([10.0], [30.0], np.ones((1, 3)))
    assert np.unravel_index(stamp[..., 1].argmax(), (40, 40)) == (10, 30)


def test_two_scenes_at_once_equal_one_by_one(rng):
    a = GRID.deposit(*GRID.draw_positions(rng, 20), rng.random((20, 3)))
    b = GRID.deposit(*GRID.draw_positions(rng, 20), rng.random((20, 3)))
    spectra = psf_spectra(FILTERS, GRID)
    first, second = convolve_pair(a, b, spectra, GRID)
    again, _ = convolve_pair(b, a, spectra, GRID)
    np.testing.assert_allclose(second, again, atol=1e-5)
    np.testing.assert_allclose(first + second, convolve_pair(a + b, a, spectra, GRID)[0], atol=1e-5)


def test_lattice_of_equal_stars_is_flat():
    y, x = GRID.lattice()
    stamp = render(y, x, np.full((len(y), 3), 0.5))
    np.testing.assert_allclose(stamp, 0.5, rtol=2e-3)


def test_no_star_no_light():
    stamp = render(np.empty(0), np.empty(0), np.empty((0, 3)))
    np.testing.assert_array_equal(stamp, 0.0)


def test_inside_is_the_wide_field():
    low, high = -GRID.margin_px - 0.5, GRID.wide_px - GRID.margin_px - 0.5
    y = np.array([low, low - 0.1, high - 0.1, high])
    np.testing.assert_array_equal(GRID.inside(y, np.zeros(4)), [True, False, True, False])
