"""Isochrones: magnitudes of stars by initial mass, for ages and metallicities of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from astro_io.errors import ConfigError
from simulate.star_clusters.imf import KroupaImf

_POINTS_PER_SEGMENT = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Isochrone:
    """Stars of one age and metallicity.

    Attributes
    ----------
    log_age : float
        log10 of the age in years.
    metallicity : float
        Mass fraction Z.
    filters : tuple of str
        For example ``"ACS_F475W"``.
    m_ini : ndarray of float64, shape (R,)
        Initial masses, solar, not falling. Heavier stars are dead; lighter ones look like the
        first.
    mag : ndarray of float64, shape (R, B)
        Absolute AB magnitudes.
    """

    log_age: float
    metallicity: float
    filters: tuple[str, ...]
    m_ini: np.ndarray
    mag: np.ndarray

    def magnitudes(self, masses: np.ndarray) -> np.ndarray:
        """Return absolute AB magnitudes of stars, linear in initial mass between the rows.

        Parameters
        ----------
        masses : ndarray of float, shape (N,)
            Initial, solar.

        Returns
        -------
        ndarray of float64, shape (N, B)
            ``inf`` for dead stars.
        """
        masses = np.asarray(masses, dtype=np.float64)
        after = np.clip(np.searchsorted(self.m_ini, masses), 1, len(self.m_ini) - 1)
        low, high = self.m_ini[after - 1], self.m_ini[after]
        width = high - low
        part = np.divide(masses - low, width, out=np.zeros_like(masses), where=width > 0)
        part = np.maximum(part, 0.0)[:, None]
        mag = self.mag[after - 1] * (1.0 - part) + self.mag[after] * part
        mag[masses > self.m_ini[-1]] = np.inf
        return mag

    def fluxes(self, masses: np.ndarray) -> np.ndarray:
        """Return the fluxes of stars at 10 pc in units of AB magnitude 0; dead stars give 0.

        Returns
        -------
        ndarray of float64, shape (N, B)
        """
        return np.exp(self.magnitudes(masses) * (-0.4 * np.log(10.0)))

    def points(
        self, imf: KroupaImf, per_segment: int = _POINTS_PER_SEGMENT
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the population as weighted stars: what integrals run over.

        Parameters
        ----------
        imf : KroupaImf
        per_segment : int
            Parts of equal mass range that each segment between two rows is cut into.

        Returns
        -------
        number : ndarray of float64, shape (P,)
            Stars for each solar mass formed.
        flux : ndarray of float64, shape (P, B)
            Of one star, as from `fluxes`.
        """
        first = min(imf.m_min, self.m_ini[0])
        knots = np.concatenate([[first], self.m_ini])
        cut = np.arange(per_segment) / per_segment
        edges = (knots[:-1, None] + np.diff(knots)[:, None] * cut).ravel()
        edges = np.append(edges, knots[-1])
        number = np.diff(imf.number_below(edges)) / imf.mean_mass
        used = number > 0
        middle = 0.5 * (edges[1:] + edges[:-1])
        return number[used], self.fluxes(middle[used])

    def integrated_magnitudes(self, imf: KroupaImf, total_mass: float = 1.0) -> np.ndarray:
        """Return absolute AB magnitudes of a whole population.

        Parameters
        ----------
        imf : KroupaImf
        total_mass : float
            Mass formed, solar.

        Returns
        -------
        ndarray of float64, shape (B,)
        """
        number, flux = self.points(imf)
        return -2.5 * np.log10(total_mass * (number @ flux))

    @cached_property
    def light_per_mass(self) -> np.ndarray:
        """Flux of one solar mass formed, Kroupa IMF, as from `fluxes`, shape (B,)."""
        return 10.0 ** (-0.4 * self.integrated_magnitudes(KroupaImf()))


@dataclass(frozen=True, eq=False)
class IsochroneGrid:
    """Isochrones of several ages and metallicities in the same filters.

    Attributes
    ----------
    isochrones : tuple of Isochrone
        Not empty.
    name : str
        For provenance.
    """

    isochrones: tuple[Isochrone, ...]
    name: str = "isochrones"

    @property
    def filters(self) -> tuple[str, ...]:
        """Filters of the magnitudes."""
        return self.isochrones[0].filters

    @property
    def metallicities(self) -> np.ndarray:
        """Metal mass fractions, rising."""
        return np.unique([iso.metallicity for iso in self.isochrones])

    @property
    def log_ages(self) -> np.ndarray:
        """Ages that some metallicity has, rising, log10 of years."""
        return np.unique([round(iso.log_age, 6) for iso in self.isochrones])

    def nearest(self, log_age: float, metallicity: float) -> Isochrone:
        """Return the isochrone of the nearest metallicity (in log Z), then of the nearest age.

        Stars are never interpolated between ages: features such as the red clump move in mass.
        """
        z = self.metallicities
        nearest_z = z[np.argmin(np.abs(np.log(z / metallicity)))]
        same_z = [iso for iso in self.isochrones if iso.metallicity == nearest_z]
        return min(same_z, key=lambda iso: abs(iso.log_age - log_age))

    def select(self, filters: Sequence[str]) -> IsochroneGrid:
        """Return the grid in some of its filters, in this order.

        Raises
        ------
        ConfigError
            If a filter is not in the grid.
        """
        missing = [name for name in filters if name not in self.filters]
        if missing:
            raise ConfigError(
                f"{self.name}: no magnitudes in {', '.join(missing)}; "
                f"found {', '.join(self.filters)}. Choose others, or read a table that has them."
            )
        columns = [self.filters.index(name) for name in filters]
        chosen = tuple(
            replace(iso, filters=tuple(filters), mag=np.ascontiguousarray(iso.mag[:, columns]))
            for iso in self.isochrones
        )
        return IsochroneGrid(chosen, self.name)

    def limits(self) -> tuple[float, float, float, float]:
        """Return the lowest and highest log age and metallicity."""
        ages, z = self.log_ages, self.metallicities
        return float(ages[0]), float(ages[-1]), float(z[0]), float(z[-1])
