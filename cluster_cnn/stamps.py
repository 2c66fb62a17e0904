"""Cut stamps: ``python -m cluster_cnn.stamps MOSAIC --catalog TABLE --output OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astro_io.cli import (
    DONE,
    SOME_FAILED,
    add_common_arguments,
    configure_logging,
    new_parser,
    progress,
    run,
    summary,
)
from astro_io.errors import CatalogError, ConfigError, OutputExistsError
from cluster_cnn.arguments import add_positions

if TYPE_CHECKING:
    import numpy as np

    from astro_io.positions import Candidates
    from cluster_cnn.mosaics import Mosaic, StampBatch

DEFAULT_BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")
CLASS_COLUMNS = ("class", "phangs_cluster_class_human", "class_mode", "cluster_class")
"""Names that the class is looked for under, in this order and in any case."""

ID_COLUMNS = ("id", "id_phangs_cluster", "id_phangs_candidate", "source_id")
_HDF5 = (".h5", ".hdf5")

DESCRIPTION = """\
Cut stamps around positions on a mosaic. OUT ending in .h5 is a training set (cluster_cnn.train
reads it; the table's class is the label, rows without a class are left out); any other OUT is a
folder that receives a FITS file with one extension a band for each object, as Wei et al. (2020) use
them: a missing band is zero, objects that lack more than one are left out.

TABLE: a LEGUS table, a PHANGS-HST catalogue, or any table that astropy reads with x, y or ra, dec.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `astro_io.cli.run`."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    configure_logging(args)
    if args.size < 8:
        raise ConfigError(f"--size: expected at least 8; found {args.size}.")
    is_set = args.output.suffix in _HDF5
    if args.output.exists() and (is_set or any(args.output.iterdir())) and not args.overwrite:
        raise OutputExistsError(
            f"{args.output} exists. Pass --overwrite, or choose another --output."
        )
    from astro_io.positions import pixel_positions, read_candidates
    from cluster_cnn.mosaics import Mosaic

    candidates = read_candidates(args.catalog, columns=args.columns)
    classes = read_classes(candidates, args.class_column, is_needed=is_set)
    with Mosaic(args.mosaic, args.bands, may_lack_bands=True) as mosaic:
        x, y = pixel_positions(candidates, mosaic.wcs, where=mosaic.name, origin=args.origin)
        cutter = _SetOutput(args, mosaic, candidates, classes) if is_set else None
        cutter = cutter or _FolderOutput(args, mosaic, candidates, classes)
        batches = mosaic.cut(x, y, args.size, pixel_scale_arcsec=args.pixel_scale)
        n_written = n_lacking = 0
        with cutter as output:
            for batch in progress(batches, description=mosaic.name, unit="batch"):
                written, lacking = output.take(batch)
                n_written, n_lacking = n_written + written, n_lacking + lacking
    n = len(candidates)
    summary(
        f"{args.output}: {n_written} stamps of {n} rows; {n_lacking} lack more than "
        f"{args.most_missing} band; {n - n_written - n_lacking} off the mosaic or without a class"
    )
    return DONE if n_written or not n else SOME_FAILED


def read_classes(candidates: Candidates, name: str | None, *, is_needed: bool) -> np.ndarray:
    """Return the class of each row, int, shape (N,); 0 where there is none.

    Raises
    ------
    CatalogError
        If the table lacks the column that was asked for, or any class where one is needed.
    """
    import numpy as np

    table = candidates.table
    by_letters = {column.lower(): column for column in reversed(table.colnames)}
    wanted = [name.lower()] if name else list(CLASS_COLUMNS)
    found = next((by_letters[w] for w in wanted if w in by_letters), None)
    if found is None:
        if is_needed or name:
            raise CatalogError(
                f"{candidates.name}: expected a column {' or '.join(wanted)} with the class; found "
                f"{', '.join(table.colnames[:12])}. Name it: --class-column."
            )
        return np.zeros(len(table), int)
    try:
        values = np.ma.asarray(table[found]).astype(float)
    except ValueError as error:
        raise CatalogError(
            f"{candidates.name}: expected classes 1 to 4 in column {found}; found text ({error})."
        ) from error
    values = np.nan_to_num(np.ma.filled(values, 0.0))
    return np.where(np.isin(values, (1, 2, 3, 4)), values, 0).astype(int)


class _FolderOutput:
    """One FITS file an object."""

    def __init__(
        self,
        args: argparse.Namespace,
        mosaic: Mosaic,
        candidates: Candidates,
        classes: np.ndarray,
    ) -> None:
        self.args, self.mosaic, self.candidates, self.classes = args, mosaic, candidates, classes
        by_letters = {name.lower(): name for name in reversed(candidates.table.colnames)}
        self._id = next((by_letters[name] for name in ID_COLUMNS if name in by_letters), None)

    def __enter__(self) -> _FolderOutput:
        self.args.output.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_) -> None:
        pass

    def take(self, batch: StampBatch) -> tuple[int, int]:
        """Write a batch; return how many were written, and how many lack too many bands."""
        from cluster_cnn.stamp_files import count_missing, write_stamp

        lacking = count_missing(batch.stamps) > self.args.most_missing
        for stamp, row in zip(batch.stamps[~lacking], batch.rows[~lacking], strict=True):
            header = self._cards(int(row))
            write_stamp(
                self.args.output / f"{self._name(int(row))}.fits",
                stamp,
                self.args.bands,
                header=header,
                units=self.mosaic.unit,
                overwrite=True,
            )
        return int((~lacking).sum()), int(lacking.sum())

    def _name(self, row: int) -> str:
        return f"row_{row:06d}" if self._id is None else f"{self.candidates.table[self._id][row]}"

    def _cards(self, row: int) -> dict[str, Any]:
        first, second = (float(v[row]) for v in (self.candidates.first, self.candidates.second))
        names = ("RA", "DEC") if self.candidates.is_sky else ("X", "Y")
        return {
            "OBJECT": self._name(row),
            "MOSAIC": self.mosaic.name[:60],
            names[0]: first,
            names[1]: second,
            "CLASS": int(self.classes[row]) or None,
        }


