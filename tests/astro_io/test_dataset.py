"""The training set on disk."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.wcs import WCS

from astro_io.dataset import (
    DatasetReader,
    DatasetWriter,
    Scene,
    SceneSource,
    Stamp,
    new_truth_catalog,
    open_dataset,
)
from astro_io.errors import DatasetError, InputNotFoundError, OutputExistsError
from astro_io.image import SkyImage

ROOT = Path(__file__).resolve().parents[2]


def tan_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [52.026949, 6.653023]
    wcs.wcs.crpix = [10.25, 7.5]
    wcs.wcs.cd = [[-6.59211760874658e-05, 3.1e-05], [-3.1e-05, -6.6e-05]]
    return wcs


def make_scene(index=0, n=3, bands=("g", "r"), shape=(20, 31), wcs=None, bad=False):
    rng = np.random.default_rng(index)
    pixels = rng.normal(50, 7, (*shape, len(bands))).astype(np.float32)
    bad_pixels = np.zeros(pixels.shape, bool)
    bad_pixels[3, 4, 1] = bad
    catalog = new_truth_catalog(n, bands)
    catalog["class_id"] = np.arange(n, dtype=np.int32) % 2 + 1
    catalog["x"] = rng.uniform(0, shape[1], n)
    catalog["y"] = rng.uniform(0, shape[0], n)
    catalog["morphology"] = np.array(["bulge é", "disk", "star"][:n], dtype="U9")
    catalog.meta["sky_sigma"] = [7.0, np.float32(8.0)]
    stamps = []
    for i in range(n):
        h, w = 5 + i, 9 - i
        light = rng.exponential(100, (h, w, len(bands))).astype(np.float32)
        stamps.append(Stamp((i - 2, i, i - 2 + h, i + w), light))
    image = SkyImage(
        pixels=pixels,
        bands=bands,
        bad=bad_pixels,
        unit=("electron", "nJy"),
        zeropoint_mag=(22.5, None),
        saturation=(None, 180000.0),
        wcs=wcs,
        name=f"field {index}",
        sources=("a.fits",),
    )
    return Scene(image, catalog, tuple(stamps), index, 1000 + index)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.h5"


def write(path, scenes, **options):
    with DatasetWriter(path, bands=("g", "r"), **options) as writer:
        for scene in scenes:
            writer.write(scene)


def test_scene_comes_back_whole(path):
    scene = make_scene(index=17, wcs=tan_wcs(), bad=True)
    write(path, [scene], attributes={"preset": "decam", "seed": 3}, stamp_bits=None)
    with DatasetReader(path) as reader:
        assert reader.attributes == {"preset": "decam", "seed": 3}
        assert reader.bands == ("g", "r") and reader.indices == (17,)
        back = reader[0]
    assert np.array_equal(back.image.pixels, scene.image.pixels)
    assert back.image.pixels.dtype == np.float32
    assert np.array_equal(back.image.bad, scene.image.bad) and back.image.bad.sum() == 1
    assert (back.image.unit, back.image.zeropoint_mag) == (("electron", "nJy"), (22.5, None))
    assert back.image.saturation == (None, 180000.0)
    assert (back.image.name, back.image.sources) == ("field 17", ("a.fits",))
    assert (back.index, back.seed, back.truth) == (17, 1017, "flux")
    assert [stamp.box for stamp in back.stamps] == [stamp.box for stamp in scene.stamps]
    for one, other in zip(back.stamps, scene.stamps, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_wcs_comes_back_to_a_millionth_of_a_pixel(path):
    wcs = tan_wcs()
    write(path, [make_scene(wcs=wcs)])
    back = DatasetReader(path).read_image(0).wcs
    x, y = back.world_to_pixel(wcs.pixel_to_world([0, 30.0], [0, 19.0]))
    assert np.allclose(x, [0, 30], atol=1e-6) and np.allclose(y, [0, 19], atol=1e-6)
    assert back.array_shape == (20, 31)


def test_image_without_wcs_stays_without(path):
    write(path, [make_scene()])
    assert DatasetReader(path).read_image(0).wcs is None


def test_catalogue_keeps_dtypes_units_text_and_metadata(path):
    scene = make_scene()
    write(path, [scene])
    back = DatasetReader(path).read_catalog(0)
    assert back.colnames == scene.catalog.colnames
    for name in back.colnames:
        if name != "morphology":
            assert back[name].dtype == scene.catalog[name].dtype, name
        assert back[name].unit == scene.catalog[name].unit
        assert back[name].description == scene.catalog[name].description
    assert back["morphology"].tolist() == ["bulge é", "disk", "star"]
    assert back["x"].tolist() == scene.catalog["x"].tolist()
    assert back.meta == {"sky_sigma": [7.0, 8.0]}


def test_scene_without_sources_comes_back_with_all_columns(path):
    write(path, [make_scene(n=0)])
    back = DatasetReader(path)[0]
    assert back.stamps == () and len(back.catalog) == 0
    assert "flux_g" in back.catalog.colnames


def test_stamps_lose_less_than_one_part_in_7000(path):
    scene = make_scene()
    write(path, [scene])
    for one, other in zip(DatasetReader(path)[0].stamps, scene.stamps, strict=True):
        assert np.allclose(one.pixels, other.pixels, rtol=2.0**-13, atol=0)


def test_unknown_truth_stays_nan(path):
    scene = make_scene(n=1)
    scene.stamps[0].pixels[..., 1] = np.nan
    write(path, [scene])
    back = DatasetReader(path)[0].stamps[0].pixels
    assert np.isnan(back[..., 1]).all() and np.isfinite(back[..., 0]).all()


def test_scenes_are_read_in_order_of_their_number(path):
    write(path, [make_scene(index) for index in (5, 0, 11)])
    reader = DatasetReader(path)
    assert reader.indices == (0, 5, 11)
    assert [scene.seed for scene in reader] == [1000, 1005, 1011]
    assert reader[-1].index == 11
    with pytest.raises(IndexError, match="scene 3 of 3"):
        reader[3]


def test_reader_survives_pickling_and_meets_the_protocol(path):
    write(path, [make_scene()])
    reader = pickle.loads(pickle.dumps(DatasetReader(path)))
    assert reader[0].seed == 1000
    assert isinstance(reader, SceneSource)


def test_writer_goes_on_where_it_stopped(path):
    write(path, [make_scene(0)], attributes={"seed": 1}, provenance={"date": "today"})
    with DatasetWriter(
        path, bands=("g", "r"), attributes={"seed": 1}, provenance={"date": "tomorrow"}
    ) as writer:
        assert writer.done == {0}
        with pytest.raises(DatasetError, match="scene_000000 is there already"):
            writer.write(make_scene(0))
        writer.write(make_scene(1))
    assert DatasetReader(path).indices == (0, 1)


def test_writer_refuses_to_mix_two_sets(path):
    write(path, [], attributes={"seed": 1, "preset": "decam"})
    with pytest.raises(OutputExistsError, match=r"seed: seed = 1, now 2\)\. Pass --overwrite"):
        write(path, [], attributes={"seed": 2, "preset": "decam"})
    write(path, [], attributes={"seed": 2}, overwrite=True)
    assert DatasetReader(path).attributes == {"seed": 2}


def test_scene_with_other_bands_is_refused(path):
    with pytest.raises(DatasetError, match="expected bands g, r; found g, z"):
        write(path, [make_scene(bands=("g", "z"))])


def test_half_written_scene_does_not_count_and_is_made_again(path):
    write(path, [make_scene(0), make_scene(1)])
    with h5py.File(path, "r+") as file:
        del file["scene_000001"].attrs["complete"]
    assert DatasetReader(path).indices == (0,)
    with DatasetWriter(path, bands=("g", "r")) as writer:
        assert writer.done == {0}
        writer.write(make_scene(1))
    assert DatasetReader(path).indices == (0, 1)


def test_set_with_scenes_missing_is_incomplete(path):
    write(path, [make_scene(0)], n_planned=4)
    with pytest.raises(DatasetError, match="1 of 4 scenes are complete. Rerun"):
        DatasetReader(path)
    assert len(DatasetReader(path, allow_incomplete=True)) == 1


def test_file_that_is_being_written_says_so(path):
    code = f"from astro_io.dataset import DatasetReader; DatasetReader({str(path)!r})"
    with DatasetWriter(path, bands=("g", "r")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
        )
    assert "another process is writing it. Wait for that to end." in done.stderr


def test_set_can_be_made_longer(path):
    write(path, [make_scene(0)], n_planned=1)
    write(path, [], n_planned=2)
    with pytest.raises(DatasetError, match="1 of 2 scenes"):
        DatasetReader(path)
    write(path, [make_scene(1)], n_planned=1)
    assert len(DatasetReader(path)) == 2


def test_a_later_run_may_want_less(path):
    write(path, [make_scene(0)], n_planned=4)
    write(path, [make_scene(1)], n_planned=2)
    assert len(DatasetReader(path)) == 2
    write(path, [], n_planned=1)
    assert len(DatasetReader(path)) == 2


def test_other_schema_version_is_refused(path):
    write(path, [])
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 9
    with pytest.raises(DatasetError, match="schema version 1, found version 9. Make it again"):
        DatasetReader(path)


def test_foreign_and_damaged_files_are_told_apart(path, tmp_path):
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(DatasetError, match="found some other HDF5 file"):
        DatasetReader(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="not a readable HDF5 file"):
        DatasetReader(path)
    with pytest.raises(InputNotFoundError, match="nowhere.h5: no such training set"):
        DatasetReader(tmp_path / "nowhere.h5")


def test_stamps_that_do_not_match_the_catalogue_are_an_error(path):
    write(path, [make_scene(17)])
    with h5py.File(path, "r+") as file:
        boxes = file["scene_000017/stamp_boxes"][:2]
        del file["scene_000017/stamp_boxes"]
        file["scene_000017/stamp_boxes"] = boxes
    with pytest.raises(
        DatasetError, match=r"\[scene_000017\]: truth lists 3 sources, stamps hold 2\. Rerun"
    ):
        DatasetReader(path)[0]
    scene = make_scene()
    with pytest.raises(DatasetError, match="truth lists 3 sources, stamps hold 2"):
        Scene(scene.image, scene.catalog, scene.stamps[:2])


def test_stamp_pixels_that_do_not_fill_the_boxes_are_an_error(path):
    write(path, [make_scene(n=1)])
    with h5py.File(path, "r+") as file:
        del file["scene_000000/stamp_pixels"]
        data = file["scene_000000"].create_dataset("stamp_pixels", data=np.zeros(7, np.float32))
        data.attrs["n_bands"] = 2
    with pytest.raises(DatasetError, match="boxes ask for 90 stamp pixels, found 7"):
        DatasetReader(path)[0]


def test_stamp_of_the_wrong_size_is_refused():
    with pytest.raises(DatasetError, match=r"expected pixels of shape \(3, 4, bands\), found"):
        Stamp((0, 0, 3, 4), np.zeros((4, 3, 1), np.float32))


def test_truth_table_without_positions_is_refused():
    scene = make_scene()
    scene.catalog.remove_columns(["x", "y"])
    with pytest.raises(DatasetError, match="the truth table lacks x, y; it has source_id"):
        Scene(scene.image, scene.catalog, scene.stamps)


def test_open_dataset_reads_hdf5_and_says_what_it_cannot(path, tmp_path):
    write(path, [make_scene()])
    assert len(open_dataset(path)) == 1
    with pytest.raises(InputNotFoundError, match="no such training set"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="expected an HDF5 file, set_"):
        open_dataset(tmp_path / "empty")


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_dataset import make_scene
from astro_io.dataset import DatasetWriter

with DatasetWriter({path!r}, bands=("g", "r")) as writer:
    for index in range(10_000):
        writer.write(make_scene(index))
        print(index, flush=True)
"""


