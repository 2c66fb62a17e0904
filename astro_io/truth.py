"""Masks from noiseless truth: the rule of the paper, and an isophote in units of the sky noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from astro_io.errors import ConfigError, DatasetError
from astro_io.scene import Scene, Stamp

if TYPE_CHECKING:
    from astropy.table import Table

STAR, GALAXY = 1, 2

Edges = tuple[bool, bool, bool, bool]
NO_EDGE: Edges = (False, False, False, False)

_KERNEL_SUM = 256


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """How the mask of a source follows from its noiseless image.

    Attributes
    ----------
    kind : {"peak", "isophote"}
        ``"peak"``: brighter than a share of the source's own maximum (the paper's rule).
        ``"isophote"``: brighter, in any band, than a multiple of the noise of the sky; the
        footprint of a source then does not depend on how cuspy its centre is.
    star_threshold, galaxy_threshold : float
        Share of the maximum, for ``"peak"``.
    isophote_sigma : float
        Multiple of the sky noise, for ``"isophote"``.
    blur_sigma_px, blur_size_px : float, int
        Gaussian that smooths the mask; a sigma of 0 leaves it as it is.
    band : str or None
        Band that ``"peak"`` looks at.  None: g where the image has it, as in the paper; else
        the sum of all bands, each divided by its own maximum, so that none outweighs the others.

    References
    ----------
    Burke et al. 2019, MNRAS 490, 3952: thresholds 0.005 (stars) and 0.08 (galaxies) of the
    noiseless g image, then a 9x9 Gaussian blur with sigma 2 px of the integer mask.
    """

    kind: Literal["peak", "isophote"] = "peak"
    star_threshold: float = 0.005
    galaxy_threshold: float = 0.08
    isophote_sigma: float = 1.0
    blur_sigma_px: float = 2.0
    blur_size_px: int = 9
    band: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.kind not in ("peak", "isophote"):
            raise ConfigError(f"mask rule: expected kind peak or isophote, found {self.kind!r}.")
        for name in ("star_threshold", "galaxy_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"mask rule: expected {name} from 0 up to 1, found {getattr(self, name)}."
                )
        if self.blur_size_px < 1 or self.blur_size_px % 2 == 0:
            raise ConfigError(
                f"mask rule: expected blur_size_px odd and positive, found {self.blur_size_px}."
            )
        if self.blur_sigma_px < 0:
            raise ConfigError(
                f"mask rule: expected blur_sigma_px of 0 or more, found {self.blur_sigma_px}."
            )


def mask_from_stamp(
    pixels: np.ndarray,
    class_id: int,
    rule: MaskRule,
    *,
    bands: Sequence[str],
    sky_sigma: np.ndarray | None = None,
    at_edge: Edges = NO_EDGE,
) -> np.ndarray:
    """Return the mask of one source.

    Beyond the stamp the source is taken as zero.  The blur fills notches and rounds corners but
    never leaves the bounding box of what it blurs, so a mask always fits its stamp.

    Parameters
    ----------
    pixels : ndarray of float32, shape (h, w, B)
        Noiseless image of the source.
    class_id : int
        1 star, 2 galaxy.
    rule : MaskRule
    bands : sequence of str, length B
        Names of the bands, for ``rule.band``.
    sky_sigma : ndarray of float, shape (B,), optional
        Noise of the sky in each band, in the unit of `pixels`; the isophote rule needs it.
    at_edge : tuple of bool
        Sides of the stamp (first row, first column, last row, last column) that are edges of the
        image: the blur mirrors the mask there, as OpenCV does.

    Returns
    -------
    ndarray of bool, shape (h, w)
        All False where the source has no flux in the stamp.

    Raises
    ------
    ConfigError
        If ``rule.band`` is not among `bands`, or the isophote rule lacks `sky_sigma`.
    """
    if rule.kind == "peak":
        threshold = rule.star_threshold if class_id == STAR else rule.galaxy_threshold
        light = _relative_brightness(pixels, rule.band, tuple(bands))
        mask = np.asarray(light > threshold)
    else:
        if sky_sigma is None:
            raise ConfigError(
                "mask rule: kind isophote needs the noise of the sky (sky_sigma). "
                "Give it, or use kind peak."
            )
        limit = rule.isophote_sigma * np.asarray(sky_sigma, np.float32)
        mask = np.asarray((pixels > limit).any(axis=2))
    if rule.blur_sigma_px == 0 or not mask.any():
        return mask
    return blur_mask(mask, rule.blur_sigma_px, rule.blur_size_px, at_edge=at_edge)


def blur_mask(
    mask: np.ndarray, sigma_px: float, size_px: int, *, at_edge: Edges = NO_EDGE
) -> np.ndarray:
    """Blur a mask with a Gaussian and keep what rounds to one.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
    sigma_px : float
        Standard deviation of the Gaussian, above 0.
    size_px : int
        Width of the kernel, odd; cut off beyond.
    at_edge : tuple of bool
        Sides (first row, first column, last row, last column) where the mask goes on mirrored
        about its last pixel; zeros elsewhere.

    Returns
    -------
    ndarray of bool, shape (h, w)
        The same as ``cv2.GaussianBlur`` of the uint8 mask, cast to bool.
    """
    from scipy.ndimage import correlate1d

    top, left, bottom, right = (size_px // 2 * is_edge for is_edge in at_edge)
    height, width = mask.shape
    light = np.pad(mask, ((top, bottom), (left, right)), mode="reflect").astype(np.float32)
    kernel = _gaussian_kernel(sigma_px, size_px)
    for axis in (0, 1):
        light = correlate1d(light, kernel, axis=axis, mode="constant")
    half = _KERNEL_SUM**2 / 2  # rounds up, as OpenCV does; exact, for float32 holds these sums
    return np.asarray(light[top : top + height, left : left + width] >= half)


def scene_masks(scene: Scene, rule: MaskRule) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the masks of all sources of a scene, cut to their boxes.

    Parameters
    ----------
    scene : Scene
        Where ``scene.truth`` is ``"mask"`` the masks are taken as they are.
    rule : MaskRule
        The maximum of a source is that of its whole stamp, also where it lies outside the image.
        A stamp that ends at the edge of the image goes on mirrored for the blur.

    Returns
    -------
    boxes : ndarray of int32, shape (G, 4)
        Smallest ``y1, x1, y2, x2`` around each mask, inside the image; all zero for a source
        without a pixel in the image.
    masks : tuple of ndarray of bool
        One of shape ``(y2 - y1, x2 - x1)`` a source; ``(0, 0)`` for an empty box.
    """
    bands = scene.image.bands
    sky_sigma = _sky_sigma(scene) if rule.kind == "isophote" and scene.truth == "flux" else None
    boxes = np.zeros((len(scene), 4), np.int32)
    masks = []
    for i, (stamp, class_id) in enumerate(
        zip(scene.stamps, scene.catalog["class_id"], strict=True)
    ):
        if scene.truth == "mask":
            mask = stamp.pixels[..., 0] > 0.5
        else:
            mask = mask_from_stamp(
                stamp.pixels,
                int(class_id),
                rule,
                bands=bands,
                sky_sigma=sky_sigma,
                at_edge=_edges(stamp, scene.image.shape),
            )
        boxes[i], mask = _tight_inside(mask, stamp, scene.image.shape)
        masks.append(mask)
    return boxes, tuple(masks)


