"""Scene: one training image with the truth of every source in it.

The truth of a source is its noiseless image, alone, as a cut-out in each band.  How a mask is made
of it stays a parameter (:mod:`astro_io.truth`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from astro_io.errors import DatasetError
from astro_io.image import SkyImage

if TYPE_CHECKING:
    from astropy.table import Table

CLASS_NAMES = ("background", "star", "galaxy")

TruthKind = Literal["flux", "mask"]

TRUTH_COLUMNS: dict[str, tuple[str, str, str]] = {
    "source_id": ("int32", "", "number of the source in its scene, from 1"),
    "class_id": ("int32", "", "1 star, 2 galaxy"),
    "x": ("float64", "pix", "column of the true centre, 0-based pixel centres"),
    "y": ("float64", "pix", "row of the true centre, 0-based pixel centres"),
    "snr": ("float32", "", "matched-filter signal to noise, all bands together"),
    "half_light_radius": ("float32", "pix", "radius with half the flux, before the PSF"),
    "blend_id": ("int32", "", "number of its group of touching sources; -1 alone"),
    "visible_fraction": ("float32", "", "share of its flux that falls inside the image"),
}
"""Columns of every truth table: dtype, unit, meaning.  Bands add ``flux_<b>``, ``mag_<b>``."""

REQUIRED_COLUMNS = ("source_id", "class_id", "x", "y")

BAND_FACTS = ("sky_sigma", "seeing_fwhm_px")
"""Metadata of a truth table that hold one number a band."""


@dataclass(frozen=True, eq=False)
class Stamp:
    """The noiseless image of one source, alone.

    Attributes
    ----------
    box : tuple of int
        ``y1, x1, y2, x2`` pixel edges in the scene, end exclusive.  May stick out of the image.
    pixels : ndarray of float32, shape (h, w, B)
        Flux in the unit of the scene's image; NaN throughout a band whose truth is not known.
        Where ``Scene.truth`` is ``"mask"``: 1 on the source, 0 elsewhere, one band.
    """

    box: tuple[int, int, int, int]
    pixels: np.ndarray

    def __post_init__(self) -> None:
        """Check that the box has the size of the pixels."""
        y1, x1, y2, x2 = self.box
        if self.pixels.ndim != 3 or self.pixels.shape[:2] != (y2 - y1, x2 - x1):
            raise DatasetError(
                f"stamp at box {tuple(self.box)}: expected pixels of shape "
                f"({y2 - y1}, {x2 - x1}, bands), found {self.pixels.shape}."
            )


@dataclass(frozen=True, eq=False)
class Scene:
    """One training image with its truth: a catalogue row and a stamp for each source.

    Attributes
    ----------
    image : SkyImage
        The image as a telescope would deliver it, with sky and noise.
    catalog : astropy.table.Table
        One row a source; see `TRUTH_COLUMNS`.  ``meta["sky_sigma"]`` is the noise of the sky in
        each band, where known.
    stamps : tuple of Stamp
        In the order of the rows.
    index : int
        Number of the scene in its set.
    seed : int
        What its random numbers came from; -1 for real or imported images.
    truth : {"flux", "mask"}
        ``"flux"``: stamps are noiseless images.  ``"mask"``: only the masks are known.
    """

    image: SkyImage
    catalog: Table
    stamps: tuple[Stamp, ...]
    index: int = 0
    seed: int = -1
    truth: TruthKind = field(default="flux", kw_only=True)

    def __post_init__(self) -> None:
        """Check that catalogue and stamps speak of the same sources."""
        if len(self.catalog) != len(self.stamps):
            raise DatasetError(
                f"scene_{self.index:06d}: truth lists {len(self.catalog)} sources, "
                f"stamps hold {len(self.stamps)}. Rerun simulate.fields for this scene."
            )
        missing = [name for name in REQUIRED_COLUMNS if name not in self.catalog.colnames]
        if missing:
            raise DatasetError(
                f"scene_{self.index:06d}: the truth table lacks {', '.join(missing)}; "
                f"it has {', '.join(self.catalog.colnames) or 'no column'}."
            )

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.stamps)

    def select(self, bands: Sequence[str]) -> Scene:
        """Return the scene with these bands, in this order; the catalogue keeps all columns.

        What its metadata list band by band follows.

        Raises
        ------
        ImageError
            If a band is not in the image.
        """
        image = self.image.select(bands)
        index = [self.image.bands.index(band) for band in bands]
        catalog = self.catalog.copy(copy_data=False)
        known = {name: catalog.meta[name] for name in BAND_FACTS if name in catalog.meta}
        chosen = {name: [values[i] for i in index] for name, values in known.items()}
        catalog.meta = {**catalog.meta, **chosen}
        stamps = self.stamps
        if self.truth == "flux":
            stamps = tuple(Stamp(s.box, s.pixels[..., index]) for s in self.stamps)
        return replace(self, image=image, catalog=catalog, stamps=stamps)

    @property
    def name(self) -> str:
        """Name for messages and files, for example ``scene_000017``."""
        return f"scene_{self.index:06d}"


@runtime_checkable
class SceneSource(Protocol):
    """What every training set offers, whatever its format on disk."""

    bands: tuple[str, ...]
    attributes: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of scenes."""
        ...

    def __getitem__(self, i: int) -> Scene:
        """Return scene number `i`, from 0."""
        ...

    def __iter__(self) -> Iterator[Scene]:
        """Go through all scenes."""
        ...

    def read_image(self, i: int) -> SkyImage:
        """Return the image of scene `i` without its truth."""
        ...

    def read_catalog(self, i: int) -> Table:
        """Return the truth table of scene `i` without pixels."""
        ...

    def close(self) -> None:
        """Let go of open files."""
        ...


def new_truth_catalog(n: int, bands: Sequence[str]) -> Table:
    """Return a truth table of `n` rows with every column, to be filled in.

    Parameters
    ----------
    n : int
        Number of sources; 0 is allowed.
    bands : sequence of str
        Bands that get a flux and a magnitude column.

    Returns
    -------
    astropy.table.Table
        ``source_id`` runs from 1, ``blend_id`` is -1, ``visible_fraction`` 1, other integers 0,
        other numbers NaN.
    """
    from astropy.table import Column, Table

    columns = dict(TRUTH_COLUMNS)
    for band in bands:
        columns[f"flux_{band}"] = ("float32", "", f"true flux in {band}, unit of the image")
        columns[f"mag_{band}"] = ("float32", "mag", f"true magnitude in {band}")
    table = Table()
    for name, (dtype, unit, meaning) in columns.items():
        fill = np.nan if dtype.startswith("float") else 0
        table[name] = Column(
            np.full(n, fill, dtype), unit=unit or None, description=meaning, name=name
        )
    table["source_id"] = np.arange(1, n + 1, dtype=np.int32)
    table["source_id"].description = TRUTH_COLUMNS["source_id"][2]
    table["blend_id"][:] = -1
    table["visible_fraction"][:] = 1.0
    return table