def test_killed_run_leaves_a_readable_file(path):
    code = KILLED.format(tests=os.path.dirname(__file__), path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        lines = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    n_told = len(lines)
    reader = DatasetReader(path)
    assert len(reader) >= n_told
    assert reader[n_told - 1].seed == 1000 + n_told - 1
    reader.close()
    with DatasetWriter(path, bands=("g", "r")) as writer:
        writer.write(make_scene(10_000))


def test_paper_sized_scene_is_quick_and_small(path):
    rows, columns = np.mgrid[-20:20, -20:20]
    light = 1000 * np.exp(-np.hypot(rows, columns) / 3)[..., None] * np.ones(3)
    stamps = tuple(
        Stamp((i, i, i + 40, i + 40), (light * (1 + i / 7)).astype(np.float32)) for i in range(150)
    )
    scene = make_scene(shape=(512, 512), bands=("g", "r", "z")[:2])
    pixels = np.random.default_rng(0).normal(60, 8, (512, 512, 3)).astype(np.float32)
    image = SkyImage(pixels=pixels, bands=("g", "r", "z"), bad=np.zeros(pixels.shape, bool))
    scene = Scene(image, new_truth_catalog(150, "grz"), stamps)
    start = time.perf_counter()
    with DatasetWriter(path, bands=("g", "r", "z")) as writer:
        writer.write(scene)
    written = time.perf_counter()
    DatasetReader(path)[0]
    # 0.04 s and 0.01 s on a quiet core; generous, for machines under load.
    assert written - start < 0.5 and time.perf_counter() - written < 0.3
    assert path.stat().st_size < 4.6e6


def test_attributes_are_plain_json_for_other_readers(path):
    write(path, [make_scene()], attributes={"seed": 3})
    with h5py.File(path) as file:
        assert json.loads(file.attrs["attributes"]) == {"seed": 3}
        assert file["scene_000000/pixels"].shape == (20, 31, 2)


def test_file_from_before_saturation_was_stored_is_read(path):
    write(path, [make_scene()])
    with h5py.File(path, "r+") as file:
        del file["scene_000000"].attrs["saturation"]
    assert DatasetReader(path).read_image(0).saturation == (None, None)
