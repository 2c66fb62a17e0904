"""Command: make a training set with an installed PhoSim.

``python -m simulate.phosim --phosim ~/phosim --n 100 --seed 1 --output train.h5 --workers 8``

For every pointing the field is simulated in each band; then each of its objects alone, without
background, for the truth. Everything PhoSim makes stays in ``<output>.phosim``; a run that was
interrupted goes on from there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_io.cli import (
    DONE,
    SOME_FAILED,
    add_common_arguments,
    check_at_least,
    configure_logging,
    new_parser,
    progress,
    run,
    summary,
)
from astro_io.errors import ConfigError, InputNotFoundError
from simulate.fields import FORMATS, output_path
from simulate.phosim_files import FILTERS, IMAGE_COMMANDS, filter_number

if TYPE_CHECKING:
    from simulate.phosim_campaign import Campaign
    from simulate.phosim_run import Installation

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser("simulate.phosim", __doc__.removeprefix("Command: "))
    parser.add_argument(
        "--phosim", type=Path, required=True, metavar="PATH", help="PhoSim's folder or script"
    )
    parser.add_argument("--n", type=int, required=True, help="number of pointings")
    parser.add_argument("--instrument", default="decam", help=f"{', '.join(FILTERS)} (decam)")
    parser.add_argument(
        "--chips", default="4S", metavar="C,C", help="chips of each pointing (default 4S)"
    )
    parser.add_argument("--bands", default="g,r,z", metavar="B,B", help="default g,r,z")
    parser.add_argument(
        "--exposures", default="150", metavar="S,S", help="seconds, one or one a band (150)"
    )
    parser.add_argument(
        "--faintest", type=float, default=23.0, metavar="MAG", help="limit of the sources (23)"
    )
    parser.add_argument(
        "--fov", type=float, default=0.1, metavar="DEG", help="diameter of the field (0.1)"
    )
    parser.add_argument(
        "--truth-bands", default="", metavar="B,B", help="bands of the truth (default the first)"
    )
    parser.add_argument(
        "--commands",
        default="distributed",
        metavar="NAME",
        help=f"{', '.join(IMAGE_COMMANDS)}, or a file of physics commands (distributed)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="K", help="processes")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="of each process")
    parser.add_argument("--format", choices=FORMATS, default="hdf5", help="default hdf5")
    add_common_arguments(
        parser,
        output="training set: a .h5 file, or a folder (HDF5: fields.h5 in it)",
        dry_run=True,
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    configure_logging(args)
    from simulate.phosim_campaign import Campaign
    from simulate.phosim_run import find_phosim

    campaign = Campaign(**_settings(args), folder=args.output.with_suffix(".phosim"))
    installation = find_phosim(args.phosim, instrument=args.instrument, threads=args.threads)
    if args.dry_run:
        print("\n".join(campaign.describe()))
        return DONE
    campaign.claim_folder()
    failed = _write_fields(args, campaign, installation)
    summary(
        f"{output_path(args.output, args.format)}: {campaign.n_fields - len(failed)} of "
        f"{campaign.n_fields} fields; PhoSim's files in {campaign.folder}"
    )
    return SOME_FAILED if failed else DONE


def _write_fields(
    args: argparse.Namespace, campaign: Campaign, installation: Installation
) -> list[int]:
    """Simulate and convert what is not there yet; return the fields that failed."""
    from astro_io.provenance import provenance
    from simulate.disk_space import require_room
    from simulate.phosim_campaign import make_pointing
    from simulate.phosim_run import PhoSimError
    from simulate.writers import WRITERS

    failed = []
    path = output_path(args.output, args.format)
    with WRITERS[args.format](
        path,
        bands=campaign.bands,
        attributes=campaign.identity(),
        provenance=provenance(),
        n_planned=campaign.n_fields,
        overwrite=args.overwrite,
    ) as writer:
        for pointing in progress(range(args.n), description="pointings", unit="pointing"):
            todo = [i for i in campaign.fields_of(pointing) if i not in writer.done]
            if not todo:
                continue
            try:
                for scene in make_pointing(campaign, installation, pointing, args.workers, todo):
                    require_room(path, scene)
                    writer.write(scene)
            except PhoSimError as error:
                logger.error("pointing %d: %s", pointing, error)
                failed += [i for i in todo if i not in writer.done]
    return failed


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Check the arguments and return the settings of the campaign."""
    check_at_least(args, n=1, workers=1, threads=1, seed=0)
    if not 0 < args.fov < 5:
        raise ConfigError(f"--fov: expected 0 to 5 degrees; found {args.fov}.")
    bands = tuple(args.bands.split(","))
    for band in bands:
        filter_number(args.instrument, band)
    truth_bands = tuple(args.truth_bands.split(",")) if args.truth_bands else bands[:1]
    if not set(truth_bands) <= set(bands):
        raise ConfigError(f"--truth-bands {args.truth_bands}: expected some of {args.bands}.")
    return {
        "instrument": args.instrument,
        "bands": bands,
        "truth_bands": truth_bands,
        "chips": tuple(args.chips.split(",")),
        "exposures_s": _exposures(args.exposures, bands),
        "faintest_mag": args.faintest,
        "diameter_deg": args.fov,
        "commands": _commands(args.commands),
        "n_pointings": args.n,
        "seed": args.seed,
    }


def _exposures(text: str, bands: tuple[str, ...]) -> tuple[float, ...]:
    """Read the exposure times: one for all bands, or one a band."""
    try:
        times = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--exposures {text}: expected seconds, for example 150,150.") from error
    if len(times) == 1:
        times *= len(bands)
    if len(times) != len(bands) or min(times) <= 0:
        raise ConfigError(
            f"--exposures {text}: expected one time above 0, or one a band ({', '.join(bands)})."
        )
    return times


def _commands(name: str) -> tuple[str, ...]:
    """Return the physics commands of the images, by name or from a file."""
    if name in IMAGE_COMMANDS:
        return IMAGE_COMMANDS[name]
    path = Path(name)
    if not path.is_file():
        raise InputNotFoundError(
            f"--commands {name}: expected {', '.join(IMAGE_COMMANDS)}, or a file; no such file."
        )
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())


if __name__ == "__main__":
    raise SystemExit(main())
