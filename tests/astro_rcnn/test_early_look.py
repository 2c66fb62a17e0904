"""astro_rcnn.early_look: pictures of truth and detections, whatever the crop holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tiny_network import TINY_MODEL, write_blobs

from astro_rcnn.data import TrainingSequence
from astro_rcnn.detections import Detections
from astro_rcnn.early_look import EarlyLook, draw_look, picture_of
from astro_rcnn.model import build_model


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> TrainingSequence:
    path = write_blobs(tmp_path_factory.mktemp("sets") / "blobs.h5", 3)
    return TrainingSequence(
        path, bands=("g", "r", "z"), size=64, batch_size=1, normalization="asinh", threads=0
    )


def first_crop(sequence: TrainingSequence) -> dict[str, np.ndarray]:
    return {name: array[0] for name, array in sequence.batch(0, 0).items()}


def magenta(path: Path) -> tuple[int, int]:
    """Count magenta pixels in the left and in the right half of a picture."""
    image = imread(path)[..., :3]
    is_magenta = (image[..., 0] > 0.8) & (image[..., 1] < 0.5) & (image[..., 2] > 0.8)
    middle = image.shape[1] // 2
    return int(is_magenta[:, :middle].sum()), int(is_magenta[:, middle:].sum())


def test_what_is_missed_is_magenta_on_the_left(sequence, tmp_path):
    crop = first_crop(sequence)
    draw_look([crop], [Detections.empty()], tmp_path / "look.png", title="nothing found")
    left, right = magenta(tmp_path / "look.png")
    assert left > 50 and right == 0


def test_what_is_right_is_not_magenta(sequence, tmp_path):
    crop = first_crop(sequence)
    is_source = crop["gt_class_ids"] > 0
    boxes = crop["gt_boxes"][is_source]
    truth = Detections(
        boxes=boxes,
        class_ids=crop["gt_class_ids"][is_source],
        scores=np.ones(len(boxes), np.float32),
        probabilities=np.zeros((len(boxes), 3), np.float32),
        mask_boxes=boxes.astype(np.int32),
        masks=tuple(
            np.ones((int(y2 - y1), int(x2 - x1)), bool) for y1, x1, y2, x2 in boxes.tolist()
        ),
    )
    draw_look([crop], [truth], tmp_path / "look.png", title="all found")
    assert magenta(tmp_path / "look.png") == (0, 0)
    draw_look([crop], [truth.take(np.array([0]))], tmp_path / "look.png", title="one")
    left, right = magenta(tmp_path / "look.png")
    assert left > 50 and right == 0


def test_the_callback_draws_after_each_epoch(sequence, tmp_path):
    look = EarlyLook(tmp_path, sequence, n_crops=2)
    look.set_model(build_model(TINY_MODEL))
    look.on_epoch_end(4)
    assert [path.name for path in (tmp_path / "looks").iterdir()] == ["epoch_0005.png"]
    assert len(look.crops) == 2 and all(crop["gt_class_ids"].any() for crop in look.crops)


def test_there_is_no_picture_where_no_crop_holds_a_source(tmp_path):
    path = write_blobs(tmp_path / "empty.h5", 1, n_sources=0)
    empty = TrainingSequence(
        path, bands=("g", "r", "z"), size=64, batch_size=1, normalization="asinh", threads=0
    )
    look = EarlyLook(tmp_path, empty, n_crops=2)
    look.set_model(build_model(TINY_MODEL))
    look.on_epoch_end(0)
    assert not (tmp_path / "looks").exists()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_pictures_do_not_depend_on_the_unit(scale, rng):
    image = rng.normal(0, 1, (32, 32, 3)).astype(np.float32)
    image[10:14, 10:14] += 50.0
    picture = picture_of(image * np.float32(scale))
    np.testing.assert_allclose(picture, picture_of(image), atol=1e-4)
    assert picture.min() == 0.0 and picture.max() == 1.0


def test_one_band_and_an_empty_sky_are_fine():
    picture = picture_of(np.zeros((8, 8, 1), np.float32))
    assert picture.shape == (8, 8, 3) and np.isfinite(picture).all()
