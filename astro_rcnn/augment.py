"""Augmentation: change a training crop so that the truth still holds; numpy only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from scipy import ndimage

from astro_io.errors import ConfigError
from astro_rcnn.crops import N_DIHEDRAL, Crop, dense_masks, dihedral_crop, replace_masks

if TYPE_CHECKING:
    from imgaug.augmenters import Augmenter

COUNTS_PER_SIGMA = 1.0e4
"""Scale A of the paper's standardisation: counts for one standard deviation."""

_INT16 = np.iinfo(np.int16)

_ROTATIONS = (1, 2, 3)
_MIRROR_LEFT_RIGHT = 4
_MIRROR_UP_DOWN = 6


class Augmentation(Protocol):
    """A policy: draws from the generator it is given, and from nothing else."""

    def __call__(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Return a changed crop; `crop` itself stays as it is."""
        ...


@dataclass(frozen=True, kw_only=True)
class CompactAugmentation:
    """Policy of our own networks: symmetries of the square, then mild changes of the pixels.

    Attributes
    ----------
    dihedral : bool
        One of the 8 symmetries of the square; of the 4 that keep the shape of a crop which is
        not square.
    gain : float
        Each band is multiplied by ``exp(N(0, gain))``: colours and zero points vary.
    offset_sigma : float
        Each band is shifted by ``N(0, offset_sigma)``, in units of the normalised image.
    noise_sigma : float
        White noise of standard deviation ``U(0, noise_sigma)`` is added, drawn for each band.
    blur_probability : float
        How often the seeing is made a little worse.
    blur_sigma_px : tuple of float
        Range of the Gaussian that does it, in pixels.
    """

    dihedral: bool = True
    gain: float = 0.05
    offset_sigma: float = 0.05
    noise_sigma: float = 0.1
    blur_probability: float = 0.0
    blur_sigma_px: tuple[float, float] = (0.3, 0.8)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("gain", "offset_sigma", "noise_sigma"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"augmentation: {name} must be >= 0; found {getattr(self, name)}."
                )
        if not 0 <= self.blur_probability <= 1:
            raise ConfigError(
                f"augmentation: blur_probability must be 0 to 1; found {self.blur_probability}."
            )
        _check_range("blur_sigma_px", self.blur_sigma_px)

    def __call__(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Return a changed crop."""
        if self.dihedral:
            is_square = crop.image.shape[0] == crop.image.shape[1]
            elements = range(N_DIHEDRAL) if is_square else range(0, N_DIHEDRAL, 2)
            crop = dihedral_crop(crop, int(rng.choice(elements)))
        image = crop.image
        n_bands = image.shape[2]
        if self.blur_probability and rng.random() < self.blur_probability:
            image = blur(image, rng.uniform(*self.blur_sigma_px))
        gain = np.exp(rng.normal(0.0, self.gain, n_bands))
        offset = rng.normal(0.0, self.offset_sigma, n_bands)
        image = image * gain.astype(np.float32) + offset.astype(np.float32)
        if self.noise_sigma:
            level = rng.uniform(0.0, self.noise_sigma, n_bands).astype(np.float32)
            image += level * rng.standard_normal(image.shape, np.float32)
        return replace(crop, image=image)


@dataclass(frozen=True, kw_only=True)
class PaperAugmentation:
    """Policy of Burke et al. 2019: zero to `n_max` operations, each at most once, in order.

    Attributes
    ----------
    variant : {"paper", "code"}
        ``"paper"``: of four operations: turn by 90, 180 or 270 degrees; mirror left-right or
        up-down; blur with ``sigma ~ U(blur_sigma_px)``; add to each band a number from -10 % to
        +10 % of its maximum. ``"code"``: of the five in the code released with the paper: mirror
        left-right, half the times; mirror up-down, half the times; turn; blur with
        ``sigma ~ U(0, s)``, ``s ~ U(blur_sigma_px)``; add to each pixel, the same in all bands,
        a whole number from -25 to 25 counts.
    n_max : int
        Most operations on one image; their number is uniform from 0.
    blur : bool
        False leaves the blur out.
    blur_sigma_px : tuple of float
        Range of the Gaussian, in pixels.
    is_integer : bool
        True: pixels are the paper's counts (1e4 a standard deviation), and stay whole numbers in
        the 16-bit range. False: pixels are real numbers, and 25 counts mean 0.0025.

    References
    ----------
    Burke et al. 2019, MNRAS 490, 3952, section 3.
    """

    variant: Literal["paper", "code"] = "paper"
    n_max: int = 4
    blur: bool = True
    blur_sigma_px: tuple[float, float] = (2.0, 6.0)
    is_integer: bool = True

    def __post_init__(self) -> None:
        """Check the variant and the ranges."""
        if self.variant not in ("paper", "code"):
            raise ConfigError(
                f"augmentation: variant must be 'paper' or 'code'; found {self.variant!r}."
            )
        if self.n_max < 0:
            raise ConfigError(f"augmentation: n_max must be >= 0; found {self.n_max}.")
        _check_range("blur_sigma_px", self.blur_sigma_px)

    def __call__(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Return a changed crop."""
        operations = self._operations()
        n_chosen = min(int(rng.integers(0, self.n_max + 1)), len(operations))
        chosen = np.sort(rng.choice(len(operations), n_chosen, replace=False))
        for index in chosen:
            crop = operations[index](crop, rng)
        return crop

    def _operations(self) -> list[Callable[[Crop, np.random.Generator], Crop]]:
        """Return the operations in the order in which they are applied."""
        blur_step = [self._blur] if self.blur else []
        if self.variant == "paper":
            return [_rotate, _mirror, *blur_step, self._add_to_bands]
        return [_mirror_left_right, _mirror_up_down, _rotate, *blur_step, self._add_to_pixels]

    def _blur(self, crop: Crop, rng: np.random.Generator) -> Crop:
        sigma_px = rng.uniform(*self.blur_sigma_px)
        if self.variant == "code":
            sigma_px = rng.uniform(0.0, sigma_px)
        return self._with_image(crop, blur(crop.image, sigma_px))

    def _add_to_bands(self, crop: Crop, rng: np.random.Generator) -> Crop:
        maximum = crop.image.max(axis=(0, 1))
        added = rng.uniform(-0.1, 0.1, maximum.shape).astype(np.float32) * maximum
        return self._with_image(crop, crop.image + added)

    def _add_to_pixels(self, crop: Crop, rng: np.random.Generator) -> Crop:
        counts = rng.integers(-25, 26, crop.image.shape[:2]).astype(np.float32)[..., None]
        added = counts if self.is_integer else counts / np.float32(COUNTS_PER_SIGMA)
        return self._with_image(crop, crop.image + added)

    def _with_image(self, crop: Crop, image: np.ndarray) -> Crop:
        if self.is_integer:
            image = np.clip(np.rint(image), _INT16.min, _INT16.max)
        return replace(crop, image=image)


def blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Convolve every band with a Gaussian; edges are mirrored.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W, B)
        Pixels.
    sigma_px : float
        Standard deviation in pixels; 0 changes nothing.

    Returns
    -------
    ndarray of float32, shape (H, W, B)
        A new array.
    """
    return ndimage.gaussian_filter(image, sigma_px, axes=(0, 1))


def _rotate(crop: Crop, rng: np.random.Generator) -> Crop:
    """Turn by 90, 180 or 270 degrees; a crop that is not square by 180."""
    is_square = crop.image.shape[0] == crop.image.shape[1]
    return dihedral_crop(crop, int(rng.choice(_ROTATIONS)) if is_square else 2)


def _mirror(crop: Crop, rng: np.random.Generator) -> Crop:
    return dihedral_crop(crop, int(rng.choice((_MIRROR_LEFT_RIGHT, _MIRROR_UP_DOWN))))


def _mirror_left_right(crop: Crop, rng: np.random.Generator) -> Crop:
    return dihedral_crop(crop, _MIRROR_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _mirror_up_down(crop: Crop, rng: np.random.Generator) -> Crop:
    return dihedral_crop(crop, _MIRROR_UP_DOWN) if rng.random() < 0.5 else crop


def _check_range(name: str, values: tuple[float, float]) -> None:
    if len(values) != 2 or not 0 <= values[0] <= values[1]:
        raise ConfigError(
            f"augmentation: {name} must be two rising numbers >= 0; found {tuple(values)}."
        )


MASK_SAFE_AUGMENTERS = (
    "Sequential",
    "SomeOf",
    "OneOf",
    "Sometimes",
    "Fliplr",
    "Flipud",
    "Rot90",
    "CropAndPad",
    "Affine",
    "PiecewiseAffine",
)
"""Augmenters of imgaug that mean the same for an image and for its masks."""


class ImgaugAugmentation:
    """Apply any augmenter of imgaug, its geometric parts to image and masks alike.

    Slower than the policies above: masks are painted on full frames first.

    Parameters
    ----------
    augmenter : imgaug.augmenters.Augmenter
        It must keep the size of the image.
    dtype : {"float32", "int16"}
        What `augmenter` is given: ``"int16"`` for the paper's counts.
    mask_safe : tuple of str
        Class names that are applied to masks; others change only the image.

    Raises
    ------
    BackendError
        If imgaug is not installed.
    """

    def __init__(
        self,
        augmenter: Augmenter,
        *,
        dtype: Literal["float32", "int16"] = "float32",
        mask_safe: tuple[str, ...] = MASK_SAFE_AUGMENTERS,
    ) -> None:
        from astro_rcnn.imgaug_compat import import_imgaug

        self._imgaug = import_imgaug()
        self.augmenter = augmenter
        self.dtype = dtype
        self.mask_safe = frozenset(mask_safe)

    def __call__(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Return a changed crop; objects that leave the image are left out."""
        augmenter = self.augmenter.deepcopy()
        augmenter.seed_(int(rng.integers(2**31)))
        augmenter = augmenter.to_deterministic()
        before = crop.image
        if self.dtype == "int16":
            before = np.clip(np.rint(before), _INT16.min, _INT16.max).astype(np.int16)
        image = augmenter.augment_image(np.ascontiguousarray(before)).astype(np.float32)
        if image.shape != crop.image.shape:
            raise ConfigError(
                f"imgaug augmenter {self.augmenter.name}: expected an image of shape "
                f"{crop.image.shape} back; found {image.shape}. Use augmenters that keep the size."
            )
        if len(crop) == 0:
            return replace(crop, image=image)
        frames = dense_masks(crop).astype(np.uint8) * 255
        hooks = self._imgaug.HooksImages(activator=self._is_for_masks)
        return replace_masks(crop, image, augmenter.augment_image(frames, hooks=hooks) > 127)

    def _is_for_masks(
        self, images: object, augmenter: Augmenter, parents: object, default: bool
    ) -> bool:
        return type(augmenter).__name__ in self.mask_safe


def named_augmentation(name: str, *, normalization: str = "zscore") -> Augmentation | None:
    """Return the policy that a configuration names.

    Parameters
    ----------
    name : str
        ``"none"``; ``"dihedral"``, our own; ``"paper"`` or ``"paper-code"``, the two variants of
        `PaperAugmentation`; or ``"module:function"``, a function without arguments that returns
        an augmenter of imgaug. The module can say ``from imgaug import augmenters`` at its top.
    normalization : str
        ``"paper"`` makes policies keep whole numbers in the 16-bit range.

    Returns
    -------
    Augmentation or None
        None for ``"none"``.

    Raises
    ------
    ConfigError
        If there is no such policy, module or function.
    BackendError
        If imgaug is asked for and not installed.
    """
    is_integer = normalization == "paper"
    match name:
        case "none":
            return None
        case "dihedral":
            return CompactAugmentation()
        case "paper" | "paper-code":
            variant: Literal["paper", "code"] = "paper" if name == "paper" else "code"
            return PaperAugmentation(variant=variant, is_integer=is_integer)
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ConfigError(
            f"augmentation: expected none, dihedral, paper, paper-code or module:function; "
            f"found {name!r}."
        )
    from astro_rcnn.imgaug_compat import import_imgaug

    import_imgaug()
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(
            f"augmentation: {name!r} cannot be loaded ({error}). "
            "Name a module on the Python path and a function in it."
        ) from error
    return ImgaugAugmentation(function(), dtype="int16" if is_integer else "float32")
