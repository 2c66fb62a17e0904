"""astro_rcnn.data: batches of fixed size, the same whatever prepares them."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from training_scenes import BANDS, SHARP, block_scene, random_scene, write_scenes

from astro_io.errors import ConfigError, DatasetError, InputNotFoundError
from astro_rcnn.augment import CompactAugmentation
from astro_rcnn.crops import mini_masks
from astro_rcnn.data import TrainingSequence


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Five scenes of 72 x 90 px with 0, 10, 20, 30, 40 sources."""
    path = tmp_path_factory.mktemp("sets") / "train.h5"
    return write_scenes(path, [random_scene(i, 10 * i, (72, 90)) for i in range(5)])


def sequence(path, **options) -> TrainingSequence:
    settings = {
        "bands": BANDS,
        "size": 32,
        "batch_size": 2,
        "max_instances": 12,
        "mini_mask_size": 14,
        "mask_rule": SHARP,
        "threads": 0,
    }
    return TrainingSequence(path, **{**settings, **options})


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_batch_has_fixed_shapes_and_types(dataset):
    (inputs,) = sequence(dataset)[0]
    found = {name: (array.shape, array.dtype.name) for name, array in inputs.items()}
    assert found == {
        "image": ((2, 32, 32, 3), "float32"),
        "gt_class_ids": ((2, 12), "int32"),
        "image_key": ((2,), "int32"),
        "gt_boxes": ((2, 12, 4), "float32"),
        "gt_masks": ((2, 12, 14, 14), "uint8"),
    }


def test_objects_come_first_and_padding_is_zero(dataset):
    batches = sequence(dataset, steps_per_epoch=8)
    for (inputs,) in (batches[i] for i in range(8)):
        is_object = inputs["gt_class_ids"] > 0
        assert (np.diff(is_object.astype(int), axis=1) <= 0).all()
        assert set(np.unique(inputs["gt_class_ids"])) <= {0, 1, 2}
        assert (inputs["gt_boxes"][~is_object] == 0).all()
        assert (inputs["gt_masks"][~is_object] == 0).all()
        sides = inputs["gt_boxes"][is_object][:, 2:] - inputs["gt_boxes"][is_object][:, :2]
        assert (sides >= 1).all()
        assert inputs["gt_masks"][is_object].any(axis=(1, 2)).all()


def test_a_batch_holds_its_crops(dataset):
    batches = sequence(dataset, augmentation=CompactAugmentation())
    (inputs,) = batches[1]
    for row, position in enumerate((2, 3)):  # batch 1 of size 2
        crop = batches.crop(position)
        n_objects = len(crop)
        np.testing.assert_array_equal(inputs["image"][row], crop.image)
        np.testing.assert_array_equal(inputs["gt_boxes"][row, :n_objects], crop.boxes)
        np.testing.assert_array_equal(
            inputs["gt_masks"][row, :n_objects], mini_masks(crop.masks, 14)
        )


def test_more_sources_than_room_keeps_the_brightest(tmp_path):
    boxes = [(y, x, y + 6, x + 6) for y in range(2, 58, 8) for x in range(2, 58, 8)]
    path = write_scenes(tmp_path / "full.h5", [block_scene(boxes)])
    (inputs,) = sequence(path, size=None, batch_size=1, max_instances=5)[0]
    np.testing.assert_array_equal(inputs["gt_boxes"][0], boxes[:-6:-1])  # the last are brightest


def test_a_scene_without_sources_is_a_valid_sample(tmp_path):
    path = write_scenes(tmp_path / "empty.h5", [block_scene([])])
    (inputs,) = sequence(path, augmentation=CompactAugmentation())[0]
    assert not inputs["gt_class_ids"].any() and not inputs["gt_masks"].any()


def test_whole_images_need_not_be_square(dataset):
    batches = sequence(dataset, size=None, augmentation=CompactAugmentation())
    assert batches[0][0]["image"].shape == (2, 72, 90, 3)


def test_whole_images_of_different_shape_are_refused(tmp_path):
    scenes = [block_scene([], shape=shape, index=i) for i, shape in enumerate([(40, 50), (50, 40)])]
    path = write_scenes(tmp_path / "mixed.h5", scenes)
    batches = sequence(path, size=None, shuffle=False)
    with pytest.raises(DatasetError, match=r"expected the 40x50 px .* found 50x40.*give a crop"):
        batches[0]


