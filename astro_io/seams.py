"""Keep each source exactly once where tiles overlap.

Two tiles see a source near their seam at slightly different places, or one of them sees only a
part of it. Ownership of the centre alone would then keep it twice or not at all. So each tile
hands in what lies in the area it owns and a little around; detections of different tiles that
are the same source form a group; the best seen of each group stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from astro_io.tiles import Tile, within_reach

Similarity = Callable[[int, int], float]
"""How alike two detections are, from 0 to 1, by their index."""

MARGIN_PX = 8.0
"""A centre may be this far off before its source could be lost at a seam."""

MARGIN_OF_SIZE = 0.25
"""Large sources are centred less well: the margin is at least this part of their box."""

TOUCH_PX = 2.0
"""A box that ends this close to a tile's edge is taken as cut by it."""

TOUCH_OF_SIZE = 0.05
"""Network masks are coarse: large boxes count as cut within this part of their side."""

MIN_SIDE_PX = 6.0
"""Centres closer than a quarter of this are one source: two would not be told apart."""


def resolve_seams(
    boxes: np.ndarray,
    scores: np.ndarray,
    tile_index: np.ndarray,
    tiles: Sequence[Tile],
    similarity: Similarity,
    *,
    threshold: float = 0.5,
    margin_px: float = MARGIN_PX,
) -> np.ndarray:
    """Choose the detections that stay when the tiles of an image are put together.

    1. A tile offers the detections whose centre it owns, or misses by no more than a margin:
       `margin_px`, or a quarter of the box if that is more.
    2. Pairs from different tiles with a similarity of at least `threshold` are joined into
       groups, the most alike first. A group never holds two detections of one tile, because a
       tile's own detections are different sources.
    3. Of each group one stays: one that no tile edge cuts; among cut ones that with the largest
       box; then the one deepest inside its tile; then the better score.

    The choice depends neither on the order of the detections nor on that of the tiles.

    Parameters
    ----------
    boxes : ndarray of float, shape (N, 4)
        ``y1, x1, y2, x2`` pixel edges in the image. N may be zero.
    scores : ndarray of float, shape (N,)
        Confidence.
    tile_index : ndarray of int, shape (N,)
        Which of `tiles` each was found in.
    tiles : sequence of Tile
        The plan.
    similarity : callable
        ``similarity(i, j)`` for two detections whose boxes meet, from different tiles;
        symmetric. `mask_similarity` makes one.
    threshold : float
        From which similarity on two detections are the same source.
    margin_px : float
        See above.

    Returns
    -------
    ndarray of int64, shape (M,)
        Indices of the detections that stay, ascending.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores, np.float64)
    tile_index = np.asarray(tile_index, np.int64)
    offered = np.flatnonzero(_is_offered(boxes, tile_index, tiles, margin_px))
    order = offered[_canonical_order(boxes[offered], scores[offered], tile_index[offered], tiles)]
    pairs = _similar_pairs(order, boxes, tile_index, tiles, similarity, threshold)
    groups = _group(order, pairs, tile_index)
    preference = _preference(boxes, scores, tile_index, tiles)
    kept = [min(group, key=lambda i: preference[i]) for group in groups]
    return np.sort(np.asarray(kept, np.int64))


def mask_similarity(
    mask_boxes: np.ndarray,
    masks: Sequence[np.ndarray],
    tile_index: np.ndarray,
    tiles: Sequence[Tile],
) -> Similarity:
    """Return a function that says how alike two detections of different tiles are.

    It is the intersection over union of the masks, where pixels that a tile could not see do
    not count against it: if one detection is cut by the edge of its tile, the other's mask is
    compared only inside that tile. Sources of a few pixels, whose masks never agree well, are
    also alike if their centres are: half-way at a quarter of the smaller box.

    Parameters
    ----------
    mask_boxes : ndarray of int, shape (N, 4)
        ``y1, x1, y2, x2`` in the image.
    masks : sequence of ndarray of bool
        One a detection, filling its box. An empty one counts as its whole box.
    tile_index : ndarray of int, shape (N,)
        Which of `tiles` each was found in.
    tiles : sequence of Tile
        The plan.

    Returns
    -------
    callable
        ``similarity(i, j) -> float`` from 0 to 1, symmetric.
    """
    edges = np.asarray([tile.inner_edges for tile in tiles])
    is_cut = _is_cut(np.asarray(mask_boxes, np.float64), edges[tile_index])

    def similarity(i: int, j: int) -> float:
        mask_i = _visible(i, tiles[tile_index[j]] if is_cut[j] else None)
        mask_j = _visible(j, tiles[tile_index[i]] if is_cut[i] else None)
        return max(_mask_iou(*mask_i, *mask_j), _centre_similarity(mask_boxes[i], mask_boxes[j]))

    def _visible(i: int, tile: Tile | None) -> tuple[np.ndarray, np.ndarray]:
        mask = masks[i] if masks[i].any() else np.ones_like(masks[i])
        box = np.asarray(mask_boxes[i], np.int64)
        return (box, mask) if tile is None else _crop(box, mask, tile)

    return similarity


def _is_offered(
    boxes: np.ndarray, tile_index: np.ndarray, tiles: Sequence[Tile], margin_px: float
) -> np.ndarray:
    """Return which centres lie in the area that their tile owns, or close by."""
    y, x = _centres(boxes)
    margins = np.maximum(margin_px, MARGIN_OF_SIZE * (boxes[:, 2:] - boxes[:, :2]))
    offered = np.zeros(len(boxes), bool)
    for index in np.unique(tile_index):
        mine = tile_index == index
        offered[mine] = within_reach(
            tiles[index],
            y[mine],
            x[mine],
            margin_y_px=margins[mine, 0],
            margin_x_px=margins[mine, 1],
        )
    return offered


def _canonical_order(
    boxes: np.ndarray, scores: np.ndarray, tile_index: np.ndarray, tiles: Sequence[Tile]
) -> np.ndarray:
    """Return the order of the detections by place and score, however they were listed."""
    corners = np.asarray([(tile.y1, tile.x1) for tile in tiles]).reshape(-1, 2)[tile_index]
    return np.lexsort((*corners.T, scores, *boxes.T))


def _similar_pairs(
    order: np.ndarray,
    boxes: np.ndarray,
    tile_index: np.ndarray,
    tiles: Sequence[Tile],
    similarity: Similarity,
    threshold: float,
) -> list[tuple[int, int]]:
    """Return pairs of the same source in different tiles, the most alike first."""
    alike = []
    read = np.asarray([(tile.y1, tile.x1, tile.y2, tile.x2) for tile in tiles])
    members = {int(t): order[tile_index[order] == t] for t in np.unique(tile_index[order])}
    rank = {int(i): position for position, i in enumerate(order)}
    present = np.asarray(sorted(members), np.int64)
    for first in present:
        later = present[present > first]
        for second in later[_meet(read[first], read[later])]:
            for i in members[first][_meet(read[second], boxes[members[first]])]:
                near = members[second][_meet(boxes[i], boxes[members[second]])]
                for j in near:
                    value = similarity(int(i), int(j))
                    if value >= threshold:
                        low, high = sorted((int(i), int(j)), key=rank.__getitem__)
                        alike.append((-value, rank[low], rank[high], low, high))
    return [(low, high) for *_, low, high in sorted(alike)]


def _group(
    order: np.ndarray, pairs: list[tuple[int, int]], tile_index: np.ndarray
) -> list[list[int]]:
    """Join pairs into groups that hold at most one detection of each tile."""
    group_of = {int(i): [int(i)] for i in order}
    for i, j in pairs:
        one, other = group_of[i], group_of[j]
        tiles_of_one = {int(tile_index[k]) for k in one}
        if one is other or any(int(tile_index[k]) in tiles_of_one for k in other):
            continue
        one.extend(other)
        for k in other:
            group_of[k] = one
    return list({id(group): group for group in group_of.values()}.values())


def _preference(
    boxes: np.ndarray, scores: np.ndarray, tile_index: np.ndarray, tiles: Sequence[Tile]
) -> list[tuple[float, ...]]:
    """Return a sort key for each detection; the smallest of a group is seen best."""
    edges = np.asarray([tile.inner_edges for tile in tiles]).reshape(-1, 4)[tile_index]
    is_cut = _is_cut(boxes, edges)
    visible_area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    centres = np.stack(_centres(boxes), axis=1) + 0.5
    depth = np.minimum(centres - edges[:, :2], edges[:, 2:] - centres).min(axis=1)
    corners = [(float(tiles[t].y1), float(tiles[t].x1)) for t in tile_index]
    return [
        (cut, -area if cut else 0.0, -deep, -score, *box, *corner)
        for cut, area, deep, score, box, corner in zip(
            is_cut, visible_area, depth, scores, boxes, corners, strict=True
        )
    ]


def _is_cut(boxes: np.ndarray, inner_edges: np.ndarray) -> np.ndarray:
    """Return which boxes end at an edge of their tile that is not an edge of the image."""
    sides = boxes[:, 2:] - boxes[:, :2]
    touch = np.maximum(TOUCH_PX, TOUCH_OF_SIZE * sides)
    at_start = boxes[:, :2] - inner_edges[:, :2] <= touch
    at_stop = inner_edges[:, 2:] - boxes[:, 2:] <= touch
    cut: np.ndarray = (at_start | at_stop).any(axis=1)
    return cut


def _centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of the box centres, pixel centres at integers."""
    return (boxes[:, 0] + boxes[:, 2] - 1) / 2, (boxes[:, 1] + boxes[:, 3] - 1) / 2


