from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import TruthTeller, make_scene, perfect_detections, random_scene

from astro_io.errors import DatasetError
from astro_rcnn.detections import Detections
from astro_rcnn.evaluation import SceneScorer, evaluate_scenes
from astro_rcnn.scoring import ScoringSettings
from astro_rcnn.sep_baseline import SepSettings


def evaluate(scenes, change=lambda found: found, settings=None, **options):
    """Score what `change` makes of the truth."""
    teller = TruthTeller(scenes, change)
    return evaluate_scenes(
        lambda image: teller.detect(image.pixels, bad=image.bad), scenes, settings, **options
    )


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(7)
    return [random_scene(rng, index=i) for i in range(3)]


@pytest.fixture(scope="module")
def perfect(scenes):
    return evaluate(scenes, sep=SepSettings()).metrics


def test_all_blocks_of_the_contract_are_there(perfect):
    blocks = {"paper", "precision_at_recall_80", "confusion", "coco", "completeness"}
    blocks |= {"deblending", "sep", "n_images", "n_star", "n_galaxy"}
    assert blocks <= set(perfect)
    assert set(perfect["paper"]) == {"star", "galaxy", "combined"}
    for kind in ("star", "galaxy"):
        assert set(perfect["paper"][kind]) >= {"AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"}
    assert set(perfect["confusion"]) == {"0.5", "0.75"}


def test_perfect_detections_score_100(perfect):
    for name in ("star", "galaxy", "combined"):
        assert perfect["paper"][name]["AP"] == 100
    for name in ("star", "galaxy"):
        assert perfect["precision_at_recall_80"][name] == 100
        assert perfect["coco"][name]["AP"] == pytest.approx(100)
    for block in ("completeness", "purity"):
        for matching in ("iou", "position"):
            assert perfect[block][matching] == {"star": 100, "galaxy": 100, "all": 100}
    assert perfect["star_galaxy_roc"]["area"] == 1
    assert perfect["calibration"]["expected_error"] == 0
    assert perfect["deblending"]["isolated"]["mean_iou"] == pytest.approx(1)


def test_numbers_of_sources(perfect, scenes):
    classes = np.concatenate([scene.catalog["class_id"] for scene in scenes])
    assert perfect["n_images"] == 3
    assert perfect["n_star"] == (classes == 1).sum()
    assert perfect["n_galaxy"] == (classes == 2).sum()
    n_star, n_galaxy = perfect["n_star"], perfect["n_galaxy"]
    assert perfect["confusion"]["0.75"] == [[n_star, 0], [0, n_galaxy]]


def test_bins_hold_every_source(perfect):
    for block in ("completeness", "purity"):
        for key in ("magnitude", "neighbour_px"):
            counts = perfect[block][key]["all"]["n_iou"]
            assert counts.sum() == perfect["n_star"] + perfect["n_galaxy"]
            assert len(perfect[block][key]["edges"]) == len(counts) + 1


def test_sep_is_scored_on_the_same_images(perfect):
    sep = perfect["sep"]
    assert sep["completeness"]["position"]["all"] == 100
    assert sep["isophote"]["deblending"]["isolated"]["mean_iou"] > 0.7
    assert sep["settings"]["threshold_sigma"] == 1.5
    assert set(sep["coco"]) == set(perfect["coco"]) and set(sep) >= set(sep["isophote"])
    assert 0 < sep["coco"]["all"]["AP50"] < sep["isophote"]["coco"]["all"]["AP50"]


def test_classes_swapped(scenes):
    def swap(found):
        swapped = found.probabilities[:, [0, 2, 1]]
        return replace(found, class_ids=3 - found.class_ids, probabilities=swapped)

    metrics = evaluate(scenes, swap, with_coco=False).metrics
    assert metrics["paper"]["combined"]["AP"] == 0
    assert metrics["class_agnostic"]["AP"] == 100
    assert metrics["completeness"]["iou"]["all"] == 100
    assert metrics["confusion"]["0.5"][0][0] == metrics["confusion"]["0.5"][1][1] == 0
    assert metrics["calibration"]["expected_error"] == 1
    assert "coco" not in metrics and "sep" not in metrics


def test_half_of_the_sources_missed(scenes):
    metrics = evaluate(scenes, lambda found: found.take(np.arange(0, len(found), 2))).metrics
    assert metrics["completeness"]["iou"]["all"] == 50  # 6 of 12 in each image
    assert metrics["purity"]["iou"]["all"] == 100
    # recall 1/2 at precision 1: 26 of 51 levels
    assert metrics["class_agnostic"]["AP50"] == pytest.approx(100 * 26 / 51)


