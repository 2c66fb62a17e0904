"""Kroupa's mass function: moments by hand, inverse pairs, clusters of a given mass."""

from __future__ import annotations

import numpy as np
import pytest

from simulate.star_clusters.imf import KroupaImf


def test_mean_mass_is_the_integral_done_by_hand():
    """With slopes 1.3 and 2.3 about 0.5, from 0.08 to 120 solar masses.

    Numbers: low (0.08^-0.3 - 0.5^-0.3)/0.3 = (2.1335 - 1.2311)/0.3 = 3.0078,
    high 0.5 (0.5^-1.3 - 120^-1.3)/1.3 = 0.5 (2.4623 - 0.0020)/1.3 = 0.9463.
    Masses: low (0.5^0.7 - 0.08^0.7)/0.7 = (0.61557 - 0.17066)/0.7 = 0.63558,
    high 0.5 (0.5^-0.3 - 120^-0.3)/0.3 = 0.5 (1.23114 - 0.23780)/0.3 = 1.65557.
    """
    assert KroupaImf().mean_mass == pytest.approx((0.63558 + 1.65557) / (3.0078 + 0.9463), rel=1e-3)


def test_variance_matches_a_sum_over_the_distribution():
    imf = KroupaImf()
    edges = np.geomspace(imf.m_min, imf.m_max, 200_001)
    share = np.diff(imf.number_below(edges))
    middle = np.sqrt(edges[1:] * edges[:-1])
    assert np.sum(share * middle) == pytest.approx(imf.mean_mass, rel=1e-6)
    assert np.sum(share * middle**2) - imf.mean_mass**2 == pytest.approx(
        imf.mass_variance, rel=1e-6
    )


def test_quantile_undoes_number_below():
    imf = KroupaImf()
    mass = np.array([0.08, 0.1, 0.4999, 0.5, 0.5001, 3.0, 119.0, 120.0])
    np.testing.assert_allclose(imf.quantile(imf.number_below(mass)), mass, rtol=1e-9)


def test_slopes_on_both_sides_of_the_break():
    imf = KroupaImf()

    def density(m: float) -> float:
        return float(np.diff(imf.number_below(np.array([m, m * 1.0001])))[0] / (m * 1e-4))

    assert density(0.4) / density(0.2) == pytest.approx(2**-1.3, rel=1e-3)
    assert density(40.0) / density(4.0) == pytest.approx(10**-2.3, rel=1e-3)
    assert density(0.49999) == pytest.approx(density(0.50001), rel=1e-3)


def test_sums_come_nearest_to_the_mass_asked_for(rng):
    imf = KroupaImf()
    for total in (5.0, 300.0, 1e4):
        masses = imf.draw_total(rng, total)
        short = abs(total - masses.sum())
        assert short <= abs(total - masses[:-1].sum())
        assert short <= imf.m_max / 2


def test_total_mass_is_not_biased(rng):
    sums = [KroupaImf().draw_total(rng, 200.0).sum() for _ in range(400)]
    assert np.mean(sums) == pytest.approx(200.0, abs=4 * np.std(sums) / 20)


def test_less_than_a_star_is_one_star(rng):
    assert len(KroupaImf().draw_total(rng, 0.01)) == 1
