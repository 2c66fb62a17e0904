"""Stars of the Milky Way towards a Galactic latitude: masses, distances, colours, binaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from simulate.photometry import pivot_wavelength
from simulate.population_config import MilkyWayConfig
from simulate.sources import Sources, point_sources

# Main sequence: mass in solar masses and absolute J magnitude (Pecaut & Mamajek 2013, ApJS 208, 9,
# and its later tables), with g-i and the median locus at that colour: u-g, g-r, r-i, i-z, z-J,
# J-H, H-K (Covey et al. 2007, AJ 134, 2398, table 1; SDSS in AB, 2MASS in Vega).
_MAIN_SEQUENCE = np.array(
    [
        # mass  M_J    u-g   g-r   r-i   i-z   z-J   J-H   H-K
        [1.320, 2.52, 1.07, 0.24, 0.06, 0.00, 0.79, 0.23, 0.08],
        [1.160, 3.05, 1.11, 0.34, 0.12, 0.02, 0.83, 0.30, 0.08],
        [1.070, 3.37, 1.18, 0.40, 0.14, 0.03, 0.85, 0.33, 0.07],
        [1.000, 3.60, 1.28, 0.46, 0.16, 0.05, 0.88, 0.35, 0.08],
        [0.930, 3.96, 1.49, 0.56, 0.20, 0.07, 0.93, 0.40, 0.09],
        [0.860, 4.31, 1.69, 0.64, 0.24, 0.10, 0.97, 0.45, 0.09],
        [0.820, 4.46, 1.86, 0.71, 0.26, 0.12, 1.01, 0.49, 0.10],
        [0.760, 4.78, 2.09, 0.83, 0.31, 0.15, 1.05, 0.54, 0.11],
        [0.720, 4.91, 2.30, 0.96, 0.36, 0.18, 1.09, 0.58, 0.12],
        [0.700, 5.10, 2.40, 1.03, 0.39, 0.20, 1.11, 0.60, 0.13],
        [0.640, 5.59, 2.58, 1.22, 0.50, 0.27, 1.16, 0.65, 0.15],
        [0.585, 5.97, 2.61, 1.37, 0.68, 0.37, 1.22, 0.66, 0.18],
        [0.510, 6.48, 2.60, 1.41, 0.81, 0.43, 1.25, 0.65, 0.20],
        [0.450, 6.81, 2.60, 1.41, 0.96, 0.51, 1.29, 0.64, 0.22],
        [0.360, 7.38, 2.60, 1.41, 1.22, 0.64, 1.36, 0.61, 0.24],
        [0.240, 8.20, 2.61, 1.46, 1.50, 0.80, 1.46, 0.60, 0.27],
        [0.155, 9.09, 2.43, 1.56, 1.85, 1.00, 1.62, 0.60, 0.32],
        [0.105, 10.18, 2.40, 1.60, 2.11, 1.14, 1.70, 0.60, 0.34],
    ]
)
_LOCUS_NM = np.array([355.1, 468.6, 616.6, 748.0, 893.2, 1235.0, 1662.0, 2159.0])
"""Wavelengths of u, g, r, i, z, J, H, K."""

_VEGA_TO_AB = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.91, 1.39, 1.85])
"""Blanton & Roweis 2007, AJ 133, 734."""

_LOCUS_SCATTER_MAG = 0.03
_LOCAL_DENSITY_PC3 = 0.08
"""Main-sequence stars of 0.1 to 1.3 solar masses near the Sun: Reid, Gizis & Hawley 2002."""

_SUN_RADIUS_PC, _SUN_HEIGHT_PC = 8000.0, 25.0


@dataclass(frozen=True)
class _Population:
    """Number density relative to the thin disk at the Sun, and the most massive stars left."""

    name: str
    share: float
    heaviest: float


# Juric et al. 2008, ApJ 673, 864, table 10, bias corrected. Stars above the turn-off of an old
# population have left the main sequence; their few giants are left out.
_POPULATIONS = (
    _Population("thin", 1.0, 1.32),
    _Population("thick", 0.12, 0.90),
    _Population("halo", 0.0051, 0.80),
)


def draw_milky_way(
    rng: np.random.Generator,
    config: MilkyWayConfig,
    *,
    area_arcmin2: float,
    box: tuple[float, float, float, float],
    bands: tuple[str, ...],
    limits_mag: tuple[float, float],
    resolution_arcsec: float,
    pixel_scale_arcsec: float,
) -> Sources:
    """Draw the stars of a field from a model of the Galaxy.

    Masses follow Kroupa's initial mass function, distances the density of thin disk, thick disk
    and halo along the line of sight. A share of the stars has a companion, with a flat mass
    ratio and a log-normal separation. Companions closer than `resolution_arcsec` are added to
    their primary's light; the others are sources of their own.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : MilkyWayConfig
    area_arcmin2 : float
        Of the box.
    box : tuple of float
        ``(y1, x1, y2, x2)``, pixels.
    bands : tuple of str
    limits_mag : tuple of float
        Brightest and faintest r magnitude of the primaries.
    resolution_arcsec, pixel_scale_arcsec : float

    Returns
    -------
    Sources
        Class 1.

    References
    ----------
    Kroupa 2001, MNRAS 322, 231; Juric et al. 2008, ApJ 673, 864; Raghavan et al. 2010, ApJS 190,
    1 (separations: median 50 AU, 1.5 dex).
    """
    latitude = np.deg2rad(rng.uniform(*config.latitude_deg))
    longitude = np.deg2rad(rng.uniform(*config.longitude_deg))
    mass, distance_pc = _draw_primaries(rng, area_arcmin2, latitude, longitude, limits_mag)
    n = len(mass)
    mag = _magnitudes(rng, mass, distance_pc, bands)
    y, x = rng.uniform(box[0], box[2], n), rng.uniform(box[1], box[3], n)
    is_binary = rng.uniform(size=n) < config.multiplicity
    separation_au = 10.0 ** rng.normal(1.7, 1.52, n)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    companion = np.maximum(mass * rng.uniform(0.1, 1.0, n), _MAIN_SEQUENCE[-1, 0])
    companion_mag = _magnitudes(rng, companion, distance_pc, bands)
    separation = separation_au / distance_pc  # parsecs and AU give arcsec
    is_apart = is_binary & (separation > resolution_arcsec)
    blended = -2.5 * np.log10(10.0 ** (-0.4 * mag) + 10.0 ** (-0.4 * companion_mag))
    mag = np.where((is_binary & ~is_apart)[:, None], blended, mag)
    step = separation[is_apart] / pixel_scale_arcsec
    return point_sources(
        x=np.concatenate([x, x[is_apart] + step * np.cos(angle[is_apart])]),
        y=np.concatenate([y, y[is_apart] + step * np.sin(angle[is_apart])]),
        mag=np.concatenate([mag, companion_mag[is_apart]]),
    )


def star_density(
    *, latitude_deg: float, longitude_deg: float, limits_mag: tuple[float, float]
) -> float:
    """Return the expected number of primaries per square arcmin between two r magnitudes."""
    cells = _expected_counts(np.deg2rad(latitude_deg), np.deg2rad(longitude_deg), limits_mag)
    return float(sum(counts.sum() for counts, _, _ in cells))


def _draw_primaries(
    rng: np.random.Generator,
    area_arcmin2: float,
    latitude: float,
    longitude: float,
    limits_mag: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw masses and distances of the stars of a field."""
    masses, distances = [], []
    for counts, mass, distance in _expected_counts(latitude, longitude, limits_mag):
        drawn = rng.poisson(counts * area_arcmin2)
        i, j = np.nonzero(drawn)
        repeats = drawn[i, j]
        masses.append(np.repeat(mass[i], repeats))
        distances.append(np.repeat(distance[j], repeats))
    mass, distance = np.concatenate(masses), np.concatenate(distances)
    # within a cell of the table
    distance = distance * 10.0 ** (0.2 * rng.uniform(-0.05, 0.05, len(distance)))
    return mass * np.exp(rng.uniform(-0.015, 0.015, len(mass))), distance


