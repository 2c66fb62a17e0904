"""Training sets as COCO JSON: masks as run lengths, images as FITS folders beside the JSON.

Layout: ``annotations.json``; ``images/scene_17/img_<band>.fits``, which ``file_name`` points to;
``images/scene_17/truth.json`` with the annotations of that scene, from which the whole is joined.
Masks only: of a COCO set the noiseless images of the sources are not known.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.errors import DatasetError
from astro_io.fits_read import read_image
from astro_io.image import SkyImage
from astro_io.plain import plain_values
from astro_io.scene import CLASS_NAMES, Scene, Stamp, new_truth_catalog
from astro_io.scene_folders import (
    SceneFolderReader,
    SceneFolderWriter,
    centroid,
    numbered_folders,
    read_identity,
    require_complete,
)
from astro_io.truth import MaskRule, scene_masks

if TYPE_CHECKING:
    from astropy.table import Table

JSON_FILE = "annotations.json"
IMAGE_FOLDER = "images"
PREFIX = "scene_"
_SCENE_FILE = "truth.json"


def find_coco_json(path: Path) -> Path | None:
    """Return the COCO file that a path means: itself, or the one in the folder; None without."""
    if path.is_file():
        return path if path.suffix == ".json" else None
    candidates = [path / JSON_FILE, *sorted(path.glob("*.json"))]
    return next((file for file in candidates if file.is_file() and _is_coco(file)), None)


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file has the two lists that make it COCO."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


class CocoWriter(SceneFolderWriter):
    """Write scenes as a COCO set; see `SceneFolderWriter` for the rest.

    The JSON is written at the end, also after an error, from the scenes that are complete.
    A source without a pixel of mask in the image has no annotation.

    Parameters
    ----------
    path : str or Path
    bands : sequence of str
    rule : MaskRule
        How masks follow from the noiseless images.
    **options
        ``attributes``, ``provenance``, ``n_planned``, ``overwrite``.
    """

    prefix = PREFIX

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        rule: MaskRule | None = None,
        **options: Any,
    ) -> None:
        self.rule = rule or MaskRule()
        described = {"mask_rule": dataclasses.asdict(self.rule)}
        attributes = {**(options.pop("attributes", None) or {}), **described}
        super().__init__(path, bands=bands, attributes=attributes, **options)

    @property
    def scene_root(self) -> Path:
        """Folder that holds the folders of the scenes."""
        return self.path / IMAGE_FOLDER

    def write_truth(self, folder: Path, scene: Scene) -> None:
        """Write the entries of one scene."""
        name = f"{PREFIX}{scene.index}"
        height, width = scene.image.shape
        image = {
            "id": scene.index,
            "file_name": f"{IMAGE_FOLDER}/{name}",
            "height": height,
            "width": width,
            "seed": scene.seed,
            "meta": dict(scene.catalog.meta),
        }
        boxes, masks = scene_masks(scene, self.rule)
        annotations = [
            _annotation(row, box, mask, scene)
            for row, box, mask in zip(scene.catalog, boxes, masks, strict=True)
            if mask.any()
        ]
        text = json.dumps(
            plain_values({"image": image, "annotations": annotations}), allow_nan=False
        )
        (folder / _SCENE_FILE).write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Join the scenes into one JSON file."""
        images: list[Any] = []
        annotations: list[Any] = []
        for folder in numbered_folders(self.scene_root, PREFIX).values():
            part = json.loads((folder / _SCENE_FILE).read_text(encoding="utf-8"))
            images.append(part["image"])
            annotations += part["annotations"]
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
        identity = read_identity(self.path) or {}
        info = {"description": "astronomical images with known truth", **identity}
        categories = [
            {"id": i, "name": name, "supercategory": "source"}
            for i, name in enumerate(CLASS_NAMES)
            if i > 0
        ]
        content = {
            "info": info,
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        with atomic_path(self.path / JSON_FILE, overwrite=True) as file:
            file.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

    def _remove_scenes(self) -> None:
        super()._remove_scenes()
        (self.path / JSON_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.scene_root, ignore_errors=True)


class CocoReader(SceneFolderReader):
    """Read a COCO set whose images are FITS: ours, or another's.

    Scenes have ``truth == "mask"``: their stamps are masks. Crowd annotations are left out.

    Parameters
    ----------
    path : str or Path
        The JSON file; ``file_name`` is relative to its folder, or to `images`.
    bands : sequence of str, optional
        Bands to read, in channel order; by default those of the set, else of its first image.
    images : str or Path, optional
        Folder of the images.
    allow_incomplete : bool
        Read a set of ours that has fewer scenes than planned.

    Attributes
    ----------
    bands : tuple of str
    attributes : dict
        Empty for a set that we did not write.
    indices : tuple of int
        Image ids, in the order of the file.

    Raises
    ------
    DatasetError
        If it is not COCO JSON, a category is neither star nor galaxy, or the set is incomplete.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str] | None = None,
        images: str | Path | None = None,
        allow_incomplete: bool = False,
    ) -> None:
        self.path = Path(path)
        self.image_folder = Path(images) if images else self.path.parent
        content = _load(self.path)
        self._images: list[dict[str, Any]] = content["images"]
        self.indices = tuple(int(image["id"]) for image in self._images)
        self._class_ids = _class_ids(content.get("categories", []), self.path)
        self._annotations: dict[int, list[dict[str, Any]]] = {i: [] for i in self.indices}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd") and annotation["image_id"] in self._annotations:
                self._annotations[annotation["image_id"]].append(annotation)
        info = content.get("info", {})
        self.attributes: dict[str, Any] = info.get("attributes", {})
        self._wanted_bands = bands or info.get("bands")
        self.bands: tuple[str, ...] = tuple(self._wanted_bands or self._bands_of_first())
        planned = info.get("n_planned", 0)
        require_complete(self.path, len(self), planned, allow_incomplete=allow_incomplete)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def __getitem__(self, i: int) -> Scene:
        """Return scene number `i`, with masks as stamps."""
        record = self._images[i]
        shape = (int(record["height"]), int(record["width"]))
        image = self.read_image(i)
        if image.shape != shape:
            raise DatasetError(
                f"{self.path.name}: image {record['id']} should be {shape[0]}x{shape[1]} px, "
                f"{record['file_name']} is {image.shape[0]}x{image.shape[1]}."
            )
        annotations = self._annotations[self.indices[i]]
        stamps = tuple(_stamp(annotation, shape) for annotation in annotations)
        table = self._table(i, stamps)
        return Scene(
            image, table, stamps, self.indices[i], int(record.get("seed", -1)), truth="mask"
        )

    def read_image(self, i: int) -> SkyImage:
        """Return the image of scene `i` without its truth."""
        name = str(self._images[i]["file_name"])
        if name.lower().endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff")):
            raise DatasetError(
                f"{self.path.name}: image {name} is a picture, not data. "
                "Use a set whose file_name points to FITS files or folders of them."
            )
        image = read_image(self.image_folder / name, bands=self._wanted_bands)
        return dataclasses.replace(image, name=Path(name).name.split(".")[0])

    def read_catalog(self, i: int) -> Table:
        """Return the truth table of scene `i` without pixels."""
        record = self._images[i]
        shape = (int(record["height"]), int(record["width"]))
        annotations = self._annotations[self.indices[i]]
        return self._table(i, tuple(_stamp(annotation, shape) for annotation in annotations))

    def _bands_of_first(self) -> tuple[str, ...]:
        return self.read_image(0).bands if self._images else ()

    def _table(self, i: int, stamps: Sequence[Stamp]) -> Table:
        """Return the truth table: what the annotations say, else centres from the masks."""
        annotations = self._annotations[self.indices[i]]
        table = new_truth_catalog(len(stamps), self.bands)
        for row, (annotation, stamp) in enumerate(zip(annotations, stamps, strict=True)):
            table["class_id"][row] = self._class_ids[annotation["category_id"]]
            y, x = centroid(stamp.pixels[..., 0])
            table["y"][row], table["x"][row] = stamp.box[0] + y, stamp.box[1] + x
        for name in _columns_said(annotations):
            said = [annotation["attributes"].get(name) for annotation in annotations]
            table[name] = _column(said, table[name].dtype if name in table.colnames else None)
        table.meta.update(self._images[i].get("meta", {}))
        return table


def _load(path: Path) -> dict[str, Any]:
    """Read a COCO file, or say what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise DatasetError(f"{path}: expected COCO JSON with images and annotations; found others.")
    return content


def _class_ids(categories: Sequence[Mapping[str, Any]], path: Path) -> dict[int, int]:
    """Map the categories of a file to our classes, by name."""
    mapped = {}
    for category in categories:
        name = str(category["name"]).lower()
        if name not in CLASS_NAMES[1:]:
            raise DatasetError(
                f"{path.name}: expected categories {', '.join(CLASS_NAMES[1:])}; found {name}. "
                "Rename or remove it."
            )
        mapped[int(category["id"])] = CLASS_NAMES.index(name)
    return mapped


def _annotation(row: Any, box: np.ndarray, mask: np.ndarray, scene: Scene) -> dict[str, Any]:
    """Return one source as COCO has it, its other truth under ``attributes``."""
    from pycocotools import mask as coco_mask

    y1, x1, y2, x2 = (int(edge) for edge in box)
    frame = np.zeros(scene.image.shape, np.uint8, order="F")
    frame[y1:y2, x1:x2] = mask
    runs = coco_mask.encode(frame)
    return {
        "image_id": scene.index,
        "category_id": int(row["class_id"]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
        "attributes": {name: row[name] for name in row.colnames if name != "class_id"},
    }


def _stamp(annotation: Mapping[str, Any], shape: tuple[int, int]) -> Stamp:
    """Return the mask of an annotation (run lengths or polygons), cut to where it is set."""
    from pycocotools import mask as coco_mask

    said = annotation["segmentation"]
    height, width = shape
    if isinstance(said, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(said, height, width))
    elif isinstance(said["counts"], list):
        runs = coco_mask.frPyObjects(said, height, width)
    else:
        runs = said
    if list(runs["size"]) != [height, width]:
        raise DatasetError(
            f"annotation {annotation.get('id')}: expected a mask of {height}x{width} px like the "
            f"image, found {runs['size'][0]}x{runs['size'][1]}."
        )
    x, y, w, h = (int(number) for number in coco_mask.toBbox(runs))
    box = (y, x, y + max(h, 1), x + max(w, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 with NumPy 2
        mask = coco_mask.decode(runs)[box[0] : box[2], box[1] : box[3]]
    return Stamp(box, mask[..., None].astype(np.float32))


def _columns_said(annotations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all attributes, in order of appearance."""
    names = (name for annotation in annotations for name in annotation.get("attributes", {}))
    return list(dict.fromkeys(names))


def _column(values: list[Any], dtype: Any) -> np.ndarray:
    """Return attributes as a column; what JSON cannot say (NaN) is null there."""
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values])
    whole = all(isinstance(value, int) for value in values)
    filled = [math.nan if value is None else value for value in values]
    return np.array(filled, dtype if dtype is not None else (np.int64 if whole else np.float64))
