"""Settings of a set of mock clusters: telescope, clusters, the stars of the galaxy around them.

A pair ``(low, high)`` is a range from which every object draws its own value; equal ends fix it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from dataclasses import field as default
from importlib.resources import as_file, files
from pathlib import Path

from astro_io.errors import ConfigError
from simulate.star_clusters.class_config import ClassesConfig
from simulate.star_clusters.extinction import CURVES
from simulate.star_clusters.filters import get_filters

Range = tuple[float, float]
PerBand = tuple[float, ...]

KINDS = ("field", "star", "pair", "galaxy")
PROFILE_NAMES = ("eff", "king")


@dataclass(frozen=True, kw_only=True)
class InstrumentConfig:
    """Camera, exposure and calibration; stamps are in electrons a second.

    Attributes
    ----------
    filters : tuple of str
        ``CAMERA_FILTER`` in channel order.
    stamp_px : int
        Side of a stamp.
    pixel_scale_arcsec : float
    exposure_s : float per band
        Sum of all exposures of a place.
    zeropoint_mag : float per band
        AB magnitude of one electron a second.
    sky_mag_arcsec2 : float per band
        Zodiacal and other sky, AB; subtracted from the stamps, its noise stays.
    dark_e_per_s : float per band
        Dark current of a stamp pixel.
    read_noise_e : float per band
        Of a stamp pixel in the whole exposure.
    noise_blur_px : float per band
        Standard deviation of the kernel by which drizzling correlates the noise; 0 for none.
    psf_size : range
        Stretch of the point spread functions, for focus and for robustness.
    wide_binning : int
        Beside each stamp a wide view of as many pixels, each as large as so many by so many of
        the stamp's, around the same centre; 0 for none.
    """

    filters: tuple[str, ...] = ("ACS_F475W", "ACS_F814W")
    stamp_px: int = 80
    pixel_scale_arcsec: float = 0.05
    exposure_s: PerBand = (3620.0, 3235.0)
    zeropoint_mag: PerBand = (26.059, 25.943)
    sky_mag_arcsec2: PerBand = (22.6, 21.9)
    dark_e_per_s: PerBand = (0.003, 0.003)
    read_noise_e: PerBand = (9.0, 9.0)
    noise_blur_px: PerBand = (0.0, 0.0)
    psf_size: Range = (1.0, 1.0)
    wide_binning: int = 0

    def __post_init__(self) -> None:
        """Check lengths and signs."""
        get_filters(self.filters)
        if len(set(self.bands)) != len(self.bands) or not self.bands:
            raise ConfigError(f"[instrument] filters: expected each band once; found {self.bands}.")
        for name in (
            "exposure_s",
            "zeropoint_mag",
            "sky_mag_arcsec2",
            "dark_e_per_s",
            "read_noise_e",
            "noise_blur_px",
        ):
            if len(getattr(self, name)) != len(self.filters):
                raise ConfigError(
                    f"[instrument] {name}: expected one value a filter "
                    f"({', '.join(self.filters)}); found {len(getattr(self, name))}."
                )
        if self.stamp_px < 8 or self.pixel_scale_arcsec <= 0 or min(self.exposure_s) <= 0:
            raise ConfigError(
                "[instrument] expected stamp_px of at least 8, pixel_scale_arcsec and exposure_s "
                f"above 0; found {self.stamp_px}, {self.pixel_scale_arcsec}, {self.exposure_s}."
            )
        b = self.wide_binning
        if b and (b < 2 or self.stamp_px % b or (self.stamp_px - self.stamp_px // b) % 2):
            raise ConfigError(
                f"[instrument] wide_binning: expected 0, or at least 2 such that {self.stamp_px} "
                f"px and its wide pixels share a centre; found {b}."
            )
        _check_ranges(self, "instrument")
        if self.psf_size[0] < 0.5 or self.psf_size[1] > 2.0:
            raise ConfigError(
                f"[instrument] psf_size: expected 0.5 to 2; found {list(self.psf_size)}."
            )

    @property
    def span_px(self) -> int:
        """Side of all that is seen, in pixels of the stamp."""
        return self.stamp_px * max(self.wide_binning, 1)

    @property
    def bands(self) -> tuple[str, ...]:
        """Filters without the camera."""
        return tuple(name.split("_", 1)[-1] for name in self.filters)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The clusters.

    Attributes
    ----------
    log_age : range
        log10 of years; every age of the isochrones in the range is as likely.
    metallicity : range
        Mass fraction; every metallicity of the isochrones in the range is as likely.
    log_mass : range
        log10 of the mass formed, solar; drawn evenly.
    half_light_radius_arcsec : range
        Drawn log-evenly; with `half_light_radius_pc`, only what both allow.
    half_light_radius_pc : range
        ``(0, inf)`` in effect by default.
    av_mag : range
        Extinction in V; drawn evenly.
    distance_kpc : range
        Drawn log-evenly; clusters and field alike.
    king_fraction : float
        Share of King profiles; the others are EFF.
    eff_gamma : range
        Outer slope of EFF profiles, above 2.
    king_concentration : range
        log10 of tidal over core radius.
    flattening : range
        One minus the axis ratio of the isophotes.
    centre_offset_px : float
        Largest distance of the centre from that of the stamp.
    """

    log_age: Range = (6.6, 10.1)
    metallicity: Range = (0.004, 0.02)
    log_mass: Range = (1.7, 5.0)
    half_light_radius_arcsec: Range = (0.15, 10.0)
    half_light_radius_pc: Range = (0.0, 1e6)
    av_mag: Range = (0.0, 2.0)
    distance_kpc: Range = (785.0, 785.0)
    king_fraction: float = 0.4
    eff_gamma: Range = (2.4, 4.0)
    king_concentration: Range = (0.7, 2.0)
    flattening: Range = (0.0, 0.25)
    centre_offset_px: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_ranges(self, "cluster")
        for name in ("metallicity", "half_light_radius_arcsec", "distance_kpc"):
            if getattr(self, name)[0] <= 0:
                raise ConfigError(f"[cluster] {name}: expected above 0.")
        if self.eff_gamma[0] <= 2.05:
            raise ConfigError(
                f"[cluster] eff_gamma: expected above 2.05, where the mass is finite; "
                f"found {self.eff_gamma[0]}."
            )
        if not (self.king_concentration[0] > 0 and self.flattening[1] < 0.9):
            raise ConfigError(
                "[cluster] expected king_concentration above 0 and flattening below 0.9."
            )
        if not 0 <= self.king_fraction <= 1:
            raise ConfigError(
                f"[cluster] king_fraction: expected 0 to 1; found {self.king_fraction}."
            )


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The galaxy's own stars around the cluster: a mixture of ages.

    Attributes
    ----------
    surface_brightness_mag : range
        AB magnitudes per square arcsec in `surface_brightness_filter`, before extinction.
    surface_brightness_filter : str
        One of the filters of the instrument.
    young_fraction : range
        Share of the stars (by mass formed) younger than 200 Myr; drawn log-evenly.
    intermediate_fraction : range
        Share between 0.2 and 2 Gyr.
    metallicity : range
        Every metallicity of the isochrones in the range takes part.
    av_mag : range
        Extinction in front of the field.
    """

    surface_brightness_mag: Range = (20.3, 23.0)
    surface_brightness_filter: str = "ACS_F814W"
    young_fraction: Range = (0.0005, 0.01)
    intermediate_fraction: Range = (0.05, 0.2)
    metallicity: Range = (0.008, 0.02)
    av_mag: Range = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_ranges(self, "field")
        if self.young_fraction[0] <= 0:
            raise ConfigError("[field] young_fraction: expected above 0.")
        if self.young_fraction[1] + self.intermediate_fraction[1] > 1:
            raise ConfigError(
                "[field] young_fraction and intermediate_fraction add up to more than 1."
            )


@dataclass(frozen=True, kw_only=True)
class OthersConfig:
    """Objects that are no clusters: class 0.

    Attributes
    ----------
    fraction : float
        Share of the set.
    weights : float for each of field, star, pair, galaxy
        Plain star field, one bright star, a pair or triple, a background galaxy.
    star_mag : range
        AB magnitude of the brightest star, in the filter where it is brightest.
    galaxy_mag : range
        AB magnitude of a galaxy in the reddest optical filter.
    galaxy_radius_arcsec : range
        Half-light radius, drawn log-evenly.
    """

    fraction: float = 0.15
    weights: tuple[float, ...] = (0.5, 0.2, 0.15, 0.15)
    star_mag: Range = (17.0, 23.0)
    galaxy_mag: Range = (18.5, 23.0)
    galaxy_radius_arcsec: Range = (0.2, 1.5)

    def __post_init__(self) -> None:
        """Check the shares."""
        _check_ranges(self, "others")
        if not 0 <= self.fraction <= 1:
            raise ConfigError(f"[others] fraction: expected 0 to 1; found {self.fraction}.")
        if len(self.weights) != len(KINDS) or min(self.weights) < 0 or not sum(self.weights):
            raise ConfigError(
                f"[others] weights: expected one for each of {', '.join(KINDS)}, none negative; "
                f"found {list(self.weights)}."
            )


@dataclass(frozen=True, kw_only=True)
class IsochroneConfig:
    """Where magnitudes of stars come from.

    Attributes
    ----------
    files : tuple of str
        PARSEC or MIST tables; none for the embedded isochrones.
    system : {"auto", "vega", "ab"}
        Magnitude system of the files.
    """

    files: tuple[str, ...] = ()
    system: str = "auto"


@dataclass(frozen=True, kw_only=True)
class ExtinctionConfig:
    """The law of dimming by dust: a curve of the package dust_extinction."""

    curve: str = "F99"
    r_v: float = 3.1

    def __post_init__(self) -> None:
        """Check the name."""
        if self.curve not in CURVES:
            raise ConfigError(
                f"[extinction] curve: expected {', '.join(CURVES)}; found {self.curve!r}."
            )


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Values that objects take in turn, instead of drawing them; empty lists are drawn.

    With two log_age and three log_mass, objects 0 to 5 take the six combinations (the last list
    changes fastest), object 6 the first again.
    """

    log_age: tuple[float, ...] = ()
    log_mass: tuple[float, ...] = ()
    half_light_radius_arcsec: tuple[float, ...] = ()
    av_mag: tuple[float, ...] = ()
    metallicity: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        for entry in fields(self):
            for value in getattr(self, entry.name):
                is_size = entry.name in ("half_light_radius_arcsec", "metallicity")
                if not (value > 0 if is_size else value >= 0) or math.isinf(value):
                    raise ConfigError(
                        f"[grid] {entry.name}: expected numbers {'above' if is_size else 'from'} 0"
                        f"{'' if is_size else ' on'}; found {value}."
                    )

    def point(self, index: int) -> dict[str, float]:
        """Return the values of an object, by name."""
        values: dict[str, float] = {}
        for item in reversed(fields(self)):
            choices = getattr(self, item.name)
            if choices:
                index, position = divmod(index, len(choices))
                values[item.name] = choices[position]
        return values


