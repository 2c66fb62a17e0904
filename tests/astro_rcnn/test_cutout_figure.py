"""astro_rcnn.cutout_figure: cut-outs of the sources asked for, and no file where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_scenes import make_scene, perfect_detections, random_scene
from matplotlib.image import imread

from astro_rcnn.cutout_figure import N_CUTOUTS, SUBJECTS, CutoutGallery
from astro_rcnn.evaluation import SceneScorer


def scored(scene, change=lambda detections: detections):
    return SceneScorer(lambda image: change(perfect_detections(scene)), with_coco=False).add(scene)


@pytest.fixture
def pair(rng):
    """A star on the wing of a galaxy, near the corner; another star alone."""
    sources = [(2, 10, 9, 3.0, 4000), (1, 14, 11, 1.3, 2500), (1, 90, 60, 1.3, 3000)]
    return make_scene(rng, sources)


def test_blended_sources_are_cut_out(pair, tmp_path):
    gallery = CutoutGallery(SUBJECTS["blends"], operating_score=0.5, n_images=1)
    gallery.add(scored(pair))
    assert len(gallery) == 2  # the lone star is not among them
    gallery.write(tmp_path / "blends.png")
    assert imread(tmp_path / "blends.png").std() > 0.05


def test_missed_sources_are_drawn_in_magenta(pair, tmp_path):
    counts = []
    for name, n_kept in (("all", 3), ("none", 0)):
        gallery = CutoutGallery(SUBJECTS["blends"], operating_score=0.5, n_images=1)
        gallery.add(scored(pair, lambda found, n=n_kept: found.take(np.arange(n))))
        image = imread(gallery.write(tmp_path / f"{name}.png"))[..., :3]
        is_magenta = (image[..., 0] > 0.8) & (image[..., 1] < 0.5) & (image[..., 2] > 0.8)
        counts.append(int(is_magenta.sum()))
    assert counts[0] == 0 and counts[1] > 50


def test_no_blend_no_picture(rng, tmp_path):
    gallery = CutoutGallery(SUBJECTS["blends"], operating_score=0.5, n_images=1)
    gallery.add(scored(random_scene(rng)))
    assert gallery.write(tmp_path / "blends.png") is None
    assert not list(tmp_path.iterdir())


def test_images_share_the_cutouts(pair):
    gallery = CutoutGallery(SUBJECTS["blends"], operating_score=0.5, n_images=N_CUTOUTS)
    for _ in range(N_CUTOUTS + 3):
        gallery.add(scored(pair))
    assert len(gallery) == N_CUTOUTS


def columns(**values):
    return {name: np.array(column) for name, column in values.items()}


def test_bright_stars_come_in_order_and_galaxies_not_at_all():
    rows = columns(class_id=[1, 2, 1, 1], mag=[18.0, 12.0, 16.5, np.nan])
    rank = SUBJECTS["bright_stars"].rank(rows)
    assert np.argsort(-rank).tolist()[:2] == [2, 0]
    assert np.isnan(rank[[1, 3]]).all()


def test_large_galaxies_are_ranked_by_radius():
    rows = columns(class_id=[2, 2, 1], radius_px=[4.0, 30.0, 99.0])
    np.testing.assert_array_equal(SUBJECTS["large_galaxies"].rank(rows), [4.0, 30.0, np.nan])


@pytest.mark.parametrize(("name", "n_shown"), [("bright_stars", 2), ("large_galaxies", 1)])
def test_every_subject_is_drawn_in_an_image_smaller_than_its_cutouts(pair, tmp_path, name, n_shown):
    gallery = CutoutGallery(SUBJECTS[name], operating_score=0.5, n_images=1)
    gallery.add(scored(pair))
    assert len(gallery) == n_shown
    assert imread(gallery.write(tmp_path / "gallery.png")).std() > 0.05
