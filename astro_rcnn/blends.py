"""Overlapping masks: who gets the light of a shared pixel, and who is blended with whom.

Masks of neighbours may overlap, as light does. Three things follow, all pure geometry plus one
image: the *share* of each source in a shared pixel, *layers* of masks that do not overlap (so
that label images and the libraries that read them can be used), and blend *groups*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def box_slices(box: np.ndarray) -> tuple[slice, slice]:
    """Return the index of a whole-pixel box ``(y1, x1, y2, x2)`` in its image."""
    y1, x1, y2, x2 = (int(edge) for edge in box)
    return slice(y1, y2), slice(x1, x2)


def count_coverage(
    mask_boxes: np.ndarray, masks: Sequence[np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """Count the masks that cover each pixel.

    Parameters
    ----------
    mask_boxes : ndarray of int32, shape (N, 4)
        Boxes inside the image that the masks fill.
    masks : sequence of ndarray of bool
        One a source, of the shape of its box.
    shape : tuple of int
        Height and width of the image.

    Returns
    -------
    ndarray of uint16, shape (H, W)
    """
    coverage = np.zeros(shape, np.uint16)
    for box, mask in zip(mask_boxes, masks, strict=True):
        coverage[box_slices(box)] += mask
    return coverage


def share_light(
    light: np.ndarray, mask_boxes: np.ndarray, masks: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Divide the light of shared pixels among the sources whose masks cover them.

    Each source gets a template, and a shared pixel is divided in proportion to the templates
    there, so that the shares of every covered pixel add up to one and no light is invented or
    lost. The template of a source is the smaller of a pixel and its mirror image through the
    source's peak (the symmetry that the SDSS deblender builds on). Templates are made from the
    largest mask to the smallest, and what a larger source has claimed is taken off before the
    smaller one is looked at: a star inside a galaxy keeps only what stands above the galaxy.
    The peak is looked for where no smaller source covers the mask.

    Parameters
    ----------
    light : ndarray of float32, shape (H, W)
        Background-subtracted light, lightly smoothed; finite.
    mask_boxes : ndarray of int32, shape (N, 4)
        Boxes inside the image that the masks fill.
    masks : sequence of ndarray of bool
        One a source, of the shape of its box.

    Returns
    -------
    tuple of ndarray of float32
        One a source, of the shape of its mask: 0 outside the mask, 1 where it is alone, between
        0 and 1 where it shares.

    References
    ----------
    Lupton 2005, "SDSS image processing I: the deblender" (Princeton preprint).
    """
    shape = (light.shape[0], light.shape[1])
    coverage = count_coverage(mask_boxes, masks, shape)
    n_pix = np.array([np.count_nonzero(mask) for mask in masks], int)
    shared = [
        mask & (coverage[box_slices(box)] > 1) for box, mask in zip(mask_boxes, masks, strict=True)
    ]
    blended = [i for i in np.argsort(-n_pix, kind="stable") if shared[i].any()]
    residual = light.astype(np.float32, copy=True)
    waiting = count_coverage(mask_boxes[blended], [masks[i] for i in blended], shape)
    claimed = np.zeros(shape, np.float32)
    templates: dict[int, np.ndarray] = {}
    for i in blended:
        where = box_slices(mask_boxes[i])
        waiting[where] -= masks[i]
        alone = masks[i] & (waiting[where] == 0)
        peak = _peak(residual[where], alone if alone.any() else masks[i])
        template = _mirror_minimum(residual, shared[i], mask_boxes[i], peak)
        residual[where] -= template
        claimed[where] += template
        templates[i] = template
    shares = [mask.astype(np.float32) for mask in masks]
    for i in blended:
        where = box_slices(mask_boxes[i])
        equal = 1.0 / np.maximum(coverage[where], 1)
        part = np.divide(templates[i], claimed[where], out=equal, where=claimed[where] > 0)
        shares[i][shared[i]] = part[shared[i]]
    return tuple(shares)


