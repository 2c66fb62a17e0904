"""Cut stamps: ``python -m cluster_cnn.stamps MOSAIC... --catalog TABLE... --output OUT``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
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
from astro_io.errors import ConfigError, OutputExistsError
from cluster_cnn.arguments import add_positions

if TYPE_CHECKING:
    import numpy as np

    from cluster_cnn.mosaics import Mosaic, StampBatch
    from cluster_cnn.stamp_fields import CommonUnit, Field

DEFAULT_BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")
_HDF5 = (".h5", ".hdf5")

DESCRIPTION = """\
Cut stamps around positions on mosaics. OUT ending in .h5 is a training set (cluster_cnn.train reads
it; the table's class is the label, rows without a class are left out): of one field, or of several
with a TABLE each, brought to the zero points of the first. Any other OUT is a folder that receives
a FITS file with one extension a band for each object of one field, as Wei et al. (2020) use them: a
missing band is zero. Objects that lack more than one band are left out.

TABLE: a LEGUS table, a PHANGS-HST catalogue, or any table that astropy reads with x, y or ra, dec.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    is_set = args.output.suffix in _HDF5
    _check(args, is_set)
    from astro_io.positions import pixel_positions
    from cluster_cnn.mosaics import Mosaic
    from cluster_cnn.stamp_fields import agree, read_fields

    fields = read_fields(
        args.mosaics,
        args.catalog,
        args.distance_kpc,
        columns=args.columns,
        class_column=args.class_column,
        needs_classes=is_set,
    )
    unit = agree(fields, args.bands, args.pixel_scale)
    n = n_written = n_lacking = 0
    with _SetOutput(args, fields, unit) if is_set else _FolderOutput(args, fields) as output:
        for number, field in enumerate(fields):
            with Mosaic(field.spec, args.bands, may_lack_bands=True) as mosaic:
                x, y = pixel_positions(
                    field.candidates, mosaic.wcs, where=mosaic.name, origin=args.origin
                )
                output.begin(number, mosaic, x, y)
                batches = mosaic.cut(x, y, args.size, pixel_scale_arcsec=args.pixel_scale)
                for batch in progress(batches, description=mosaic.name, unit="batch"):
                    written, lacking = output.take(batch)
                    n_written, n_lacking = n_written + written, n_lacking + lacking
            n += len(field.candidates)
    summary(
        f"{args.output}: {n_written} stamps of {n} rows; {n_lacking} lack more than "
        f"{args.most_missing} band; {n - n_written - n_lacking} off the mosaic or without a class"
    )
    return DONE if n_written or not n else SOME_FAILED


def _check(args: argparse.Namespace, is_set: bool) -> None:
    """Refuse what cannot be done before anything is read."""
    check_at_least(args, size=8, most_missing=0)
    for flag, values in (
        ("--pixel-scale", [] if args.pixel_scale is None else [args.pixel_scale]),
        ("--distance-kpc", args.distance_kpc),
    ):
        for value in values:
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{flag}: expected a number above 0; found {value:g}.")
    if not is_set and len(args.mosaics) > 1:
        raise ConfigError(
            f"{args.output}: expected one mosaic for a folder of FITS files; found "
            f"{len(args.mosaics)}. Name a .h5 set, or take one folder for each."
        )
    exists = args.output.exists()
    is_empty = exists and args.output.is_dir() and not any(args.output.iterdir())
    if not is_set and exists and not args.output.is_dir():
        raise OutputExistsError(f"{args.output} is no folder. Choose another --output.")
    if exists and not args.overwrite and (is_set or not is_empty):
        raise OutputExistsError(
            f"{args.output} exists. Pass --overwrite, or choose another --output."
        )


class _FolderOutput:
    """One FITS file an object, of one field."""

    def __init__(self, args: argparse.Namespace, fields: Sequence[Field]) -> None:
        from cluster_cnn.stamp_fields import file_names

        self.args, self.field = args, fields[0]
        self._names, self._ids = file_names(self.field.candidates)

    def __enter__(self) -> _FolderOutput:
        self.args.output.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_) -> None:
        pass

    def begin(self, number: int, mosaic: Mosaic, x: np.ndarray, y: np.ndarray) -> None:
        """Go on with a field: its mosaic, and where its rows lie on it."""
        self._mosaic, self._x, self._y = mosaic, x, y

    def take(self, batch: StampBatch) -> tuple[int, int]:
        """Write a batch; return how many were written, and how many lack too many bands."""
        from cluster_cnn.stamp_files import count_missing, write_stamp

        lacking = count_missing(batch.stamps) > self.args.most_missing
        for stamp, row in zip(batch.stamps[~lacking], batch.rows[~lacking], strict=True):
            write_stamp(
                self.args.output / f"{self._names[row]}.fits",
                stamp,
                self.args.bands,
                header=self._cards(int(row)),
                units=self._mosaic.unit,
                overwrite=True,
            )
        return int((~lacking).sum()), int(lacking.sum())

    def _cards(self, row: int) -> dict[str, Any]:
        candidates = self.field.candidates
        cards: dict[str, Any] = {
            "OBJECT": self._ids[row],
            "MOSAIC": self._mosaic.name[:60],
            "X": float(self._x[row]),
            "Y": float(self._y[row]),
            "CLASS": int(self.field.classes[row]) or None,
        }
        if candidates.is_sky:
            cards |= {"RA": float(candidates.first[row]), "DEC": float(candidates.second[row])}
        return cards


