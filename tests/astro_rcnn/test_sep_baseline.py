from __future__ import annotations

import numpy as np
import pytest
from evaluation_scenes import SIGMA, SKY, make_scene, random_scene

from astro_io.normalize import BandStatistics
from astro_rcnn.metrics import mask_iou
from astro_rcnn.sep_baseline import (
    SepSettings,
    extract,
    half_light_radii,
    noise_normalised_sum,
    sep_detections,
)

STATISTICS = BandStatistics(center=SKY, scale=SIGMA)


def run(scene, **settings):
    image = scene.image
    return sep_detections(image.pixels, image.bad, STATISTICS, SepSettings(**settings))


def test_sum_is_in_units_of_the_noise_and_leaves_bad_pixels_out():
    pixels = (SKY + SIGMA * np.array([1.0, 2.0, 3.0])).astype(np.float32)
    pixels = np.tile(pixels, (2, 2, 1))
    bad = np.zeros(pixels.shape, bool)
    bad[0, 0, 2] = True
    pixels[1, 1, 0] = np.nan
    # 1 + 2 + 3; without the third band 3; without the first 5
    np.testing.assert_allclose(noise_normalised_sum(pixels, bad, STATISTICS), [[3, 6], [6, 5]])


def test_finds_every_bright_source_where_it_is(rng):
    scene = random_scene(rng)
    found = run(scene)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:] - 1) / 2
    for row in scene.catalog:
        distance = np.hypot(centres[:, 0] - row["y"], centres[:, 1] - row["x"])
        assert distance.min() < 2
    assert len(found) <= len(scene) + 2


def test_tells_stars_from_galaxies_by_size(rng):
    scene = make_scene(
        rng, [(1, 20, 20, 1.3, 3000), (1, 50, 20, 1.3, 2000), (2, 80, 60, 3.2, 6000)]
    )
    found = run(scene)
    order = np.argsort(found.boxes[:, 1])
    np.testing.assert_array_equal(found.class_ids[order], [1, 1, 2])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.probabilities[:, 1:].argmax(axis=1) + 1, found.class_ids)


def test_masks_do_not_overlap_and_fill_their_boxes(rng):
    found = run(random_scene(rng))
    iou = mask_iou(found.mask_boxes, found.masks, found.mask_boxes, found.masks)
    np.testing.assert_allclose(iou, np.eye(len(found)))
    for box, mask in zip(found.mask_boxes, found.masks, strict=True):
        assert mask.shape == (box[2] - box[0], box[3] - box[1])
        assert mask.any(axis=0).all() or mask.any(axis=1).all()


def test_brighter_sources_score_higher(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 500), (1, 60, 20, 1.3, 5000)])
    found = run(scene)
    left, right = np.argsort(found.boxes[:, 1])
    assert 0 < found.scores[left] < found.scores[right] < 1


def test_half_light_radius_of_a_gaussian(rng):
    # the radius with half of a round Gaussian's light is sqrt(2 ln 2) = 1.177 sigma
    scene = make_scene(rng, [(2, 60, 48, 3.0, 30000)], noise=0.3)
    found = extract(noise_normalised_sum(scene.image.pixels, None, STATISTICS))
    assert half_light_radii(found)[0] == pytest.approx(1.177 * 3.0, rel=0.05)


def test_isophotal_snr_is_flux_over_noise_of_its_pixels(rng):
    found = extract(noise_normalised_sum(random_scene(rng).image.pixels, None, STATISTICS))
    expected = found.objects["flux"] / np.sqrt(found.objects["npix"]) / found.rms
    np.testing.assert_allclose(found.snr, expected, rtol=1e-6)
    assert found.rms == pytest.approx(np.sqrt(3), rel=0.15)  # three bands of noise 1


def test_blank_sky_gives_no_detection(rng):
    scene = make_scene(rng, [])
    assert len(run(scene, threshold_sigma=20.0)) == 0
