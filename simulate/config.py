"""Settings of a simulated field: what the sky holds, through which survey it is seen.

A pair ``(low, high)`` is a range from which every field draws its own value; equal ends fix it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib.resources import as_file, files

from astro_io.errors import ConfigError

Range = tuple[float, float]
PerBand = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """Camera, exposure and output unit.

    Attributes
    ----------
    height, width : int
        Pixels.
    bands : tuple of str
        Channel order.
    pixel_scale_arcsec : range
    zeropoint_mag : float per band
        AB magnitude that gives one electron in the whole exposure.
    sky_mag_arcsec2 : float per band
        Night sky.
    exposure_factor : range
        Multiplies the exposure (sky and sources alike); drawn log-uniformly.
    read_noise_e : range
        Electrons a pixel.
    unit : tuple of str
        One is drawn per field: ``electron``, ``nanomaggy`` (22.5 mag = 1) or ``DN``
        (whole numbers).
    gain_e_per_dn : float per band
        Used for ``DN`` alone.
    soft_bias : float
        Constant added to ``DN`` images.
    sky_subtracted : float
        Probability that the mean sky is taken off.
    saturation_e : float
        Full well: electrons above which a pixel is clipped, for an exposure factor of 1 (a
        longer coadd adds up more exposures); 0 switches clipping off.
    noise_correlation : range
        Correlation of the noise of neighbouring pixels, as resampling leaves it.
    band_shift_px : range
        Largest shift of a band against the first, pixels.
    background_gradient : range
        Peak-to-valley slope of the sky across the field, in units of its noise per pixel.
    """

    height: int = 512
    width: int = 512
    bands: tuple[str, ...] = ("g", "r", "z")
    pixel_scale_arcsec: Range = (0.262, 0.262)
    zeropoint_mag: PerBand = (32.8, 32.5, 32.6)
    sky_mag_arcsec2: PerBand = (22.0, 21.0, 19.0)
    exposure_factor: Range = (1.0, 1.0)
    read_noise_e: Range = (0.0, 0.0)
    unit: tuple[str, ...] = ("electron",)
    gain_e_per_dn: PerBand = (1.0, 1.0, 1.0)
    soft_bias: float = 0.0
    sky_subtracted: float = 0.0
    saturation_e: float = 0.0
    noise_correlation: Range = (0.0, 0.0)
    band_shift_px: Range = (0.0, 0.0)
    background_gradient: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check lengths and signs."""
        for name in ("zeropoint_mag", "sky_mag_arcsec2", "gain_e_per_dn"):
            if len(getattr(self, name)) != len(self.bands):
                raise ConfigError(
                    f"[survey] {name}: expected one value a band ({', '.join(self.bands)}); "
                    f"found {len(getattr(self, name))}."
                )
        if self.height < 16 or self.width < 16:
            raise ConfigError(
                f"[survey] height, width: expected at least 16 px; "
                f"found {self.height} x {self.width}."
            )
        unknown = set(self.unit) - {"electron", "nanomaggy", "DN"}
        if unknown or not self.unit:
            raise ConfigError(
                f"[survey] unit: expected electron, nanomaggy or DN; found {sorted(unknown)}."
            )
        _check_ranges(self, "survey")
        if self.pixel_scale_arcsec[0] <= 0 or self.exposure_factor[0] <= 0:
            raise ConfigError("[survey] pixel_scale_arcsec and exposure_factor must be above 0.")
        if not 0 <= self.noise_correlation[0] <= self.noise_correlation[1] <= 0.45:
            raise ConfigError("[survey] noise_correlation: expected values from 0 to 0.45.")


