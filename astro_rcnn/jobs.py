"""One image to search: the settings, its result files, and whether they are there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from astro_io.catalog import SUFFIXES, CatalogFormat, read_catalog
from astro_io.errors import AstroError, CatalogError, ConfigError, OutputExistsError
from astro_io.input_spec import FitsFile, image_name, resolve_input
from astro_io.provenance import command_line
from astro_io.tiles import plan_tiles
from astro_rcnn.tile_cache import TileCache

RESULTS_VERSION = 2
"""Counts changes of this program that make older tile results unfit to go on from."""


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """How images are searched, and what is written.

    Attributes
    ----------
    weights, weights_sha256, engine : str
        What detects; part of what results are known by.
    network_bands : tuple of str
        What the weights want, where that is known without loading them; an image that does not
        fit is then refused at once.
    min_score, nms_iou : float or None
        Least score of a detection, and overlap above which the weaker is dropped; None leaves
        them to the weights.
    max_detections : int or None
        Most sources in 512 x 512 pixels; None leaves it to the weights.
    bands : tuple of str
        Names of the planes of inputs that do not name them; empty: as the files say.
    align : {"reproject", "refuse", "ignore"}
        What to do with bands on different grids.
    bin : int
        Pixels are first added up in blocks of so many on a side.
    gain : tuple of float
        Electrons in one unit of flux, of all bands or of each one in the order of the weights:
        errors then hold the photon noise of the sources too. Empty: that of the sky alone.
    tile, overlap : int
        Side of a tile and least overlap of neighbours in pixels; tile 0 takes images whole.
    batch_size : int
        Tiles detected at a time; bounds memory.
    catalog_format : {"fits", "ecsv", "parquet", "votable"}
    has_overlay : bool
        Draw the picture.
    """

    weights: str = ""
    weights_sha256: str = ""
    engine: str = "keras"
    network_bands: tuple[str, ...] = ()
    min_score: float | None = None
    nms_iou: float | None = None
    max_detections: int | None = None
    bands: tuple[str, ...] = ()
    align: Literal["reproject", "refuse", "ignore"] = "reproject"
    bin: int = 1
    gain: tuple[float, ...] = ()
    tile: int = 512
    overlap: int = 64
    batch_size: int = 2
    catalog_format: CatalogFormat = "fits"
    has_overlay: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.tile:
            plan_tiles((1, 1), tile=self.tile, overlap=self.overlap)
        for flag, value in (("--min-score", self.min_score), ("--nms", self.nms_iou)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{flag}: expected a number from 0 to 1, found {value}.")
        if self.max_detections is not None and self.max_detections < 1:
            raise ConfigError(
                f"--max-detections: expected at least 1, found {self.max_detections}."
            )
        if self.bin < 1:
            raise ConfigError(f"--bin: expected at least 1, found {self.bin}.")
        if not all(gain > 0 for gain in self.gain):
            raise ConfigError(f"--gain: expected numbers above 0, found {self.gain}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: expected at least 1, found {self.batch_size}.")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to do.

    Attributes
    ----------
    spec : str
        The input as `astro_io.fits_read.read_image` takes it.
    name : str
        First part of the names of its results.
    output : Path
        Folder of the results.
    command : str
        The line that asked for it, for the catalogue's metadata.
    """

    spec: str
    name: str
    output: Path
    command: str = ""

    def paths(self, config: SurveyConfig) -> dict[str, Path]:
        """Return the result files; the catalogue is last, and written last."""
        endings = {
            "masks": ".masks.fits",
            "segmentation": ".segmentation.fits",
            "regions": ".reg",
            "overlay": ".overlay.png",
            "catalog": f".catalog{SUFFIXES[config.catalog_format]}",
        }
        if not config.has_overlay:
            del endings["overlay"]
        return {kind: self.output / f"{self.name}{ending}" for kind, ending in endings.items()}

    def possible_paths(self, config: SurveyConfig) -> list[Path]:
        """Return the result files of any format, with and without overlay."""
        kinds = [replace(config, catalog_format=kind, has_overlay=True) for kind in SUFFIXES]
        return sorted({path for kind in kinds for path in self.paths(kind).values()})

    def cache(self, config: SurveyConfig) -> TileCache:
        """Return the store of its tile results."""
        return TileCache(
            folder=self.output / f".{self.name}.partial", key=fingerprint(self.spec, config)
        )


def plan_jobs(specs: Sequence[str | Path], output: str | Path) -> list[Job]:
    """Give every input a name of its own.

    Parameters
    ----------
    specs : sequence of str or Path
        Inputs.
    output : str or Path
        Folder of the results.

    Returns
    -------
    list of Job
        In the same order.

    Raises
    ------
    ConfigError
        If two inputs would be written to the same files.
    """
    command = command_line()
    jobs = [
        Job(spec=str(spec), name=image_name(spec), output=Path(output), command=command)
        for spec in specs
    ]
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.name, job)
        if other is not job:
            raise ConfigError(
                f"{other.spec} and {job.spec} would both be written as {job.name}.*. "
                "Give each input once, rename one, or run them into different --output folders."
            )
    return jobs


def fingerprint(spec: str, config: SurveyConfig) -> str:
    """Return a hash of what decides the sources of an image: its files, and the settings.

    Files count by name, size and time of change, not by folder or content; weights by their hash.

    Raises
    ------
    AstroError
        If an input does not exist.
    """
    settings = asdict(config)
    for name in ("batch_size", "catalog_format", "has_overlay", "network_bands"):
        del settings[name]
    if config.weights_sha256:
        del settings["weights"]
    if config.max_detections is None:
        del settings["max_detections"]  # results from before there was this setting stay valid
    found = resolve_input(spec)
    files = {"": found} if isinstance(found, FitsFile) else found
    identities = []
    for band, file in files.items():
        stat = file.path.stat()
        identities.append(
            [band, str(file.extension), file.path.name, stat.st_size, stat.st_mtime_ns]
        )
    text = json.dumps([RESULTS_VERSION, identities, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_finished(job: Job, config: SurveyConfig, *, overwrite: bool = False) -> bool:
    """Return whether the results of an image are all there, made from it by these settings.

    Raises
    ------
    OutputExistsError
        If results are there that were made otherwise, and `overwrite` is False.
    """
    try:
        key = fingerprint(job.spec, config)
    except (AstroError, OSError):
        return False  # whoever reads the input will say why it cannot be
    paths = job.paths(config)
    there = [path for path in paths.values() if path.exists()]
    if overwrite or not there:
        return False
    if not paths["catalog"].exists():
        if job.cache(config).is_begun:
            return False  # killed while writing
        raise OutputExistsError(f"{there[0]} exists. Pass --overwrite, or choose another --output.")
    try:
        made_by = read_catalog(paths["catalog"]).meta.get("fingerprint")
    except CatalogError:
        made_by = None
    if made_by != key:
        raise OutputExistsError(
            f"{paths['catalog']} exists, made from other files or with other settings. "
            "Pass --overwrite, or choose another --output."
        )
    return len(there) == len(paths)
