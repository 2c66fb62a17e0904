from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import SIGMA, SKY, ZEROPOINT, make_scene, perfect_detections, random_scene

from astro_io.errors import ConfigError
from astro_io.scene import Scene, Stamp
from astro_rcnn.detections import Detections
from astro_rcnn.scoring import (
    ScoringSettings,
    magnitude_band,
    measure_detections,
    prepare_truth,
    rank,
    score_image,
)

SETTINGS = ScoringSettings()


def test_magnitudes_are_those_of_r_or_of_the_middle_band():
    assert magnitude_band(("g", "r", "z"), None) == "r"
    assert magnitude_band(("f435w", "f606w", "f814w"), None) == "f606w"
    assert magnitude_band(("f814w",), None) == "f814w"
    assert magnitude_band(("g", "r", "z"), "z") == "z"
    with pytest.raises(ConfigError, match="--band i: expected one of g, r, z"):
        magnitude_band(("g", "r", "z"), "i")


def test_truth_of_a_scene(rng):
    scene = make_scene(rng, [(1, 20, 30, 1.3, 3000), (2, 20, 37, 3.0, 2000)])
    truth = prepare_truth(scene, SETTINGS)
    np.testing.assert_allclose(truth.columns["neighbour_px"], [7, 7])
    np.testing.assert_allclose(truth.statistics.center, SKY, rtol=0.01)
    np.testing.assert_allclose(truth.statistics.scale, SIGMA, rtol=0.1)
    assert truth.band == "r"
    assert truth.zeropoint_mag == pytest.approx(ZEROPOINT, abs=1e-4)  # from flux and mag
    # 3 px, or one half-light radius of 1.177 x 3 px
    np.testing.assert_allclose(truth.columns["radius_px"], [3, 1.177 * 3], rtol=1e-5)
    assert (truth.columns["rho"] < 1).all() and (truth.columns["rho"] > 0.5).all()
    for k in range(2):
        y1, x1, y2, x2 = truth.boxes[k]
        top, left = scene.stamps[k].box[:2]
        part = scene.stamps[k].pixels[y1 - top : y2 - top, x1 - left : x2 - left, 1]
        assert truth.columns["mask_flux"][k] == pytest.approx(part[truth.masks[k]].sum(), rel=1e-5)


def test_a_source_outside_the_image_is_no_truth(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000), (1, 20, 300, 1.3, 3000)])
    truth = prepare_truth(scene, SETTINGS)
    assert len(truth.masks) == len(truth.class_ids) == 1
    assert all(len(values) == 1 for values in truth.columns.values())


def test_truth_below_the_least_snr_is_ignored(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000), (1, 60, 20, 1.3, 10)])
    limit = float(np.mean(scene.catalog["snr"]))
    truth = prepare_truth(scene, replace(SETTINGS, truth_min_snr=limit))
    np.testing.assert_array_equal(truth.columns["ignored"], [False, True])


def test_perfect_detections_are_found_true_and_measured(rng):
    scene = random_scene(rng)
    truth = prepare_truth(scene, SETTINGS)
    score = score_image(truth, perfect_detections(scene))
    for name in ("is_found_iou", "is_found_position"):
        assert score.truth[name].all()
    for name in ("is_true_iou", "is_true_position", "is_correct"):
        assert score.found[name].all()
    np.testing.assert_array_equal(score.truth["found_class"], truth.class_ids)
    np.testing.assert_allclose(score.truth["iou"], 1)
    np.testing.assert_allclose(score.truth["light_purity"], 1, atol=0.02)
    np.testing.assert_allclose(score.truth["flux_error"], 0, atol=0.1)
    np.testing.assert_allclose(score.found["x"], scene.catalog["x"], atol=0.3)


def test_a_wrong_class_is_found_but_not_correct(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000)])
    right = perfect_detections(scene)
    wrong = replace(right, class_ids=3 - right.class_ids)
    score = score_image(prepare_truth(scene, SETTINGS), wrong)
    assert score.truth["is_found_iou"][0] and score.truth["found_class"][0] == 2
    assert not score.found["is_correct"][0]
    assert score.found["target"][0] == 1


def test_detections_below_the_operating_score_neither_find_nor_are_measured(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000), (1, 60, 20, 1.3, 3000)])
    found = replace(perfect_detections(scene), scores=np.array([0.9, 0.3], np.float32))
    score = score_image(prepare_truth(scene, SETTINGS), found, operating_score=0.5)
    np.testing.assert_array_equal(score.truth["is_found_iou"], [True, False])
    np.testing.assert_array_equal(score.truth["iou"], [1, 0])
    np.testing.assert_array_equal(score.found["is_true_iou"], [True, False])
    np.testing.assert_array_equal(score.found["is_correct"], [True, True])  # calibration sees all
    assert np.isfinite(score.found["x"][0]) and math.isnan(score.found["x"][1])


def test_a_detection_of_ignored_truth_is_set_aside(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000), (1, 60, 20, 1.3, 100)])
    limit = float(np.mean(scene.catalog["snr"]))
    truth = prepare_truth(scene, replace(SETTINGS, truth_min_snr=limit))
    score = score_image(truth, perfect_detections(scene))
    np.testing.assert_array_equal(score.found["target"], [1, -1])
    np.testing.assert_array_equal(score.found["is_ignored_iou"], [False, True])
    np.testing.assert_array_equal(score.found["is_ignored_position"], [False, True])


@pytest.mark.parametrize("n_truth", [0, 3])
def test_no_detection(rng, n_truth):
    scene = random_scene(rng, n=n_truth)
    score = score_image(prepare_truth(scene, SETTINGS), Detections.empty())
    assert score.image.iou.shape == (0, n_truth)
    assert not score.truth["is_found_iou"].any()
    assert all(len(values) == 0 for values in score.found.values())


def test_detections_without_truth_are_false(rng):
    found = perfect_detections(random_scene(rng, n=2))
    score = score_image(prepare_truth(make_scene(rng, []), SETTINGS), found)
    assert not score.found["is_true_iou"].any()
    np.testing.assert_array_equal(score.found["target"], [0, 0])


def test_a_set_of_masks_alone_is_scored(rng):
    source = make_scene(rng, [(1, 20, 20, 1.3, 3000), (2, 60, 20, 3.0, 3000)])
    stamps = tuple(
        Stamp(s.box, (s.pixels[..., :1] > 0.05 * s.pixels[..., :1].max()).astype(np.float32))
        for s in source.stamps
    )
    catalog = source.catalog["source_id", "class_id", "x", "y"]
    scene = Scene(image=source.image, catalog=catalog, stamps=stamps, truth="mask")
    truth = prepare_truth(scene, SETTINGS)
    score = score_image(truth, perfect_detections(scene))
    assert score.truth["is_found_iou"].all()
    np.testing.assert_allclose(score.truth["rho"], 1)
    assert np.isnan(score.truth["mag"]).all() and np.isnan(score.truth["flux_error"]).all()


def test_rank_puts_the_best_first(rng):
    found = replace(
        perfect_detections(random_scene(rng, n=3)), scores=np.array([0.2, 0.9, 0.9], np.float32)
    )
    np.testing.assert_array_equal(rank(found).boxes, found.boxes[[1, 2, 0]])


def test_magnitude_of_a_detection(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000)])
    truth = prepare_truth(scene, SETTINGS)
    measured = measure_detections(truth, perfect_detections(scene))
    assert measured["mag"][0] == pytest.approx(scene.catalog["mag_r"][0], abs=0.05)
    assert measured["neighbour_px"][0] == np.inf
