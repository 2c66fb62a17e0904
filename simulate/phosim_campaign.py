"""A campaign of PhoSim runs: pointings, bands, chips, and the truth object by object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.errors import OutputExistsError
from astro_io.scene import Scene
from simulate.phosim_files import (
    Observation,
    PhoSimObject,
    field_catalog,
    filter_number,
    image_name,
    object_catalog,
    parse_trimmed,
    truth_commands,
)
from simulate.phosim_run import Installation, PhoSimError
from simulate.phosim_scene import make_scene

_FIRST_OBSERVATION_ID = 1_000_000
_RA_DEG = (0.0, 60.0)
_DEC_DEG = (-70.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What is to be simulated.

    Attributes
    ----------
    instrument : str
    bands, truth_bands : tuple of str
        Channel order; bands in which every object is simulated alone.
    chips : tuple of str
    exposures_s : tuple of float
        One a band.
    faintest_mag, diameter_deg : float
        Of the field of stars and galaxies.
    commands : tuple of str
        Physics commands of the images.
    n_pointings, seed : int
    folder : Path
        For all that PhoSim writes.
    """

    instrument: str
    bands: tuple[str, ...]
    truth_bands: tuple[str, ...]
    chips: tuple[str, ...]
    exposures_s: tuple[float, ...]
    faintest_mag: float
    diameter_deg: float
    commands: tuple[str, ...]
    n_pointings: int
    seed: int
    folder: Path

    @property
    def n_fields(self) -> int:
        """One a pointing and chip."""
        return self.n_pointings * len(self.chips)

    def fields_of(self, pointing: int) -> list[int]:
        """Return the indices of the fields of a pointing."""
        first = pointing * len(self.chips)
        return list(range(first, first + len(self.chips)))

    def identity(self) -> dict[str, Any]:
        """Return what makes two campaigns the same set; plain values."""
        names = ("instrument", "chips", "exposures_s", "faintest_mag", "diameter_deg", "commands")
        values = {name: getattr(self, name) for name in (*names, "truth_bands", "seed")}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"preset": "phosim", **plain}

    def observation(self, pointing: int, band: str) -> Observation:
        """Return one exposure; pointings are uniform over a part of the southern sky."""
        rng = np.random.default_rng([self.seed, pointing])
        ra = rng.uniform(*_RA_DEG)
        low, high = np.sin(np.deg2rad(_DEC_DEG))
        dec = np.rad2deg(np.arcsin(rng.uniform(low, high)))
        number = filter_number(self.instrument, band)
        return Observation(
            ra_deg=float(ra),
            dec_deg=float(dec),
            filter_number=number,
            exposure_s=self.exposures_s[self.bands.index(band)],
            observation_id=_FIRST_OBSERVATION_ID + 10 * pointing + number,
            seed=int(rng.integers(1, 2**31 - 1)),
        )

    def claim_folder(self) -> None:
        """Make the folder, or check that what is in it belongs to this campaign.

        Raises
        ------
        OutputExistsError
            If it holds runs with other settings.
        """
        note = self.folder / "campaign.json"
        mine = json.dumps({**self.identity(), "bands": list(self.bands)}, indent=1, sort_keys=True)
        if note.is_file() and note.read_text() != mine:
            raise OutputExistsError(
                f"{self.folder} holds runs of PhoSim with other settings. Remove it, or choose "
                "another --output."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(mine)

    def image_folder(self, pointing: int, band: str) -> Path:
        """Return where a run of a whole field goes."""
        return self.folder / f"pointing_{pointing:06d}" / f"image_{band}"

    def truth_folder(self, pointing: int, chip: str, item: PhoSimObject, band: str) -> Path:
        """Return where the run of one object goes."""
        return self.folder / f"pointing_{pointing:06d}" / f"truth_{chip}" / f"{item.name}_{band}"

    def describe(self) -> list[str]:
        """Return the instance catalogue and commands of the first pointing, for a dry run."""
        observation = self.observation(0, self.bands[0])
        catalog = field_catalog(
            observation, faintest_mag=self.faintest_mag, diameter_deg=self.diameter_deg
        )
        return [
            f"{self.n_fields} fields, {', '.join(self.bands)}, files in {self.folder}",
            "instance catalogue:",
            *(f"  {line}" for line in catalog.splitlines()),
            "commands of images:",
            *(f"  {line}" for line in self.commands),
            "commands of truth:",
            *(f"  {line}" for line in truth_commands(self.commands)),
        ]


def make_pointing(
    campaign: Campaign,
    installation: Installation,
    pointing: int,
    workers: int,
    fields: Sequence[int],
) -> Iterator[Scene]:
    """Simulate one pointing and convert its chips.

    Parameters
    ----------
    campaign : Campaign
    installation : Installation
    pointing : int
    workers : int
        Processes of PhoSim at a time.
    fields : sequence of int
        Indices of the fields that are wanted.

    Yields
    ------
    Scene

    Raises
    ------
    PhoSimError
        If a run fails, or a chip has no image or no trimmed catalogue.
    """
    _run_all(
        [partial(_run_image, campaign, installation, pointing, band) for band in campaign.bands],
        workers,
    )
    for index in fields:
        chip = campaign.chips[index - campaign.fields_of(pointing)[0]]
        images = {band: _image_path(campaign, pointing, band, chip) for band in campaign.bands}
        objects = _objects(campaign, pointing, chip)
        _run_all(
            [
                partial(_run_truth, campaign, installation, pointing, chip, item, band)
                for item in objects
                for band in campaign.truth_bands
            ],
            workers,
        )
        truth = [(item, _truth_paths(campaign, pointing, chip, item)) for item in objects]
        found = [(item, paths) for item, paths in truth if paths]
        yield make_scene(images, found, index=index, seed=campaign.seed)


def _run_all(tasks: Sequence[Callable[[], None]], workers: int) -> None:
    """Run tasks in threads, each of which waits for a process; the first error ends it."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_image(campaign: Campaign, installation: Installation, pointing: int, band: str) -> None:
    """Simulate a field in one band."""
    observation = campaign.observation(pointing, band)
    installation.run(
        campaign.image_folder(pointing, band),
        catalog=field_catalog(
            observation, faintest_mag=campaign.faintest_mag, diameter_deg=campaign.diameter_deg
        ),
        commands=campaign.commands,
        observation_id=observation.observation_id,
        chip="|".join(campaign.chips),
    )


def _run_truth(
    campaign: Campaign,
    installation: Installation,
    pointing: int,
    chip: str,
    item: PhoSimObject,
    band: str,
) -> None:
    """Simulate one object alone."""
    observation = campaign.observation(pointing, band)
    installation.run(
        campaign.truth_folder(pointing, chip, item, band),
        catalog=object_catalog(observation, [item]),
        commands=truth_commands(campaign.commands),
        observation_id=observation.observation_id,
        chip=chip,
    )


def _image_path(campaign: Campaign, pointing: int, band: str, chip: str) -> Path:
    """Return the image of a chip in a band, or say what is missing."""
    folder = campaign.image_folder(pointing, band)
    name = image_name(campaign.instrument, campaign.observation(pointing, band), chip)
    path = folder / "output" / name
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in path.parent.glob("*.fits*"))) or "none"
        raise PhoSimError(
            f"{folder}: expected {name}, found {found}. Is {chip} a chip of "
            f"{campaign.instrument}? Remove the folder to run it again."
        )
    return path


def _objects(campaign: Campaign, pointing: int, chip: str) -> list[PhoSimObject]:
    """Read the trimmed catalogue of a chip in the first truth band."""
    folder = campaign.image_folder(pointing, campaign.truth_bands[0])
    path = folder / "trimmed" / f"{chip}.pars"
    if not path.is_file():
        raise PhoSimError(
            f"{folder}: no trimmed catalogue of chip {chip} was seen while PhoSim ran. Have "
            "phosim.py keep trimcatalog_*.pars, and remove the folder to run it again."
        )
    return parse_trimmed(path.read_text())


def _truth_paths(
    campaign: Campaign, pointing: int, chip: str, item: PhoSimObject
) -> dict[str, Path]:
    """Return the truth images of an object; none in a band where it lies off the chip."""
    paths = {}
    for band in campaign.truth_bands:
        observation = campaign.observation(pointing, band)
        name = image_name(campaign.instrument, observation, chip)
        path = campaign.truth_folder(pointing, chip, item, band) / "output" / name
        if path.is_file():
            paths[band] = path
    return paths
