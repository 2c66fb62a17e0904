from __future__ import annotations

import json

import numpy as np

from astro_rcnn.scorecard import COLUMNS, card_scores, headline, number, plain, scorecard


def metrics(**extra):
    """Return metrics with the paper's star row, no galaxy, and distinct numbers."""
    row = dict(zip(COLUMNS, (48.6, 86.8, 32.3, 86.8, np.nan, np.nan), strict=True))
    none = dict.fromkeys(COLUMNS, np.nan)
    return {
        "paper": {"star": row, "galaxy": none, "combined": row},
        "precision_at_recall_80": {"star": 91.25, "galaxy": np.nan},
        "confusion": {"0.5": [[3, 1], [0, 0]], "0.75": [[2, 0], [0, 0]]},
        "star_galaxy_roc": {"area": 0.98765},
        "calibration": {
            "expected_error": 0.25,
            "expected_error_with_temperature": 0.125,
            "temperature": 1.5,
        },
        "n_images": 2,
        "n_star": 4,
        "n_galaxy": 0,
        **extra,
    }


def test_plain_makes_json_of_anything():
    made = plain(
        {
            "nan": np.nan,
            "inf": np.float32(np.inf),
            1: np.array([1.5, np.nan]),
            "n": np.int64(3),
            "flag": True,
            "text": "abc",
            "tuple": (1, None),
            "digits": 100 / 3,
        }
    )
    assert json.loads(json.dumps(made, allow_nan=False)) == {
        "nan": None,
        "inf": None,
        "1": [1.5, None],
        "n": 3,
        "flag": True,
        "text": "abc",
        "tuple": [1, None],
        "digits": 33.3333,
    }


def test_number():
    assert number(86.849) == "86.8"
    assert number(None) == number(float("nan")) == "-"
    assert number(0.12345, 3) == "0.123"


def test_table_shows_ours_above_the_papers():
    lines = scorecard(metrics()).splitlines()
    star = next(i for i, line in enumerate(lines) if line.startswith("star "))
    assert lines[star].split() == ["star", "48.6", "86.8", "32.3", "86.8", "-", "-", "91.2"]
    assert lines[star + 1].split() == ["paper", "48.6", "86.8", "32.3", "86.8", "-", "-", "92.0"]
    galaxy = next(i for i, line in enumerate(lines) if line.startswith("galaxy "))
    assert lines[galaxy].split()[1:] == ["-"] * 7


def test_table_shows_confusion_with_shares():
    lines = scorecard(metrics()).splitlines()
    row = next(line for line in lines if line.startswith("star, IoU 0.5 "))
    assert row.split()[3:] == ["3", "(75.0)", "1", "(25.0)"]
    empty = next(line for line in lines if line.startswith("galaxy, IoU 0.5 "))
    assert empty.split()[3:] == ["0", "(-)", "0", "(-)"]


def test_table_lines_fit_a_terminal_and_leave_out_what_is_missing():
    text = scorecard(metrics())
    assert max(map(len, text.splitlines())) <= 100
    assert "SEP" not in text and "COCO" not in text


def test_headline_is_one_line():
    line = headline(metrics())
    assert line == ("2 images, 4 stars, 0 galaxies: star AP 48.6 AP50 86.8, galaxy AP - AP50 -")


def test_a_deep_field_stands_beside_the_deep_field_of_the_paper():
    lines = scorecard(metrics(dataset_attributes={"preset": "decam-deep"})).splitlines()
    found = [line.split() for line in lines if "paper, deep field" in line]
    assert found == [
        ["paper,", "deep", "field", "-", "52.0", "-", "-", "-", "-", "-"],
        ["paper,", "deep", "field", "-", "7.6", "-", "-", "-", "-", "-"],
    ]


def test_card_shows_what_there_is_to_score():
    assert card_scores(metrics()) == {
        "star_AP": 48.6,
        "star_AP50": 86.8,
        "star_AP75": 32.3,
        "star_AP_S": 86.8,
        "star_precision_at_recall_80": 91.2,
    }
