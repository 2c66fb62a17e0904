"""Initial mass function of Kroupa: stars drawn one by one until a cluster's mass is reached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_DRAW_MARGIN = 6.0  # extra stars drawn at first, in standard deviations of the count needed


@dataclass(frozen=True)
class KroupaImf:
    """Broken power law ``dN/dm ~ m^-slope``, continuous at the break, normalised to one star.

    Attributes
    ----------
    m_min, m_max : float
        Limits, solar masses.
    m_break : float
        Where the slope changes, solar masses.
    low_slope, high_slope : float
        Below and above the break.

    References
    ----------
    Kroupa 2001, MNRAS 322, 231, eq. 2 (stars: 0.08 to 0.5 and above 0.5 solar masses).
    """

    m_min: float = 0.08
    m_max: float = 120.0
    m_break: float = 0.5
    low_slope: float = 1.3
    high_slope: float = 2.3

    @cached_property
    def _norm(self) -> tuple[float, float]:
        """Coefficients of both power laws for an integral of 1."""
        jump = self.m_break ** (self.high_slope - self.low_slope)
        low = _power_integral(self.m_min, self.m_break, -self.low_slope)
        high = _power_integral(self.m_break, self.m_max, -self.high_slope) * jump
        return 1.0 / (low + high), jump / (low + high)

    @cached_property
    def _low_share(self) -> float:
        """Share of the stars below the break."""
        return self._norm[0] * _power_integral(self.m_min, self.m_break, -self.low_slope)

    @cached_property
    def mean_mass(self) -> float:
        """Mean mass of a star, solar masses."""
        low, high = self._norm
        return low * _power_integral(
            self.m_min, self.m_break, 1 - self.low_slope
        ) + high * _power_integral(self.m_break, self.m_max, 1 - self.high_slope)

    @cached_property
    def mass_variance(self) -> float:
        """Variance of the mass of a star, solar masses squared."""
        low, high = self._norm
        square = low * _power_integral(
            self.m_min, self.m_break, 2 - self.low_slope
        ) + high * _power_integral(self.m_break, self.m_max, 2 - self.high_slope)
        return square - self.mean_mass**2

    def number_below(self, mass: np.ndarray) -> np.ndarray:
        """Return the share of the stars with less than a mass: the cumulative distribution.

        Parameters
        ----------
        mass : ndarray of float
            Solar masses.

        Returns
        -------
        ndarray of float64, the shape of `mass`
            From 0 at `m_min` to 1 at `m_max`.
        """
        m = np.clip(np.asarray(mass, dtype=np.float64), self.m_min, self.m_max)
        low, high = self._norm
        below = low * _power_integral(self.m_min, np.minimum(m, self.m_break), -self.low_slope)
        above = high * _power_integral(self.m_break, np.maximum(m, self.m_break), -self.high_slope)
        return below + above

    def quantile(self, share: np.ndarray) -> np.ndarray:
        """Return the mass below which a share of the stars lies: the inverse of `number_below`.

        Parameters
        ----------
        share : ndarray of float
            From 0 to 1.

        Returns
        -------
        ndarray of float64, the shape of `share`
            Solar masses.
        """
        share = np.asarray(share, dtype=np.float64)
        low, high = self._norm
        p_low, p_high = 1 - self.low_slope, 1 - self.high_slope
        in_low = share < self._low_share
        start = np.where(in_low, self.m_min**p_low, self.m_break**p_high)
        rest = np.where(in_low, share * (p_low / low), (share - self._low_share) * (p_high / high))
        return (start + rest) ** np.where(in_low, 1 / p_low, 1 / p_high)

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw `n` masses.

        Returns
        -------
        ndarray of float64, shape (n,)
            Solar masses.
        """
        return self.quantile(rng.random(n))

    def draw_total(self, rng: np.random.Generator, total_mass: float) -> np.ndarray:
        """Draw stars one by one until their sum comes nearest to a total mass.

        The last star is kept where the sum is then nearer to the total, else left out, so that
        the sum is unbiased to a fraction of one star.

        Parameters
        ----------
        rng : numpy.random.Generator
        total_mass : float
            Solar masses.

        Returns
        -------
        ndarray of float64, shape (N,)
            At least one star.

        References
        ----------
        Weidner and Kroupa 2006, MNRAS 365, 1333; Krumholz et al. 2015, MNRAS 452, 1447, sect.
        2.1 ("stop nearest").
        """
        expected = total_mass / self.mean_mass
        scatter = np.sqrt(expected * self.mass_variance) / self.mean_mass
        masses = self.draw(rng, int(expected + _DRAW_MARGIN * scatter) + 16)
        sums = np.cumsum(masses)
        while sums[-1] < total_mass:
            more = self.draw(rng, len(masses))
            masses = np.concatenate([masses, more])
            sums = np.cumsum(masses)
        last = int(np.searchsorted(sums, total_mass))
        before = sums[last - 1] if last else 0.0
        keeps_last = sums[last] - total_mass < total_mass - before
        return masses[: max(1, last + int(keeps_last))]


def _power_integral(low: float, high: float | np.ndarray, power: float) -> float | np.ndarray:
    """Integrate ``m^power`` from `low` to `high`; `power` is not -1."""
    return (high ** (power + 1) - low ** (power + 1)) / (power + 1)
