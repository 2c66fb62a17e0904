"""Check catalogues of real sky against SEP, a star catalogue and the LSST pipeline.

::

    python -m astro_rcnn.detect SKY/decals_dr7_ra197.860_dec-1.413 SKY/sdss_s82_run6377_field0399 \
        --output out
    python benchmarks/sky_check.py out --sky SKY

Prints one line a criterion, with what was asked; exit code 1 if one is not met.  None of the
references is truth: SEP misses blends, the pipeline's classes err, the star list is not complete.
The pipeline lists some sources twice, which count once, and calls saturated stars extended, which
do not count where classes are compared.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.catalog import read_catalog
from astro_io.errors import InputNotFoundError
from astro_io.fits_read import read_image
from astro_io.image import SkyImage
from astro_io.normalize import measure_statistics
from astro_rcnn.sep_baseline import SepSettings, extract, noise_normalised_sum

DECALS = "decals_dr7_ra197.860_dec-1.413"
SDSS = "sdss_s82_run6377_field0399"

REFERENCE = SepSettings(threshold_sigma=1.5, min_area_px=5, deblend_contrast=0.005)
"""Sources that should be found: this, in r, with an isophotal S/N above `MIN_SNR`."""

COUNTERPART = SepSettings(threshold_sigma=2.0, min_area_px=3, deblend_contrast=0.005)
"""What a detection should have beside it: this, in the noise-normalised sum of the bands."""

MIN_SNR = 10.0
FOUND_WITHIN_PX = 2.0
SAME_WITHIN_PX = 1.0
"""Rows of the pipeline's list nearer than this are one source."""

COUNTERPART_WITHIN_PX = 3.0
MIN_SCORE = 0.5

DECALS_STARS_XY = (
    (333.9, 177.2),
    (313.1, 237.8),
    (138.1, 254.5),
    (436.0, 44.7),
    (362.4, 322.1),
)
"""The five brightest unsaturated point sources, r = 15.6 to 19.7: half-light radii of 3.0 to 3.2 px
in r, and 29 to 32 % of the flux within 2 px of that within 8, as all fainter point sources."""

DECALS_ELLIPTICAL_XY = (202.1, 320.0)


