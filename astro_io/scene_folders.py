"""Training sets as folders: one folder a scene, and a ``dataset.json`` that says what the set is.

What Astro R-CNN and COCO sets have in common on disk.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.catalog import read_catalog, write_catalog
from astro_io.errors import DatasetError
from astro_io.fits_write import write_band_images
from astro_io.scene import Scene
from astro_io.set_identity import require_same_set, set_identity

if TYPE_CHECKING:
    from astropy.table import Table

SCHEMA_VERSION = 1
IDENTITY_FILE = "dataset.json"
TRUTH_FILE = "truth.fits"


class SceneFolderWriter:
    """Write scenes as folders; a context manager that goes on with a set of the same identity.

    A scene's folder is made aside and renamed when it is whole.

    Parameters
    ----------
    path : str or Path
        Folder of the set.
    bands : sequence of str
        Band names in channel order; every scene must have them.
    attributes, provenance : mapping, optional
        As for `astro_io.dataset.DatasetWriter`.
    n_planned : int, optional
        Number of scenes of the finished set.
    overwrite : bool
        Remove the scenes that are there, instead of going on.

    Attributes
    ----------
    done : set of int
        Scenes that need not be made again.
    """

    prefix = "set_"

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        n_planned: int | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.bands = tuple(bands)
        identity = set_identity(bands, attributes)
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.scene_root.glob(f".part-{self.prefix}*"):
            shutil.rmtree(leftover)
        if overwrite:
            self._remove_scenes()
        stored = read_identity(self.path)
        if stored is not None:
            require_same_set(self.path, stored, identity)
        elif numbered_folders(self.scene_root, self.prefix):
            require_same_set(self.path, set_identity((), None), identity)
        self.done: set[int] = set(numbered_folders(self.scene_root, self.prefix))
        planned = (stored or {}).get("n_planned", 0)
        if n_planned is not None:
            planned = max(n_planned, len(self.done))
        with atomic_path(self.path / IDENTITY_FILE, overwrite=True) as part:
            extra = {"provenance": dict(provenance or {}), "n_planned": planned}
            text = json.dumps({"schema_version": SCHEMA_VERSION, **identity, **extra}, indent=1)
            part.write_text(text, encoding="utf-8")

    @property
    def scene_root(self) -> Path:
        """Folder that holds the folders of the scenes."""
        return self.path

    def __enter__(self) -> SceneFolderWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the set; complete scenes stay, also after an error."""
        self.close()

    def close(self) -> None:
        """Write what belongs to the set as a whole."""

    def write(self, scene: Scene) -> None:
        """Write one scene.

        Raises
        ------
        DatasetError
            If the scene has other bands, or its number is there already.
        """
        if scene.image.bands != self.bands:
            raise DatasetError(
                f"{scene.name}: expected bands {', '.join(self.bands)}; "
                f"found {', '.join(scene.image.bands)}."
            )
        if scene.index in self.done:
            raise DatasetError(f"{self.path.name}: {scene.name} is there already.")
        aside = self.scene_root / f".part-{self.prefix}{scene.index}"
        aside.mkdir(parents=True)
        write_band_images(aside, scene.image, metadata={"SEED": scene.seed})
        self.write_truth(aside, scene)
        aside.rename(self.scene_root / f"{self.prefix}{scene.index}")
        self.done.add(scene.index)

    def write_truth(self, folder: Path, scene: Scene) -> None:
        """Write the truth of a scene into its folder."""
        raise NotImplementedError

    def _remove_scenes(self) -> None:
        for folder in numbered_folders(self.scene_root, self.prefix).values():
            shutil.rmtree(folder)
        (self.path / IDENTITY_FILE).unlink(missing_ok=True)


def numbered_folders(root: Path, prefix: str) -> dict[int, Path]:
    """Return the folders ``<prefix><number>`` below `root` by number, rising."""
    found = {}
    for folder in root.glob(f"{prefix}*") if root.is_dir() else ():
        match = re.fullmatch(rf"{re.escape(prefix)}(\d+)", folder.name)
        if match and folder.is_dir():
            found[int(match[1])] = folder
    return dict(sorted(found.items()))


def read_identity(folder: Path) -> dict[str, Any] | None:
    """Return what ``dataset.json`` says about a set; None without one.

    Raises
    ------
    DatasetError
        If it is malformed or of another version.
    """
    path = folder / IDENTITY_FILE
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON ({error}). Make the set again.") from error
    found = stored.get("schema_version")
    if found != SCHEMA_VERSION:
        raise DatasetError(
            f"{path}: expected schema version {SCHEMA_VERSION}, found {found}. Make the set again."
        )
    return dict(stored)


def require_complete(path: Path, n_found: int, n_planned: int, *, allow_incomplete: bool) -> None:
    """Raise if a set has fewer scenes than planned.

    Raises
    ------
    DatasetError
        Unless `allow_incomplete`.
    """
    if n_found < n_planned and not allow_incomplete:
        raise DatasetError(
            f"{path}: {n_found} of {n_planned} scenes are complete. "
            "Rerun the command that made it to finish the rest."
        )


def write_truth_table(folder: Path, scene: Scene) -> None:
    """Write the truth table of a scene as a FITS table into its folder."""
    table = scene.catalog.copy()
    table.meta["index"], table.meta["seed"] = scene.index, scene.seed
    write_catalog(folder / TRUTH_FILE, table)


def read_truth_table(folder: Path) -> Table | None:
    """Return the truth table in a scene's folder; None without one."""
    if not (folder / TRUTH_FILE).is_file():
        return None
    from astropy.table import Table

    return Table(read_catalog(folder / TRUTH_FILE))


def centroid(light: np.ndarray) -> tuple[float, float]:
    """Return row and column of the centre of light, counted from the first pixel.

    Parameters
    ----------
    light : ndarray, shape (h, w)
        Negative values count as zero; without any light the middle is returned.

    Returns
    -------
    tuple of float
    """
    weight = np.clip(np.asarray(light, np.float64), 0, None)
    total = weight.sum()
    if total == 0:
        return (light.shape[0] - 1) / 2, (light.shape[1] - 1) / 2
    row = (weight.sum(axis=1) * np.arange(light.shape[0])).sum() / total
    column = (weight.sum(axis=0) * np.arange(light.shape[1])).sum() / total
    return float(row), float(column)


class SceneFolderReader:
    """What readers of folder sets share: going through scenes, and closing."""

    def __len__(self) -> int:
        """Return the number of scenes."""
        raise NotImplementedError

    def __getitem__(self, i: int) -> Scene:
        """Return scene number `i`, counted from 0."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Scene]:
        """Go through all scenes."""
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> SceneFolderReader:
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is kept open."""

    def close(self) -> None:
        """Nothing is kept open."""
