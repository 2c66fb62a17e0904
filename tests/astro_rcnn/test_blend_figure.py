"""astro_rcnn.blend_figure: cut-outs of blends, and none where nothing is blended."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_scenes import make_scene, perfect_detections, random_scene
from matplotlib.image import imread

from astro_rcnn.blend_figure import N_CUTOUTS, BlendGallery
from astro_rcnn.evaluation import SceneScorer


def scored(scene, change=lambda detections: detections):
    return SceneScorer(lambda image: change(perfect_detections(scene)), with_coco=False).add(scene)


@pytest.fixture
def pair(rng):
    """A star on the wing of a galaxy, near the corner; another star alone."""
    sources = [(2, 10, 9, 3.0, 4000), (1, 14, 11, 1.3, 2500), (1, 90, 60, 1.3, 3000)]
    return make_scene(rng, sources)


def test_blended_sources_are_cut_out(pair, tmp_path):
    gallery = BlendGallery(operating_score=0.5, n_images=1)
    gallery.add(scored(pair))
    assert len(gallery) == 2  # the lone star is not among them
    gallery.write(tmp_path / "blends.png")
    assert imread(tmp_path / "blends.png").std() > 0.05


def test_missed_sources_are_drawn_in_magenta(pair, tmp_path):
    counts = []
    for name, n_kept in (("all", 3), ("none", 0)):
        gallery = BlendGallery(operating_score=0.5, n_images=1)
        gallery.add(scored(pair, lambda found, n=n_kept: found.take(np.arange(n))))
        image = imread(gallery.write(tmp_path / f"{name}.png"))[..., :3]
        is_magenta = (image[..., 0] > 0.8) & (image[..., 1] < 0.5) & (image[..., 2] > 0.8)
        counts.append(int(is_magenta.sum()))
    assert counts[0] == 0 and counts[1] > 50


def test_no_blend_no_picture(rng, tmp_path):
    gallery = BlendGallery(operating_score=0.5, n_images=1)
    gallery.add(scored(random_scene(rng)))
    assert gallery.write(tmp_path / "blends.png") is None
    assert not list(tmp_path.iterdir())


def test_images_share_the_cutouts(pair):
    gallery = BlendGallery(operating_score=0.5, n_images=N_CUTOUTS)
    for _ in range(N_CUTOUTS + 3):
        gallery.add(scored(pair))
    assert len(gallery) == N_CUTOUTS
