"""Detect: ``python -m astro_rcnn.detect IMAGE... --output DIR``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from astro_io.cli import (
    DONE,
    SOME_FAILED,
    add_common_arguments,
    configure_logging,
    new_parser,
    run,
    summary,
)

if TYPE_CHECKING:
    from astro_rcnn.jobs import SurveyConfig
    from astro_rcnn.survey import Outcome

DEFAULT_WEIGHTS = "decam-grz"

DESCRIPTION = """\
Find every star and galaxy in multi-band FITS images, classify it, and cut it apart from its
neighbours. For each IMAGE, --output receives NAME.catalog.fits, NAME.masks.fits,
NAME.segmentation.fits, NAME.overlay.png and NAME.reg (DS9).

IMAGE is a folder with img_<band>.fits (.gz, .fz), a cube, a file with one extension a band, a
single image, or g=a.fits,r=b.fits,z=c.fits. Finished images are skipped when the same line is
run again; a killed run goes on from its last tile."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_detect, argv)


def _detect(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    from astro_rcnn.survey import load_network, run_survey

    start = time.monotonic()
    outcomes = run_survey(
        args.images,
        args.output,
        _config(args),
        load_network,
        overwrite=args.overwrite,
        scheduler=args.scheduler,
    )
    summary(_sentence(outcomes, args.output, time.monotonic() - start))
    return SOME_FAILED if any(outcome.error for outcome in outcomes) else DONE


def _config(args: argparse.Namespace) -> SurveyConfig:
    """Turn flags into settings; the weights are found and verified, not loaded."""
    from astro_io.weights import file_sha256, resolve
    from astro_rcnn.jobs import SurveyConfig

    path, entry = resolve(args.weights)
    return SurveyConfig(
        weights=args.weights,
        weights_sha256=entry.sha256 if entry and entry.sha256 else file_sha256(path),
        engine=args.engine,
        network_bands=tuple(entry.bands) if entry else (),
        min_score=args.min_score,
        nms_iou=args.nms,
        max_detections=args.max_detections,
        bands=args.bands,
        align=args.align,
        bin=args.bin,
        gain=args.gain,
        tile=args.tile,
        overlap=args.overlap,
        catalog_format=args.format,
        has_overlay=not args.no_overlay,
    )


def _band_list(text: str) -> tuple[str, ...]:
    bands = tuple(band.strip() for band in text.split(",") if band.strip())
    if not bands or len(set(bands)) < len(bands):
        raise argparse.ArgumentTypeError(f"expected names such as g,r,z, each once; found {text!r}")
    return bands


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 4.2; found {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("astro_rcnn.detect", DESCRIPTION)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="what to search")
    add(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="NAME or FILE",
        help="network (default %(default)s; python -m astro_io.weights lists them)",
    )
    add(
        "--bands",
        type=_band_list,
        default=(),
        metavar="g,r,z",
        help="bands to use, or names of the planes in order where the file is silent",
    )
    least = (
        "least score; of weights with a second look, the least probability of being a source of "
        "whatever class (default: as the weights say)"
    )
    add("--min-score", type=float, metavar="P", help=least)
    add("--nms", type=float, metavar="IOU", help="drop the weaker of two boxes that overlap more")
    most = "most sources in 512 x 512 px, for crowded fields (default: as the weights say)"
    add("--max-detections", type=int, metavar="N", help=most)
    _add_pixels(parser)
    add(
        "--format",
        choices=("fits", "ecsv", "parquet", "votable"),
        default="fits",
        help="of the catalogue (default %(default)s)",
    )
    add("--no-overlay", action="store_true", help="draw no picture")
    _add_machinery(parser)
    add_common_arguments(parser, output="folder for the results")
    return parser


def _add_pixels(parser: argparse.ArgumentParser) -> None:
    """Add what is done with the pixels: blocks, tiles, grids, errors."""
    add = parser.add_argument
    blocks = (
        "add up blocks of N x N pixels first: for enlarged images, and sources of 100 px or more"
    )
    add("--bin", type=int, default=1, metavar="N", help=blocks)
    electrons = (
        "electrons in one unit of flux, of all bands or of each in the order of the weights: "
        "errors then hold the photon noise of the sources too"
    )
    add("--gain", type=_numbers, default=(), metavar="E", help=electrons)
    add(
        "--tile",
        type=int,
        default=512,
        metavar="PX",
        help="side of a tile (default %(default)s; 0: the image whole)",
    )
    add(
        "--overlap",
        type=int,
        default=64,
        metavar="PX",
        help="least overlap of tiles; larger than most sources (default %(default)s)",
    )
    add(
        "--align",
        choices=("reproject", "refuse", "ignore"),
        default="reproject",
        help="what to do with bands on different grids (default %(default)s)",
    )


def _add_machinery(parser: argparse.ArgumentParser) -> None:
    """Add what says where and by what the network is run."""
    add = parser.add_argument
    add(
        "--scheduler",
        metavar="ADDR",
        help="Dask scheduler that shares out the images; 'local' starts one here",
    )
    add(
        "--engine",
        choices=("keras", "openvino", "openvino-bf16"),
        default="keras",
        help="what runs the network; bf16 is faster and less exact (default %(default)s)",
    )


def _sentence(outcomes: Sequence[Outcome], output: object, seconds: float) -> str:
    """Return the line for stdout: images done, skipped, failed; sources by class."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for name, n in outcome.n_by_class.items():
            counts[name] = counts.get(name, 0) + n
    n_skipped = sum(outcome.is_skipped for outcome in outcomes)
    n_failed = sum(bool(outcome.error) for outcome in outcomes)
    n_done = len(outcomes) - n_skipped - n_failed
    parts = [f"{n_done} image{'' if n_done == 1 else 's'} done"]
    parts += [f"{n_skipped} finished before"] if n_skipped else []
    parts += [f"{n_failed} failed"] if n_failed else []
    by_class = ", ".join(f"{n} {name}" for name, n in counts.items())
    found = f": {sum(counts.values())} sources ({by_class})" if counts else ""
    return f"{', '.join(parts)}{found}, {seconds:.1f} s, in {output}"


if __name__ == "__main__":
    sys.exit(main())
