"""What a network measures on a stamp, behind one face for the commands.

A task turns stamps into columns of a table.  ``parameters`` is age, mass, size and extinction; a
further task needs a class with the face of `StampTask`, and one line in `TASKS` and `FORMATS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from astro_io.errors import ConfigError, WeightsError

TASKS: dict[str, str] = {
    "parameters": "cluster_cnn.parameter_task:ParameterTask",
    "classes": "cluster_cnn.classes.task:ClassTask",
}
"""Class of each task."""

FORMATS: dict[str, str] = {
    "cluster-cnn weights": "parameters",
    "cluster-cnn classes": "classes",
}
"""Task of each format of weights files, without its version."""


class ColumnNote(NamedTuple):
    """Unit and meaning of a result column, and its value in rows without a result."""

    unit: str
    meaning: str
    missing: float = float("nan")


class StampTask(Protocol):
    """What `cluster_cnn.prediction_run` asks of a task.

    Attributes
    ----------
    bands : tuple of str
        Channels of the stamps.
    stamp_size : int
        Side of a stamp in pixels.
    wide_binning : int
        Of the wide view that goes with a stamp; 0 for none.
    pixel_scale_arcsec : float
        Of the training set; 0 where any will do.
    zeropoint_mag : dict of str to float
        AB magnitude of one unit of flux in the training set, by band, where known.
    facts : dict
        Name and hash of the weights, for the metadata of the table.
    may_know : tuple of str
        What the user may know of candidates: keys of `known` in `measure`.
    """

    bands: tuple[str, ...]
    stamp_size: int
    wide_binning: int
    pixel_scale_arcsec: float
    zeropoint_mag: Mapping[str, float]
    facts: Mapping[str, Any]
    may_know: tuple[str, ...]

    def columns(self) -> dict[str, ColumnNote]:
        """Return the result columns, in order."""

    def measure(
        self, stamps: np.ndarray, known: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Measure stamps.

        Parameters
        ----------
        stamps : ndarray of float32, shape (n, S, S, C)
            Bands, then bands of the wide view where the task has one; NaN where there is no
            data; at least one band of each stamp has some.
        known : mapping of str to ndarray, shape (n,)
            Parameters that the user knows.

        Returns
        -------
        values : dict of str to ndarray, shape (n,)
            Of `columns`.
        flags : ndarray of int32, shape (n,)
            `cluster_cnn.flags.CandidateFlag` bits that the task adds; NO_RESULT takes a row's
            result away.
        """

    def check_known(self, known: Mapping[str, float | str]) -> None:
        """Refuse what the user knows (a number, or the name of a column) if it is of no use.

        Raises
        ------
        ConfigError
            If the network was not taught such a value.
        """

    def judge(self) -> tuple[int, str]:
        """Look back at all stamps measured since the last call, those of one mosaic.

        Returns
        -------
        flags : int
            `CandidateFlag` bits for all of them; 0 where all is well.
        reason : str
            One line for the user.
        """

    def restrict(self, within: Mapping[str, tuple[float, float]]) -> None:
        """Keep parameters to ranges that the user knows; ConfigError if the task has none."""

    def beside(self, output: Path) -> list[Path]:
        """Return the files that `finish` writes."""

    def finish(self, output: Path) -> None:
        """Write what belongs beside the table `output`, such as pictures."""


def open_task(weights: str | Path, task: str | None = None) -> StampTask:
    """Load weights for their task.

    Parameters
    ----------
    weights : str or Path
        Registry name, file, or run folder.
    task : str, optional
        One of `TASKS`; by default what the weights were trained for.

    Raises
    ------
    WeightsError
        If the weights are unknown, damaged, or for another task.
    ConfigError
        If there is no such task.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"--task {task}: expected one of {', '.join(TASKS)}.")
    found = task_of_weights(weights)
    if task not in (None, found):
        raise WeightsError(
            f"{weights}: weights for the task '{found}', asked for '{task}'. "
            "Choose other weights, or leave --task out."
        )
    module, _, name = TASKS[found].partition(":")
    return getattr(importlib.import_module(module), name).load(weights)


def task_of_weights(weights: str | Path) -> str:
    """Return the task that weights were trained for; the network is not loaded."""
    from astro_io.tensor_file import read_format
    from astro_io.weights import resolve

    path, _ = resolve(weights)
    found = read_format(path)
    task = FORMATS.get(found.rpartition(" ")[0])
    if task is None:
        raise WeightsError(
            f"{path.name}: expected weights of cluster_cnn, found format '{found or 'none'}'. "
            "python -m astro_io.weights lists what there is."
        )
    return task
