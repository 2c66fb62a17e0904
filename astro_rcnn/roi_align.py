"""RoIAlign: sample feature maps inside regions, bilinearly, at one point a bin.

As in the reference implementation this is TensorFlow's crop-and-resize: sampling points run from
edge to edge of the region, both included, and points outside the map give zero. `bin_centres`
turns a region into the smaller one whose edges are the centres of its outermost bins, which makes
the same sampling exact (He et al. 2017, section 3: RoIAlign).
"""

from __future__ import annotations

import numpy as np
from keras import ops

# A region that ends at the image edge must not lose its last row to rounding (in cells).
_EDGE_SLACK = 1e-3


def assign_levels(
    boxes,
    levels: tuple[int, ...],
    *,
    canonical_size: float,
    canonical_level: int,
):
    """Pyramid level from which each region is pooled: Lin et al. 2017 (FPN), eq. 1.

    Parameters
    ----------
    boxes : tensor, shape (..., 4)
    levels : tuple of int
        Levels there are, ascending.
    canonical_size : float
        Size, in the frame of `boxes`, of a region that belongs to `canonical_level`.

    Returns
    -------
    int32 tensor, shape (...)
        Index into `levels`. Half rounds to even.
    """
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    size = ops.sqrt(ops.maximum(area, 1e-12))
    level = canonical_level + ops.round(ops.log(size / canonical_size) / np.log(2.0))
    return ops.cast(ops.clip(level, levels[0], levels[-1]), "int32") - levels[0]


def pyramid_roi_align(pyramid, boxes, level_index, size: int, *, edge_slack: float = _EDGE_SLACK):
    """Pool regions from the pyramid level that each was assigned to.

    All levels are laid into one table and gathered from at once, so shapes stay fixed whatever
    the regions are.

    Parameters
    ----------
    pyramid : list of tensor, each of shape (N, H_l, W_l, C)
    boxes : tensor, shape (N, R, 4)
        Normalised frame: 0 and 1 are the centres of the outermost cells.
    level_index : int tensor, shape (N, R)
        Index into `pyramid`.
    size : int
        Output cells a side.
    edge_slack : float
        Points outside the map by no more than this (in cells) count as inside.

    Returns
    -------
    tensor, shape (N, R, size, size, C)
        With R = 0 the result has R = 0 too.
    """
    channels = pyramid[0].shape[-1]
    n_images = ops.shape(pyramid[0])[0]
    heights = np.array([level.shape[1] for level in pyramid], np.int32)
    widths = np.array([level.shape[2] for level in pyramid], np.int32)
    starts = np.concatenate([[0], np.cumsum(heights * widths)]).astype(np.int32)
    table = ops.concatenate([ops.reshape(p, (n_images, -1, channels)) for p in pyramid], axis=1)
    table = ops.reshape(table, (-1, channels))

    row_low, row_high, row_weight, is_row_inside = _sample_axis(
        boxes[..., 0], boxes[..., 2], ops.take(heights, level_index), size, edge_slack
    )
    col_low, col_high, col_weight, is_col_inside = _sample_axis(
        boxes[..., 1], boxes[..., 3], ops.take(widths, level_index), size, edge_slack
    )
    image_start = ops.arange(n_images, dtype="int32")[:, None] * int(starts[-1])
    base = image_start + ops.take(starts[:-1], level_index)
    width = ops.take(widths, level_index)[..., None, None]

    def corner(rows, columns):
        flat = base[..., None, None] + rows[..., :, None] * width + columns[..., None, :]
        return ops.take(table, flat, axis=0)

    x = ops.cast(col_weight, table.dtype)[..., None, :, None]
    y = ops.cast(row_weight, table.dtype)[..., :, None, None]
    top_left = corner(row_low, col_low)
    top = top_left + (corner(row_low, col_high) - top_left) * x
    bottom_left = corner(row_high, col_low)
    bottom = bottom_left + (corner(row_high, col_high) - bottom_left) * x
    inside = ops.logical_and(is_row_inside[..., :, None], is_col_inside[..., None, :])
    return (top + (bottom - top) * y) * ops.cast(inside, table.dtype)[..., None]


def _sample_axis(low, high, n_cells, size: int, edge_slack: float):
    """Neighbouring cells, weight of the higher one, and whether the point lies in the map."""
    last = ops.cast(n_cells - 1, "float32")[..., None]
    low, high = ops.cast(low, "float32")[..., None], ops.cast(high, "float32")[..., None]
    if size > 1:
        step = (high - low) * last / (size - 1)
        points = low * last + np.arange(size, dtype=np.float32) * step
    else:
        points = 0.5 * (low + high) * last
    is_inside = ops.logical_and(points >= -edge_slack, points <= last + edge_slack)
    points = ops.clip(points, 0.0, last)
    floor = ops.floor(points)
    first = ops.cast(floor, "int32")
    second = ops.minimum(first + 1, ops.cast(last, "int32"))
    return first, second, points - floor, is_inside


def bin_centres(boxes, n_bins: int, n_cells, cell_px):
    """Regions whose edges are the outermost bin centres, in the frame of a map's cell centres.

    Parameters
    ----------
    boxes : tensor, shape (..., 4)
        Pixel edges.
    n_bins : int
        Bins a side.
    n_cells : tensor, shape (..., 2)
        Rows and columns of the map that each region is pooled from.
    cell_px : tensor, shape (...)
        Size of a cell of that map in pixels.

    Returns
    -------
    tensor, shape (..., 4)
        0 and 1 are the centres of the outermost cells.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    half_bin = 0.5 * (high - low) / n_bins
    cell = ops.cast(cell_px, "float32")[..., None]
    last = ops.maximum(ops.cast(n_cells, "float32") - 1.0, 1.0)
    first = ((low + half_bin) / cell - 0.5) / last
    return ops.concatenate([first, ((high - half_bin) / cell - 0.5) / last], axis=-1)


def crop_masks(masks, boxes, size: int, *, edge_slack: float = 0.0):
    """Sample each mask inside one box in the frame of the mask.

    Parameters
    ----------
    masks : tensor, shape (K, M, M)
        One mask a box.
    boxes : tensor, shape (K, 4)
        0 and 1 are the centres of the outermost cells of the mask.
    size : int
        Output cells a side.
    edge_slack : float
        As in `pyramid_roi_align`. With the slack of feature maps, one in sixty of the reference
        mask targets would gain a column.

    Returns
    -------
    float32 tensor, shape (K, size, size)
    """
    pixels = ops.cast(masks, "float32")[..., None]
    level = ops.zeros(ops.shape(boxes)[:1] + (1,), dtype="int32")
    sampled = pyramid_roi_align([pixels], boxes[:, None], level, size, edge_slack=edge_slack)
    return sampled[:, 0, :, :, 0]