def test_crops_may_be_oblong_and_larger_than_the_scene(dataset):
    assert sequence(dataset, size=(24, 100))[0][0]["image"].shape == (2, 24, 100, 3)


def test_every_scene_is_shown_equally_often(dataset):
    batches = sequence(dataset)
    for start in (0, 5, 500):
        assert {batches._scene_number(start + k) for k in range(5)} == set(range(5))
    orders = {tuple(batches._scene_number(5 * r + k) for k in range(5)) for r in range(20)}
    assert len(orders) > 10


def test_a_set_may_be_shown_more_often(dataset, tmp_path):
    other = write_scenes(tmp_path / "other.h5", [block_scene([(5, 5, 15, 15)], index=9)])
    batches = sequence([dataset, other], repeats=(1, 3), batch_size=4)
    assert len(batches) == 2, "eight scenes"
    for start in (0, 8):
        shown = sorted(batches._scene_number(start + k) for k in range(8))
        assert shown == [0, 1, 2, 3, 4, 5, 5, 5]


def test_batches_depend_on_seed_epoch_and_index_alone(dataset):
    options = {"augmentation": CompactAugmentation(), "steps_per_epoch": 4}
    straight = sequence(dataset, **options)
    seen = {}
    for epoch in range(2):
        straight.epoch = epoch
        for index in range(4):
            seen[epoch, index] = straight[index][0]
    resumed = sequence(dataset, epoch=1, **options)
    for index in (3, 1, 0, 2):
        assert_same(resumed[index][0], seen[1, index])
    others = [seen[0, 1], sequence(dataset, epoch=1, seed=1, **options)[1][0]]
    for other in others:
        assert not np.array_equal(other["image"], seen[1, 1]["image"])


