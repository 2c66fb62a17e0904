"""One writer for each training-set format, all with ``done`` and ``write(scene)``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from astro_io.config import config_to_dict
from astro_io.dataset import DatasetWriter
from astro_io.errors import ConfigError
from astro_io.provenance import provenance
from simulate.config import FieldConfig


def open_writer(
    path: Path,
    file_format: str,
    *,
    config: FieldConfig,
    preset: str,
    seed: int,
    n_planned: int,
    overwrite: bool,
) -> AbstractContextManager[Any]:
    """Open a training set for writing; finished fields in it are kept.

    Parameters
    ----------
    path : Path
        File for ``hdf5``, folder for the others.
    file_format : {"hdf5", "astro-rcnn", "coco"}
    config : FieldConfig
    preset : str
    seed : int
    n_planned : int
    overwrite : bool
        Start anew.

    Returns
    -------
    context manager
        With ``done`` (set of int) and ``write(scene)``.
    """
    attributes = {"preset": preset, "seed": seed, "config": config_to_dict(config)}
    if file_format == "hdf5":
        return DatasetWriter(
            path,
            bands=config.survey.bands,
            attributes=attributes,
            provenance=provenance(),
            n_planned=n_planned,
            overwrite=overwrite,
        )
    raise ConfigError(f"--format {file_format}: not available yet; use hdf5.")