class _SetOutput:
    """A training set."""

    def __init__(
        self,
        args: argparse.Namespace,
        mosaic: Mosaic,
        candidates: Candidates,
        classes: np.ndarray,
    ) -> None:
        from astro_io.cluster_set import ClusterSetWriter
        from astro_io.provenance import provenance

        self.args, self.classes = args, classes
        zeropoints = mosaic.zeropoint_mag
        attributes = {
            "task": "classes",
            "mosaic": mosaic.name,
            "catalog": candidates.name,
            "pixel_scale_arcsec": args.pixel_scale or mosaic.pixel_scale_arcsec,
        }
        if all(value is not None for value in zeropoints):
            attributes["zeropoint_mag"] = [float(value) for value in zeropoints if value]
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

    def take(self, batch: StampBatch) -> tuple[int, int]:
        """Write a batch; return how many were written, and how many lack too many bands."""
        import numpy as np

        from astro_io.cluster_set import CLUSTER_COLUMNS
        from cluster_cnn.stamp_files import count_missing

        lacking = count_missing(batch.stamps) > self.args.most_missing
        taken = ~lacking & (self.classes[batch.rows] > 0)
        rows = batch.rows[taken]
        if len(rows):
            columns = {name: np.full(len(rows), np.nan, np.float32) for name in CLUSTER_COLUMNS}
            columns["class"] = self.classes[rows].astype(np.int16)
            columns["row"] = rows.astype(np.int64)
            distance = self.args.distance_kpc or np.nan
            columns["distance_kpc"] = np.full(len(rows), distance, np.float32)
            self._writer.append(batch.stamps[taken], columns)
        return len(rows), int(lacking.sum())


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("expected names with commas between")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("cluster_cnn.stamps", DESCRIPTION)
    add = parser.add_argument
    add("mosaic", metavar="MOSAIC", help="F275W=a.fits,..., a folder, a cube, or a file with bands")
    add_positions(parser)
    add("--bands", type=_names, default=DEFAULT_BANDS, help="channels (default: the five of LEGUS)")
    add("--size", type=int, default=64, metavar="PX", help="side of a stamp (default %(default)s)")
    add("--class-column", metavar="NAME", help="column of --catalog with the class, 1 to 4")
    add("--pixel-scale", type=float, metavar="ARCSEC", help="resample stamps to this pixel size")
    add("--distance-kpc", type=float, metavar="KPC", help="of the galaxy, kept in a training set")
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