@dataclass(frozen=True, kw_only=True)
class PsfConfig:
    """Seeing: an elliptical Moffat profile per band.

    Attributes
    ----------
    fwhm_arcsec : range
        Full width at half maximum in the reference band.
    band_factor : float per band
        FWHM of each band relative to `fwhm_arcsec`.
    band_scatter : float
        Extra random factor of each band, standard deviation of ln FWHM.
    beta : range
        Moffat index.
    max_ellipticity : float
        Largest shear ``g`` of the profile.
    """

    fwhm_arcsec: Range = (1.2, 1.2)
    band_factor: PerBand = (1.08, 1.0, 0.92)
    band_scatter: float = 0.02
    beta: Range = (2.8, 3.2)
    max_ellipticity: float = 0.03

    def __post_init__(self) -> None:
        """Check signs."""
        _check_ranges(self, "psf")
        if self.fwhm_arcsec[0] <= 0:
            raise ConfigError(f"[psf] fwhm_arcsec: expected above 0; found {self.fwhm_arcsec[0]}.")
        if self.beta[0] <= 1.1:
            raise ConfigError(f"[psf] beta: expected above 1.1; found {self.beta[0]}.")


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

    def __post_init__(self) -> None:
        """Check the order of the magnitudes."""
        _check_ranges(self, "galaxies")
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
    """

    density_arcmin2: Range = (1.5, 1.5)
    bright_mag: float = 14.0
    faint_mag: float = 24.5
    slope: float = 0.14
    hot_fraction: float = 0.04
    cool_fraction: float = 0.45

    def __post_init__(self) -> None:
        """Check the order of the magnitudes."""
        _check_ranges(self, "stars")
        if not self.bright_mag < self.faint_mag:
            raise ConfigError(
                "[stars] expected bright_mag < faint_mag; found "
                f"{self.bright_mag}, {self.faint_mag}."
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
        _check_ranges(self, "clusters")
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"[clusters] probability: expected 0 to 1; found {self.probability}.")


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
    """

    spikes: bool = True
    spike_angle_deg: Range = (45.0, 45.0)
    spike_fraction: float = 0.01
    halo_fraction: Range = (0.0, 0.0)
    bleed: bool = True
    bleed_along: tuple[str, ...] = ("column",)
    cosmic_rays: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_ranges(self, "effects")
        if not self.bleed_along or set(self.bleed_along) - {"column", "row"}:
            raise ConfigError(
                f"[effects] bleed_along: expected column or row; found {list(self.bleed_along)}."
            )


@dataclass(frozen=True, kw_only=True)
class TruthConfig:
    """Which sources enter the truth, and how large their stamps are.

    Attributes
    ----------
    min_snr : float
        Matched-filter signal-to-noise over all bands.
    stamp_sigma : float
        A stamp ends where the profile falls below this many sky sigmas ...
    stamp_peak : float
        ... and below this fraction of its peak.
    max_stamp_px : int
        Largest stamp side; the image itself holds the light beyond it.
    """

    min_snr: float = 5.0
    stamp_sigma: float = 0.05
    stamp_peak: float = 0.004
    max_stamp_px: int = 301


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """Everything that a simulated field depends on, besides its seed and index."""

    description: str = ""
    survey: SurveyConfig = field(default_factory=SurveyConfig)
    psf: PsfConfig = field(default_factory=PsfConfig)
    galaxies: GalaxyConfig = field(default_factory=GalaxyConfig)
    stars: StarConfig = field(default_factory=StarConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    effects: EffectConfig = field(default_factory=EffectConfig)
    truth: TruthConfig = field(default_factory=TruthConfig)

    def __post_init__(self) -> None:
        """Check what concerns two sections."""
        if len(self.psf.band_factor) != len(self.survey.bands):
            raise ConfigError(
                f"[psf] band_factor: expected one value a band "
                f"({', '.join(self.survey.bands)}); found {len(self.psf.band_factor)}."
            )


def _check_ranges(section: object, name: str) -> None:
    """Raise ConfigError where a pair is not ``(low, high)`` with low <= high, both >= 0."""
    for entry in fields(section):  # type: ignore[arg-type]
        if entry.type != "Range":
            continue
        value = getattr(section, entry.name)
        if len(value) != 2 or not 0 <= value[0] <= value[1]:
            raise ConfigError(
                f"[{name}] {entry.name}: expected [low, high] with 0 <= low <= high; "
                f"found {list(value)}."
            )


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package, sorted."""
    folder = files("simulate") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def load_preset(name: str, overrides: tuple[str, ...] = ()) -> FieldConfig:
    """Read a preset.

    Parameters
    ----------
    name : str
        One of `preset_names`, or the path of a TOML file.
    overrides : tuple of str, optional
        ``section.key=value`` settings that win over the file.

    Raises
    ------
    ConfigError
        If there is no such preset, or a key or value is wrong.
    """
    from pathlib import Path

    from astro_io.config import load_config

    if name.endswith(".toml"):
        return load_config(FieldConfig, Path(name), overrides)
    if name not in preset_names():
        raise ConfigError(
            f"--preset {name}: expected one of {', '.join(preset_names())}, or a .toml file."
        )
    with as_file(files("simulate") / "presets" / f"{name}.toml") as path:
        return load_config(FieldConfig, path, overrides)
