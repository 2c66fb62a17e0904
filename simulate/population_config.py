"""Settings of what the sky holds: galaxies, stars, clusters of galaxies."""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError
from simulate.config_checks import Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class SpectraConfig:
    """Colours from galaxy spectra through any survey's filters, in place of tracks in g, r, z.

    Attributes
    ----------
    highest_median_redshift : float
        The median redshift rises to the faint end up to this.
    """

    highest_median_redshift: float = 1.2


@dataclass(frozen=True, kw_only=True)
class ClusteringConfig:
    """Galaxies that are companions of others; none where the section is left out.

    Attributes
    ----------
    fraction : float
        Share of the galaxies that lie about another one.
    radius_arcsec : float
        Largest distance.
    """

    fraction: float = 0.3
    radius_arcsec: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.fraction < 1:
            raise ConfigError(
                f"[galaxies.clustering] fraction: expected 0 up to 1; found {self.fraction}."
            )
        if self.radius_arcsec <= 0:
            raise ConfigError("[galaxies.clustering] radius_arcsec must be above 0.")


@dataclass(frozen=True, kw_only=True)
class MilkyWayConfig:
    """Stars from a model of the Galaxy, in place of a power law.

    Attributes
    ----------
    latitude_deg, longitude_deg : range
        Galactic coordinates of the line of sight.
    multiplicity : float
        Share of the stars with a companion.
    """

    latitude_deg: Range = (30.0, 90.0)
    longitude_deg: Range = (0.0, 360.0)
    multiplicity: float = 0.4

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "stars.milky_way")
        if not 5 <= self.latitude_deg[0] <= self.latitude_deg[1] <= 90:
            raise ConfigError(
                "[stars.milky_way] latitude_deg: expected 5 to 90, for dust is left out; "
                f"found {list(self.latitude_deg)}."
            )
        if not 0 <= self.multiplicity <= 1:
            raise ConfigError(
                f"[stars.milky_way] multiplicity: expected 0 to 1; found {self.multiplicity}."
            )


@dataclass(frozen=True, kw_only=True)
class GalaxyConfig:
    """Counts, sizes, colours and structure of galaxies.

    The counts rise as ``1 / (10^(-s1 dm) + 10^(-s2 dm))`` with ``dm = m - break_mag``:
    slope ``s1`` at the bright end, ``s2`` at the faint one.

    Attributes
    ----------
    count_band : str
        Band of the magnitudes below.
    density_arcmin2 : range
        Galaxies per square arcmin brighter than `density_mag`; drawn log-uniformly.
    bright_mag, density_mag, faint_mag : float
        Brightest, reference and faintest magnitude drawn.
    size_factor : range
        Multiplies the published half-light radii.
    size_scatter : float
        Standard deviation of ln radius at given magnitude.
    red_fraction : range
        Share of galaxies with an old population, down to `break_mag`.
    red_decline_per_mag : float
        Part of that share lost with every magnitude fainter than `break_mag`.
    bulge_indices : tuple of float
        Sersic indices that old galaxies draw from; few values keep the look-up tables few.
    flattest_bulge : float
        Smallest axis ratio of the bulges of old galaxies.
    disk_thickness : float
        Axis ratio of a disk seen edge-on.
    arms_fraction : float
        Share of the disks that have spiral arms and knots, where they are large enough.
    irregular_fraction : float, optional
        Share of the other young galaxies that are irregular; none where it is left out.
    spectra, clustering : section, optional
    """

    count_band: str = "r"
    density_arcmin2: Range = (11.0, 11.0)
    bright_mag: float = 15.0
    density_mag: float = 23.5
    faint_mag: float = 26.5
    bright_slope: float = 0.42
    break_mag: float = 22.5
    faint_slope: float = 0.28
    size_factor: Range = (1.0, 1.0)
    size_scatter: float = 0.35
    red_fraction: Range = (0.35, 0.35)
    red_decline_per_mag: float = 0.25
    bulge_indices: tuple[float, ...] = (2.0, 3.0, 4.0)
    flattest_bulge: float = 0.55
    disk_thickness: float = 0.25
    arms_fraction: float = 0.6
    irregular_fraction: float | None = None
    spectra: SpectraConfig | None = None
    clustering: ClusteringConfig | None = None

    def __post_init__(self) -> None:
        """Check the order of the magnitudes."""
        check_ranges(self, "galaxies")
        if not self.bulge_indices or not all(0.5 <= n <= 6.0 for n in self.bulge_indices):
            raise ConfigError(
                "[galaxies] bulge_indices: expected Sersic indices from 0.5 to 6; "
                f"found {list(self.bulge_indices)}."
            )
        if not self.bright_mag < self.density_mag <= self.faint_mag:
            raise ConfigError(
                "[galaxies] expected bright_mag < density_mag <= faint_mag; found "
                f"{self.bright_mag}, {self.density_mag}, {self.faint_mag}."
            )


@dataclass(frozen=True, kw_only=True)
class StarConfig:
    """Counts and colours of stars.

    Attributes
    ----------
    density_arcmin2 : range
        Stars per square arcmin between `bright_mag` and `faint_mag` (r band), log-uniform.
    slope : float
        ``dN/dm`` rises as ``10^(slope m)``.
    hot_fraction : float
        Share of stars bluer than the main-sequence turn-off (white dwarfs, A stars).
    cool_fraction : float
        Share of M dwarfs.
    milky_way : section, optional
        Replaces density, slope and the shares, which must not be set beside it; `bright_mag`
        and `faint_mag` hold.
    """

    density_arcmin2: Range = (1.5, 1.5)
    bright_mag: float = 14.0
    faint_mag: float = 24.5
    slope: float = 0.14
    hot_fraction: float = 0.04
    cool_fraction: float = 0.45
    milky_way: MilkyWayConfig | None = None

    def __post_init__(self) -> None:
        """Check the order of the magnitudes."""
        check_ranges(self, "stars")
        if not self.bright_mag < self.faint_mag:
            raise ConfigError(
                "[stars] expected bright_mag < faint_mag; found "
                f"{self.bright_mag}, {self.faint_mag}."
            )
        if self.milky_way is None:
            return
        for name in ("density_arcmin2", "slope", "hot_fraction", "cool_fraction"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ConfigError(
                    f"[stars] {name}: does nothing beside [stars.milky_way], which counts the "
                    "stars itself. Set stars.milky_way.latitude_deg for more or fewer, or take a "
                    "preset without it."
                )


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """A rich cluster of galaxies with a red sequence and a cD galaxy.

    Attributes
    ----------
    probability : float
        Chance that a field holds one.
    richness : range
        Number of members down to `faint_mag` (count band of the galaxies).
    core_arcsec : range
        Core radius of the surface density.
    redshift : range
        Sets colours and magnitudes of the red sequence.
    """

    probability: float = 0.0
    richness: Range = (30.0, 120.0)
    core_arcsec: Range = (10.0, 40.0)
    redshift: Range = (0.1, 0.5)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "clusters")
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"[clusters] probability: expected 0 to 1; found {self.probability}.")
