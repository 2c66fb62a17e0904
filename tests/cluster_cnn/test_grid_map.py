"""The bias-and-scatter map: points of the grid, their ellipses, and the picture."""

from __future__ import annotations

import numpy as np
import pytest

from astro_io.errors import DatasetError
from cluster_cnn.grid_map import draw_grid_map, grid_points, has_grid

NAMES = ("log_age", "log_mass", "log_radius")


def attributes(**grid):
    return {"config": {"grid": grid}}


def test_estimates_are_grouped_by_their_point(tmp_path):
    rng = np.random.default_rng(1)
    grid = {
        "log_age": [7.0, 8.0, 9.0],
        "log_mass": [2.5, 3.5],
        "half_light_radius_arcsec": [0.3, 3.0],
    }
    combos = [(a, m, r) for a in grid["log_age"] for m in grid["log_mass"] for r in (0.3, 3.0)]
    truth = np.array([(a, m + 0.01, np.log10(r)) for a, m, r in combos for _ in range(200)])
    offset = np.array([0.05, -0.1, 0.0])
    medians = truth + offset + rng.normal(0, [0.1, 0.2, 0.05], truth.shape)
    points = grid_points(attributes(**grid), NAMES, truth, medians)
    assert len(points) == 12 and {p.n for p in points} == {200}
    assert sorted({p.radius_arcsec for p in points}) == [0.3, 3.0]
    for point in points:
        np.testing.assert_allclose(point.mean - point.truth, [0.05, -0.1], atol=0.06)
        np.testing.assert_allclose(np.sqrt(np.diag(point.covariance)), [0.1, 0.2], rtol=0.25)
    path = tmp_path / "map.png"
    draw_grid_map(path, points)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_too_few_mocks_at_every_point_are_no_picture(tmp_path):
    truth = np.full((2, 3), [7.0, 3.0, 0.0])
    points = grid_points(attributes(log_age=[7.0], log_mass=[3.0]), NAMES, truth, truth)
    draw_grid_map(tmp_path / "map.png", points)
    assert points == [] and not (tmp_path / "map.png").exists()


def test_a_set_without_a_grid_has_no_map():
    assert not has_grid({}) and not has_grid(attributes(log_age=[7.0], log_mass=[]))
    assert has_grid(attributes(log_age=[7.0], log_mass=[3.0]))
    with pytest.raises(DatasetError, match=r"expected a set with grid\.log_age"):
        grid_points({}, NAMES, np.zeros((1, 3)), np.zeros((1, 3)))
