"""Command: fit the temperature of the scores, and store it with the weights.

``python -m astro_rcnn.calibrate --weights runs/compact --dataset validation.h5 --output runs/c``

Detects in images with known truth, which should be neither of the training nor of the test set,
finds the temperature that makes the scores come true as often as they say, and writes the same
weights with it, and the record that the registry needs. The least score moves along, so that the
same detections pass. ``--set`` changes settings on the way, such as the limits on proposals.
Weights with a second look (``astro_rcnn.refine``) are refused: teach it after this.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from astro_io import cli
from astro_io.errors import ConfigError

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.new_parser("astro_rcnn.calibrate", __doc__.removeprefix("Command: "))
    add = parser.add_argument
    add("--weights", default="decam-grz", help="name, file or run folder (default %(default)s)")
    add("--dataset", required=True, type=Path, help="set with truth, not the test set")
    add("--limit", type=int, metavar="N", help="only the first N images")
    least = "least score of a detection that is looked at (default %(default)s)"
    add("--min-score", type=float, default=0.05, metavar="S", help=least)
    snr = "leave truth of lower S/N out of account (default %(default)s: none)"
    add("--min-snr", type=float, default=0.0, metavar="S", help=snr)
    change = "change a setting of the network, for example max_detections=500; repeatable"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=change)
    cli.add_common_arguments(parser, output="folder for weights and record", seed=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    cli.configure_logging(args)
    cli.check_fractions(args, "min_score")
    if args.min_score == 1:
        raise ConfigError("--min-score: expected below 1; found 1: no detection would be left.")
    cli.check_at_least(args, limit=1)
    from astro_io.config import override_config
    from astro_io.dataset import open_dataset
    from astro_io.weights import resolve
    from astro_rcnn.calibration import TEMPERATURE_RANGE
    from astro_rcnn.score_fit import fit_scores, write_calibrated
    from astro_rcnn.scoring import ScoringSettings
    from astro_rcnn.weights_file import read_weights

    path, entry = resolve(str(args.weights))
    model = override_config(read_weights(path)[0], args.set)
    if model.second_look_px:
        raise ConfigError(
            f"{path.name}: expected weights that look once; these have a second look, which learnt "
            "from the scores as they are. Calibrate the weights that it was taught to, then run "
            "python -m astro_rcnn.refine again."
        )
    dataset = open_dataset(args.dataset)
    n_images = len(dataset) if args.limit is None else min(args.limit, len(dataset))
    fit = fit_scores(
        path,
        model,
        (dataset[i] for i in cli.progress(range(n_images), unit="image")),
        ScoringSettings(truth_min_snr=args.min_snr),
        min_score=args.min_score,
    )
    if not math.isfinite(fit.temperature):
        raise ConfigError(f"{args.dataset}: no detection in {n_images} images: nothing to fit.")
    if not TEMPERATURE_RANGE[0] < fit.temperature < TEMPERATURE_RANGE[1]:
        logger.warning(
            "%s: a temperature of %g is the end of the range: the scores of %d detections say "
            "nothing of what is true there. Is it a set of the kind that the weights were taught?",
            args.dataset,
            fit.temperature,
            fit.n,
        )
    written = write_calibrated(
        path,
        args.output,
        model,
        fit,
        entry=entry,
        facts={"dataset": args.dataset.name, "n_images": n_images},
        overwrite=args.overwrite,
    )
    cli.summary(
        f"temperature {fit.temperature:.3f} from {fit.n} detections: calibration error "
        f"{fit.error_before:.4f} -> {fit.error_after:.4f}; least score {fit.min_confidence_before}"
        f" -> {fit.min_confidence}: {written}"
    )
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(main())
