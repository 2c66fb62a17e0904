"""astro_rcnn.augment: policies change pixels and truth together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from astro_io.errors import ConfigError
from astro_rcnn.augment import (
    CompactAugmentation,
    ImgaugAugmentation,
    PaperAugmentation,
    blur,
    named_augmentation,
)
from astro_rcnn.crops import Crop, dense_masks, tight_box


def painted_crop(rng: np.random.Generator, shape=(24, 24), n: int = 4, scale=1.0) -> Crop:
    """Return a crop whose band 0 is the masks painted one over the other, 1, 2, 3, ..."""
    image = np.zeros((*shape, 2), np.float32)
    boxes, masks = [], []
    for i in range(n):
        y1, x1 = rng.integers(0, np.array(shape) - 9)
        mask = np.ones((9, 7), bool)
        mask[:4, 3:] = False
        image[y1 : y1 + 9, x1 : x1 + 7, 0][mask] = i + 1
        boxes.append((y1, x1, y1 + 9, x1 + 7))
        masks.append(mask)
    image[..., 1] = rng.normal(size=shape)
    return Crop(
        image=image * np.float32(scale),
        class_ids=(1 + np.arange(n) % 2).astype(np.int32),
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
    )


def assert_masks_follow_the_image(crop: Crop) -> None:
    """The last object painted lies on top: its pixels are exactly its mask."""
    top = len(crop)
    np.testing.assert_array_equal(crop.image[..., 0] == top, dense_masks(crop)[..., top - 1])
    for box, mask in zip(crop.boxes, crop.masks, strict=True):
        assert tight_box(mask) == (0, 0, box[2] - box[0], box[3] - box[1])


STILL = CompactAugmentation(gain=0, offset_sigma=0, noise_sigma=0)


@pytest.mark.parametrize(("shape", "n_expected"), [((24, 24), 8), ((24, 30), 4)])
def test_compact_policy_shows_every_symmetry_that_keeps_the_shape(rng, shape, n_expected):
    crop = painted_crop(rng, shape)
    seen = set()
    for _ in range(100):
        moved = STILL(crop, rng)
        assert moved.image.shape == crop.image.shape
        assert_masks_follow_the_image(moved)
        seen.add(moved.image.tobytes())
    assert len(seen) == n_expected


def test_compact_policy_changes_pixels_by_what_it_says(rng):
    crop = replace(painted_crop(rng), image=np.full((64, 64, 3), 10.0, np.float32))
    policy = CompactAugmentation(dihedral=False, gain=0.1, offset_sigma=0.2, noise_sigma=0.3)
    images = np.stack([policy(crop, rng).image for _ in range(300)])
    level, noise = images.mean(axis=(1, 2)), images.std(axis=(1, 2))
    # level: 10 exp(N(0, 0.1)) + N(0, 0.2), scatter sqrt(1.0^2 + 0.2^2) = 1.02; noise: U(0, 0.3)
    assert level.std() == pytest.approx(1.02, rel=0.1)
    assert noise.mean() == pytest.approx(0.15, rel=0.1) and noise.max() < 0.31
    assert abs(np.corrcoef(level[:, 0], level[:, 1])[0, 1]) < 0.2


def test_blur_is_off_unless_asked_for_and_keeps_flux(rng):
    image = np.zeros((31, 31, 1), np.float32)
    image[15, 15] = 1.0
    crop = replace(painted_crop(rng, n=0), image=image)
    np.testing.assert_array_equal(replace(STILL, dihedral=False)(crop, rng).image, image)
    policy = replace(STILL, dihedral=False, blur_probability=1.0, blur_sigma_px=(2.0, 2.0))
    blurred = policy(crop, rng).image
    assert blurred.sum() == pytest.approx(1.0, rel=1e-5)
    # peak of a Gaussian of sigma 2: 1 / (2 pi 4) = 0.0398
    assert blurred.max() == pytest.approx(0.0398, rel=0.01)


def test_policies_leave_their_argument_alone(rng):
    crop = painted_crop(rng, scale=1000.0)
    before = crop.image.copy(), crop.boxes.copy(), dense_masks(crop)
    for policy in (CompactAugmentation(blur_probability=1.0), PaperAugmentation()):
        for _ in range(20):
            policy(crop, rng)
    np.testing.assert_array_equal(crop.image, before[0])
    np.testing.assert_array_equal(crop.boxes, before[1])
    np.testing.assert_array_equal(dense_masks(crop), before[2])


@pytest.mark.parametrize("policy", [CompactAugmentation(), PaperAugmentation()])
def test_policies_take_a_crop_without_objects(rng, policy):
    crop = painted_crop(rng, n=0)
    for _ in range(10):
        assert len(policy(crop, rng)) == 0


@pytest.mark.parametrize("policy", [CompactAugmentation(), PaperAugmentation()])
def test_the_same_generator_gives_the_same_crop(rng, policy):
    crop = painted_crop(rng)
    first, second = (policy(crop, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_paper_policy_stays_in_whole_16_bit_numbers(rng, variant):
    image = rng.normal(0.0, 1.0e4, (24, 24, 2))
    image[3, 3], image[9, 9] = 32767, -32768
    crop = replace(painted_crop(rng), image=np.rint(image).clip(-32768, 32767).astype(np.float32))
    for _ in range(60):
        changed = PaperAugmentation(variant=variant)(crop, rng).image
        assert changed.dtype == np.float32
        np.testing.assert_array_equal(changed, changed.astype(np.int16))


def test_paper_policy_adds_up_to_a_tenth_of_each_bands_maximum(rng):
    crop = replace(painted_crop(rng, n=0), image=np.full((8, 8, 2), [1000.0, 20000.0], np.float32))
    added = np.stack([PaperAugmentation(blur=False)(crop, rng).image[0, 0] for _ in range(400)]) - [
        1000.0,
        20000.0,
    ]
    assert (np.abs(added) <= [100.0, 2000.0]).all()
    assert (np.abs(added).max(axis=0) > [90.0, 1800.0]).all()


def test_code_variant_adds_up_to_25_counts_alike_in_all_bands(rng):
    crop = replace(painted_crop(rng, n=0), image=np.zeros((16, 16, 2), np.float32))
    policy = PaperAugmentation(variant="code", blur=False)
    images = np.stack([policy(crop, rng).image for _ in range(40)])
    assert images.min() == -25 and images.max() == 25
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    scaled = replace(policy, is_integer=False)
    assert max(scaled(crop, rng).image.max() for _ in range(20)) == pytest.approx(0.0025)


def test_paper_policy_moves_masks_with_the_image(rng):
    crop = painted_crop(rng)
    policy = PaperAugmentation(blur=False, is_integer=False)
    n_moved = 0
    for _ in range(60):
        moved = policy(crop, rng)
        # what was added to the band is its new background
        painted = moved.image - moved.image.min(axis=(0, 1))
        assert_masks_follow_the_image(replace(moved, image=np.rint(painted)))
        n_moved += not np.array_equal(moved.boxes, crop.boxes)
    assert n_moved > 10


def test_zero_operations_change_nothing(rng):
    crop = painted_crop(rng)
    assert PaperAugmentation(n_max=0)(crop, rng) is crop


def test_blur_follows_scipy_band_by_band(rng):
    image = rng.normal(size=(20, 30, 2)).astype(np.float32)
    np.testing.assert_allclose(
        blur(image, 1.5)[..., 1], ndimage.gaussian_filter(image[..., 1], 1.5), atol=1e-6
    )


@pytest.mark.parametrize(
    ("policy", "settings", "message"),
    [
        (CompactAugmentation, {"gain": -1.0}, "gain must be >= 0; found -1.0"),
        (CompactAugmentation, {"blur_probability": 2.0}, "must be 0 to 1; found 2.0"),
        (PaperAugmentation, {"blur_sigma_px": (6.0, 2.0)}, "two rising numbers"),
        (PaperAugmentation, {"variant": "other"}, "'paper' or 'code'; found 'other'"),
    ],
)
def test_settings_out_of_range_are_refused(policy, settings, message):
    with pytest.raises(ConfigError, match=message):
        policy(**settings)


def test_named_policies():
    assert named_augmentation("none") is None
    assert named_augmentation("dihedral") == CompactAugmentation()
    assert named_augmentation("paper") == PaperAugmentation(is_integer=False)
    expected = PaperAugmentation(variant="code", is_integer=True)
    assert named_augmentation("paper-code", normalization="paper") == expected


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match=r"none, dihedral, paper.* found 'flip'"):
        named_augmentation("flip")


@pytest.fixture
def iaa():
    pytest.importorskip("cv2", reason="imgaug is not installed")
    from astro_rcnn.imgaug_compat import import_imgaug

    return import_imgaug().augmenters


def some_augmenter():
    from imgaug import augmenters

    return augmenters.Fliplr(1.0)


def test_an_imgaug_augmenter_can_be_named(rng, iaa):
    policy = named_augmentation(f"{__name__}:some_augmenter")
    crop = painted_crop(rng)
    np.testing.assert_array_equal(policy(crop, rng).image, crop.image[:, ::-1])


def test_a_name_that_does_not_load_is_explained(iaa):
    with pytest.raises(ConfigError, match="'nowhere:augmenter' cannot be loaded"):
        named_augmentation("nowhere:augmenter")


def test_imgaug_geometry_moves_image_and_masks_alike(rng, iaa):
    policy = ImgaugAugmentation(
        iaa.SomeOf((0, 3), [iaa.Fliplr(0.5), iaa.Flipud(0.5), iaa.Rot90((1, 3))])
    )
    crop = painted_crop(rng)
    seen = set()
    for _ in range(60):
        moved = policy(crop, rng)
        assert_masks_follow_the_image(moved)
        seen.add(moved.image.tobytes())
    assert len(seen) == 8


def test_imgaug_pixel_operations_leave_masks_alone(rng, iaa):
    policy = ImgaugAugmentation(iaa.Sequential([iaa.GaussianBlur(2.0), iaa.Add(5.0)]))
    crop = painted_crop(rng)
    changed = policy(crop, rng)
    assert not np.allclose(changed.image, crop.image)
    np.testing.assert_array_equal(dense_masks(changed), dense_masks(crop))


def test_imgaug_affine_drops_what_leaves_the_image(rng, iaa):
    policy = ImgaugAugmentation(iaa.Affine(translate_px={"x": 20}))
    crop = painted_crop(rng, n=1)
    moved = policy(crop, rng)
    expected = crop.boxes[0] + [0, 20, 0, 20]
    if expected[1] >= 24:
        assert len(moved) == 0
    else:
        np.testing.assert_array_equal(moved.boxes[0, [0, 1, 2]], expected[[0, 1, 2]])


def test_imgaug_keeps_16_bit_counts_exact(rng, iaa):
    policy = ImgaugAugmentation(iaa.AddElementwise((-25, 25)), dtype="int16")
    crop = painted_crop(rng, scale=1000.0)
    difference = policy(crop, rng).image - np.rint(crop.image)
    np.testing.assert_array_equal(difference, np.rint(difference))
    assert 20 <= np.abs(difference).max() <= 25


def test_imgaug_is_reproducible_from_our_generator(rng, iaa):
    policy = ImgaugAugmentation(
        iaa.SomeOf((1, 2), [iaa.Affine(rotate=(-40, 40)), iaa.AddElementwise((-3, 3))])
    )
    crop = painted_crop(rng)
    first, second, third = (policy(crop, np.random.default_rng(s)).image for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_imgaug_that_changes_the_size_is_refused(rng, iaa):
    policy = ImgaugAugmentation(iaa.Resize(12))
    with pytest.raises(ConfigError, match=r"expected an image of shape \(24, 24, 2\) back"):
        policy(painted_crop(rng), rng)