class _SetOutput:
    """A training set."""

    def __init__(self, args: argparse.Namespace, fields: Sequence[Field], unit: CommonUnit) -> None:
        from astro_io.cluster_set import ClusterSetWriter
        from astro_io.provenance import provenance

        self.args, self.fields, self.unit = args, fields, unit
        attributes = {
            "task": "classes",
            "mosaic": ", ".join(unit.names),
            "catalog": ", ".join(field.candidates.name for field in fields),
            "pixel_scale_arcsec": unit.pixel_scale_arcsec or None,
            "absent_bands": list(unit.absent),
        }
        if unit.zeropoints:
            attributes["zeropoint_mag"] = [unit.zeropoints.get(band) for band in args.bands]
        self._writer = ClusterSetWriter(
            args.output,
            bands=args.bands,
            attributes=attributes,
            provenance=provenance(),
            overwrite=args.overwrite,
        )

    def __enter__(self) -> _SetOutput:
        self._writer.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._writer.__exit__(*error)

    def begin(self, number: int, mosaic: Mosaic, x: np.ndarray, y: np.ndarray) -> None:
        """Go on with a field."""
        self._number = number

    def take(self, batch: StampBatch) -> tuple[int, int]:
        """Write a batch; return how many were written, and how many lack too many bands."""
        import numpy as np

        from astro_io.cluster_set import CLUSTER_COLUMNS
        from cluster_cnn.stamp_files import count_missing

        field = self.fields[self._number]
        lacking = count_missing(batch.stamps) > self.args.most_missing
        taken = ~lacking & (field.classes[batch.rows] > 0)
        rows = batch.rows[taken]
        if len(rows):
            columns = {name: np.full(len(rows), np.nan, np.float32) for name in CLUSTER_COLUMNS}
            columns["class"] = field.classes[rows].astype(np.int16)
            columns["row"] = rows.astype(np.int64)
            columns["field"] = np.full(len(rows), self._number, np.int16)
            columns["distance_kpc"] = np.full(len(rows), field.distance_kpc, np.float32)
            self._writer.append(batch.stamps[taken] * self.unit.factors[self._number], columns)
        return len(rows), int(lacking.sum())


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("expected names with commas between")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("cluster_cnn.stamps", DESCRIPTION)
    add = parser.add_argument
    add(
        "mosaics",
        nargs="+",
        metavar="MOSAIC",
        help="F275W=a.fits,..., a folder, a cube, or a file with bands",
    )
    add_positions(parser, several=True)
    add("--bands", type=_names, default=DEFAULT_BANDS, help="channels (default: the five of LEGUS)")
    add("--size", type=int, default=64, metavar="PX", help="side of a stamp (default %(default)s)")
    add("--class-column", metavar="NAME", help="column of --catalog with the class, 1 to 4")
    add("--pixel-scale", type=float, metavar="ARCSEC", help="resample stamps to this pixel size")
    add(
        "--distance-kpc",
        type=float,
        nargs="+",
        default=[],
        metavar="KPC",
        help="of the galaxy, kept in a training set: one for all mosaics, or one for each",
    )
    add(
        "--most-missing",
        type=int,
        default=1,
        metavar="N",
        help="bands that an object may lack (default %(default)s, as in the paper)",
    )
    add_common_arguments(parser, output="a .h5 training set, or a folder of FITS files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
