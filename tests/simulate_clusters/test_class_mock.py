"""The four-class set: classes are what the image shows, fractions and labels as asked."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from astro_io.cluster_set import ClusterSetReader
from astro_io.errors import ConfigError
from simulate.clusters import main
from simulate.star_clusters.class_config import (
    CLASS_IDS,
    HUMAN_CONFUSION,
    IMPOSTORS,
    LEGUS_FRACTIONS,
    ClassesConfig,
)
from simulate.star_clusters.class_mock import ClassMockMaker, human_label
from simulate.star_clusters.config import load_preset

SMALL = ("instrument.stamp_px=48", "field.surface_brightness_mag=[22,23]")


@pytest.fixture(scope="module")
def maker() -> ClassMockMaker:
    return ClassMockMaker(load_preset("phangs", SMALL))


@pytest.fixture(scope="module")
def mocks(maker):
    return [maker.make(3, index) for index in range(60)]


def test_the_same_arguments_give_the_same_object(maker, mocks):
    again = maker.make(3, 7)
    np.testing.assert_array_equal(again.stamp, mocks[7].stamp)
    assert again.row["kind"] == mocks[7].row["kind"]
    assert not np.array_equal(maker.make(4, 7).stamp, again.stamp)


def test_clusters_look_like_their_class(mocks):
    rows = [mock.row for mock in mocks]
    assert {row["class"] for row in rows} == set(CLASS_IDS)
    for row in rows:
        if row["class"] in (1, 2):
            assert row["n_peaks"] == 1
        if row["class"] == 1:
            assert row["asymmetry"] < 0.13
            assert row["elongation"] < 0.22
        if row["class"] == 2:
            assert row["asymmetry"] > 0.20 or row["elongation"] > 0.35
        if row["class"] == 3:
            assert row["n_peaks"] >= 3
        if row["class"] == 4:
            assert row["kind"] in IMPOSTORS


def test_brightness_is_what_was_drawn_and_stands_out(mocks):
    for row in (mock.row for mock in mocks):
        if row["class"] != 4:
            assert 19.0 <= row["mag_F555W"] <= 24.0
            assert row["snr"] >= 30
            assert 2.5 <= row["log_mass"] <= 6.3


def test_fractions_are_those_of_legus():
    total = sum(LEGUS_FRACTIONS)
    assert ClassesConfig().normalised("fractions") == tuple(n / total for n in LEGUS_FRACTIONS)
    only_stars = load_preset(
        "phangs", (*SMALL, "classes.fractions=[0,0,0,1]", "classes.impostors=[1,0,0,0,0,0,0,0,0]")
    )
    maker = ClassMockMaker(only_stars)
    assert {maker.make(1, i).row["kind"] for i in range(6)} == {"star"}


def test_human_labels_follow_the_confusion_matrix():
    """A matrix that always says 2: every label is 2, whatever the object."""
    always_2 = ",".join(["[0,1,0,0]"] * 4)
    maker = ClassMockMaker(load_preset("phangs", (*SMALL, f"classes.confusion=[{always_2}]")))
    assert {maker.make(1, i).row["class_human"] for i in range(6)} == {2}
    assert [row[i] for i, row in enumerate(HUMAN_CONFUSION)] == [0.66, 0.37, 0.40, 0.61]
    labels = [human_label(2, seed, HUMAN_CONFUSION) for seed in range(4000)]
    shares = [labels.count(i) / 4000 for i in CLASS_IDS]
    np.testing.assert_allclose(shares, HUMAN_CONFUSION[1], atol=0.03)  # 3.8 sigma


def test_human_labels_are_drawn_afresh_for_each_object(mocks):
    wrong = Counter(m.row["class"] != m.row["class_human"] for m in mocks)
    assert 10 < wrong[True] < 45  # 48 % expected of 60


def test_command_writes_a_set_of_classes_and_goes_on_with_it(tmp_path):
    path = tmp_path / "set.h5"
    line = ["--preset", "phangs", "--task", "classes", "--seed", "5", "--output", str(path), "-q"]
    line += [word for setting in SMALL for word in ("--set", setting)]
    assert main(["--n", "3", *line]) == 0
    assert main(["--n", "5", *line]) == 0
    with ClusterSetReader(path) as reader:
        assert len(reader) == 5
        assert reader.attributes["task"] == "classes"
        assert set(reader.column("class_human")) <= set(CLASS_IDS)
        classes = reader.column("class")
        assert np.isfinite(reader.column("log_mass")[classes < 4]).all()
        assert np.isnan(reader.column("log_mass")[classes == 4]).all()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("classes.fractions=[1,1]", "expected 4 numbers"),
        ("classes.impostors=[-1,0,0,0,0,0,0,0,0]", "none negative"),
        ("classes.confusion=[[1,0,0,0],[1,0,0,0],[1,0,0,0],[0.5,0,0,0]]", "add up to 1"),
        ("classes.confusion=[[1,0,0,0]]", "four rows"),
        ("classes.mag=[24,20]", "expected mag"),
        ("classes.radius_pc=[0,1]", "radius_pc"),
    ],
)
def test_bad_settings_are_refused(setting, said):
    with pytest.raises(ConfigError, match=said):
        load_preset("phangs", (setting,))


def test_filter_that_the_camera_lacks_is_refused():
    config = load_preset("phangs", ("classes.filter=WFC3_F606W",))
    with pytest.raises(ConfigError, match="F606W"):
        ClassMockMaker(config)


def test_impossible_object_ends_with_a_line_that_says_so():
    settings = ("classes.log_mass=[9,10]", "classes.fractions=[1,0,0,0]", "classes.neighbours=0")
    maker = ClassMockMaker(load_preset("phangs", (*SMALL, *settings)))
    with pytest.raises(ConfigError, match="no object of class 1"):
        maker.make(1, 0)
