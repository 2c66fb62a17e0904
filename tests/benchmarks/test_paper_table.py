"""The paper's table: cells, bars, and what counts as missed; no network runs here."""

from __future__ import annotations

import json

import pytest

from benchmarks import paper_table

GOOD = {
    "star": {"AP": 80.0, "AP50": 96.0, "AP75": 93.0, "AP_S": 86.76, "AP_M": None, "AP_L": None},
    "galaxy": {"AP": 73.0, "AP50": 94.0, "AP75": 86.0, "AP_S": 94.0, "AP_M": 95.0, "AP_L": 80.0},
    "combined": {"AP": 74.0, "AP50": 94.1, "AP75": 87.0, "AP_S": 94.0, "AP_M": 95.0, "AP_L": 80.0},
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Sets and scores of weights as if they had been made; stars of the deep field at 45."""
    monkeypatch.setattr(paper_table.fields, "main", lambda line: 0)
    at_80 = {"star": 99.0, "galaxy": 99.9}
    deep = {**GOOD, "star": {**GOOD["star"], "AP50": 45.0}}
    for kind, paper in (("test", GOOD), ("deep", deep)):
        folder = tmp_path / "mine" / kind
        folder.mkdir(parents=True)
        metrics = {"paper": paper, "precision_at_recall_80": at_80}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def test_a_cell_below_the_papers_is_marked_and_counts(results, capsys):
    line = ["--weights", "mine", "--output", str(results)]
    assert paper_table.main(line) == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].endswith("| AP_L | P@R80 | deep AP50 |")
    assert rows[2] == (
        "| star, mine | 80.0 | 96.0 | 93.0 | 86.8 | - | - | 99.0 | 45.0 (below) |"
    ), "86.76 is the paper's 86.8"
    assert rows[3] == "| star, the paper | 48.6 | 86.8 | 32.3 | 86.8 | - | - | 92.0 | 52.0 |"
    assert rows[4] == "| star, our aim | 65.0 | 95.0 | - | - | - | - | 98.0 | - |"
    assert "(below)" not in rows[5]
    assert rows[8] == "| combined, mine | 74.0 | 94.1 | 87.0 | 94.0 | 95.0 | 80.0 | - | 94.1 |"
    assert rows[9] == "| combined, the paper | 49.0 | 84.2 | 39.8 | 76.4 | 7.0 | 0.3 | - | - |"
    assert len(rows) == 10


def test_a_command_that_fails_ends_it_with_its_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paper_table.fields, "main", lambda line: 2)
    assert paper_table.main(["--output", str(tmp_path)]) == 2
    assert capsys.readouterr().out == ""
