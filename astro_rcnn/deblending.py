"""How well overlapping sources are cut apart, judged by the light of each alone.

Light G_k of source k is its noiseless image, each band divided by the noise of the sky there,
summed over bands.

* purity of light ``rho_k = sum(G_k G_k) / (G_k . sum_j G_j)``: 1 alone, towards 0 the more it is
  outshone where it is bright.  A property of the scene, not of the detector.
* light purity of a mask M: ``sum_M G_k / sum_M sum_j G_j``: the share of the light in it that is
  the source's own.
* light completeness: ``sum_M G_k / sum G_k``: the share of the source's light that it holds.
* flux error: catalogue flux, with shared pixels divided, over the flux of the source alone inside
  its true mask, less 1.  From pixels with noise, so only sources of S/N above 20 are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BLENDED_BELOW = 0.9
"""Sources of lower purity of light are called blended."""

RHO_EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0 + 1e-6)
"""Bins of the purity of light."""

MATCH_IOU = 0.1
"""Smallest mask IoU of a detection that counts, however bad, as the source's."""

FOUND_IOU = 0.5
"""Mask IoU from which a source counts as found."""

FLUX_MIN_SNR = 20.0
"""Fainter sources say more about noise than about deblending."""

OUTLIER = 0.25
"""A flux wrong by more than this share is an outlier."""


@dataclass(frozen=True, eq=False)
class SceneLight:
    """The noiseless light of every source of one image, cut to the image.

    Attributes
    ----------
    boxes : ndarray of int64, shape (G, 4)
        ``y1, x1, y2, x2`` of each cut-out; without area where the source lies outside.
    own : tuple of ndarray of float32, shape (h, w)
        Light of each source in its box, in units of the sky noise.
    total : ndarray of float32, shape (H, W)
        Light of all sources.
    """

    boxes: np.ndarray
    own: tuple[np.ndarray, ...]
    total: np.ndarray


def scene_light(
    stamp_boxes: Sequence[Sequence[int]],
    stamps: Sequence[np.ndarray],
    shape: tuple[int, int],
    sky_sigma: np.ndarray,
) -> SceneLight:
    """Add up the noiseless light of a scene.

    Parameters
    ----------
    stamp_boxes : sequence of (y1, x1, y2, x2)
        May stick out of the image.
    stamps : sequence of ndarray of float32, shape (h, w, B)
        Noiseless image of each source; NaN, where a band is unknown, counts as 0.
    shape : tuple of int
        Height and width of the image.
    sky_sigma : ndarray of float, shape (B,)
        Noise of the sky in the unit of the stamps.

    Returns
    -------
    SceneLight
    """
    weights = (1.0 / np.asarray(sky_sigma, np.float64)).astype(np.float32)
    total = np.zeros(shape, np.float32)
    boxes, own = np.zeros((len(stamps), 4), np.int64), []
    for k, (box, pixels) in enumerate(zip(stamp_boxes, stamps, strict=True)):
        y1, x1, y2, x2 = clip_box(box, shape)
        part = pixels[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]]
        light = np.nan_to_num(part) @ weights
        total[y1:y2, x1:x2] += light
        boxes[k] = y1, x1, y2, x2
        own.append(light)
    return SceneLight(boxes, tuple(own), total)


def purity_of_light(light: SceneLight) -> np.ndarray:
    """Return ``rho_k = sum(G_k G_k) / (G_k . sum_j G_j)`` of every source.

    Returns
    -------
    ndarray of float64, shape (G,)
        0 to 1; NaN for a source without light in the image.
    """
    rho = np.full(len(light.own), np.nan)
    for k, (y1, x1, y2, x2) in enumerate(light.boxes):
        own = light.own[k].astype(np.float64)
        overlap = float((own * light.total[y1:y2, x1:x2]).sum())
        if overlap > 0:
            rho[k] = float((own * own).sum()) / overlap
    return rho


