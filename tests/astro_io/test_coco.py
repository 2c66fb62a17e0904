"""Training sets as COCO JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from folder_scenes import make_scene
from pycocotools.coco import COCO

from astro_io.coco import CocoReader, CocoWriter, find_coco_json
from astro_io.dataset import SceneSource, open_dataset
from astro_io.errors import DatasetError, OutputExistsError
from astro_io.truth import MaskRule, scene_masks


def write(path, scenes, **options):
    with CocoWriter(path, bands=("g", "r"), **options) as writer:
        for scene in scenes:
            writer.write(scene)
    return path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_the_set_and_sees_our_masks(tmp_path, capsys):
    scene = make_scene(7)
    write(tmp_path, [make_scene(2), scene])
    coco = COCO(str(tmp_path / "annotations.json"))
    capsys.readouterr()
    assert coco.getImgIds() == [2, 7]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["star", "galaxy"]
    boxes, masks = scene_masks(scene, MaskRule())
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=7))
    assert len({annotation["id"] for annotation in coco.anns.values()}) == 6
    for annotation, box, mask in zip(annotations, boxes, masks, strict=True):
        frame = coco.annToMask(annotation)
        y1, x1, y2, x2 = box
        assert frame.shape == (40, 55) and frame.sum() == mask.sum() == annotation["area"]
        assert np.array_equal(frame[y1:y2, x1:x2].astype(bool), mask)
        assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_scene_comes_back_with_its_masks_and_truth(tmp_path):
    scene = make_scene(7)
    reader = open_dataset(write(tmp_path, [scene], attributes={"seed": 3}))
    assert isinstance(reader, CocoReader) and isinstance(reader, SceneSource)
    assert reader.bands == ("g", "r") and reader.indices == (7,)
    assert reader.attributes["seed"] == 3
    assert reader.attributes["mask_rule"]["star_threshold"] == 0.005
    back = reader[0]
    assert (back.truth, back.index, back.seed) == ("mask", 7, 107)
    assert np.array_equal(back.image.pixels, scene.image.pixels)
    for name in scene.catalog.colnames:
        np.testing.assert_array_equal(back.catalog[name], scene.catalog[name], err_msg=name)
        assert back.catalog[name].dtype == scene.catalog[name].dtype
    assert back.catalog.meta["sky_sigma"] == [3.0, 3.5]
    boxes, masks = scene_masks(scene, MaskRule())
    boxes_back, masks_back = scene_masks(back, MaskRule(star_threshold=0.5))
    assert np.array_equal(boxes, boxes_back)
    assert all(np.array_equal(a, b) for a, b in zip(masks, masks_back, strict=True))
    assert reader.read_catalog(0)["x"].tolist() == scene.catalog["x"].tolist()


def test_mask_rule_is_a_parameter_of_the_export(tmp_path):
    areas = []
    for threshold in (0.08, 0.5):
        path = write(
            tmp_path / str(threshold), [make_scene(0)], rule=MaskRule(galaxy_threshold=threshold)
        )
        content = json.loads((path / "annotations.json").read_text())
        areas.append(content["annotations"][1]["area"])
    assert areas[0] > areas[1] > 0


def test_scene_of_masks_only_can_be_written_again(tmp_path):
    first = CocoReader(write(tmp_path / "a", [make_scene(0, truth="mask")]) / "annotations.json")
    again = CocoReader(write(tmp_path / "b", [first[0]]) / "annotations.json")
    for one, other in zip(first[0].stamps, again[0].stamps, strict=True):
        assert one.box == other.box and np.array_equal(one.pixels, other.pixels)


def test_source_without_mask_has_no_annotation(tmp_path):
    scene = make_scene(0)
    scene.stamps[0].pixels[...] = 0
    back = open_dataset(write(tmp_path, [scene]))[0]
    assert back.catalog["source_id"].tolist() == [2, 3]


def test_set_without_sources_or_scenes_is_valid(tmp_path):
    reader = open_dataset(write(tmp_path / "a", [make_scene(0, n=0)]))
    assert len(reader[0]) == 0 and "class_id" in reader[0].catalog.colnames
    assert len(open_dataset(write(tmp_path / "b", []))) == 0


def test_run_goes_on_and_other_settings_are_refused(tmp_path):
    write(tmp_path, [make_scene(0)])
    write(tmp_path, [make_scene(1)])
    assert open_dataset(tmp_path).indices == (0, 1)
    with pytest.raises(OutputExistsError, match="mask_rule.star_threshold = 0.005, now 0.1"):
        write(tmp_path, [], rule=MaskRule(star_threshold=0.1))
    write(tmp_path, [make_scene(4)], rule=MaskRule(star_threshold=0.1), overwrite=True)
    assert open_dataset(tmp_path).indices == (4,)


def test_error_in_the_middle_leaves_a_set_of_what_is_complete(tmp_path):
    def fail_after_one():
        with CocoWriter(tmp_path, bands=("g", "r"), n_planned=2) as writer:
            writer.write(make_scene(0))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail_after_one()
    with pytest.raises(DatasetError, match="1 of 2 scenes are complete"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, allow_incomplete=True)) == 1


@pytest.fixture
def foreign(tmp_path):
    """A set of another program: no info, polygons and plain run lengths, no attributes."""
    write(tmp_path, [make_scene(0)])
    content = {
        "images": [{"id": 5, "file_name": "images/scene_0", "height": 40, "width": 55}],
        "categories": [{"id": 10, "name": "Galaxy"}, {"id": 20, "name": "star"}],
        "annotations": [
            # corners of a rectangle: columns 10 to 13, rows 20 to 25
            {"id": 1, "image_id": 5, "category_id": 10, "iscrowd": 0,
             "segmentation": [[10, 20, 14, 20, 14, 26, 10, 26]]},
            # column by column: 40 * 3 + 2 off, 4 on: column 3, rows 2 to 5
            {"id": 2, "image_id": 5, "category_id": 20, "iscrowd": 0,
             "segmentation": {"size": [40, 55], "counts": [122, 4, 40 * 55 - 126]}},
            {"id": 3, "image_id": 5, "category_id": 20, "iscrowd": 1,
             "segmentation": {"size": [40, 55], "counts": [0, 40 * 55]}},
        ],
    }  # fmt: skip
    path = tmp_path / "annotations.json"

    def save(**changes):
        path.write_text(json.dumps({**content, **changes}))
        return path

    save.content = content
    return save


def test_foreign_set_is_read(foreign):
    reader = open_dataset(foreign())
    assert reader.bands == ("g", "r") and reader.indices == (5,)
    scene = reader[0]
    assert scene.catalog["class_id"].tolist() == [2, 1]
    boxes, masks = scene_masks(scene, MaskRule())
    assert boxes.tolist() == [[20, 10, 26, 14], [2, 3, 6, 4]]
    assert [int(mask.sum()) for mask in masks] == [24, 4]
    assert scene.catalog["y"].tolist() == [22.5, 3.5]
    assert scene.catalog["x"].tolist() == [11.5, 3.0]


def test_foreign_set_that_cannot_be_read_is_explained(foreign):
    image = foreign.content["images"][0]
    with pytest.raises(DatasetError, match="expected categories star, galaxy; found cat"):
        CocoReader(foreign(categories=[{"id": 1, "name": "cat"}]))
    with pytest.raises(DatasetError, match="image a.png is a picture, not data"):
        CocoReader(foreign(images=[{**image, "file_name": "a.png"}]))
    wrong = CocoReader(foreign(images=[{**image, "height": 41}]))
    with pytest.raises(DatasetError, match="image 5 should be 41x55 px, images/scene_0 is 40x55"):
        wrong[0]
    annotation = {**foreign.content["annotations"][1]}
    annotation["segmentation"] = {"size": [30, 55], "counts": [0, 30 * 55]}
    wrong = CocoReader(foreign(annotations=[annotation]))
    with pytest.raises(DatasetError, match="annotation 2: expected a mask of 40x55 px.*30x55"):
        wrong[0]


def test_json_that_is_not_coco_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    assert find_coco_json(tmp_path) is None
    with pytest.raises(DatasetError, match="expected COCO JSON with images and annotations"):
        open_dataset(path)
    path.write_text("{")
    with pytest.raises(DatasetError, match="a.json: not valid JSON"):
        open_dataset(path)
