"""Training sets in Astro R-CNN's layout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from folder_scenes import make_scene

from astro_io.astro_rcnn_folder import (
    AstroRcnnFolder,
    AstroRcnnFolderWriter,
    is_astro_rcnn_folder,
)
from astro_io.dataset import SceneSource, open_dataset
from astro_io.errors import DatasetError, OutputExistsError
from astro_io.truth import MaskRule, scene_masks


def write(path, scenes, **options):
    with AstroRcnnFolderWriter(path, bands=("g", "r"), **options) as writer:
        for scene in scenes:
            writer.write(scene)
    return path


def test_files_are_those_of_the_original_layout(tmp_path):
    write(tmp_path, [make_scene(3)])
    names = sorted(path.name for path in (tmp_path / "set_3").iterdir())
    assert names == ["img_g.fits", "img_r.fits", "masks.fits", "truth.fits"]
    with fits.open(tmp_path / "set_3" / "masks.fits") as hdus:
        assert [hdu.header["CLASS_ID"] for hdu in hdus] == [1, 2, 2]
        assert all(hdu.data.shape == (40, 55) for hdu in hdus)
        assert all(hdu.data.dtype.newbyteorder("=") == np.float32 for hdu in hdus)
        assert hdus[1].data[15, 20] == 500.0 and hdus[0].data[2, 1] == 500.0
    with fits.open(tmp_path / "set_3" / "img_r.fits") as hdus:
        assert hdus[0].data.dtype.newbyteorder("=") == np.float32 and "CTYPE1" in hdus[0].header


def test_scene_comes_back_as_far_as_one_truth_band_tells(tmp_path):
    scene = make_scene(3)
    reader = AstroRcnnFolder(write(tmp_path, [scene], attributes={"seed": 4}))
    assert isinstance(reader, SceneSource) and reader.bands == ("g", "r")
    assert reader.attributes == {"seed": 4, "truth_band": "g"}
    back = reader[0]
    assert (back.index, back.seed, back.image.name) == (3, 103, "set_3")
    assert np.array_equal(back.image.pixels, scene.image.pixels)
    assert np.array_equal(back.image.bad, scene.image.bad)
    assert back.image.unit == ("electron", "electron")
    assert back.image.zeropoint_mag == (30.1, 30.1) and back.image.saturation[0] == 180000.0
    assert back.image.wcs.wcs.crval.tolist() == [150.0, 2.0]
    for name in scene.catalog.colnames:
        np.testing.assert_array_equal(back.catalog[name], scene.catalog[name])
        assert back.catalog[name].dtype == scene.catalog[name].dtype
    assert back.catalog.meta["sky_sigma"] == [3.0, 3.5]
    assert all(np.isnan(stamp.pixels[..., 1]).all() for stamp in back.stamps)
    assert back.stamps[1].box == scene.stamps[1].box
    assert np.array_equal(back.stamps[1].pixels[..., 0], scene.stamps[1].pixels[..., 0])
    assert back.stamps[0].box == (0, 0, 9, 8)  # what lay outside is gone


def test_masks_are_the_same_after_the_round_trip(tmp_path):
    scene = make_scene(0)
    back = AstroRcnnFolder(write(tmp_path, [scene]))[0]
    boxes, masks = scene_masks(scene, MaskRule())
    boxes_back, masks_back = scene_masks(back, MaskRule())
    assert np.array_equal(boxes[1:], boxes_back[1:])
    assert all(np.array_equal(a, b) for a, b in zip(masks[1:], masks_back[1:], strict=True))
    # The first is cut by the edge, where the blur no longer sees what lies beyond.
    assert np.abs(boxes[0] - boxes_back[0]).max() <= 1
    assert masks_back[0].sum() == pytest.approx(masks[0].sum(), rel=0.1)


def test_masks_are_those_of_the_full_frame_rule(tmp_path):
    cv2 = pytest.importorskip("cv2")
    reader = AstroRcnnFolder(write(tmp_path, [make_scene(0)]))
    boxes, masks = scene_masks(reader[0], MaskRule())
    with fits.open(tmp_path / "set_0" / "masks.fits") as hdus:
        frames = [hdu.data.astype(np.float32) for hdu in hdus]
    for frame, threshold, box, mask in zip(frames, [0.005, 0.08, 0.08], boxes, masks, strict=True):
        above = (frame / frame.max() > threshold).astype(np.uint8)
        expected = cv2.GaussianBlur(above, (9, 9), 2).astype(bool)
        whole = np.zeros(expected.shape, bool)
        whole[box[0] : box[2], box[1] : box[3]] = mask
        assert np.array_equal(whole, expected)


def test_set_of_others_without_truth_table_is_measured(tmp_path):
    write(tmp_path, [make_scene(0), make_scene(2)])
    (tmp_path / "dataset.json").unlink()
    for number in (0, 2):
        (tmp_path / f"set_{number}" / "truth.fits").unlink()
    reader = open_dataset(tmp_path)
    assert isinstance(reader, AstroRcnnFolder) and reader.indices == (0, 2)
    assert reader.attributes == {} and reader.bands == ("g", "r")
    table = reader.read_catalog(1)
    assert table["class_id"].tolist() == [1, 2, 2] and table["source_id"].tolist() == [1, 2, 3]
    assert np.allclose(table["x"][1:], [20, 30]) and np.allclose(table["y"][1:], [15, 30])
    # sum of 500 exp(-r^2 / 8) over the plane is 500 * 8 pi = 12566; the stamp holds nearly all.
    assert table["flux_g"][1] == pytest.approx(12566, rel=0.01)
    # sqrt(sum of 500^2 exp(-r^2 / 4)) = 500 sqrt(4 pi) = 1772, over a sky noise of 3.
    assert table["snr"][1] == pytest.approx(1772 / 3, rel=0.05)
    assert np.isnan(table["flux_r"]).all()


def test_scene_without_sources_has_an_empty_primary(tmp_path):
    write(tmp_path, [make_scene(0, n=0)])
    with fits.open(tmp_path / "set_0" / "masks.fits") as hdus:
        assert len(hdus) == 1 and hdus[0].data is None
    (tmp_path / "set_0" / "truth.fits").unlink()
    scene = AstroRcnnFolder(tmp_path)[0]
    assert len(scene) == 0 and "x" in scene.catalog.colnames


def test_run_goes_on_and_other_settings_are_refused(tmp_path):
    write(tmp_path, [make_scene(0)], attributes={"config": {"seed": 1, "size": 2}})
    (tmp_path / ".part-set_1").mkdir()  # what a killed run leaves
    with AstroRcnnFolderWriter(
        tmp_path, bands=("g", "r"), attributes={"config": {"seed": 1, "size": 2}}
    ) as writer:
        assert writer.done == {0}
        with pytest.raises(DatasetError, match="scene_000000 is there already"):
            writer.write(make_scene(0))
        writer.write(make_scene(1))
    assert AstroRcnnFolder(tmp_path).indices == (0, 1)
    assert not list(tmp_path.glob(".part*"))
    with pytest.raises(OutputExistsError, match=r"config.seed = 1, now 2\). Pass --overwrite"):
        write(tmp_path, [], attributes={"config": {"seed": 2, "size": 2}})
    write(tmp_path, [make_scene(5)], attributes={"config": {"seed": 2}}, overwrite=True)
    assert AstroRcnnFolder(tmp_path).indices == (5,)


def test_incomplete_set_is_refused(tmp_path):
    write(tmp_path, [make_scene(0)], n_planned=3)
    with pytest.raises(DatasetError, match="1 of 3 scenes are complete. Rerun"):
        AstroRcnnFolder(tmp_path)
    assert len(AstroRcnnFolder(tmp_path, allow_incomplete=True)) == 1


def test_image_folder_without_truth_says_that_detection_needs_none(tmp_path):
    write(tmp_path, [make_scene(0)])
    (tmp_path / "set_0" / "masks.fits").unlink()
    reader = AstroRcnnFolder(tmp_path)
    assert reader.read_image(0).shape == (40, 55)
    with pytest.raises(DatasetError, match=r"truth in masks\.fits; found none\. .*detect"):
        reader[0]


def test_wrong_truth_files_are_explained(tmp_path):
    write(tmp_path, [make_scene(0)])
    path = tmp_path / "set_0" / "masks.fits"
    with fits.open(path, mode="update") as hdus:
        del hdus[2]
    with pytest.raises(DatasetError, match="truth lists 3 sources, masks hold 2. Rerun"):
        AstroRcnnFolder(tmp_path)[0]
    fits.PrimaryHDU(np.zeros((40, 54), np.float32), fits.Header({"CLASS_ID": 1})).writeto(
        path, overwrite=True
    )
    with pytest.raises(DatasetError, match=r"masks\.fits\[0\]: expected a frame of 40x55 px"):
        AstroRcnnFolder(tmp_path)[0]
    fits.PrimaryHDU(np.zeros((40, 55), np.float32)).writeto(path, overwrite=True)
    with pytest.raises(DatasetError, match=r"\[0\]: expected a CLASS_ID card; found none"):
        AstroRcnnFolder(tmp_path)[0]
    with pytest.raises(DatasetError, match="expected truth_band as one of g, r; found i"):
        AstroRcnnFolder(tmp_path, truth_band="i")


def test_scene_of_which_only_masks_are_known_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="only masks are known of this scene. Write it as COCO"):
        write(tmp_path, [make_scene(0, truth="mask")])


def test_folder_is_told_from_others(tmp_path):
    assert not is_astro_rcnn_folder(tmp_path)
    write(tmp_path / "a", [make_scene(0)])
    assert is_astro_rcnn_folder(tmp_path / "a") and is_astro_rcnn_folder(tmp_path / "a" / "set_0")
    stored = json.loads((tmp_path / "a" / "dataset.json").read_text())
    (tmp_path / "a" / "dataset.json").write_text(json.dumps({**stored, "schema_version": 7}))
    with pytest.raises(DatasetError, match="expected schema version 1, found 7"):
        AstroRcnnFolder(tmp_path / "a")


def test_real_phosim_files_are_read(shared_data, tmp_path):
    folder = tmp_path / "phosim"
    shutil.copytree(shared_data / "phosim", folder)
    reader = open_dataset(folder)
    assert reader.bands == ("g", "r", "z") and len(reader) == 1
    scene = reader[0]
    assert scene.image.shape == (512, 512) and scene.catalog["class_id"].tolist() == [2, 2]
    lit = [int((stamp.pixels[..., 0] > 0).sum()) for stamp in scene.stamps]
    assert lit == [328, 237]
    boxes, masks = scene_masks(scene, MaskRule())
    for i, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
        y, x = scene.catalog["y"][i], scene.catalog["x"][i]
        assert mask.any() and box[0] <= y < box[2] and box[1] <= x < box[3]