def _expected_counts(
    latitude: float, longitude: float, limits_mag: tuple[float, float]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tabulate stars per square arcmin over mass and distance, for each population."""
    modulus = np.arange(0.0, 20.0, 0.1) + 0.05
    distance = 10.0 ** (0.2 * modulus + 1.0)
    # volume of a shell of 0.1 mag in one square arcmin: Omega d^3 ln(10)/5 * 0.1
    volume = (np.pi / 10800.0) ** 2 * distance**3 * 0.02 * np.log(10.0)
    cells = []
    for population in _POPULATIONS:
        edges = np.geomspace(_MAIN_SEQUENCE[-1, 0], population.heaviest, 81)
        mass = np.sqrt(edges[1:] * edges[:-1])
        share = _initial_mass_function(mass) * np.diff(edges)
        whole = np.geomspace(0.1, 1.32, 400)
        share /= trapezoid(_initial_mass_function(whole), whole)
        density = _LOCAL_DENSITY_PC3 * _relative_density(population, distance, latitude, longitude)
        r_mag = _absolute_r(mass)[:, None] + modulus[None, :]
        seen = (r_mag > limits_mag[0]) & (r_mag < limits_mag[1])
        cells.append((share[:, None] * (density * volume)[None, :] * seen, mass, distance))
    return cells


def _initial_mass_function(mass: np.ndarray) -> np.ndarray:
    """Return Kroupa's number of stars per unit mass: exponent -1.3 below 0.5, -2.3 above."""
    return np.where(mass < 0.5, mass**-1.3, 0.5 * mass**-2.3)


def _relative_density(
    population: _Population, distance_pc: np.ndarray, latitude: float, longitude: float
) -> np.ndarray:
    """Return the density along a line of sight, relative to the thin disk at the Sun."""
    height = distance_pc * np.sin(latitude) + _SUN_HEIGHT_PC
    in_plane = distance_pc * np.cos(latitude)
    radius = np.sqrt(
        _SUN_RADIUS_PC**2 + in_plane**2 - 2.0 * _SUN_RADIUS_PC * in_plane * np.cos(longitude)
    )
    if population.name == "halo":
        flattened = np.hypot(radius, height / 0.64)
        return population.share * (_SUN_RADIUS_PC / np.maximum(flattened, 500.0)) ** 2.77
    scale_height, scale_length = (300.0, 2600.0) if population.name == "thin" else (900.0, 3600.0)
    return population.share * np.exp(
        -(radius - _SUN_RADIUS_PC) / scale_length - np.abs(height) / scale_height
    )


def _absolute_r(mass: np.ndarray) -> np.ndarray:
    """Return absolute r magnitudes of main-sequence stars."""
    rising = _MAIN_SEQUENCE[::-1]
    r_minus_j = rising[:, 4] + rising[:, 5] + rising[:, 6]
    return np.interp(mass, rising[:, 0], rising[:, 1] + r_minus_j)


def _magnitudes(
    rng: np.random.Generator, mass: np.ndarray, distance_pc: np.ndarray, bands: tuple[str, ...]
) -> np.ndarray:
    """Return apparent AB magnitudes, shape (N, B), scattered about the locus."""
    absolute = main_sequence_magnitudes(mass, bands)
    modulus = 5.0 * np.log10(distance_pc / 10.0)
    return absolute + modulus[:, None] + rng.normal(0.0, _LOCUS_SCATTER_MAG, absolute.shape)


def main_sequence_magnitudes(mass: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """Return absolute AB magnitudes of main-sequence stars.

    The locus in u to K is interpolated in wavelength at the pivot of each band.

    Parameters
    ----------
    mass : ndarray of float, shape (N,)
        Solar masses.
    bands : tuple of str

    Returns
    -------
    ndarray of float64, shape (N, B)
    """
    rising = _MAIN_SEQUENCE[::-1]
    # colours from J outwards: u g r i z lie on the blue side, H and K on the red one
    steps = rising[:, 2:]
    j = rising[:, 1]
    blue = j[:, None] + np.cumsum(steps[:, 4::-1], axis=1)[:, ::-1]
    red = j[:, None] - np.cumsum(steps[:, 5:], axis=1)
    locus = np.concatenate([blue, j[:, None], red], axis=1) + _VEGA_TO_AB
    pivots = [pivot_wavelength(band) for band in bands]
    in_bands = np.stack(
        [[np.interp(pivot, _LOCUS_NM, row) for row in locus] for pivot in pivots], axis=0
    )
    return np.stack([np.interp(mass, rising[:, 0], row) for row in in_bands], axis=-1)
