"""Training sets in Astro R-CNN's layout: ``set_N/img_<band>.fits`` with ``set_N/masks.fits``.

``masks.fits`` has one HDU a source, the first in the primary: its noiseless full-frame float32
image in one band (g, in the paper) with the card ``CLASS_ID``, 1 star or 2 galaxy.
We write ``truth.fits`` beside it, with the whole truth table, and use it where it is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.errors import DatasetError
from astro_io.fits_read import read_image
from astro_io.image import SkyImage
from astro_io.normalize import measure_statistics
from astro_io.scene import Scene, Stamp, new_truth_catalog
from astro_io.scene_folders import (
    SceneFolderReader,
    SceneFolderWriter,
    centroid,
    numbered_folders,
    read_identity,
    read_truth_table,
    require_complete,
    write_truth_table,
)

if TYPE_CHECKING:
    from astropy.table import Table

PREFIX = "set_"
MASK_FILES = ("masks.fits", "masks.fits.gz", "masks.fits.fz", "*mask*.fits*")
"""Names of the truth file, the first that is there."""

_BAND_ORDER = "ugrizyY"


def is_astro_rcnn_folder(path: Path) -> bool:
    """Return whether a folder holds ``set_N`` folders with images, or is itself such a folder."""
    folders = [path, *numbered_folders(path, PREFIX).values()]
    return any(any(folder.glob("img_*.fits*")) for folder in folders)


class AstroRcnnFolder(SceneFolderReader):
    """Read an Astro R-CNN set, or a single folder of it.

    Parameters
    ----------
    path : str or Path
    bands : sequence of str, optional
        Bands to read, in channel order; by default those of the first folder, blue first.
    truth_band : str, optional
        Band of the truth images; by default what the set says, else g, else the first band.
    allow_incomplete : bool
        Read a set of ours that has fewer scenes than planned.

    Attributes
    ----------
    bands : tuple of str
    attributes : dict
        Empty for a set that we did not write.
    indices : tuple of int
        Numbers of the folders, rising.

    Raises
    ------
    DatasetError
        If there are no images, or the set is incomplete.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str] | None = None,
        truth_band: str | None = None,
        allow_incomplete: bool = False,
    ) -> None:
        self.path = Path(path)
        folders = numbered_folders(self.path, PREFIX) or {0: self.path}
        self.indices = tuple(folders)
        self._folders = tuple(folders.values())
        identity = read_identity(self.path) or {}
        self.attributes: dict[str, Any] = identity.get("attributes", {})
        found = identity.get("bands") or _bands_in(self._folders[0])
        if not found:
            raise DatasetError(f"{self._folders[0]}: expected img_<band>.fits; found none.")
        self.bands = tuple(bands or found)
        stored_band = self.attributes.get("truth_band")
        default = "g" if "g" in self.bands else self.bands[0]
        self.truth_band = truth_band or stored_band or default
        if self.truth_band not in self.bands:
            raise DatasetError(
                f"{self.path}: expected truth_band as one of {', '.join(self.bands)}; "
                f"found {self.truth_band}."
            )
        planned = identity.get("n_planned", 0)
        require_complete(self.path, len(self), planned, allow_incomplete=allow_incomplete)

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self._folders)

    def __getitem__(self, i: int) -> Scene:
        """Return scene number `i`; bands whose truth is not in the files are NaN in its stamps."""
        folder, image = self._folders[i], self.read_image(i)
        class_ids, stamps = self._read_stamps(folder, image.shape)
        table = read_truth_table(folder)
        if table is None:
            table = self._measured_table(image, class_ids, stamps)
        elif len(table) != len(stamps):
            raise DatasetError(
                f"{folder}: truth lists {len(table)} sources, masks hold {len(stamps)}. "
                "Rerun simulate.fields for this scene."
            )
        seed = int(table.meta.get("seed", -1))
        return Scene(image, table, stamps, self.indices[i], seed)

    def read_image(self, i: int) -> SkyImage:
        """Return the image of scene `i` without its truth."""
        image = read_image(self._folders[i], bands=self.bands)
        return dataclasses.replace(image, name=self._folders[i].name)

    def read_catalog(self, i: int) -> Table:
        """Return the truth table of scene `i`; without ``truth.fits`` this reads its pixels."""
        table = read_truth_table(self._folders[i])
        return self[i].catalog if table is None else table

    def _read_stamps(
        self, folder: Path, shape: tuple[int, int]
    ) -> tuple[list[int], tuple[Stamp, ...]]:
        """Cut each source out of its full frame."""
        from astropy.io import fits

        path = _mask_file(folder)
        class_ids, stamps = [], []
        channel = self.bands.index(self.truth_band)
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                if hdu.data is None:
                    continue
                if "CLASS_ID" not in hdu.header:
                    raise DatasetError(f"{path}[{number}]: expected a CLASS_ID card; found none.")
                if hdu.data.shape != shape:
                    raise DatasetError(
                        f"{path}[{number}]: expected a frame of {shape[0]}x{shape[1]} px like the "
                        f"image, found {hdu.data.shape}."
                    )
                class_ids.append(int(hdu.header["CLASS_ID"]))
                stamps.append(_cut_out(hdu.data, channel, len(self.bands)))
        return class_ids, tuple(stamps)

    def _measured_table(
        self, image: SkyImage, class_ids: list[int], stamps: Sequence[Stamp]
    ) -> Table:
        """Return a truth table with what the truth frames tell."""
        table = new_truth_catalog(len(stamps), self.bands)
        table["class_id"] = np.asarray(class_ids, np.int32)
        table["visible_fraction"][:] = np.nan
        sky_sigma = measure_statistics(image.pixels, image.bad, "zscore").scale
        table.meta["sky_sigma"] = sky_sigma.tolist()
        channel = self.bands.index(self.truth_band)
        for i, stamp in enumerate(stamps):
            light = stamp.pixels[..., channel].astype(np.float64)
            row, column = centroid(light)
            table["y"][i], table["x"][i] = stamp.box[0] + row, stamp.box[1] + column
            table[f"flux_{self.truth_band}"][i] = light.sum()
            table["snr"][i] = np.sqrt((light**2).sum()) / sky_sigma[channel]
        return table


