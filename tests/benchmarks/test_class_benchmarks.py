"""The parts of the class benchmarks that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.cluster_set import ClusterSetReader, ClusterSetWriter
from astro_io.legus import read_legus
from benchmarks import class_mosaic, legus_table, m31_classes
from cluster_cnn.mosaics import Mosaic


def test_folds_keep_objects_together_and_spread_labels():
    names = np.array([f"c{i // 2}" for i in range(40)] + [f"g{i}" for i in range(30)])
    labels = np.array([1] * 40 + [4] * 30)
    folds = m31_classes.split_folds(names, labels)
    for name in np.unique(names):
        assert len(set(folds[names == name])) == 1
    # 20 objects of two stamps, 30 of one: four and six objects a fold.
    for fold in range(5):
        assert (labels[folds == fold] == 1).sum() == 8
        assert (labels[folds == fold] == 4).sum() == 6


def test_one_object_under_two_names_is_one():
    """Of the first four each is within 12" of the next."""
    ra = 10.0 + np.array([0.0, 1.1, 10.0, 19.9, 40.0]) / 3600
    objects = m31_classes.group_objects(ra, np.zeros(5))
    assert len(np.unique(objects)) == 2 and len(np.unique(objects[:4])) == 1


def test_binning_averages_squares_of_pixels():
    images = np.array([[[0, 2, 9, 9], [4, 6, 9, 9]]], np.uint8)
    np.testing.assert_allclose(m31_classes.bin_stamps(images)[0, :, :, 0], [[3, 9]])


def test_confusion_by_hand():
    classes, p = np.array([1, 1, 4, 4, 4]), np.array([0.9, 0.1, 0.2, 0.5, np.nan])
    matrix = m31_classes.confusion_of(classes, p)
    assert matrix.tolist() == [[1, 1, 0], [1, 1, 1]], "no answer is no right answer"


def test_worst_mistakes_are_the_surest(tmp_path):
    classes, p = np.array([1, 4, 4, 1]), np.array([0.4, 0.99, 0.1, 0.9])
    names = np.array(["a", "b", "c", "d"])
    worst = m31_classes.draw_worst(np.zeros((4, 8, 8)), classes, p, names, tmp_path / "w.png")
    assert worst == ["b", "a"]


def test_mosaic_holds_the_stamps_where_the_table_says(tmp_path, rng):
    stamps = rng.normal(size=(5, 8, 8, 2)).astype(np.float32)
    blank = np.full(5, np.nan)
    names = ("log_age", "log_mass", "half_light_radius_arcsec", "av", "metallicity", "snr")
    rows = {**dict.fromkeys(names, blank), "class": np.array([1, 2, 3, 4, 1], np.int16)}
    bands = ("F555W", "F814W")
    attributes = {"pixel_scale_arcsec": 0.0396}
    with ClusterSetWriter(tmp_path / "a.h5", bands=bands, attributes=attributes) as writer:
        writer.append(stamps, rows)
    with ClusterSetReader(tmp_path / "a.h5") as reader:
        xy = class_mosaic.lay_out(reader, tmp_path / "mosaic")
    class_mosaic.write_legus_table(tmp_path / "legus.tab", xy, rows["class"])
    table = read_legus(tmp_path / "legus.tab")
    assert list(table["class"]) == [1, 2, 3, 4, 1]
    with Mosaic(str(tmp_path / "mosaic"), bands) as mosaic:
        assert mosaic.pixel_scale_arcsec == pytest.approx(0.0396)
        for batch in mosaic.cut(np.array(table["x"]), np.array(table["y"]), 8):
            np.testing.assert_array_equal(batch.stamps, stamps[batch.rows])


@pytest.mark.slow
def test_photometry_alone_tells_about_half_of_the_real_classes(shared_data, capsys):
    """47.3 % were measured before, with the same trees; the command holds it to 2 %."""
    pytest.importorskip("sklearn")
    path = next((shared_data / "clusters" / "legus").glob("*ngc1566*.tab.gz"), None)
    if path is None:
        pytest.skip("no LEGUS table of NGC 1566")
    assert legus_table.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "2752 rows, 2451 with a class: {1: 477, 2: 404, 3: 692, 4: 878}" in said
    assert "(expected 47.3 +- 2.0); the largest class alone: 35.8 %" in said
