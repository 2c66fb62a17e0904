"""Settings of the effects of optics and detector."""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError
from simulate.config_checks import Range, check_ranges, require_positive


@dataclass(frozen=True, kw_only=True)
class SatelliteTrailConfig:
    """Satellites that cross the field during an exposure; off where the section is left out.

    Attributes
    ----------
    rate : range
        Mean number of trails per field and band.
    brightness_sigma : range
        Surface brightness at the middle of a trail in units of the noise of the sky per pixel,
        drawn log-uniformly.
    width_arcsec : range
        Full width at half maximum; satellites are out of focus.
    """

    rate: Range = (0.0, 0.3)
    brightness_sigma: Range = (1.0, 30.0)
    width_arcsec: Range = (1.2, 3.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "effects.satellite_trails")
        require_positive(self, "effects.satellite_trails", "brightness_sigma", "width_arcsec")


@dataclass(frozen=True, kw_only=True)
class GhostConfig:
    """Ghosts of bright stars: out-of-focus pupils; off where the section is left out.

    Attributes
    ----------
    faintest_mag : float
        Stars brighter than this in a band have a ghost there.
    flux_fraction : range
        Share of the star's light in its ghost, log-uniform.
    radius_arcsec : range
        Of the outer edge.
    hole : float
        Inner over outer radius: the shadow of the secondary mirror.
    offset_arcsec : range
        Distance of the ghost's centre from the star.
    """

    faintest_mag: float = 17.0
    flux_fraction: Range = (0.001, 0.01)
    radius_arcsec: Range = (8.0, 30.0)
    hole: float = 0.4
    offset_arcsec: Range = (0.0, 40.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "effects.ghosts")
        require_positive(self, "effects.ghosts", "radius_arcsec", "flux_fraction")
        if not 0 <= self.hole < 1:
            raise ConfigError(f"[effects.ghosts] hole: expected 0 up to 1; found {self.hole}.")


@dataclass(frozen=True, kw_only=True)
class BadColumnConfig:
    """Dead and hot columns; off where the section is left out.

    Attributes
    ----------
    rate : range
        Mean number of bad columns per field and band.
    hot_fraction : float
        Share of them that carry extra charge; the others are dead.
    hot_sigma : range
        Extra charge in units of the noise of the sky per pixel, log-uniform.
    flagged : bool
        The survey marks them as bad pixels.
    """

    rate: Range = (0.0, 2.0)
    hot_fraction: float = 0.5
    hot_sigma: Range = (5.0, 500.0)
    flagged: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "effects.bad_columns")
        require_positive(self, "effects.bad_columns", "hot_sigma")
        if not 0 <= self.hot_fraction <= 1:
            raise ConfigError(
                f"[effects.bad_columns] hot_fraction: expected 0 to 1; found {self.hot_fraction}."
            )


@dataclass(frozen=True, kw_only=True)
class GapConfig:
    """Strips without data between the detectors; off where the section is left out.

    Attributes
    ----------
    probability : float
        Chance of a gap, per field and band.
    width_arcsec : range
    """

    probability: float = 0.1
    width_arcsec: Range = (5.0, 40.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "effects.gaps")
        if not 0 <= self.probability <= 1:
            raise ConfigError(
                f"[effects.gaps] probability: expected 0 to 1; found {self.probability}."
            )


@dataclass(frozen=True, kw_only=True)
class EffectConfig:
    """Detector and optics effects, each switchable.

    Attributes
    ----------
    spikes : bool
        Diffraction spikes of bright stars.
    spike_angle_deg : range
        Angle of the first of the four spikes.
    spike_fraction : float
        Share of a star's light in its spikes.
    halo_fraction : range
        Share of a star's light in a wide halo.
    bleed : bool
        Charge above full well runs along columns.
    bleed_along : tuple of str
        ``column`` or ``row`` of the image, drawn per field: coadds are turned north up.
    cosmic_rays : range
        Hits per field and band.
    satellite_trails, ghosts, bad_columns, gaps : section, optional
        Left out, the effect is off.
    """

    spikes: bool = True
    spike_angle_deg: Range = (45.0, 45.0)
    spike_fraction: float = 0.01
    halo_fraction: Range = (0.0, 0.0)
    bleed: bool = True
    bleed_along: tuple[str, ...] = ("column",)
    cosmic_rays: Range = (0.0, 0.0)
    satellite_trails: SatelliteTrailConfig | None = None
    ghosts: GhostConfig | None = None
    bad_columns: BadColumnConfig | None = None
    gaps: GapConfig | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, "effects")
        if not self.bleed_along or set(self.bleed_along) - {"column", "row"}:
            raise ConfigError(
                f"[effects] bleed_along: expected column or row; found {list(self.bleed_along)}."
            )
