"""Measure star clusters: ``python -m cluster_cnn.predict MOSAIC... --catalog TABLE --output T``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from astro_io.cli import (
    DONE,
    SOME_FAILED,
    add_common_arguments,
    configure_logging,
    new_parser,
    run,
    summary,
)
from cluster_cnn.arguments import add_positions, add_within

DEFAULT_WEIGHTS = {"parameters": "cluster-phat", "classes": "classes-phangs"}
"""By task."""

DESCRIPTION = """\
Measure star-cluster candidates on mosaics: one row a candidate, with all columns of the input.
Weights for parameters give log_age, log_mass, av, log_radius (each _p16, _p50, _p84, _best), their
correlations, p_cluster, log_snr; weights for classes (--task classes) give p_class_1 to p_class_4,
class, p_cluster, entropy, and pictures of each class beside the table. Doubts stand in flags.

MOSAIC is F475W=a.fits,F814W=b.fits, a folder with img_<band>.fits, a cube, or a file with one
extension a band, sky subtracted, in electrons a second (or with zero points in the header).
Several mosaics may be given for positions in ra and dec. TABLE is anything that astropy reads,
with x and y (0-based pixel centres) or ra and dec (degrees, or h:m:s and d:m:s)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    from astro_io.catalog import catalog_format, check_storable, write_catalog
    from astro_io.errors import OutputExistsError
    from astro_io.positions import read_candidates

    kind = args.format or catalog_format(args.output)
    if args.output.exists() and not args.overwrite:
        raise OutputExistsError(
            f"{args.output} exists. Pass --overwrite, or choose another --output."
        )
    candidates = read_candidates(
        args.catalog,
        columns=args.columns,
        is_sky=args.sky or None,
        prefers_sky=len(args.mosaics) > 1,
    )
    start = time.monotonic()
    from cluster_cnn import prediction_run

    check_storable(prediction_run.plain_table(candidates.table), kind, name=candidates.name)
    from cluster_cnn.tasks import open_task

    settings = prediction_run.PredictionSettings(
        origin=args.origin,
        may_lack_bands=args.missing_bands == "blank",
        must_align=args.align == "refuse",
        known=_known(args),
    )
    task = open_task(args.weights or DEFAULT_WEIGHTS[args.task or "parameters"], args.task)
    _refuse_unknown(settings.known, task.may_know)
    if args.within:
        task.restrict(dict(args.within))
    if not args.no_gallery and not args.overwrite:
        _refuse_existing(task.beside(args.output))
    prediction = prediction_run.predict_candidates(task, args.mosaics, candidates, settings)
    from astro_io.input_spec import image_name

    names = [image_name(spec) for spec in args.mosaics]
    if len(set(names)) < len(names):
        names = [str(spec) for spec in args.mosaics]
    table = prediction_run.result_table(task, candidates, prediction, names)
    table.meta.update(prediction_run.metadata(task, args.mosaics, candidates.name))
    write_catalog(args.output, table, kind, overwrite=args.overwrite)
    if not args.no_gallery:
        task.finish(args.output)
    n, n_done = len(candidates), int(prediction.has_result.sum())
    n_doubtful = int(((prediction.flags != 0) & prediction.has_result).sum())
    failed = f", {len(prediction.failed)} mosaics failed" if prediction.failed else ""
    summary(
        f"{args.output}: {n_done} of {n} candidates measured, {n_doubtful} of them with "
        f"flags{failed}, {time.monotonic() - start:.1f} s"
    )
    return SOME_FAILED if prediction.failed else DONE


def _refuse_unknown(known: Iterable[str], may_know: Sequence[str]) -> None:
    """Raise if the user knows what the weights cannot be told."""
    from astro_io.errors import ConfigError

    odd = [f"--{name.replace('_', '-')}" for name in known if name not in may_know]
    if odd:
        told = f"expected one of {', '.join(may_know)}" if may_know else "they are told nothing"
        raise ConfigError(
            f"{', '.join(odd)}: these weights have no use for it ({told}). Leave it out, or use "
            "other weights (--weights)."
        )


def _refuse_existing(paths: Iterable[Path]) -> None:
    """Raise if a picture is there already."""
    from astro_io.errors import OutputExistsError

    for path in paths:
        if path.exists():
            raise OutputExistsError(
                f"{path} exists. Pass --overwrite, choose another --output, or do without "
                "pictures (--no-gallery)."
            )


def _known(args: argparse.Namespace) -> dict[str, float | str]:
    """Return what the user knows of the candidates, by parameter."""
    known = {"av": args.av, "distance_kpc": args.distance_kpc}
    return {name: value for name, value in known.items() if value is not None}


def _value_or_column(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("cluster_cnn.predict", DESCRIPTION)
    add = parser.add_argument
    add("mosaics", nargs="+", metavar="MOSAIC", help="images, all with the bands of the weights")
    add_positions(parser)
    add("--sky", action="store_true", help="--columns are ra and dec")
    add(
        "--weights",
        metavar="NAME or FILE",
        help="network (default: that of --task; python -m astro_io.weights lists them)",
    )
    add(
        "--task",
        choices=tuple(DEFAULT_WEIGHTS),
        help="what to measure (default: what --weights are for, else parameters)",
    )
    add(
        "--av",
        type=_value_or_column,
        metavar="MAG or COLUMN",
        help="known extinction in V: a number, or the column that holds it",
    )
    add_within(parser)
    add(
        "--distance-kpc",
        type=_value_or_column,
        metavar="KPC or COLUMN",
        help="known distance, for classes: a number, or the column that holds it",
    )
    add("--no-gallery", action="store_true", help="no pictures of the classes beside the table")
    add(
        "--missing-bands",
        choices=("refuse", "blank"),
        default="refuse",
        help="what to do where a mosaic lacks bands of the weights (default %(default)s)",
    )
    add(
        "--align",
        choices=("refuse", "ignore"),
        default="refuse",
        help="what to do with bands on different grids (default %(default)s)",
    )
    add(
        "--format",
        choices=("fits", "ecsv", "parquet", "votable"),
        help="of the table (default: by the name of --output)",
    )
    add_common_arguments(parser, output="table to write: .fits, .ecsv, .parquet, .vot")
    return parser


if __name__ == "__main__":
    sys.exit(main())