class AstroRcnnFolderWriter(SceneFolderWriter):
    """Write scenes in Astro R-CNN's layout; see `SceneFolderWriter` for the rest.

    The truth frames hold what of a source lies inside the image, in one band.

    Parameters
    ----------
    path : str or Path
    bands : sequence of str
    truth_band : str, optional
        Band of the truth images; by default g where there is one, else the first.
    **options
        ``attributes``, ``provenance``, ``n_planned``, ``overwrite``.
    """

    prefix = PREFIX

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        truth_band: str | None = None,
        **options: Any,
    ) -> None:
        self.truth_band = truth_band or ("g" if "g" in bands else bands[0])
        attributes = {**(options.pop("attributes", None) or {}), "truth_band": self.truth_band}
        super().__init__(path, bands=bands, attributes=attributes, **options)

    def write_truth(self, folder: Path, scene: Scene) -> None:
        """Write ``masks.fits`` and ``truth.fits``."""
        from astropy.io import fits

        if scene.truth != "flux":
            raise DatasetError(
                f"{scene.name}: Astro R-CNN's layout holds noiseless images, but only masks are "
                "known of this scene. Write it as COCO."
            )
        channel = self.bands.index(self.truth_band)
        hdus = fits.HDUList()
        for row, stamp in zip(scene.catalog, scene.stamps, strict=True):
            frame = _full_frame(stamp, channel, scene.image.shape)
            header = fits.Header({"CLASS_ID": int(row["class_id"])})
            header["SRC_ID"] = (int(row["source_id"]), "source_id in truth.fits")
            hdus.append(fits.ImageHDU(frame, header))
        if not hdus:
            hdus.append(fits.PrimaryHDU())
        hdus.writeto(folder / MASK_FILES[0])
        write_truth_table(folder, scene)


def _bands_in(folder: Path) -> tuple[str, ...]:
    """Return the bands of a folder's images, blue first, others by name."""
    names = {path.name.split(".")[0].removeprefix("img_") for path in folder.glob("img_*.fits*")}
    known = [band for band in _BAND_ORDER if band in names]
    return (*known, *sorted(names - set(known)))


def _mask_file(folder: Path) -> Path:
    """Return the truth file of a folder."""
    for pattern in MASK_FILES:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise DatasetError(
        f"{folder}: expected the truth in masks.fits; found none. "
        "To detect sources no truth is needed: use astro_rcnn.detect."
    )


def _cut_out(frame: np.ndarray, channel: int, n_bands: int) -> Stamp:
    """Return the smallest stamp around the light of a full frame; one pixel without light."""
    lit = np.asarray(frame) != 0
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    box = (0, 0, 1, 1)
    if rows.size:
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    pixels = np.full((box[2] - box[0], box[3] - box[1], n_bands), np.nan, np.float32)
    pixels[..., channel] = frame[box[0] : box[2], box[1] : box[3]]
    return Stamp(box, pixels)


def _full_frame(stamp: Stamp, channel: int, shape: tuple[int, int]) -> np.ndarray:
    """Return one band of a stamp in a frame of the image's shape, clipped to it."""
    frame = np.zeros(shape, np.float32)
    y1, x1, y2, x2 = stamp.box
    inside = frame[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    top, left = max(-y1, 0), max(-x1, 0)
    height, width = inside.shape
    inside[...] = stamp.pixels[top : top + height, left : left + width, channel]
    return frame
