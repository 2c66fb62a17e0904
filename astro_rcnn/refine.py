"""Command: teach finished weights a second look at the class of each detection.

``python -m astro_rcnn.refine --weights runs/compact --dataset a.h5 b.h5 --output runs/refined``

The network detects in images with known truth; a small network learns, from the pixels around each
detection, to tell its classes apart better than the first head does (`astro_rcnn.second_look`).
What is a source, and how probably, stays as it was; from then on a detection is kept if it is one,
be its class doubtful or not. Name sets of every kind of field that is to be looked at; none that
the weights have learnt from, and none of the test sets. Minutes on two processor cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_io import cli

if TYPE_CHECKING:
    import keras

    from astro_rcnn.config import ModelConfig


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.new_parser("astro_rcnn.refine", __doc__.removeprefix("Command: "))
    add = parser.add_argument
    add("--weights", default="decam-grz", help="name, file or run folder (default %(default)s)")
    add("--dataset", required=True, nargs="+", type=Path, metavar="SET", help="sets with truth")
    add("--limit", type=int, metavar="N", help="only the first N images of each set")
    side = "side of the cut-outs in pixels (default %(default)s)"
    add("--side", type=int, default=25, metavar="PX", help=side)
    add("--epochs", type=int, default=12, help="default %(default)s")
    begin = "weights whose second look this one begins with (default: at random)"
    add("--begin-with", metavar="WEIGHTS", help=begin)
    least = "least probability of being a source, of the new weights (default: of the old)"
    add("--min-score", type=float, metavar="S", help=least)
    add("--name", help="of the new weights (default: of the old)")
    add("--half-precision", action="store_true", help="16 bits a number, as the shipped weights")
    cli.add_common_arguments(parser, output="folder for weights and record")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    cli.configure_logging(args)
    cli.check_at_least(args, limit=1, side=8, epochs=1)
    cli.check_fractions(args, "min_score")
    from dataclasses import replace

    from astro_io.errors import OutputExistsError
    from astro_io.weights import resolve, write_record
    from astro_rcnn.second_look_fit import with_second_look
    from astro_rcnn.weights_file import read_weights, write_tensors

    source, entry = resolve(str(args.weights))
    settings, tensors, metadata = read_weights(source)
    name = args.name or metadata.get("name") or source.name.split(".")[0]
    path = args.output / f"{name}.weights.h5"
    if path.exists() and not args.overwrite:
        raise OutputExistsError(f"{path} exists. Pass --overwrite, or choose another --output.")
    head, facts = _learn(args, source, settings)
    tensors = with_second_look(tensors, head)
    settings = replace(settings, second_look_px=args.side)
    if args.min_score is not None:
        settings = replace(settings, min_confidence=args.min_score)
    write_tensors(
        settings,
        tensors,
        path,
        metadata={**metadata, "name": name, "second_look": facts},
        dtype="float16" if args.half_precision else "float32",
        overwrite=args.overwrite,
    )
    if entry is not None:
        write_record(
            entry,
            path,
            name=name,
            thresholds={**entry.thresholds, "min_confidence": settings.min_confidence},
            n_parameters=int(sum(value.size for value in tensors.values())),
        )
    cli.summary(
        f"{facts['n_learnt_from']} detections; of {facts['n']} others "
        f"{facts['right_before']:.2f} -> {facts['right_after']:.2f} % in the right class, "
        f"cross-entropy {facts['loss_before']:.4f} -> {facts['loss_after']:.4f}: {path}"
    )
    return cli.DONE


def _learn(
    args: argparse.Namespace, source: Path, settings: ModelConfig
) -> tuple[keras.Model, dict[str, Any]]:
    """Return the second look that is learnt as the arguments say, and facts about it."""
    from astro_io.dataset import open_dataset
    from astro_io.provenance import provenance
    from astro_rcnn.second_look_fit import (
        LookFinder,
        LookSettings,
        collect,
        fit_second_look,
        second_look_of,
    )

    head = None
    if args.begin_with:
        head = second_look_of(args.begin_with, settings, side=args.side)
    sets = [open_dataset(path) for path in args.dataset]
    args.output.mkdir(parents=True, exist_ok=True)
    looks = collect(LookFinder(source, args.side), sets, limit=args.limit)
    wanted = LookSettings(side=args.side, epochs=args.epochs, seed=args.seed or 0)
    head, facts = fit_second_look(looks, wanted, head=head, output=args.output)
    begun = Path(args.begin_with).name if args.begin_with else "random"
    facts |= {"of": source.name, "began_with": begun, "sets": [p.name for p in args.dataset]}
    return head, facts | provenance()


if __name__ == "__main__":
    raise SystemExit(main())