def test_every_source_found_twice(scenes):
    def double(found):
        return Detections.concatenate(
            [found, replace(found, scores=np.full(len(found), 0.6, np.float32))]
        )

    metrics = evaluate(scenes, double).metrics
    assert metrics["purity"]["iou"]["all"] == 50
    assert metrics["paper"]["combined"]["AP"] == 100  # the copies are ranked below
    # 12 true of score 1 and 12 false of 0.6 an image: (0 x 12 + 0.6 x 12) / 24
    assert metrics["calibration"]["expected_error"] == pytest.approx(0.3, abs=1e-6)


def test_images_without_sources_and_without_detections(rng):
    scenes = [make_scene(rng, [], index=0), random_scene(rng, n=4, index=1)]
    metrics = evaluate(scenes, lambda found: Detections.empty(), sep=SepSettings()).metrics
    assert metrics["paper"]["combined"]["AP"] == 0
    assert metrics["completeness"]["iou"]["all"] == 0
    assert np.isnan(metrics["purity"]["iou"]["all"])
    assert np.isnan(metrics["calibration"]["temperature"])


def test_no_source_at_all_gives_nan(rng):
    metrics = evaluate([make_scene(rng, [])], with_coco=True).metrics
    assert np.isnan(metrics["paper"]["star"]["AP"])
    assert np.isnan(metrics["coco"]["all"]["AP"])
    assert metrics["n_star"] == 0


def test_no_scene_is_an_error():
    with pytest.raises(DatasetError, match="no scene"):
        evaluate_scenes(lambda image: Detections.empty(), [])


def test_other_classes_are_an_error(rng):
    scorer = SceneScorer(lambda image: Detections.empty(("background", "galaxy")))
    with pytest.raises(DatasetError, match=r"scene_000000: the truth has classes .*know.*galaxy"):
        scorer.add(random_scene(rng, n=1))


def test_tables_have_a_row_for_every_source(scenes):
    evaluation = evaluate(scenes, with_coco=False)
    assert len(evaluation.ours.truth["scene"]) == 36
    np.testing.assert_array_equal(np.unique(evaluation.ours.truth["scene"]), [0, 1, 2])
    assert {len(values) for values in evaluation.ours.found.values()} == {36}


def test_isophotal_truth(scenes):
    settings = ScoringSettings(rule=replace(ScoringSettings().rule, kind="isophote"))
    teller = [perfect_detections(scene, settings.rule) for scene in scenes]
    found = iter(teller)
    metrics = evaluate_scenes(lambda image: next(found), scenes, settings).metrics
    assert metrics["paper"]["combined"]["AP"] == 100


def test_unranked_detections_are_ranked(scenes):
    def shuffled(found):
        scores = np.linspace(0.5, 1.0, len(found)).astype(np.float32)
        return replace(found, scores=scores)

    assert evaluate(scenes, shuffled).metrics["paper"]["combined"]["AP"] == 100


def test_truth_below_the_least_snr_changes_no_score(rng):
    scene = make_scene(rng, [(1, 20, 20, 1.3, 3000), (2, 80, 20, 3.0, 100)])
    limit = float(np.mean(scene.catalog["snr"]))
    for kept in ([0], [0, 1]):  # the faint galaxy missed, and found
        metrics = evaluate(
            [scene],
            lambda found, k=kept: found.take(np.array(k)),
            ScoringSettings(truth_min_snr=limit),
        ).metrics
        assert metrics["completeness"]["iou"]["all"] == metrics["purity"]["iou"]["all"] == 100
        assert metrics["paper"]["combined"]["AP"] == 100
        assert (metrics["n_star"], metrics["n_galaxy"]) == (1, 0)
        assert metrics["confusion"]["0.5"] == [[1, 0], [0, 0]]


def test_one_more_class_of_a_source_counts_for_the_scores_of_classes_alone(scenes):
    """Every source is a galaxy with 0.9 and a star with 0.1, as sure a mask of either."""

    def doubled(found):
        n = len(found)
        both = Detections.concatenate([found, found])
        ids = np.repeat([2, 1], n).astype(np.int32)
        p = np.tile(np.array([0.0, 0.1, 0.9], np.float32), (2 * n, 1))
        scores = np.repeat([0.9, 0.1], n).astype(np.float32)
        return replace(both, class_ids=ids, probabilities=p, scores=scores)

    metrics = evaluate(scenes, doubled, with_coco=False).metrics
    assert metrics["paper"]["star"]["AP50"] > 0
    assert metrics["class_agnostic"]["AP"] == 100
    assert metrics["purity"]["position"]["all"] == 100
    assert metrics["star_galaxy_roc"]["n_star"] + metrics["star_galaxy_roc"]["n_galaxy"] > 0