def _meet(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which boxes share area with this one."""
    starts = np.maximum(box[:2], others[:, :2])
    stops = np.minimum(box[2:], others[:, 2:])
    meets: np.ndarray = (starts < stops).all(axis=1)
    return meets


def _crop(box: np.ndarray, mask: np.ndarray, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a mask that lies in the pixels that a tile reads."""
    y1, x1 = max(box[0], tile.y1), max(box[1], tile.x1)
    y2, x2 = max(min(box[2], tile.y2), y1), max(min(box[3], tile.x2), x1)
    part = mask[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]]
    return np.asarray((y1, x1, y2, x2), np.int64), part


def _mask_iou(
    box_a: np.ndarray, mask_a: np.ndarray, box_b: np.ndarray, mask_b: np.ndarray
) -> float:
    y1, x1 = np.maximum(box_a[:2], box_b[:2])
    y2, x2 = np.minimum(box_a[2:], box_b[2:])
    if y2 <= y1 or x2 <= x1:
        return 0.0
    part_a = mask_a[y1 - box_a[0] : y2 - box_a[0], x1 - box_a[1] : x2 - box_a[1]]
    part_b = mask_b[y1 - box_b[0] : y2 - box_b[0], x1 - box_b[1] : x2 - box_b[1]]
    shared = np.count_nonzero(part_a & part_b)
    union = np.count_nonzero(mask_a) + np.count_nonzero(mask_b) - shared
    return shared / union if union else 0.0


def _centre_similarity(box_a: np.ndarray, box_b: np.ndarray) -> float:
    """Return 1 for equal centres, 0 from half the side of the smaller box on."""
    a, b = np.asarray(box_a, np.float64), np.asarray(box_b, np.float64)
    distance = np.hypot(*((a[:2] + a[2:]) - (b[:2] + b[2:]))) / 2
    side = np.sqrt(min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))
    return float(max(0.0, 1.0 - distance / (max(side, MIN_SIDE_PX) / 2)))
