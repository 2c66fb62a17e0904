"""Cover an image with overlapping tiles, and keep each source exactly once at their seams.

Pure geometry: no pixel and no network. The areas that the tiles own partition the image, so a
source belongs to the tile that owns its centre. A network, however, places the same source at
slightly different centres in two tiles; `astro_io.seams` deals with that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from astro_io.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile: the pixels it reads, and the smaller area it answers for.

    Both are half-open pixel ranges, so that they slice arrays. The owned areas of all tiles of
    a plan partition the image.

    Attributes
    ----------
    y1, x1, y2, x2 : int
        Pixels read.
    own_y1, own_x1, own_y2, own_x2 : int
        Pixels owned; inside the pixels read.
    image_shape : tuple of int
        Height and width of the whole image.
    """

    y1: int
    x1: int
    y2: int
    x2: int
    own_y1: int
    own_x1: int
    own_y2: int
    own_x2: int
    image_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the pixels read."""
        return self.y2 - self.y1, self.x2 - self.x1

    @property
    def inner_edges(self) -> tuple[float, float, float, float]:
        """Top, left, bottom and right pixel edge; infinite where the image ends as well."""
        height, width = self.image_shape
        return (
            self.y1 if self.y1 > 0 else -math.inf,
            self.x1 if self.x1 > 0 else -math.inf,
            self.y2 if self.y2 < height else math.inf,
            self.x2 if self.x2 < width else math.inf,
        )

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the pixels read in the image."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)


def plan_tiles(shape: tuple[int, int], *, tile: int, overlap: int, grid: int = 1) -> list[Tile]:
    """Cover an image with square tiles, row by row.

    Neighbours overlap by `overlap` pixels, more at the far edges, where the last tile is shifted
    inwards to keep its full size. The border between two owned areas runs through the middle of
    the overlap. An image smaller than a tile in one direction gets a tile of its own size there.

    With a `grid`, tiles start at multiples of it (and the last one may be up to ``grid - 1``
    pixels short): a network with strides then sees every source at the same phase in a tile as in
    the whole image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    tile : int
        Side of a tile in pixels.
    overlap : int
        Smallest overlap of neighbours in pixels, from 0 to ``tile - 1``.
    grid : int
        Pixels between places where a tile may start. Ignored where the tiles are too small for
        it: ``tile - overlap`` must be at least `grid`.

    Returns
    -------
    list of Tile
        At least one.

    Raises
    ------
    ConfigError
        If `tile` or `overlap` is out of range, or the image is empty.
    """
    if tile < 1 or not 0 <= overlap < tile:
        raise ConfigError(
            f"tiles: expected 0 <= overlap < tile, found tile {tile}, overlap {overlap}. "
            "Change --tile or --overlap."
        )
    height, width = int(shape[0]), int(shape[1])
    if height < 1 or width < 1:
        raise ConfigError(f"tiles: expected an image with pixels, found {height}x{width}.")
    return [
        Tile(
            y1=y1, x1=x1, y2=y2, x2=x2,
            own_y1=own_y1, own_x1=own_x1, own_y2=own_y2, own_x2=own_x2,
            image_shape=(height, width),
        )
        for y1, y2, own_y1, own_y2 in _plan_axis(height, tile, overlap, grid)
        for x1, x2, own_x1, own_x2 in _plan_axis(width, tile, overlap, grid)
    ]  # fmt: skip


def owns(tile: Tile, y: float | np.ndarray, x: float | np.ndarray) -> bool | np.ndarray:
    """Return whether the tile owns these points; every point of the plane has one owner.

    Parameters
    ----------
    tile : Tile
        One of a plan.
    y, x : float or ndarray
        Pixel centres at integers, in the image. Points outside the image belong to the tile
        at that edge.

    Returns
    -------
    bool or ndarray of bool
        Same shape as `y` and `x`.
    """
    inside = within_reach(tile, y, x)
    return inside if inside.ndim else bool(inside)


def within_reach(
    tile: Tile,
    y: float | np.ndarray,
    x: float | np.ndarray,
    *,
    margin_y_px: float | np.ndarray = 0.0,
    margin_x_px: float | np.ndarray = 0.0,
) -> np.ndarray:
    """Return whether points lie in the area that the tile owns, grown by a margin.

    Parameters
    ----------
    tile : Tile
        One of a plan.
    y, x : float or ndarray
        Pixel centres at integers, in the image.
    margin_y_px, margin_x_px : float or ndarray
        Growth up and down, left and right, in pixels.

    Returns
    -------
    ndarray of bool
        Same shape as `y` and `x`.
    """
    height, width = tile.image_shape
    y, x = np.asarray(y), np.asarray(x)
    inside: np.ndarray = _between(y, tile.own_y1, tile.own_y2, height, margin_y_px)
    inside = inside & _between(x, tile.own_x1, tile.own_x2, width, margin_x_px)
    return inside


def _between(
    centers: np.ndarray, start: int, stop: int, length: int, margin_px: float | np.ndarray
) -> np.ndarray:
    """Return whether centres lie in a pixel range; a range that ends the image is open there."""
    low = -math.inf if start == 0 else start - 0.5 - margin_px
    high = math.inf if stop == length else stop - 0.5 + margin_px
    between: np.ndarray = (centers >= low) & (centers < high)
    return between


def _plan_axis(length: int, tile: int, overlap: int, grid: int) -> list[tuple[int, int, int, int]]:
    """Return start, stop, owned start and owned stop of the tiles along one axis."""
    if length <= tile:
        return [(0, length, 0, length)]
    step = tile - overlap
    grid = grid if step >= grid else 1
    step -= step % grid
    last = math.ceil((length - tile) / grid) * grid
    n_tiles = math.ceil(last / step) + 1
    starts = [min(i * step, last) for i in range(n_tiles)]
    borders = [(before + tile + after) // 2 for before, after in pairwise(starts)]
    owned = [0, *borders, length]
    return [
        (start, min(start + tile, length), owned[i], owned[i + 1]) for i, start in enumerate(starts)
    ]