@pytest.mark.parametrize("cache_mb", [0.0, 64.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_cache_change_nothing(dataset, threads, cache_mb):
    options = {"augmentation": CompactAugmentation(), "steps_per_epoch": 6}
    alone = sequence(dataset, **options)
    helped = sequence(dataset, threads=threads, cache_mb=cache_mb, **options)
    for epoch in range(2):
        alone.epoch = helped.epoch = epoch
        for index in range(6):
            assert_same(helped[index][0], alone[index][0])
    assert len(helped.cache) == (5 if cache_mb else 0)
    helped.close()


def test_each_scene_is_read_once_when_the_cache_holds_it(dataset):
    batches = sequence(dataset, steps_per_epoch=10)
    for index in range(10):
        batches[index]
    assert batches.cache.n_loaded == 5


def test_validation_shows_the_same_crops_in_order_every_epoch(dataset):
    batches = sequence(dataset, shuffle=False, batch_size=5)
    first = batches[0][0]
    batches.epoch = 3
    assert_same(batches[0][0], first)
    assert [batches._scene_number(k) for k in range(7)] == [0, 1, 2, 3, 4, 0, 1]


def test_several_sets_are_joined(dataset, tmp_path):
    other = write_scenes(tmp_path / "other.h5", [block_scene([(5, 5, 15, 15)], index=9)])
    batches = sequence([dataset, other], shuffle=False, batch_size=1)
    assert batches.n_scenes == len(batches) == 6
    assert batches.cache[5].boxes.tolist() == [[5, 5, 15, 15]]
    assert len(batches.cache[4].boxes) > 1


def test_a_set_without_a_band_is_refused(dataset):
    with pytest.raises(DatasetError, match=r"expected bands g, y; found g, r, z.*add y"):
        sequence(dataset, bands=("g", "y"))


def test_a_network_for_any_band_learns_another_band_in_each_scene(dataset, tmp_path):
    two = write_scenes(tmp_path / "other.h5", [random_scene(7, 10, (72, 90))])
    data = sequence([dataset, two], bands=("any",))
    assert data[0][0]["image"].shape == (2, 32, 32, 1)
    for number, name in enumerate([*BANDS, "g", "r", "r"]):  # the last is scene 7 of its set
        shown = data.cache[number].image
        alone = sequence([dataset, two], bands=(name,)).cache[number]
        np.testing.assert_array_equal(shown, alone.image)
        np.testing.assert_array_equal(data.cache[number].boxes, alone.boxes)


def test_a_class_that_the_network_has_not_is_refused_and_remembered(dataset):
    whole = {"shuffle": False, "batch_size": 5}
    fit = sequence(dataset, n_classes=3, **whole)
    fit[0]
    small = sequence(dataset, n_classes=1, **whole)
    message = r"expected classes up to 0, those of the network; found [12]\. Give it that many"
    with pytest.raises(DatasetError, match=message) as caught:
        small[0]
    assert small.failure is caught.value and fit.failure is None


def test_an_empty_set_is_refused(tmp_path):
    path = write_scenes(tmp_path / "none.h5", [])
    with pytest.raises(DatasetError, match="holds no scene"):
        sequence(path)
    with pytest.raises(DatasetError, match="name at least one"):
        sequence([])


def test_a_missing_set_is_refused(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"none\.h5"):
        sequence(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; found 0"),
        ({"size": 0}, "size must be at least 1"),
        ({"threads": -1}, "threads must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"repeats": (1, 2)}, "one number of repeats for each of 1 sets; found 2"),
        ({"repeats": (0,)}, "repeats must be at least 1; found 0"),
    ],
)
def test_numbers_out_of_range_are_refused(dataset, options, message):
    with pytest.raises(ConfigError, match=message):
        sequence(dataset, **options)


def test_a_batch_beyond_the_epoch_is_an_index_error(dataset):
    batches = sequence(dataset, steps_per_epoch=3)
    with pytest.raises(IndexError, match="batch 3 of 3"):
        batches[3]


FIT_CODE = """
import sys
import tracemalloc
if {blocks_tensorflow}:
    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("tensorflow", "tensorflow_cpu"):
                raise ImportError("blocked: " + name)
    sys.meta_path.insert(0, Block())
import keras, numpy as np
from training_scenes import BANDS, SHARP
from astro_rcnn.data import TrainingSequence

seen = []

class Spy(TrainingSequence):
    def __getitem__(self, index):
        (inputs,) = super().__getitem__(index)
        seen.append((self.epoch, index, float(inputs["image"].sum())))
        return (inputs,)

class Tiny(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)
        self.built = True
        self.head.build((None, 3))
    def call(self, inputs):
        return self.head(inputs["image"])
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred) + 0 * keras.ops.sum(
            keras.ops.cast(x["gt_masks"], "float32"))

def series(model, epochs, start):
    spy = Spy(r"{path}", bands=BANDS, size=32, batch_size=2, max_instances=4, mini_mask_size=14,
              mask_rule=SHARP, threads=2, steps_per_epoch=3, epoch=start)
    model.fit(spy, epochs=epochs, initial_epoch=start, shuffle=False, verbose=0,
              callbacks=[spy.epoch_callback()])
    spy.close()

model = Tiny()
model.compile("sgd")
series(model, 3, 0)
whole, resumed = set(seen), None
seen.clear()
series(model, 3, 2)
resumed = set(seen)
assert {{(e, i) for e, i, _ in whole}} == {{(e, i) for e in range(3) for i in range(3)}}, whole
assert resumed == {{s for s in whole if s[0] == 2}}, (whole, resumed)
assert ("tensorflow" in sys.modules) == (keras.backend.backend() == "tensorflow")
print("fitted on", keras.backend.backend())
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_fit_sees_the_same_batches_after_a_resume(dataset, backend):
    """On JAX with TensorFlow's import blocked: neither we nor Keras may need it."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    code = FIT_CODE.format(blocks_tensorflow=backend == "jax", path=dataset)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[i]) for i in (1, 2)),
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == f"fitted on {backend}"


# === memory ===


def peak_of_an_epoch(paths: list[Path]) -> tuple[int, int]:
    """Return the peak of traced memory, and what the cache holds at the end."""
    batches = sequence(paths, cache_mb=0.15, threads=1)
    tracemalloc.start()
    try:
        for index in range(len(batches)):
            batches[index]
        return tracemalloc.get_traced_memory()[1], batches.cache.nbytes
    finally:
        tracemalloc.stop()
        batches.close()


def test_memory_does_not_grow_with_the_set(tmp_path):
    """Scenes of 80 kB; a budget for one; 3 scenes, and 60."""
    path = write_scenes(tmp_path / "set.h5", [random_scene(i, 5, (72, 90)) for i in range(3)])
    peak_of_an_epoch([path])  # what is made once
    (small, held), (large, also_held) = peak_of_an_epoch([path]), peak_of_an_epoch([path] * 20)
    assert 0 < held <= 0.15 * 2**20 and 0 < also_held <= 0.15 * 2**20
    assert large < 1.3 * small
