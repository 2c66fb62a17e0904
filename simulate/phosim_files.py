"""PhoSim's files: instance catalogues, command files, trimmed catalogues, image headers.

Formats: https://www.phosim.org/documentation/instance-catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from astro_io.errors import ConfigError, DatasetError, ImageError
from simulate.sources import GALAXY, STAR

FILTERS: dict[str, tuple[str, ...]] = {
    "decam": ("u", "g", "r", "i", "z", "Y"),
    "lsst": ("u", "g", "r", "i", "z", "y"),
    "subaru_hsc": ("g", "r", "i", "z", "Y"),
}
"""Filters of each instrument, in the order of their numbers in PhoSim."""

IMAGE_COMMANDS: dict[str, tuple[str, ...]] = {
    "distributed": (
        "spacemode 1",
        "toypsf 1.0",
        "backalpha 0.5",
        "backgamma 500",
        "activebuffer 1200",
        "backbuffer 1000",
    ),
    "paper": ("spacemode 1", "backalpha 0.5", "backgamma 50.0"),
}
"""Commands of the images: as in the headers of the images that Burke et al. (2019) distribute, and
as in their paper."""

_TRUTH_COMMANDS = ("backgroundmode 0", "contaminationmode 0", "saturationmode 0", "raydensity 0.0")
_KEPT_IN_TRUTH = ("spacemode", "toypsf")
_STAR_MODELS = ("star", "point")
_MODEL_COLUMN = 12
_BRIGHTEST_MAG = 15.0


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One exposure of one pointing.

    Attributes
    ----------
    ra_deg, dec_deg : float
    filter_number : int
    exposure_s : float
    observation_id : int
    seed : int
    """

    ra_deg: float
    dec_deg: float
    filter_number: int
    exposure_s: float
    observation_id: int
    seed: int

    def header_lines(self) -> list[str]:
        """Return the lines that every instance catalogue begins with."""
        return [
            f"rightascension {self.ra_deg:.6f}",
            f"declination {self.dec_deg:.6f}",
            f"filter {self.filter_number}",
            f"vistime {self.exposure_s:.3f}",
            "nsnap 1",
            f"obshistid {self.observation_id}",
            f"seed {self.seed}",
        ]


@dataclass(frozen=True)
class PhoSimObject:
    """A star, or a galaxy of one or two components.

    Attributes
    ----------
    number : int
        The part of PhoSim's number before the point; a galaxy's bulge is ``.1``, its disk ``.2``.
    class_id : int
        1 star, 2 galaxy.
    lines : tuple of str
        As in the trimmed catalogue, one a component.
    """

    number: int
    class_id: int
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its files, for example ``gal17``."""
        return f"{'star' if self.class_id == STAR else 'gal'}{self.number}"

    @property
    def mag_norm(self) -> float:
        """AB magnitude at 500 nm (1 + z), components together."""
        from math import log10

        light = sum(10.0 ** (-0.4 * float(line.split()[4])) for line in self.lines)
        return -2.5 * log10(light)

    @property
    def half_light_radius_arcsec(self) -> float:
        """Light-weighted mean of the components' major axes; 0 for a star."""
        total = radius = 0.0
        for line in self.lines if self.class_id == GALAXY else ():
            words = line.split()
            light = 10.0 ** (-0.4 * float(words[4]))
            total += light
            radius += light * max(float(word) for word in words[_MODEL_COLUMN + 1 :][:2])
        return radius / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class PhoSimHeader:
    """What a PhoSim image says of itself.

    Attributes
    ----------
    observation_id : int
    filter_number : int
        ``FILTNM``; the card ``FILTER`` holds no name in version 5.
    chip : str
    exposure_s : float
    seed : int
    full_well_e : float
    version : str
    commands : tuple of str
        Physics commands, ``PHOV0`` and on.
    """

    observation_id: int
    filter_number: int
    chip: str
    exposure_s: float
    seed: int
    full_well_e: float
    version: str
    commands: tuple[str, ...]


def filter_number(instrument: str, band: str) -> int:
    """Return PhoSim's number of a filter.

    Raises
    ------
    ConfigError
        If the instrument is not known, or has no such band.
    """
    if instrument not in FILTERS:
        raise ConfigError(f"--instrument {instrument}: expected one of {', '.join(FILTERS)}.")
    if band not in FILTERS[instrument]:
        raise ConfigError(f"--bands {band}: {instrument} has {', '.join(FILTERS[instrument])}.")
    return FILTERS[instrument].index(band)