@dataclass(frozen=True)
class Sources:
    """A catalogue, as far as it is needed.

    Attributes
    ----------
    xy : ndarray of float64, shape (N, 2)
    is_star : ndarray of bool, shape (N,)
    score : ndarray of float64, shape (N,)
    """

    xy: np.ndarray
    is_star: np.ndarray
    score: np.ndarray

    def nearest(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return index of, and distance to, the source nearest to each point; -1, inf if none."""
        xy = np.asarray(xy, float).reshape(-1, 2)
        if len(self.xy) == 0:
            return np.full(len(xy), -1), np.full(len(xy), np.inf)
        step = xy[:, None, :] - self.xy[None, :, :]
        distance = np.hypot(step[..., 0], step[..., 1])
        return distance.argmin(axis=1), distance.min(axis=1)


@dataclass(frozen=True)
class Criterion:
    """A number and what it should be: at least (or at most) a limit."""

    name: str
    value: float
    limit: float
    is_upper: bool = False
    detail: str = ""

    @property
    def is_met(self) -> bool:
        """Say whether the value is on the right side."""
        return self.value <= self.limit if self.is_upper else self.value >= self.limit

    def __str__(self) -> str:
        """Return one line."""
        relation = "at most" if self.is_upper else "at least"
        verdict = "ok  " if self.is_met else "MISS"
        return f"{verdict} {self.name}: {self.value:.1f} ({relation} {self.limit:g}) {self.detail}"


def load_sources(path: Path) -> Sources:
    """Read positions, classes and scores of a catalogue."""
    table = read_catalog(path)
    x, y = (np.asarray(getattr(table[name], "value", table[name]), float) for name in ("x", "y"))
    return Sources(
        xy=np.stack([x, y], axis=1),
        is_star=np.asarray(table["class"]).astype(str) == "star",
        score=np.asarray(table["score"], float),
    )


def reference_positions(image: SkyImage) -> np.ndarray:
    """Return x, y of what SEP finds in r with an isophotal S/N above `MIN_SNR`, shape (N, 2)."""
    found = extract(image.select(["r"]).pixels[..., 0], REFERENCE)
    chosen = found.objects[found.snr > MIN_SNR]
    return np.stack([chosen["x"], chosen["y"]], axis=1)


def counterpart_positions(image: SkyImage) -> np.ndarray:
    """Return x, y of what SEP finds in the noise-normalised sum of the bands, shape (N, 2)."""
    statistics = measure_statistics(image.pixels, image.bad, "zscore", bands=image.bands)
    found = extract(noise_normalised_sum(image.pixels, image.bad, statistics), COUNTERPART)
    return np.stack([found.objects["x"], found.objects["y"]], axis=1)


def against_sep(image: SkyImage, sources: Sources) -> list[Criterion]:
    """Return completeness and the share of detections without counterpart, per cent."""
    reference = reference_positions(image)
    found = sources.nearest(reference)[1] <= FOUND_WITHIN_PX
    sure = sources.xy[sources.score > MIN_SCORE]
    counterparts = Sources(counterpart_positions(image), np.zeros(0), np.zeros(0))
    alone = counterparts.nearest(sure)[1] > COUNTERPART_WITHIN_PX
    return [
        Criterion(
            "SEP sources found within 2 px",
            _percent(found),
            90.0,
            detail=f"{found.sum()} of {len(found)}",
        ),
        Criterion(
            "detections above 0.5 without SEP counterpart",
            _percent(alone),
            15.0,
            is_upper=True,
            detail=f"{alone.sum()} of {len(alone)}",
        ),
    ]


def check_decals(image: SkyImage, sources: Sources) -> list[Criterion]:
    """Return the criteria of the DECaLS tile."""
    index, distance = sources.nearest(np.array(DECALS_STARS_XY))
    is_near = distance <= FOUND_WITHIN_PX
    star_right = is_near & _at(sources.is_star, index)
    index, distance = sources.nearest(np.array(DECALS_ELLIPTICAL_XY))
    galaxy_right = (distance <= COUNTERPART_WITHIN_PX) & ~_at(sources.is_star, index)
    return [
        *against_sep(image, sources),
        Criterion(
            "five brightest unsaturated stars called stars",
            float(star_right.sum()),
            5,
            detail=f"found {is_near.sum()}",
        ),
        Criterion("bright elliptical called a galaxy", float(galaxy_right.sum()), 1),
    ]


def read_pipeline(folder: Path) -> np.ndarray:
    """Return x, y, S/N, extendedness and saturation (0, 1) of what lies above `MIN_SNR`."""
    names = ("x", "y", "snr", "extendedness", "flag_saturated")
    rows = _read_columns(folder / "lsst_dm_detections_rband.csv", names)
    return rows[rows[:, 2] > MIN_SNR]


def without_doubles(rows: np.ndarray) -> np.ndarray:
    """Return rows (x, y, ...) without those that lie within `SAME_WITHIN_PX` of an earlier one."""
    step = rows[:, None, :2] - rows[None, :, :2]
    is_same = np.hypot(step[..., 0], step[..., 1]) < SAME_WITHIN_PX
    return rows[~np.triu(is_same, 1).any(axis=0)]


def check_sdss(image: SkyImage, sources: Sources, folder: Path) -> list[Criterion]:
    """Return the criteria of the SDSS field: SEP, star catalogue, LSST pipeline."""
    stars = _read_columns(folder / "truth_stars_ivezic_r_lt_21.csv", ("x", "y"))
    pipeline = without_doubles(read_pipeline(folder))
    is_known = np.isfinite(pipeline[:, 3]) & (pipeline[:, 4] == 0)
    star_index, star_distance = sources.nearest(stars)
    index, distance = sources.nearest(pipeline[:, :2])
    star_found, found = star_distance <= FOUND_WITHIN_PX, distance <= FOUND_WITHIN_PX
    called_star = _at(sources.is_star, index)
    agrees = called_star == (pipeline[:, 3] == 0)
    criteria = [
        *against_sep(image, sources),
        _share("catalogue stars found", star_found),
        _share("found ones called stars", _at(sources.is_star, star_index)[star_found]),
        _share("LSST sources of S/N > 10 found", found),
        _share("found ones of the same class as LSST", agrees[found & is_known]),
    ]
    for name, value in (("point-like", 0), ("extended", 1)):
        chosen = found & is_known & (pipeline[:, 3] == value)
        criteria.append(_share(f"LSST {name} ones of the same class", agrees[chosen]))
    return criteria


def check(output: Path, sky: Path) -> dict[str, list[Criterion]]:
    """Check every result of the two fields that is in a folder.

    Raises
    ------
    InputNotFoundError
        If there is none.
    """
    results = {}
    for name in (DECALS, SDSS):
        path = output / f"{name}.catalog.fits"
        if path.exists():
            image, sources = read_image(sky / name), load_sources(path)
            results[name] = (
                check_decals(image, sources)
                if name == DECALS
                else check_sdss(image, sources, sky / name)
            )
    if not results:
        raise InputNotFoundError(
            f"{output}: expected {DECALS}.catalog.fits or {SDSS}.catalog.fits; found neither. "
            "Run astro_rcnn.detect on these folders first."
        )
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; return 0 if every criterion is met, 1 if not, 2 without input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder that astro_rcnn.detect wrote")
    parser.add_argument("--sky", type=Path, required=True, help="folder of the real fields")
    args = parser.parse_args(argv)
    try:
        results = check(args.output, args.sky)
    except InputNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, criteria in results.items():
        print(name)
        for criterion in criteria:
            print(f"  {criterion}")
    return int(not all(one.is_met for criteria in results.values() for one in criteria))


def _share(name: str, is_right: np.ndarray) -> Criterion:
    """Return a share that should be at least 90 %."""
    detail = f"{np.count_nonzero(is_right)} of {len(is_right)}"
    return Criterion(name, _percent(is_right), 90.0, detail=detail)


def _percent(is_true: np.ndarray) -> float:
    """Share of True in per cent; NaN, which meets nothing, of none."""
    return float(100.0 * np.mean(is_true)) if len(is_true) else float("nan")


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``values[index]``, False where the index is -1."""
    return np.append(values, False)[index].astype(bool)


def _read_columns(path: Path, names: Sequence[str]) -> np.ndarray:
    """Read columns of a CSV file, shape (N, len(names)); "nan" is NaN, "True" is 1."""
    flags = {"True": 1.0, "False": 0.0}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(flags.get(row[name], row[name])) for name in names] for row in rows])


if __name__ == "__main__":
    raise SystemExit(main())
