"""astro_rcnn.recorder: the guard names the batch, and says whose fault it is."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_network import blob_scene
from training_scenes import write_scenes

from astro_io.errors import ConfigError
from astro_rcnn.data import TrainingSequence
from astro_rcnn.recorder import NonFiniteGuard

NAN = float("nan")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> TrainingSequence:
    """Two sets of 3 and 2 scenes of 64 x 96 px, crops of 64 px in a fixed order."""
    folder = tmp_path_factory.mktemp("sets")
    paths = [
        write_scenes(
            folder / name,
            [blob_scene([(30, 30, 1.5)], shape=(64, 96), index=i) for i in range(n)],
        )
        for name, n in (("first.h5", 3), ("second.h5", 2))
    ]
    options = {"bands": ("g", "r", "z"), "size": 64, "batch_size": 2, "threads": 0}
    return TrainingSequence(paths, shuffle=False, normalization="asinh", **options)


def test_crops_are_named_by_set_scene_and_corner(sequence):
    """The second batch of two is scene 2 of the first set and scene 0 of the second."""
    words = sequence.describe(0, 1)
    assert [word.split(", ")[0] for word in words] == ["first.h5 scene 2", "second.h5 scene 0"]
    assert all(", crop at y 0, x " in word for word in words)
    scene = sequence.cache[2]
    corner = int(words[0].rsplit(" ", 1)[1])
    np.testing.assert_array_equal(
        sequence.batch(0, 1)["image"][0],
        scene.image[:, corner : corner + 64].astype(np.float32),
    )


def test_finite_losses_pass(sequence):
    guard = NonFiniteGuard(sequence)
    guard.on_epoch_begin(0)
    guard.on_train_batch_end(0, {"loss": 3.0, "rpn_class": 1.0})
    guard.on_train_batch_end(1, None)


def test_a_batch_that_is_not_a_number_is_named(sequence):
    guard = NonFiniteGuard(sequence)
    guard.on_epoch_begin(4)
    with pytest.raises(
        ConfigError,
        match=r"nan in epoch 5, batch 2 \(loss, mrcnn_bbox\): first\.h5 scene 2, .*second\.h5 scene"
        r" 0, .*; its pixels and boxes are finite, so a step before it .* --resume",
    ):
        guard.on_train_batch_end(1, {"loss": NAN, "rpn_class": 1.0, "mrcnn_bbox": NAN})


def test_bad_pixels_are_told_from_bad_steps(sequence, monkeypatch):
    batch = sequence.batch(0, 0)
    batch["image"][1, 3, 4, 0] = np.inf
    monkeypatch.setattr(sequence, "batch", lambda epoch, index: batch)
    guard = NonFiniteGuard(sequence)
    with pytest.raises(ConfigError, match="its image holds values that are not finite: mend or"):
        guard.on_train_batch_end(0, {"loss": float("inf")})
