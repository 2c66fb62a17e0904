"""One scene as an HDF5 group: image, catalogue and stamps, written and read.

:mod:`astro_io.dataset` describes the layout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from astro_io.errors import DatasetError
from astro_io.image import SkyImage
from astro_io.scene import Stamp

if TYPE_CHECKING:
    from astropy.table import Table

STAMP_BITS = 12
"""Bits kept of a stamp's 23-bit mantissa: within 1.3e-4 of the value, at half the size."""

COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

_CHUNK = 1 << 18  # numbers; stamps are read all at once


def write_image(group: h5py.Group, image: SkyImage, pixel_filter: dict[str, Any]) -> None:
    """Write pixels, bad pixels, WCS and units."""
    group.create_dataset("pixels", data=np.asarray(image.pixels, np.float32), **pixel_filter)
    if image.bad.any():
        group.create_dataset("bad", data=image.bad.astype(np.uint8), **COMPRESSED)
    group.attrs["name"] = image.name
    group.attrs["unit"] = json.dumps(image.unit)
    group.attrs["zeropoint_mag"] = json.dumps(image.zeropoint_mag)
    group.attrs["saturation"] = json.dumps(image.saturation)
    group.attrs["sources"] = json.dumps(image.sources)
    if image.wcs is not None:
        group.attrs["wcs"] = image.wcs.to_header(relax=True).tostring(sep="\n")


def read_image(group: h5py.Group, bands: tuple[str, ...], path: Path) -> SkyImage:
    """Read what `write_image` wrote."""
    try:
        pixels = group["pixels"][()]
        bad = group["bad"][()].astype(bool) if "bad" in group else np.zeros(pixels.shape, bool)
    except OSError as error:
        raise DatasetError(f"{path}[{group.name[1:]}]: damaged pixels ({error}).") from error
    return SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad,
        unit=tuple(json.loads(group.attrs["unit"])),
        zeropoint_mag=tuple(json.loads(group.attrs["zeropoint_mag"])),
        saturation=tuple(json.loads(group.attrs.get("saturation", "[]"))),
        wcs=_read_wcs(group, pixels.shape),
        name=group.attrs["name"],
        sources=tuple(json.loads(group.attrs["sources"])),
    )


def _read_wcs(group: h5py.Group, shape: tuple[int, ...]) -> Any:
    """Return the WCS of a scene, or None."""
    if "wcs" not in group.attrs:
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    wcs = WCS(Header.fromstring(group.attrs["wcs"], sep="\n"))
    wcs.array_shape = shape[:2]
    return wcs


def write_catalog(group: h5py.Group, table: Table) -> None:
    """Write a table as one compound dataset; text columns become UTF-8 bytes."""
    rows = table.filled().as_array() if table.has_masked_columns else table.as_array()
    dtype = [
        (name, rows.dtype[name] if rows.dtype[name].kind != "U" else _utf8_dtype(rows[name]))
        for name in table.colnames
    ]
    stored = np.zeros(len(table), dtype)
    for name in table.colnames:
        is_text = rows.dtype[name].kind == "U"
        stored[name] = np.char.encode(rows[name], "utf-8") if is_text else rows[name]
    data = group.create_dataset("catalog", data=stored)
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit}
    meanings = {name: table[name].info.description for name in table.colnames}
    data.attrs["units"] = json.dumps(units)
    data.attrs["meanings"] = json.dumps({k: text for k, text in meanings.items() if text})
    data.attrs["meta"] = json.dumps(dict(table.meta), default=_plain)


def _utf8_dtype(text: np.ndarray) -> str:
    """Return the dtype of fixed-length bytes that holds every string, encoded."""
    longest = max((len(word.encode("utf-8")) for word in text), default=0)
    return f"S{max(longest, 1)}"


def _plain(value: Any) -> Any:
    """Turn NumPy values into what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"metadata of type {type(value).__name__} cannot be stored as JSON")


def read_catalog(group: h5py.Group) -> Table:
    """Read what `write_catalog` wrote."""
    from astropy.table import Column, Table

    data = group["catalog"]
    rows = data[()]
    units, meanings = json.loads(data.attrs["units"]), json.loads(data.attrs["meanings"])
    columns = []
    for name in rows.dtype.names:
        is_text = rows.dtype[name].kind == "S"
        values = np.char.decode(rows[name], "utf-8") if is_text else rows[name]
        columns.append(
            Column(values, name=name, unit=units.get(name), description=meanings.get(name))
        )
    return Table(columns, meta=json.loads(data.attrs["meta"]))


def write_stamps(group: h5py.Group, stamps: Sequence[Stamp], bits: int | None) -> None:
    """Write all stamps as one flat array and their boxes."""
    boxes = np.array([stamp.box for stamp in stamps], np.int32).reshape(-1, 4)
    group.create_dataset("stamp_boxes", data=boxes)
    parts = [np.asarray(stamp.pixels, np.float32).ravel() for stamp in stamps]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if bits is not None:
        flat = _round_mantissa(flat, bits)
    n_bands = stamps[0].pixels.shape[2] if stamps else 0
    packing = {**COMPRESSED, "chunks": (min(flat.size, _CHUNK),)} if flat.size else {}
    data = group.create_dataset("stamp_pixels", data=flat, **packing)
    data.attrs["n_bands"] = n_bands


def read_stamps(group: h5py.Group, path: Path) -> tuple[Stamp, ...]:
    """Read what `write_stamps` wrote."""
    boxes = group["stamp_boxes"][()]
    n_rows = group["catalog"].shape[0]
    if len(boxes) != n_rows:
        raise DatasetError(
            f"{path}[{group.name[1:]}]: truth lists {n_rows} sources, stamps hold {len(boxes)}. "
            "Rerun simulate.fields for this scene."
        )
    n_bands = int(group["stamp_pixels"].attrs["n_bands"])
    flat = group["stamp_pixels"][()]
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * n_bands
    if sizes.sum() != flat.size:
        raise DatasetError(
            f"{path}[{group.name[1:]}]: boxes ask for {sizes.sum()} stamp pixels, "
            f"found {flat.size}. Rerun simulate.fields for this scene."
        )
    parts = np.split(flat, np.cumsum(sizes)[:-1]) if len(boxes) else []
    return tuple(
        Stamp(tuple(box), part.reshape(box[2] - box[0], box[3] - box[1], n_bands))
        for box, part in zip(boxes.tolist(), parts, strict=True)
    )


def _round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Round float32 values to `bits` bits of mantissa, which then compress well."""
    drop = 23 - bits
    if drop <= 0:
        return values
    integers = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32(1 << (drop - 1))
    kept = np.uint32(0xFFFFFFFF >> drop << drop)
    rounded = ((integers + half) & kept).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