def mask_light(
    light: SceneLight, source: int, box: np.ndarray, mask: np.ndarray
) -> tuple[float, float]:
    """Weigh the light in one detected mask.

    Parameters
    ----------
    light : SceneLight
    source : int
        Index of the true source that the detection stands for.
    box : ndarray of int, shape (4,)
        Box, inside the image, that the mask fills.
    mask : ndarray of bool, shape (h, w)

    Returns
    -------
    purity, completeness : float
        As defined at the top of the module; NaN where there is no light to divide by.
    """
    own_in_mask = light_inside(light, source, box, mask)
    y1, x1, y2, x2 = box
    all_in_mask = float(light.total[y1:y2, x1:x2][mask].sum(dtype=np.float64))
    own = float(light.own[source].sum(dtype=np.float64))
    return _ratio(own_in_mask, all_in_mask), _ratio(own_in_mask, own)


def light_inside(light: SceneLight, source: int, box: np.ndarray, mask: np.ndarray) -> float:
    """Sum the light of one source inside a mask that fills a box."""
    own_box = light.boxes[source]
    y1, x1 = np.maximum(own_box[:2], box[:2])
    y2, x2 = np.minimum(own_box[2:], box[2:])
    if y2 <= y1 or x2 <= x1:
        return 0.0
    part = light.own[source][y1 - own_box[0] : y2 - own_box[0], x1 - own_box[1] : x2 - own_box[1]]
    inside = mask[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]]
    return float(part[inside].sum(dtype=np.float64))


def deblending_scores(sources: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Summarise the deblending of many sources.

    Parameters
    ----------
    sources : mapping of str to ndarray of float, shape (G,)
        ``rho``; ``snr``, NaN where unknown; ``iou`` with the detection that stands for the
        source, 0 where there is none; ``light_purity``, ``light_completeness`` and
        ``flux_error``, NaN where there is none.

    Returns
    -------
    dict
        ``blended`` and ``isolated`` (purity of light below and from `BLENDED_BELOW`): number,
        per cent found at IoU 0.5, mean IoU, and of the detected ones the median light purity
        and completeness and the median, robust scatter and outliers (per cent) of the flux
        error; ``by_rho``: number, per cent found and mean IoU in bins of ``rho``.
    """
    rho = sources["rho"]
    edges = np.asarray(RHO_EDGES)
    bins = [_group(sources, (rho >= low) & (rho < high)) for low, high in _pairs(edges)]
    return {
        "blended_below": BLENDED_BELOW,
        "blended": _group(sources, rho < BLENDED_BELOW),
        "isolated": _group(sources, rho >= BLENDED_BELOW),
        "by_rho": {
            "edges": np.minimum(edges, 1.0),
            **{key: [group[key] for group in bins] for key in ("n", "found", "mean_iou")},
        },
    }


def clip_box(box: Sequence[int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Cut a box to an image of `shape`; without area, but in order, where it lies outside."""
    y1, x1 = (min(max(int(box[i]), 0), shape[i]) for i in (0, 1))
    y2, x2 = (max(min(int(box[i + 2]), shape[i]), (y1, x1)[i]) for i in (0, 1))
    return y1, x1, y2, x2


def _group(sources: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, float]:
    """Summarise some of the sources."""
    iou = sources["iou"][chosen]
    is_bright = ~(sources["snr"][chosen] < FLUX_MIN_SNR)
    error = sources["flux_error"][chosen][is_bright]
    error = error[np.isfinite(error)]
    low, middle, high = np.percentile(error, [16, 50, 84]) if len(error) else [np.nan] * 3
    return {
        "n": len(iou),
        "found": _mean(iou >= FOUND_IOU) * 100.0,
        "mean_iou": _mean(iou),
        "light_purity": _median(sources["light_purity"][chosen]),
        "light_completeness": _median(sources["light_completeness"][chosen]),
        "n_flux": len(error),
        "flux_error_median": float(middle),
        "flux_error_scatter": float(high - low) / 2.0,
        "flux_error_outliers": _mean(np.abs(error) > OUTLIER) * 100.0,
    }


def _pairs(edges: np.ndarray) -> list[tuple[float, float]]:
    """Return the lower and upper edge of each bin."""
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _mean(values: np.ndarray) -> float:
    """Mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def _median(values: np.ndarray) -> float:
    """Median of the finite values; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _ratio(part: float, whole: float) -> float:
    """Divide; NaN by nothing."""
    return part / whole if whole > 0 else float("nan")