def band_in_turn(scene: Scene) -> str:
    """Return the band that a scene teaches a network for any one band: another in each scene."""
    return scene.image.bands[scene.index % len(scene.image.bands)]


def in_one_band(scene: Scene, band: str, rule: MaskRule) -> Scene:
    """Return a scene as one band shows it: its image, its masks, its signal to noise.

    Parameters
    ----------
    scene : Scene
    band : str
        One of its image.
    rule : MaskRule

    Returns
    -------
    Scene
        With ``snr`` in this band alone, where the noise of the sky is known. If the truth is
        not known in this band (PhoSim's is that of g), or `rule` looks at another one, the masks
        are those of the whole scene: ``truth`` is then ``"mask"``.

    Raises
    ------
    ImageError
        If the image has no such band.
    """
    seen = scene.select((band,))
    if scene.truth == "mask" or len(scene.image.bands) == 1:
        return seen
    is_known = not seen.stamps or any((stamp.pixels > 0).any() for stamp in seen.stamps)
    if rule.band in (None, band) and is_known:
        return replace(seen, catalog=_with_snr_of(seen, scene))
    boxes, masks = scene_masks(scene, rule)
    stamps = tuple(
        Stamp(tuple(box), mask[..., None].astype(np.float32))
        for box, mask in zip(boxes.tolist(), masks, strict=True)
    )
    return replace(seen, stamps=stamps, truth="mask")