@dataclass(frozen=True, kw_only=True)
class ClusterSetConfig:
    """Everything that a mock depends on, besides its seed and index."""

    description: str = ""
    instrument: InstrumentConfig = default(default_factory=InstrumentConfig)
    cluster: ClusterConfig = default(default_factory=ClusterConfig)
    field: FieldConfig = default(default_factory=FieldConfig)
    others: OthersConfig = default(default_factory=OthersConfig)
    isochrones: IsochroneConfig = default(default_factory=IsochroneConfig)
    extinction: ExtinctionConfig = default(default_factory=ExtinctionConfig)
    grid: GridConfig = default(default_factory=GridConfig)
    classes: ClassesConfig = default(default_factory=ClassesConfig)

    def __post_init__(self) -> None:
        """Check what concerns two sections."""
        if self.field.surface_brightness_filter not in self.instrument.filters:
            raise ConfigError(
                f"[field] surface_brightness_filter: expected one of "
                f"{', '.join(self.instrument.filters)}; "
                f"found {self.field.surface_brightness_filter}."
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
    folder = files("simulate.star_clusters") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def load_preset(name: str, overrides: tuple[str, ...] = ()) -> ClusterSetConfig:
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
    from astro_io.config import load_config

    if name.endswith(".toml"):
        return load_config(ClusterSetConfig, Path(name), overrides)
    if name not in preset_names():
        raise ConfigError(
            f"--preset {name}: expected one of {', '.join(preset_names())}, or a .toml file."
        )
    with as_file(files("simulate.star_clusters") / "presets" / f"{name}.toml") as path:
        return load_config(ClusterSetConfig, path, overrides)
