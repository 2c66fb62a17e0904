"""Command: score weights on images whose truth is known.

``python -m astro_rcnn.evaluate --weights decam-grz --dataset test.h5 --output scores``

Writes metrics.json, truth.fits (what became of every true source), detections.fits and figures;
prints the table of Burke et al. 2019 with their numbers beside ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astro_io import cli
from astro_io.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.new_parser("astro_rcnn.evaluate", __doc__.removeprefix("Command: "))
    add = parser.add_argument
    add("--weights", default="decam-grz", help="name or file (default %(default)s)")
    add("--dataset", required=True, type=Path, help="set with truth")
    add("--limit", type=int, metavar="N", help="only the first N images")
    score = {"type": float, "metavar": "S"}
    add("--min-score", default=0.05, help="least score for AP (default %(default)s)", **score)
    working = "least score for confusion, completeness, purity, deblending (default %(default)s)"
    add("--operating-score", default=0.5, help=working, **score)
    ignored = "leave truth of lower S/N out of account (default %(default)s: none)"
    add("--min-snr", default=0.0, help=ignored, **score)
    rules = ("peak", "isophote")
    add("--rule", choices=rules, default="peak", help="true masks (default %(default)s)")
    tiles = "side of a tile in pixels, 0: images whole (default %(default)s)"
    add("--tile", type=int, default=512, metavar="PX", help=tiles)
    shared = "least overlap of tiles in pixels (default %(default)s)"
    add("--overlap", type=int, default=64, metavar="PX", help=shared)
    most = "most detections in 512 x 512 px, for crowded fields (default: as the weights say)"
    add("--max-detections", type=int, metavar="N", help=most)
    add("--band", help="band of the magnitudes (default r, or the middle one)")
    threshold = "SEP's detection limit in sky sigmas; suit it to the set (default %(default)s)"
    add("--sep-threshold", type=float, default=1.5, metavar="T", help=threshold)
    best = "let a source answer for its most probable class alone, as Matterport's Mask R-CNN"
    add("--best-class", action="store_true", help=best)
    add("--no-sep", action="store_true", help="leave SEP out")
    add("--examples", type=int, default=3, metavar="N", help="images drawn (default %(default)s)")
    cli.add_common_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    cli.configure_logging(args)
    _check_ranges(args)
    from astro_io.dataset import open_dataset
    from astro_io.truth import MaskRule
    from astro_rcnn import evaluation_run, scorecard
    from astro_rcnn.scoring import ScoringSettings, magnitude_band
    from astro_rcnn.sep_baseline import SepSettings

    evaluation_run.refuse_existing(args.output, overwrite=args.overwrite)
    dataset = open_dataset(args.dataset)
    magnitude_band(dataset.bands, args.band)
    settings = ScoringSettings(
        rule=MaskRule(kind=args.rule),
        operating_score=args.operating_score,
        truth_min_snr=args.min_snr,
        band=args.band,
    )
    from astro_rcnn.detector import Detector

    evaluation = evaluation_run.score_dataset(
        Detector.load(
            args.weights,
            min_confidence=args.min_score,
            max_detections=args.max_detections,
            other_classes_below=0.0 if args.best_class else args.operating_score,
        ),
        dataset,
        args.output,
        settings,
        tile=args.tile,
        overlap=args.overlap,
        sep=None if args.no_sep else SepSettings(threshold_sigma=args.sep_threshold),
        limit=args.limit,
        n_examples=args.examples,
        facts={
            "dataset": args.dataset.name,
            "min_score": args.min_score,
            "best_class_alone": args.best_class,
        },
    )
    print(scorecard.scorecard(evaluation.metrics), end="\n\n")
    cli.summary(f"{scorecard.headline(evaluation.metrics)} -> {args.output}")
    return cli.DONE


def _check_ranges(args: argparse.Namespace) -> None:
    """Refuse numbers that make no sense."""
    cli.check_fractions(args, "min_score", "operating_score")
    if args.min_score > args.operating_score:
        raise ConfigError(
            f"--min-score {args.min_score} is above --operating-score {args.operating_score}: "
            "detections between them would be missing. Lower it."
        )
    if args.sep_threshold <= 0:
        raise ConfigError(f"--sep-threshold: expected above 0; found {args.sep_threshold}.")
    cli.check_at_least(args, examples=0, min_snr=0, overlap=0, limit=1, max_detections=1)


if __name__ == "__main__":
    raise SystemExit(main())
