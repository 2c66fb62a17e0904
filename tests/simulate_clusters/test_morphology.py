"""Peaks, asymmetry and elongation of images whose shape is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulate.star_clusters.morphology import Morphology, count_peaks, measure_morphology


def blob(y: float, x: float, sigma_y: float = 2.0, sigma_x: float = 2.0, size: int = 49):
    rows, columns = np.indices((size, size))
    return np.exp(-((rows - y) ** 2) / (2 * sigma_y**2) - (columns - x) ** 2 / (2 * sigma_x**2))


@pytest.mark.parametrize("centre", [(24.0, 24.0), (23.5, 24.5), (22.0, 26.0)])
def test_round_blob_is_class_1_wherever_it_stands(centre):
    shape = measure_morphology(blob(*centre), (24.0, 24.0))
    assert (shape.n_peaks, shape.class_id) == (1, 1)
    assert shape.asymmetry < 0.01
    assert shape.elongation < 0.02


def test_elongation_is_one_minus_the_axis_ratio():
    """Second moments inside a round aperture cut the long axis, hence a little below 1 - 2/4."""
    shape = measure_morphology(blob(24, 24, 2.0, 4.0), (24.0, 24.0))
    assert 0.35 < shape.elongation <= 0.5
    assert shape.asymmetry < 0.01  # long, but symmetric under half a turn
    assert shape.class_id == 2


def test_lopsided_blob_is_class_2():
    image = blob(24, 24) + 0.4 * blob(24, 32, 4.5, 4.5)
    shape = measure_morphology(image, (24.0, 24.0))
    assert shape.n_peaks == 1
    assert shape.asymmetry > 0.2
    assert shape.smoothed_asymmetry > 0.12
    assert shape.class_id == 2


def test_asymmetry_of_a_few_bright_stars_is_no_class():
    """Stars all over a wide round cluster fade once it is smoothed: neither 1 nor 2."""
    stars = np.random.default_rng(1).uniform(14, 34, (60, 2))
    image = blob(24, 24, 5, 5) + sum(0.4 * blob(y, x, 0.7, 0.7) for y, x in stars)
    shape = measure_morphology(image, (24.0, 24.0))
    assert shape.smoothed_asymmetry < 0.6 * shape.asymmetry
    dotted = replace(shape, n_peaks=1, asymmetry=0.25, smoothed_asymmetry=0.1, elongation=0.1)
    assert dotted.class_id == 0
    assert replace(dotted, smoothed_asymmetry=0.15, n_faint_peaks=2).class_id == 2


def test_many_faint_peaks_lie_between_classes_2_and_3():
    image = blob(24, 24, 2.0, 4.5)
    for y, x in ((12, 30), (37, 18), (36, 32)):
        image = image + 0.09 * blob(y, x, 0.8, 0.8)
    shape = measure_morphology(image, (24.0, 24.0))
    assert (shape.n_peaks, shape.n_faint_peaks) == (1, 4)
    assert shape.elongation > 0.35
    assert shape.class_id == 0


def test_three_blobs_are_class_3_and_two_are_none():
    two = blob(20, 20, 1, 1) + blob(28, 28, 1, 1)
    assert measure_morphology(two, (24.0, 24.0)).class_id == 0
    three = two + 0.5 * blob(20, 28, 1, 1)
    shape = measure_morphology(three, (24.0, 24.0))
    assert (shape.n_peaks, shape.class_id) == (3, 3)


def test_peak_lower_than_the_threshold_does_not_count():
    image = blob(20, 20, 1, 1) + 0.1 * blob(30, 30, 1, 1)
    assert count_peaks(image) == 1
    assert count_peaks(image, height=0.05) == 2


def test_between_the_classes_is_no_class():
    assert Morphology(n_peaks=1, asymmetry=0.16, elongation=0.1).class_id == 0
    assert Morphology(n_peaks=1, asymmetry=0.05, elongation=0.3).class_id == 0
    assert Morphology(n_peaks=2, asymmetry=0.5, elongation=0.5).class_id == 0


def test_dark_image_has_no_shape():
    assert measure_morphology(np.zeros((9, 9)), (4.0, 4.0)) == Morphology(0, 0.0, 0.0)
