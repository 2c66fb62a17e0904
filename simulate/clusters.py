"""Command: simulate star clusters in star fields, with age, mass, size, extinction, class known.

``python -m simulate.clusters --preset phat --n 10000 --seed 1 --output train.h5 --workers 2``
``python -m simulate.clusters --preset phangs --task classes --n 20000 --seed 1 --output train.h5``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_io.cli import (
    DONE,
    add_common_arguments,
    check_at_least,
    configure_logging,
    new_parser,
    progress,
    run,
    summary,
)
from astro_io.errors import ConfigError

if TYPE_CHECKING:
    from simulate.star_clusters.backgrounds import MosaicBackgrounds
    from simulate.star_clusters.config import ClusterSetConfig

TASKS = ("parameters", "classes")
_HDF5_SUFFIXES = (".h5", ".hdf5")
_AVOID_RADIUS_ARCSEC = 3.0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from simulate.star_clusters.config import preset_names

    parser = new_parser("simulate.clusters", __doc__.splitlines()[0].removeprefix("Command: "))
    parser.add_argument(
        "--preset",
        required=True,
        metavar="NAME",
        help=f"{', '.join(preset_names())}, or a .toml file",
    )
    parser.add_argument("--n", type=int, required=True, help="number of objects")
    parser.add_argument(
        "--task",
        choices=TASKS,
        default=TASKS[0],
        help="clusters with known parameters, or objects of the four classes",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="K", help="processes")
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="real mosaics, electrons a second, to cut the surroundings from",
    )
    parser.add_argument(
        "--avoid",
        nargs="+",
        default=[],
        metavar="TABLE",
        help="tables of positions (x, y or ra, dec) that no background may be cut from",
    )
    parser.add_argument(
        "--avoid-radius",
        type=float,
        default=_AVOID_RADIUS_ARCSEC,
        metavar="ARCSEC",
        help=f"how far from them to stay (default {_AVOID_RADIUS_ARCSEC:g})",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example cluster.log_mass=[3,4]; repeatable",
    )
    parser.add_argument(
        "--half-precision", action="store_true", help="store pixels in 16 bits: half of the disk"
    )
    parser.add_argument("--preview", action="store_true", help="also write a picture of mocks")
    add_common_arguments(parser, output="a .h5 file, or a folder (clusters.h5 in it)")
    return parser


def output_path(output: Path) -> Path:
    """Return the file to write: `output` itself, or ``clusters.h5`` in it."""
    return output if output.suffix in _HDF5_SUFFIXES else output / "clusters.h5"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    from simulate.star_clusters.config import load_preset

    args = build_parser().parse_args(argv)
    configure_logging(args)
    check_at_least(args, n=1, workers=1, seed=0, avoid_radius=0)
    config = load_preset(args.preset, tuple(args.overrides))
    path = output_path(args.output)
    start = time.perf_counter()
    n_new = _write_set(path, config, args)
    if args.preview:
        from simulate.star_clusters.preview import write_class_preview, write_preview

        draw = write_class_preview if args.task == "classes" else write_preview
        draw(config, path.with_name(f"{path.stem}.preview.png"), seed=args.seed)
    seconds = time.perf_counter() - start
    rate = n_new / seconds if seconds else 0.0
    summary(f"{path}: {n_new} new mocks of {args.n}, {seconds:.1f} s ({rate:.1f} a second)")
    return DONE


def _write_set(path: Path, config: ClusterSetConfig, args: argparse.Namespace) -> int:
    """Make the mocks that the file lacks; return how many."""
    import numpy as np

    from astro_io.cluster_set import ClusterSetWriter
    from astro_io.provenance import provenance
    from simulate.star_clusters.class_mock import ClassMockMaker
    from simulate.star_clusters.columns import truth_table
    from simulate.star_clusters.mock import MockMaker
    from simulate.star_clusters.pool import BLOCK, make_blocks

    bands = config.instrument.bands
    backgrounds = _open_backgrounds(config, args)
    with ClusterSetWriter(
        path,
        bands=bands,
        attributes=_attributes(config, args),
        provenance=provenance(),
        n_planned=args.n,
        overwrite=args.overwrite,
        half_precision=args.half_precision,
    ) as writer:
        todo = range(writer.n_done, args.n)
        has_classes = args.task == "classes"
        blocks = make_blocks(
            config,
            seed=args.seed,
            indices=todo,
            workers=args.workers,
            backgrounds=backgrounds,
            maker=ClassMockMaker if has_classes else MockMaker,
        )
        n_blocks = -(-len(todo) // BLOCK)
        for block in progress(blocks, description="clusters", total=n_blocks, unit="block"):
            stamps = np.stack([mock.stamp for mock in block])
            rows = truth_table([m.row for m in block], bands, has_classes=has_classes)
            views = [mock.wide for mock in block if mock.wide is not None]
            writer.append(stamps, rows, np.stack(views) if views else None)
    return len(todo)


def _open_backgrounds(
    config: ClusterSetConfig, args: argparse.Namespace
) -> MosaicBackgrounds | None:
    if not args.background:
        if args.avoid:
            raise ConfigError("--avoid: expected --background IMAGE with it. Add the mosaics.")
        return None
    from simulate.star_clusters.backgrounds import MosaicBackgrounds

    return MosaicBackgrounds(
        args.background,
        config.instrument,
        avoid=args.avoid,
        avoid_radius_arcsec=args.avoid_radius,
    )


def _attributes(config: ClusterSetConfig, args: argparse.Namespace) -> dict[str, Any]:
    """Return what identifies the set."""
    from astro_io.config import config_to_dict

    settings = config_to_dict(config)
    if args.task == "parameters":
        del settings["classes"]  # says nothing about this set
    attributes: dict[str, Any] = {
        "preset": args.preset,
        "seed": args.seed,
        "unit": "electron / s",
        "pixel_scale_arcsec": config.instrument.pixel_scale_arcsec,
        "zeropoint_mag": list(config.instrument.zeropoint_mag),
        "config": settings,
    }
    if config.instrument.wide_binning:
        attributes["wide_binning"] = config.instrument.wide_binning
    else:
        del settings["instrument"]["wide_binning"]  # sets without can be gone on with
    if args.half_precision:
        attributes["half_precision"] = True
    if args.task == "classes":
        attributes["task"] = args.task
    if args.background:
        attributes["background"] = [Path(str(name)).name for name in args.background]
        attributes["avoid"] = [Path(name).name for name in args.avoid]
        attributes["avoid_radius_arcsec"] = args.avoid_radius
    return attributes


if __name__ == "__main__":
    raise SystemExit(main())