def _with_snr_of(seen: Scene, scene: Scene) -> Table:
    """Return the catalogue of a scene of fewer bands with the signal to noise that is left."""
    table = seen.catalog
    if "snr" not in table.colnames or "sky_sigma" not in table.meta:
        return table
    table = table.copy()
    share = _power(seen) / np.maximum(_power(scene), np.finfo(np.float64).tiny)
    table["snr"] = (np.asarray(table["snr"]) * np.sqrt(share)).astype(np.float32)
    return table


def _power(scene: Scene) -> np.ndarray:
    """Return the sum of light squared, in units of the noise, of every source."""
    sigma = np.asarray(scene.catalog.meta["sky_sigma"], np.float64)
    return np.array([np.nansum((stamp.pixels / sigma) ** 2.0) for stamp in scene.stamps])


def _edges(stamp: Stamp, shape: tuple[int, int]) -> Edges:
    """Return which sides of a stamp end exactly where the image ends."""
    y1, x1, y2, x2 = stamp.box
    return y1 == 0, x1 == 0, y2 == shape[0], x2 == shape[1]


def _tight_inside(
    mask: np.ndarray, stamp: Stamp, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Cut a stamp's mask to the image, then to the smallest box around it."""
    y1, x1 = stamp.box[:2]
    top, left = max(0, -y1), max(0, -x1)
    inside = mask[top : max(shape[0] - y1, 0), left : max(shape[1] - x1, 0)]
    rows = np.flatnonzero(inside.any(axis=1))
    if rows.size == 0:
        return (0, 0, 0, 0), np.zeros((0, 0), bool)
    columns = np.flatnonzero(inside.any(axis=0))
    r1, r2, c1, c2 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = (y1 + top + r1, x1 + left + c1, y1 + top + r2, x1 + left + c2)
    return box, inside[r1:r2, c1:c2]


def _relative_brightness(
    pixels: np.ndarray, band: str | None, bands: tuple[str, ...]
) -> np.ndarray:
    """Return the image that the peak rule cuts, divided by its maximum; zero without flux."""
    if band is not None and band not in bands:
        raise ConfigError(
            f"mask rule: expected band {band}; found {', '.join(bands)}. "
            "Set band to one of these, or leave it out."
        )
    peaks = pixels.max(axis=(0, 1), initial=0.0)
    usable = np.flatnonzero(peaks > 0)  # False for NaN, too: a band whose truth is unknown
    wanted = "g" if band is None else band
    if wanted in bands and bands.index(wanted) in usable:
        channel = bands.index(wanted)
        return np.asarray(pixels[..., channel] / peaks[channel])
    if band is not None or usable.size == 0:
        return np.zeros(pixels.shape[:2], np.float32)
    total = (pixels[..., usable] / peaks[usable]).sum(axis=2)
    return np.asarray(total / total.max())


def _sky_sigma(scene: Scene) -> np.ndarray:
    """Return the noise of the sky per band: as the catalogue says, else measured."""
    known = scene.catalog.meta.get("sky_sigma")
    if known is not None:
        if len(known) != len(scene.image.bands):
            raise DatasetError(
                f"{scene.name}: sky_sigma has {len(known)} values for "
                f"{len(scene.image.bands)} bands."
            )
        return np.asarray(known, np.float64)
    from astro_io.normalize import measure_statistics

    return measure_statistics(scene.image.pixels, scene.image.bad, "zscore").scale


@lru_cache(maxsize=8)
def _gaussian_kernel(sigma_px: float, size_px: int) -> np.ndarray:
    """Return the whole-number weights with which OpenCV blurs 8-bit images.

    A sampled Gaussian in units of 1/256; what rounding leaves over goes on to the next weight
    from the outside in, and the centre makes the sum 256.
    """
    offset = np.arange(size_px) - (size_px - 1) / 2
    weights = np.exp(-(offset**2) / (2 * sigma_px**2))
    weights *= _KERNEL_SUM / weights.sum()
    kernel = np.zeros(size_px)
    left_over = 0.0
    for i in range(size_px // 2):
        kernel[i] = kernel[-1 - i] = np.rint(weights[i] + left_over)
        left_over += weights[i] - kernel[i]
    kernel[size_px // 2] = _KERNEL_SUM - kernel.sum()
    return kernel
