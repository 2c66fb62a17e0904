"""Train a network: ``python -m astro_rcnn.train CONFIG.toml --output RUN``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from astro_io.cli import add_common_arguments, configure_logging, new_parser, run
from astro_io.processor import enable_onednn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_train, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser(
        "astro_rcnn.train",
        "Train Mask R-CNN on simulated (or labelled) fields.\n"
        "Defaults are the paper's; configs/ holds ready configurations.",
    )
    parser.add_argument("config", type=Path, help="TOML file, see configs/")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example data.batch_size=8; repeatable",
    )
    parser.add_argument(
        "--init",
        help="random, coco, imagenet, a registry name or a weights file (short for --set init=...)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--resume-from",
        metavar="WHICH",
        help="go on from this checkpoint: an epoch, a file, or a folder that --pack wrote",
    )
    parser.add_argument(
        "--finish", action="store_true", help="end a run here: weights from the newest checkpoint"
    )
    parser.add_argument(
        "--pack",
        type=Path,
        metavar="FOLDER",
        help="train no further: write the newest checkpoint there in small pieces",
    )
    parser.add_argument(
        "--pack-weights-only", action="store_true", help="pack without the optimiser's state"
    )
    parser.add_argument(
        "--distribute",
        choices=("none", "mirrored", "multiworker", "data-parallel"),
        default="none",
        help="several devices or machines, see docs/training.md (default %(default)s)",
    )
    add_common_arguments(parser, output="run folder", seed=None)
    return parser


def _train(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    configure_logging(args)

    if args.pack is not None:
        return _pack(args)
    from astro_io.config import load_config
    from astro_rcnn.config import TrainConfig

    overrides = list(args.set)
    if args.init is not None:
        overrides.append(f"init={args.init}")
    if args.seed is not None:
        overrides.append(f"seed={args.seed}")
    config = load_config(TrainConfig, args.config, overrides)
    enable_onednn()

    from astro_rcnn.trainer import train

    weights = train(
        config,
        args.output,
        resume=args.resume,
        finish=args.finish,
        resume_from=args.resume_from,
        distribute=args.distribute,
        overwrite=args.overwrite,
        verbose=0 if args.quiet else (1 if args.verbose or sys.stderr.isatty() else 2),
    )
    print(f"{weights}: written")
    return 0


def _pack(args: argparse.Namespace) -> int:
    """Write the newest checkpoint of a run, or the one asked for, in small pieces."""
    from astro_io.errors import InputNotFoundError
    from astro_io.run_folder import CHECKPOINTS, latest_checkpoint
    from astro_rcnn.packing import find_checkpoint, pack_checkpoint

    folder = args.output / CHECKPOINTS
    if args.resume_from is not None:
        checkpoint = find_checkpoint(folder, args.resume_from)
    else:
        checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        raise InputNotFoundError(f"{folder}: no checkpoint to pack. Train first.")
    pieces = pack_checkpoint(checkpoint[0], args.pack, has_optimizer=not args.pack_weights_only)
    size_mb = sum(path.stat().st_size for path in pieces) / 1e6
    print(f"{args.pack}: epoch {checkpoint[1]} in {len(pieces)} pieces, {size_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
