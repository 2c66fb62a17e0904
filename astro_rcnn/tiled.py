"""Detect in an image of any size, tile by tile, each source once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from astro_io.catalog import Flag
from astro_io.cli import progress
from astro_io.image import SkyImage
from astro_io.normalize import BandStatistics
from astro_io.seams import TOUCH_PX, mask_similarity, resolve_seams
from astro_io.tiles import Tile, plan_tiles
from astro_rcnn.detections import Detections
from astro_rcnn.tile_cache import TileCache

log = logging.getLogger(__name__)


class AnyDetector(Protocol):
    """What is asked of a detector; `astro_rcnn.detector.Detector` is one."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands it wants, in channel order."""
        ...

    @property
    def grid_px(self) -> int:
        """Tiles start at multiples of this, so that a source is seen alike in each."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts for the metadata of the catalogue."""
        ...

    def statistics(self, image: SkyImage) -> BandStatistics:
        """Measure the whole image once."""
        ...

    def detect_batch(
        self,
        pixels: Sequence[np.ndarray],
        *,
        bad: Sequence[np.ndarray | None] | None = None,
        statistics: BandStatistics | None = None,
    ) -> list[Detections]:
        """Detect in several arrays, each in its own pixel coordinates."""
        ...


def detect_tiled(
    image: SkyImage,
    detector: AnyDetector,
    *,
    tile: int,
    overlap: int,
    batch_size: int = 1,
    cache: TileCache | None = None,
) -> tuple[Detections, np.ndarray]:
    """Find the sources of an image of any size.

    Parameters
    ----------
    image : SkyImage
        In the bands of the detector.
    detector : AnyDetector
    tile, overlap : int
        Side of a tile and least overlap of neighbours in pixels; tile 0 takes the image whole.
    batch_size : int
        Tiles detected at a time.
    cache : TileCache, optional
        Where the results of tiles are kept until the image is finished.

    Returns
    -------
    detections : Detections
        N sources in pixel coordinates of the image, best score first; each source once.
    flags : ndarray of int32, shape (N,)
        `Flag.SEAM` and `Flag.LARGE`.
    """
    if tile == 0:
        tile, overlap = max(image.shape), 0
    tiles = plan_tiles(image.shape, tile=tile, overlap=overlap, grid=detector.grid_px)
    found = {i: part for i in range(len(tiles)) if cache and (part := cache.load(i)) is not None}
    missing = [i for i in range(len(tiles)) if i not in found]
    if found:
        log.info("%s: %d of %d tiles done before", image.name, len(found), len(tiles))
    for index, part in _detect_tiles(image, detector, tiles, missing, batch_size):
        found[index] = part
        if cache is not None:
            cache.save(index, part)
    parts = [found[i] for i in range(len(tiles))]
    full = [tile for tile, part in zip(tiles, parts, strict=True) if part.is_full]
    if full:
        log.warning("%s", _full_message(image.name, full, len(tiles), detector))
    return _merge(parts, tiles, overlap)


def _full_message(
    name: str, full: Sequence[Tile], n_tiles: int, detector: AnyDetector, *, n_named: int = 4
) -> str:
    """Say where a network's limit was reached, and what to do."""
    places = [f"[{tile.y1}:{tile.y2}, {tile.x1}:{tile.x2}]" for tile in full[:n_named]]
    places += [f"{len(full) - n_named} more"] if len(full) > n_named else []
    limit = detector.describe().get("max_detections")
    now = f" (now {limit})" if limit else ""
    return (
        f"{name}: sources may be missing, {len(full)} of {n_tiles} tiles are too crowded for the "
        f"limit of the network: {', '.join(places)}. Raise --max-detections{now}."
    )


def _detect_tiles(
    image: SkyImage,
    detector: AnyDetector,
    tiles: Sequence[Tile],
    missing: Sequence[int],
    batch_size: int,
) -> Iterator[tuple[int, Detections]]:
    """Yield index and sources, in image coordinates, of the tiles that are missing."""
    if not missing:
        return
    statistics = detector.statistics(image)
    batches = [missing[i : i + batch_size] for i in range(0, len(missing), batch_size)]
    for batch in _with_bar(batches, image.name):
        slices = [tiles[i].slices for i in batch]
        parts = detector.detect_batch(
            [image.pixels[where] for where in slices],
            bad=[image.bad[where] for where in slices],
            statistics=statistics,
        )
        for index, part in zip(batch, parts, strict=True):
            yield index, _shifted(part, tiles[index].y1, tiles[index].x1)


def _with_bar(batches: Sequence[Sequence[int]], name: str) -> Iterable[Sequence[int]]:
    """Show progress where there is enough to wait for."""
    if len(batches) < 3:
        return batches
    return progress(batches, description=name, unit="batch", leave=False)


def _shifted(detections: Detections, dy: int, dx: int) -> Detections:
    shift = np.array([dy, dx, dy, dx])
    return replace(
        detections,
        boxes=(detections.boxes + shift).astype(np.float32),
        mask_boxes=(detections.mask_boxes + shift).astype(np.int32),
    )


def _merge(
    parts: list[Detections], tiles: Sequence[Tile], overlap: int
) -> tuple[Detections, np.ndarray]:
    """Join the sources of all tiles, each once, best score first, and flag doubtful ones."""
    found = Detections.concatenate(parts)
    tile_index = np.repeat(np.arange(len(tiles)), [len(part) for part in parts])
    if len(tiles) > 1:
        similarity = mask_similarity(found.mask_boxes, found.masks, tile_index, tiles)
        kept = resolve_seams(found.boxes, found.scores, tile_index, tiles, similarity)
        found, tile_index = found.take(kept), tile_index[kept]
    order = np.lexsort((found.boxes[:, 1], found.boxes[:, 0], -found.scores))
    found, tile_index = found.take(order), tile_index[order]
    flags = np.zeros(len(found), np.int32)
    if len(tiles) > 1 and len(found):
        edges = np.array([tile.inner_edges for tile in tiles])[tile_index]
        cut = found.boxes[:, :2] - edges[:, :2] <= TOUCH_PX
        cut |= edges[:, 2:] - found.boxes[:, 2:] <= TOUCH_PX
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        flags[cut.any(axis=1)] |= int(Flag.SEAM)
        flags[(sides > overlap).any(axis=1)] |= int(Flag.LARGE)
    return found, flags
