"""Command: simulate fields of stars and galaxies with the truth of every source.

``python -m simulate.fields --preset decam-paper --n 1000 --seed 1 --output train.h5 --workers 2``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from simulate.config import FieldConfig, load_preset, preset_names

if TYPE_CHECKING:
    from simulate.source_table import SourceTable

FORMATS = ("hdf5", "astro-rcnn", "coco")
_HDF5_SUFFIXES = (".h5", ".hdf5")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser("simulate.fields", __doc__.splitlines()[0].removeprefix("Command: "))
    parser.add_argument(
        "--preset",
        required=True,
        metavar="NAME",
        help=f"{', '.join(preset_names())}, or a .toml file",
    )
    parser.add_argument("--n", type=int, required=True, help="number of fields")
    parser.add_argument(
        "--first", type=int, default=0, metavar="I", help="index of the first field (default 0)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="K", help="processes")
    parser.add_argument("--format", choices=FORMATS, default="hdf5", help="default hdf5")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, for example stars.density_arcmin2=[5,5]; repeatable",
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        metavar="TABLE",
        help="simulate exactly these sources (columns: docs/simulate.md)",
    )
    parser.add_argument(
        "--center",
        metavar="RA,DEC",
        help="middle of the fields in degrees (default: middle of the catalogue)",
    )
    parser.add_argument(
        "--preview", action="store_true", help="also write a colour mosaic with truth outlines"
    )
    add_common_arguments(
        parser, output="training set: a .h5 file, or a folder (HDF5: fields.h5 in it)"
    )
    return parser


def output_path(output: Path, file_format: str) -> Path:
    """Return where the training set goes: the file itself for HDF5, else the folder."""
    if file_format != "hdf5" or output.suffix in _HDF5_SUFFIXES:
        return output
    return output / "fields.h5"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    configure_logging(args)
    check_at_least(args, n=0, workers=1, seed=0, first=0)
    config = load_preset(args.preset, tuple(args.overrides))
    path = output_path(args.output, args.format)
    start = time.perf_counter()
    n_new, n_sources = _write_fields(args, config, path)
    if args.preview:
        from astro_io.dataset import open_dataset
        from simulate.preview import write_preview

        dataset = open_dataset(path)
        write_preview(dataset, path.with_name(f"{path.stem}.preview.png"))
        dataset.close()
    seconds = time.perf_counter() - start
    summary(
        f"{path}: {n_new} new fields of {args.n}, {n_sources} sources with truth, "
        f"{seconds:.1f} s ({seconds / max(n_new, 1):.2f} s a field)"
    )
    return DONE


def _write_fields(args: argparse.Namespace, config: FieldConfig, path: Path) -> tuple[int, int]:
    """Simulate what is not there yet; return the numbers of new fields and of their sources."""
    table = _read_catalog(args, config)
    from simulate.disk_space import require_room
    from simulate.pool import make_fields
    from simulate.writers import open_writer

    n_sources = n_new = 0
    with open_writer(
        path,
        args.format,
        config=config,
        preset=args.preset,
        seed=args.seed,
        n_planned=args.n,
        overwrite=args.overwrite,
        table=table,
    ) as writer:
        todo = [i for i in range(args.first, args.first + args.n) if i not in writer.done]
        scenes = make_fields(
            config, seed=args.seed, indices=todo, workers=args.workers, table=table
        )
        for scene in progress(scenes, description="fields", total=len(todo), unit="field"):
            require_room(path, scene)
            writer.write(scene)
            n_new += 1
            n_sources += len(scene)
    return n_new, n_sources


def _read_catalog(args: argparse.Namespace, config: FieldConfig) -> SourceTable | None:
    """Read the catalogue to simulate, where one is given."""
    center = _center(args.center)
    if args.catalog is None:
        if center is not None:
            raise ConfigError("--center goes with --catalog; give both, or neither.")
        return None
    from simulate.source_table import read_source_table

    return read_source_table(args.catalog, config.survey.bands, center_deg=center)


def _center(text: str | None) -> tuple[float, float] | None:
    """Read the value of ``--center``."""
    if text is None:
        return None
    try:
        ra, dec = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--center {text}: expected right ascension and declination, as in 150.1,2.2."
        ) from error
    if abs(dec) > 90.0:
        raise ConfigError(f"--center {text}: expected a declination from -90 to 90.")
    return ra, dec


if __name__ == "__main__":
    raise SystemExit(main())