def split_layers(
    mask_boxes: np.ndarray, masks: Sequence[np.ndarray], shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sort the masks into label images in which no two overlap.

    Every mask goes, whole, into the first layer where it still fits. Empty masks go nowhere.

    Parameters
    ----------
    mask_boxes : ndarray of int32, shape (N, 4)
        Boxes inside the image that the masks fill.
    masks : sequence of ndarray of bool
        One a source, of the shape of its box.
    shape : tuple of int
        Height and width of the image.

    Yields
    ------
    members : ndarray of int, shape (M,)
        The sources of this layer, ascending.
    labels : ndarray of int32, shape (H, W)
        0, or the source's index plus one. The array is the caller's to keep.
    """
    waiting = [i for i, mask in enumerate(masks) if mask.any()]
    while waiting:
        labels = np.zeros(shape, np.int32)
        members, left = [], []
        for i in waiting:
            cutout = labels[box_slices(mask_boxes[i])]
            if cutout[masks[i]].any():
                left.append(i)
            else:
                cutout[masks[i]] = i + 1
                members.append(i)
        yield np.array(members), labels
        waiting = left


def blend_groups(
    mask_boxes: np.ndarray, masks: Sequence[np.ndarray], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Join sources whose masks overlap or touch, corners included.

    Parameters
    ----------
    mask_boxes : ndarray of int32, shape (N, 4)
        Boxes inside the image that the masks fill.
    masks : sequence of ndarray of bool
        One a source, of the shape of its box. One mask of several pieces joins all it touches.
    shape : tuple of int
        Height and width of the image.

    Returns
    -------
    parents : ndarray of int32, shape (N,)
        Index of the first source of the group; a lone source is its own parent.
    n_blend : ndarray of int32, shape (N,)
        Number of sources of the group, 1 for a lone one.
    """
    pieces, n_pieces = ndimage.label(
        count_coverage(mask_boxes, masks, shape) > 0, structure=EIGHT_NEIGHBOURS
    )
    rows, columns = [], []
    for i, (box, mask) in enumerate(zip(mask_boxes, masks, strict=True)):
        touched = np.unique(pieces[box_slices(box)][mask])
        rows.append(np.full(len(touched), i))
        columns.append(len(masks) + touched - 1)
    groups = _connected(rows, columns, len(masks) + n_pieces)[: len(masks)]
    _, first, group, count = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    return first[group].astype(np.int32), count[group].astype(np.int32)


def blend_fractions(
    mask_boxes: np.ndarray, masks: Sequence[np.ndarray], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each mask is shared with, or touches, other masks.

    Parameters
    ----------
    mask_boxes : ndarray of int32, shape (N, 4)
        Boxes inside the image that the masks fill.
    masks : sequence of ndarray of bool
        One a source, of the shape of its box.
    shape : tuple of int
        Height and width of the image.

    Returns
    -------
    shared : ndarray of float32, shape (N,)
        Fraction of the mask's pixels that another mask covers too; 0 for an empty mask.
    contact : ndarray of float32, shape (N,)
        The same with the pixels that have a neighbour (corners included) in another mask.
    """
    coverage = np.pad(count_coverage(mask_boxes, masks, shape), 1)
    shared = np.zeros(len(masks), np.float32)
    contact = np.zeros(len(masks), np.float32)
    for i, (box, mask) in enumerate(zip(mask_boxes, masks, strict=True)):
        n_pix = np.count_nonzero(mask)
        if n_pix == 0:
            continue
        rows, columns = box_slices(box)
        around = coverage[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
        others = around > np.pad(mask, 1)
        if not others.any():
            continue
        shared[i] = np.count_nonzero(others[1:-1, 1:-1] & mask) / n_pix
        near = ndimage.binary_dilation(others, EIGHT_NEIGHBOURS)[1:-1, 1:-1]
        contact[i] = np.count_nonzero(near & mask) / n_pix
    return shared, contact


def _peak(light: np.ndarray, candidates: np.ndarray) -> tuple[int, int]:
    """Return row and column of the brightest candidate pixel."""
    position = int(np.argmax(np.where(candidates, light, -np.inf)))
    row, column = np.unravel_index(position, light.shape)
    return int(row), int(column)


def _mirror_minimum(
    light: np.ndarray, wanted: np.ndarray, box: np.ndarray, peak: tuple[int, int]
) -> np.ndarray:
    """Return min(pixel, mirrored pixel), at least 0, in the wanted pixels of a box.

    A pixel whose mirror image lies outside the image stands alone.
    """
    template = np.zeros(wanted.shape, np.float32)
    rows, columns = np.nonzero(wanted)
    y, x = rows + int(box[0]), columns + int(box[1])
    mirror_y = 2 * (peak[0] + int(box[0])) - y
    mirror_x = 2 * (peak[1] + int(box[1])) - x
    inside = (mirror_y >= 0) & (mirror_y < light.shape[0])
    inside &= (mirror_x >= 0) & (mirror_x < light.shape[1])
    value = light[y, x]
    value[inside] = np.minimum(value[inside], light[mirror_y[inside], mirror_x[inside]])
    template[rows, columns] = np.maximum(value, 0.0)
    return template


def _connected(rows: list[np.ndarray], columns: list[np.ndarray], n_nodes: int) -> np.ndarray:
    """Return the number of the connected component of each node of a graph given by edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if n_nodes == 0:
        return np.zeros(0, int)
    edges = (np.concatenate(rows), np.concatenate(columns)) if rows else ([], [])
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1]
