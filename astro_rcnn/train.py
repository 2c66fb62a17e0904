"""Train a network: ``python -m astro_rcnn.train CONFIG.toml --output RUN``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from astro_io.cli import add_common_arguments, configure_logging, new_parser, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_train, argv)


def _train(argv: Sequence[str] | None) -> int:
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
        "--init", help="random, coco, a registry name or a weights file (short for --set init=...)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--finish", action="store_true", help="end a run here: weights from the newest checkpoint"
    )
    add_common_arguments(parser, output="run folder", seed=None)
    args = parser.parse_args(argv)
    configure_logging(args)

    from astro_io.config import load_config
    from astro_rcnn.config import TrainConfig

    overrides = list(args.set)
    if args.init is not None:
        overrides.append(f"init={args.init}")
    if args.seed is not None:
        overrides.append(f"seed={args.seed}")
    config = load_config(TrainConfig, args.config, overrides)

    from astro_rcnn.trainer import train

    weights = train(
        config,
        args.output,
        resume=args.resume,
        finish=args.finish,
        overwrite=args.overwrite,
        verbose=0 if args.quiet else (1 if args.verbose or sys.stderr.isatty() else 2),
    )
    print(f"{weights}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
