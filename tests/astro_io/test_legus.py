"""LEGUS tables: a made one with known entries, and the real one of NGC 1566."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from astro_io.errors import CatalogError, InputNotFoundError
from astro_io.legus import (
    count_agreement,
    legus_columns,
    photometry_features,
    read_legus,
    votes_of,
    why_not_legus,
)


def write_table(path, n=3, votes=((4, 1, 4), (1, 0, 0), (0, 0, 0))):
    """Write rows whose entry in column c is row + c / 100, classes and votes apart."""
    rows = []
    for i in range(n):
        row = [i + c / 100 for c in range(1, 35)]
        row[0], row[32], row[33] = i + 1, 5, (4, 1, 0)[i % 3]
        row[5], row[7] = 99.999, 66.666
        rows.append([*row, 6, *votes[i % 3]])
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.writelines(" ".join(f"{v:.3f}" for v in row) + "\n" for row in rows)
    return path


@pytest.mark.parametrize("name", ["a.tab", "a.tab.gz"])
def test_columns_are_where_the_readme_says(tmp_path, name):
    table = read_legus(write_table(tmp_path / name))
    assert len(legus_columns()) == 34
    second = table[1]
    assert second["id"] == 2
    assert (second["x"], second["y"]) == pytest.approx((0.02, 0.03))  # 1-based in the file
    assert (second["ra"], second["dec"]) == (1.04, 1.05)
    assert np.isnan(second["mag_F275W"])  # 99.999: not detected
    assert second["mag_err_F275W"] == 1.07
    assert np.isnan(second["mag_F336W"])  # 66.666: not covered
    assert second["mag_F814W"] == 1.14
    assert second["ci"] == 1.16
    assert second["age_best"] == 1.17
    assert second["mass_best"] == 1.2
    assert second["ebv_min"] == 1.25
    assert second["chi2"] == 1.31
    assert list(table["class"]) == [4, 1, 0]
    assert list(table["vote_1"]) == [4, 1, 0]
    assert table["x"].unit == "pix"


def test_agreement_by_hand():
    """Votes 4, 1, 4: pairs 4-1, 4-4, 1-4, each from both sides."""
    counts = count_agreement(np.array([[4, 1, 4], [1, 0, 0], [0, 0, 0]]))
    wanted = np.zeros((4, 4), int)
    wanted[3, 3] = 2
    wanted[3, 0] = wanted[0, 3] = 2
    np.testing.assert_array_equal(counts, wanted)


def test_features_are_magnitudes_and_colours(tmp_path):
    table = read_legus(write_table(tmp_path / "a.tab"))
    features = photometry_features(table)
    assert features.shape == (3, 9)
    assert features[0, 8] == pytest.approx(table["mag_F555W"][0] - table["mag_F814W"][0])
    assert photometry_features(table, has_quality=True).shape == (3, 15)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.tab").write_text("x y\n1 2\n")
    with pytest.raises(CatalogError, match="numbers alone"):
        read_legus(tmp_path / "text.tab")
    (tmp_path / "short.tab").write_text("1 2 3\n")
    with pytest.raises(CatalogError, match="34 columns .*found 3"):
        read_legus(tmp_path / "short.tab")
    with pytest.raises(InputNotFoundError):
        read_legus(tmp_path / "none.tab")
    assert why_not_legus(tmp_path / "short.tab") == "it has fewer than 34 columns"
    assert "no such table" in why_not_legus(tmp_path / "none.tab")
    (tmp_path / "cut.tab.gz").write_bytes(gzip.compress(b"1 " * 34 + b"\n")[:-9])
    with pytest.raises(CatalogError, match="cut"):
        read_legus(tmp_path / "cut.tab.gz")
    assert why_not_legus(write_table(tmp_path / "good.tab")) == ""


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (0, 1.5, "column 1 is no number of a source"),
        (3, 361.0, "column 4 is no right ascension"),
        (4, -91.0, "column 5 is no declination"),
        (32, 22.5, "column 33 is no number of filters"),
        (33, 5.0, "column 34 is no class, 0 to 4"),
        (37, 0.5, "columns from 36 on are no votes"),
    ],
)
def test_numbers_of_another_kind_are_no_legus_table(tmp_path, column, value, said):
    rows = np.loadtxt(write_table(tmp_path / "good.tab"))
    rows[2, column] = value
    np.savetxt(tmp_path / "odd.tab", rows, fmt="%.3f")
    assert said in why_not_legus(tmp_path / "odd.tab")
    with pytest.raises(CatalogError, match=said):
        read_legus(tmp_path / "odd.tab")


def test_real_table_has_the_published_classes(shared_data):
    path = next((shared_data / "clusters" / "legus").glob("*ngc1566*.tab.gz"), None)
    if path is None:
        pytest.skip("no LEGUS table of NGC 1566")
    table = read_legus(path)
    assert len(table) == 2752
    classes = np.asarray(table["class"])
    assert [int((classes == i).sum()) for i in range(5)] == [301, 477, 404, 692, 878]
    counts = count_agreement(votes_of(table))
    shares = counts / counts.sum(axis=1, keepdims=True)
    # Off the diagonal these are what simulate.star_clusters.class_config scales.
    assert shares[2, 3] == pytest.approx(0.457, abs=1e-3)
    assert np.nanmin(table["mag_F555W"]) > 15
