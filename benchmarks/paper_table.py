"""The table of Burke et al. 2019 for shipped weights: every cell, the bar and the aim.

::

    python benchmarks/paper_table.py --output out/paper --workers 2

Simulates the two test sets (50 fields ``decam-paper``, 10 fields ``decam-deep``, seed 20190806),
scores ``decam-grz`` and ``astro-rcnn-r101`` on both, and prints one table in Markdown. ``--fields
5 --deep-fields 1`` is a quick look; ``--seed`` makes other fields, which want an ``--output`` of
their own. What is there already is kept: ``test.h5``, ``deep-test.h5``, and a folder of figures
for each weights and set. Exit code 1 where a cell is below the paper's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps import StepFailed, check

from astro_rcnn import evaluate
from astro_rcnn.scorecard import (
    COLUMNS,
    PAPER_DEEP_SCORES,
    PAPER_PRECISION_AT_RECALL_80,
    PAPER_SCORES,
    number,
)
from simulate import fields

SEED = 20190806
WEIGHTS = ("decam-grz", "astro-rcnn-r101")
CLASSES = ("star", "galaxy", "combined")
HEAD = (*COLUMNS, "P@R80", "deep AP50")
CROWDED = ("--max-detections", "3000", "--min-score", "0.005")
"""A deep field has 3900 sources in 512 x 512 pixels."""

AIM = {
    "star": (65.0, 95.0, None, None, None, None, 98.0, None),
    "galaxy": (65.0, 92.0, None, None, 70.0, 70.0, 98.0, 40.0),
    "combined": (None,) * len(HEAD),
}
"""What this project set out for, in the order of `HEAD`."""


def paper_cells(name: str) -> list[float | None]:
    """Return the paper's numbers of a class, in the order of `HEAD`."""
    deep = PAPER_DEEP_SCORES.get(name)
    deep_ap50 = deep[COLUMNS.index("AP50")] if deep else None
    return [*PAPER_SCORES[name], PAPER_PRECISION_AT_RECALL_80[name], deep_ap50]


def our_cells(name: str, test: Mapping[str, Any], deep: Mapping[str, Any]) -> list[float | None]:
    """Return ours, from the ``metrics.json`` of the two sets."""
    scores = [test["paper"][name][column] for column in COLUMNS]
    at_80 = test["precision_at_recall_80"].get(name)
    return [*scores, at_80, deep["paper"][name]["AP50"]]


def is_met(ours: float | None, bar: float | None) -> bool:
    """Tell whether a cell reaches the bar, to the tenth that is printed; without a bar it does."""
    return bar is None or (ours is not None and round(ours, 1) >= bar)


def table_of(scores: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> tuple[str, int]:
    """Lay out all cells in Markdown; those below the paper's are marked.

    Returns
    -------
    text : str
    n_missed : int
    """
    lines = [f"| | {' | '.join(HEAD)} |", "|---" * (len(HEAD) + 1) + "|"]
    n_missed = 0
    for name in CLASSES:
        bar = paper_cells(name)
        for weights, (test, deep) in scores.items():
            ours = our_cells(name, test, deep)
            met = [is_met(*pair) for pair in zip(ours, bar, strict=True)]
            n_missed += met.count(False)
            cells = [
                number(value) + ("" if ok else " (below)")
                for value, ok in zip(ours, met, strict=True)
            ]
            lines.append(f"| {name}, {weights} | {' | '.join(cells)} |")
        for label, row in (("the paper", bar), ("our aim", AIM[name])):
            if not any(row):
                continue
            lines.append(f"| {name}, {label} | {' | '.join(map(number, row))} |")
    return "\n".join(lines), n_missed


def make_set(preset: str, n: int, path: Path, args: argparse.Namespace) -> Path:
    """Simulate a test set; of one that is there, what is missing."""
    line = ["--preset", preset, "--n", str(n), "--seed", str(args.seed), "--output", str(path)]
    check(fields.main([*line, "--workers", str(args.workers)]))
    return path


def score(weights: str, dataset: Path, output: Path, options: Sequence[str]) -> dict[str, Any]:
    """Score weights on a set, unless that is done; return ``metrics.json``."""
    path = output / "metrics.json"
    if not path.exists():
        line = ["--weights", weights, "--dataset", str(dataset), "--output", str(output)]
        check(evaluate.main([*line, "--no-sep", *options]))
    return json.loads(path.read_text())


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", nargs="+", default=list(WEIGHTS), help="names or files (default: both)")
    add("--fields", type=int, default=50, help="of decam-paper (default %(default)s)")
    add("--deep-fields", type=int, default=10, help="of decam-deep (default %(default)s)")
    add("--seed", type=int, default=SEED, help="of the fields (default %(default)s)")
    add("--best-class", action="store_true", help="score as the paper did: best class, above 0.5")
    add("--workers", type=int, default=1, help="processes that simulate (default %(default)s)")
    add("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    as_the_paper = ["--best-class", "--min-score", "0.5"] if args.best_class else []
    try:
        test = make_set("decam-paper", args.fields, args.output / "test.h5", args)
        deep = make_set("decam-deep", args.deep_fields, args.output / "deep-test.h5", args)
        scores = {}
        for weights in args.weights:
            name = Path(weights).name + ("-best-class" if args.best_class else "")
            folder = args.output / name
            scores[name] = (
                score(weights, test, folder / "test", as_the_paper),
                score(weights, deep, folder / "deep", [*CROWDED, *as_the_paper]),
            )
    except StepFailed as failure:
        return failure.code
    text, n_missed = table_of(scores)
    print(text)
    return 1 if n_missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
