"""Settings of a simulated field: what the sky holds, through which survey it is seen.

A pair ``(low, high)`` is a range from which every field draws its own value; equal ends fix it.
A section that a file leaves out is switched off, or has its defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files

from astro_io.errors import ConfigError
from simulate.config_checks import PerBand, Range
from simulate.effect_config import EffectConfig
from simulate.population_config import ClusterConfig, GalaxyConfig, StarConfig
from simulate.psf_config import PsfConfig
from simulate.survey_config import SurveyConfig, TruthConfig

__all__ = [
    "ClusterConfig",
    "EffectConfig",
    "FieldConfig",
    "GalaxyConfig",
    "PerBand",
    "PsfConfig",
    "Range",
    "StarConfig",
    "SurveyConfig",
    "TruthConfig",
    "load_preset",
    "preset_names",
]


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
        bands = self.survey.bands
        for key, length in self.psf.lengths().items():
            if length != len(bands):
                raise ConfigError(
                    f"[psf] {key}: expected one value a band ({', '.join(bands)}); found {length}."
                )
        if self.galaxies.count_band not in bands:
            raise ConfigError(
                "[galaxies] count_band: expected one of the bands of [survey], "
                f"{', '.join(bands)}; found {self.galaxies.count_band}."
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
