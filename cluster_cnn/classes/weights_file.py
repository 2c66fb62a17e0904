"""The weights file of a class network: all members, settings, scale, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.tensor_file import read_tensors, write_tensors
from cluster_cnn.classes.calibration import ClassCalibration
from cluster_cnn.classes.config import ClassModelConfig
from cluster_cnn.normalise import StampScale
from cluster_cnn.weights_file import known_settings, settings_of_facts, settings_to_facts

FORMAT = "cluster-cnn classes 1"
MEMBER_FORMAT = "cluster-cnn class member 1"

HELD_OUT_SHARE, N_STAMPS = "held_out_share", "n_stamps"
"""Metadata: which share of how many training stamps was set aside (`split_rows`); 0 for none."""

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassWeights:
    """Everything that a weights file holds.

    Attributes
    ----------
    config : ClassModelConfig
    scale : StampScale
    calibration : ClassCalibration
    members : list of dict of str to ndarray of float32
        ``layer/variable`` to value, of each member.
    metadata : dict
        ``pixel_scale_arcsec``, ``zeropoint_mag`` by band, training set, command, versions.
    """

    config: ClassModelConfig
    scale: StampScale
    calibration: ClassCalibration
    members: list[Tensors]
    metadata: dict[str, Any] = field(default_factory=dict)


def save_class_weights(
    path: str | Path,
    members: Sequence[Mapping[str, np.ndarray]],
    *,
    config: ClassModelConfig,
    scale: StampScale,
    calibration: ClassCalibration,
    metadata: Mapping[str, Any],
    dtype: str = "float16",
    overwrite: bool = False,
) -> None:
    """Write an ensemble with all that belongs to it.

    Parameters
    ----------
    path : str or Path
        Ends in ``.h5``.
    members : sequence of mapping of str to ndarray
        See `ClassWeights`.
    config, scale, calibration, metadata
        As `ClassWeights` keeps them.
    dtype : {"float32", "float16"}
        Storage type.
    overwrite : bool
        Replace a file that is there.
    """
    tensors = {
        f"member_{k}/{name}": value
        for k, member in enumerate(members)
        for name, value in member.items()
    }
    facts = {
        "members": len(members),
        **settings_to_facts(config, scale, calibration, metadata),
    }
    write_tensors(path, tensors, format=FORMAT, facts=facts, dtype=dtype, overwrite=overwrite)


def read_class_weights(path: str | Path) -> ClassWeights:
    """Read a weights file.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WeightsError
        If it is not one of ours, or was written by another version.
    """
    name = Path(path).name
    tensors, facts = read_tensors(path, format=FORMAT)
    with known_settings(name):
        members: list[Tensors] = [{} for _ in range(int(facts["members"]))]
        for full_name, value in tensors.items():
            member, _, rest = full_name.partition("/")
            members[int(member.removeprefix("member_"))][rest] = value
        return ClassWeights(
            members=members,
            **settings_of_facts(facts, ClassModelConfig, ClassCalibration, where=name),
        )


def save_member(path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write one finished member of a run, in full precision."""
    write_tensors(path, tensors, format=MEMBER_FORMAT, facts=facts, dtype=None, overwrite=True)


def read_member(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `save_member` wrote."""
    return read_tensors(path, format=MEMBER_FORMAT)
