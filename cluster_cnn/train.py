"""Train a network: ``python -m cluster_cnn.train CONFIG.toml --output RUN``."""

from __future__ import annotations

import argparse
import importlib
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astro_io.cli import DONE, add_common_arguments, configure_logging, new_parser, run, summary
from astro_io.errors import ConfigError, InputNotFoundError
from astro_io.processor import enable_onednn

TASKS: dict[str, tuple[str, str]] = {
    "parameters": ("cluster_cnn.config:TrainConfig", "cluster_cnn.trainer:train"),
    "classes": (
        "cluster_cnn.classes.config:ClassTrainConfig",
        "cluster_cnn.classes.trainer:train_classes",
    ),
}
"""Configuration and trainer of each value of the key ``task`` of a configuration file."""

DESCRIPTION = """\
Train a network on stamps of star clusters whose truth is known (python -m simulate.clusters makes
them). configs/cluster_*.toml and classes_*.toml are ready; their key 'task' says what is learnt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    enable_onednn()
    from astro_io.config import load_config

    settings_of, trainer_of = (_load(name) for name in TASKS[read_task(args.config)])
    overrides = list(args.set)
    if args.init is not None:
        overrides.append(f"init={args.init}")
    if args.seed is not None:
        overrides.append(f"seed={args.seed}")
    config = load_config(settings_of(), args.config, overrides)
    weights = trainer_of()(
        config,
        args.output,
        resume=args.resume,
        overwrite=args.overwrite,
        verbose=0 if args.quiet else (1 if args.verbose or sys.stderr.isatty() else 2),
    )
    summary(f"{weights}: written")
    return DONE


def read_task(path: Path) -> str:
    """Return the key ``task`` of a configuration file; without it, ``parameters``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    ConfigError
        If it is not TOML, or there is no such task.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such configuration. configs/ holds ready ones.")
    try:
        task = tomllib.loads(path.read_text(encoding="utf-8")).get("task", "parameters")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}.") from error
    if task not in TASKS:
        raise ConfigError(f"{path.name}: task '{task}' unknown; expected {', '.join(TASKS)}.")
    return str(task)


def _load(name: str) -> Any:
    """Return a function that imports ``module:object``."""
    module, _, item = name.partition(":")
    return lambda: getattr(importlib.import_module(module), item)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("cluster_cnn.train", DESCRIPTION)
    parser.add_argument("config", type=Path, help="TOML file, see configs/")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example data.batch_size=32; repeatable",
    )
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="start from these (registry name, file or run folder) instead of at random",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    add_common_arguments(parser, output="run folder", seed=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
