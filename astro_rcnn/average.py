"""Command: weights between two networks, of which one goes on from the other.

``python -m astro_rcnn.average runs/compact runs/deep --share 0.35 --output runs/between``

Every tensor is ``(1 - share)`` of the first and `share` of the second. A network that was trained
further for other fields forgets some of what it knew; on the line between the two lie networks that
know both (Wortsman et al. 2022, CVPR, arXiv 2109.01903). Settings are those of the first. Choose
the share on validation sets. A second look (``astro_rcnn.refine``) belongs to the network that it
was taught to and is left out: teach the average one of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astro_io import cli
from astro_io.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np


def average_tensors(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], share: float
) -> dict[str, np.ndarray]:
    """Return ``(1 - share) * first + share * second``, name by name.

    Raises
    ------
    WeightsError
        If names or shapes differ.
    """
    odd = sorted(set(first) ^ set(second))
    odd += [n for n in first if n in second and first[n].shape != second[n].shape]
    if odd:
        raise WeightsError(
            f"expected two networks of the same layers; found {len(odd)} tensors that differ "
            f"(first: {odd[0]}). Average weights of which one was trained from the other."
        )
    return {name: (1 - share) * value + share * second[name] for name, value in first.items()}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.new_parser("astro_rcnn.average", __doc__.removeprefix("Command: "))
    add = parser.add_argument
    add("first", help="name, file or run folder; its settings are kept")
    add("second", help="name, file or run folder")
    add("--share", type=float, default=0.5, metavar="S", help="of the second (default %(default)s)")
    add("--min-score", type=float, metavar="S", help="least score (default: of the first)")
    add("--name", default="average", help="of the weights (default %(default)s)")
    add("--half-precision", action="store_true", help="16 bits a number, as the shipped weights")
    cli.add_common_arguments(parser, output="folder for the weights", seed=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    cli.configure_logging(args)
    cli.check_fractions(args, "share", "min_score")
    from dataclasses import replace

    from astro_io.provenance import provenance
    from astro_io.weights import resolve
    from astro_rcnn.second_look import without_second_look
    from astro_rcnn.weights_file import read_weights, write_tensors

    paths: list[Path] = [resolve(str(name))[0] for name in (args.first, args.second)]
    (settings, first, _), (_, second, _) = (read_weights(path) for path in paths)
    settings = replace(settings, second_look_px=0)
    if args.min_score is not None:
        settings = replace(settings, min_confidence=args.min_score)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{args.name}.weights.h5"
    mean = average_tensors(without_second_look(first), without_second_look(second), args.share)
    facts = {"name": args.name, "average_of": [p.name for p in paths], "share": args.share}
    write_tensors(
        settings,
        mean,
        path,
        metadata={**facts, **provenance()},
        dtype="float16" if args.half_precision else "float32",
        overwrite=args.overwrite,
    )
    cli.summary(
        f"{len(mean)} tensors, {args.share:g} of {paths[1].name} in {paths[0].name}: {path}"
    )
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(main())
