"""Score weights: ``python -m cluster_cnn.evaluate --weights W --dataset SET --output DIR``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from astro_io.cli import (
    DONE,
    add_common_arguments,
    check_at_least,
    configure_logging,
    new_parser,
    run,
    summary,
)
from cluster_cnn.arguments import add_within

DEFAULT_WEIGHTS = "cluster-phat"

TASKS: dict[str, str] = {
    "parameters": "cluster_cnn.parameter_evaluation:evaluate_weights",
    "classes": "cluster_cnn.classes.evaluation:evaluate_weights",
}
"""What scores weights of each task: a function of the weights' name and the arguments; it writes
``metrics.json`` and returns the tables to print and the line for stdout."""

DESCRIPTION = """\
Score weights on stamps whose truth is known (python -m simulate.clusters makes them), beside
gradient boosting on aperture photometry of the same stamps. Writes metrics.json, estimates.fits
and figures; a set made on a grid of ages and masses also gives the bias-and-scatter map."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    check_at_least(args, limit=1)
    from cluster_cnn.photometry_baseline import check_installed
    from cluster_cnn.tasks import task_of_weights

    if not args.no_baseline:
        check_installed()
    module, _, name = TASKS[task_of_weights(args.weights)].partition(":")
    tables, line = getattr(importlib.import_module(module), name)(args)
    print(tables, end="\n\n")
    summary(line)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("cluster_cnn.evaluate", DESCRIPTION)
    add = parser.add_argument
    add("--weights", default=DEFAULT_WEIGHTS, help="name, file or run (default %(default)s)")
    add(
        "--dataset",
        required=True,
        nargs="+",
        type=Path,
        metavar="SET",
        help="stamps with truth (.h5); several count as one (for classes)",
    )
    add(
        "--held-out",
        action="store_true",
        help="--dataset is what the weights were trained on: score the part that was set aside "
        "(for classes)",
    )
    add("--limit", type=int, metavar="N", help="only the first N stamps")
    add("--no-baseline", action="store_true", help="leave the photometry baseline out")
    add(
        "--baseline-training",
        nargs="+",
        type=Path,
        default=[],
        metavar="SET",
        help="what the baseline learns from (default: the dataset itself, five-fold; with "
        "--held-out what the network learnt from)",
    )
    add("--ablation", action="store_true", help="also score with each band blanked in turn")
    add_within(parser)
    add_common_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
