"""One writer for each training-set format, all with ``done`` and ``write(scene)``."""

from __future__ import annotations

from pathlib import Path

from astro_io.astro_rcnn_folder import AstroRcnnFolderWriter
from astro_io.coco import CocoWriter
from astro_io.config import config_to_dict
from astro_io.dataset import DatasetWriter
from astro_io.provenance import provenance
from simulate.config import FieldConfig
from simulate.source_table import SourceTable

SetWriter = DatasetWriter | AstroRcnnFolderWriter | CocoWriter

WRITERS: dict[str, type[SetWriter]] = {
    "hdf5": DatasetWriter,
    "astro-rcnn": AstroRcnnFolderWriter,
    "coco": CocoWriter,
}
"""Writer of each ``--format``."""


def open_writer(
    path: Path,
    file_format: str,
    *,
    config: FieldConfig,
    preset: str,
    seed: int,
    n_planned: int,
    overwrite: bool,
    table: SourceTable | None = None,
) -> SetWriter:
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
    table : SourceTable, optional
        Its hash and its middle become part of what makes the set.

    Returns
    -------
    DatasetWriter, AstroRcnnFolderWriter or CocoWriter
        A context manager with ``done`` (set of int) and ``write(scene)``.
    """
    attributes = {"preset": preset, "seed": seed, "config": config_to_dict(config)}
    if table is not None:
        attributes["catalog_sha256"] = table.sha256
        if table.center_deg is not None:
            attributes["center_deg"] = list(table.center_deg)
    return WRITERS[file_format](
        path,
        bands=config.survey.bands,
        attributes=attributes,
        provenance=provenance(),
        n_planned=n_planned,
        overwrite=overwrite,
    )