def field_catalog(observation: Observation, *, faintest_mag: float, diameter_deg: float) -> str:
    """Return an instance catalogue of a random field of stars and galaxies."""
    limits = f"{_BRIGHTEST_MAG} {faintest_mag:.3f} {diameter_deg:.5f}"
    lines = [*observation.header_lines(), f"stars {limits}", f"galaxies {limits}"]
    return "\n".join(lines) + "\n"


def object_catalog(observation: Observation, objects: Iterable[PhoSimObject]) -> str:
    """Return an instance catalogue of given objects alone."""
    lines = [*observation.header_lines(), *(line for item in objects for line in item.lines)]
    return "\n".join(lines) + "\n"


def truth_commands(image_commands: Iterable[str]) -> tuple[str, ...]:
    """Return the commands of a truth image: the PSF of the image, and nothing but the object."""
    kept = [line for line in image_commands if line.partition(" ")[0] in _KEPT_IN_TRUTH]
    return (*kept, *_TRUTH_COMMANDS)


def parse_trimmed(text: str) -> list[PhoSimObject]:
    """Read the objects of a trimmed catalogue, or of any file with ``object`` lines.

    Parameters
    ----------
    text : str
        Blank lines and other commands are skipped.

    Returns
    -------
    list of PhoSimObject
        In order of first appearance; components of one galaxy are joined.

    Raises
    ------
    DatasetError
        If an object line is cut short.
    """
    found: dict[tuple[int, int], list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] != "object":
            continue
        if len(words) <= _MODEL_COLUMN:
            raise DatasetError(
                f"trimmed catalogue: expected at least {_MODEL_COLUMN + 1} words a line; "
                f"found {line.strip()!r}."
            )
        class_id = STAR if words[_MODEL_COLUMN] in _STAR_MODELS else GALAXY
        number = int(words[1].partition(".")[0])
        found.setdefault((class_id, number), []).append(" ".join(words))
    return [PhoSimObject(n, class_id, tuple(lines)) for (class_id, n), lines in found.items()]


def image_name(instrument: str, observation: Observation, chip: str) -> str:
    """Return the name that PhoSim gives to an image in electrons."""
    number = observation.filter_number
    return f"{instrument}_e_{observation.observation_id}_f{number}_{chip}_E000.fits.gz"


def trimmed_chip(name: str, observation_id: int) -> str | None:
    """Return the chip of a file with a chip's trimmed catalogue; None for other files.

    PhoSim removes ``trimcatalog_<id>_<chip>.pars`` once ``raytrace_<id>_<chip>_E000.pars`` holds
    its lines, and that at the end.
    """
    pattern = rf"(?:trimcatalog_{observation_id}_(.+)|raytrace_{observation_id}_(.+)_E\d+)\.pars"
    match = re.fullmatch(pattern, name)
    if match is None:
        return None
    chip = match[1] or match[2]
    return None if "opd" in chip else chip


def parse_header(header: Mapping[str, object], path: Path) -> PhoSimHeader:
    """Read the header of a PhoSim image.

    Raises
    ------
    ImageError
        If PhoSim did not write it.
    """
    if "PHOSIM" not in str(header.get("CREATOR", "")):
        raise ImageError(f"{path}: expected CREATOR = PHOSIM; found {header.get('CREATOR')!r}.")
    missing = [key for key in ("OBSID", "FILTNM", "CHIPID", "EXPTIME") if key not in header]
    if missing:
        raise ImageError(f"{path}: no card {', '.join(missing)} in a header of PhoSim.")
    commands = []
    while f"PHOV{len(commands)}" in header:
        commands.append(str(header[f"PHOV{len(commands)}"]).strip())
    return PhoSimHeader(
        observation_id=int(str(header["OBSID"])),
        filter_number=int(str(header["FILTNM"])),
        chip=str(header["CHIPID"]).strip(),
        exposure_s=float(str(header["EXPTIME"])),
        seed=int(str(header.get("SEED", -1))),
        full_well_e=float(str(header.get("WELDPT", "nan"))),
        version=str(header.get("BRANCH", header.get("VERSION", ""))).strip(),
        commands=tuple(commands),
    )
