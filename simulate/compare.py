"""Command: compare simulated fields with a real image, number by number.

``python -m simulate.compare train.h5 REAL_IMAGE...`` prints one line a quantity: median and
quartiles in both, and their ratio. Several real images count as one survey.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from astro_io.cli import DONE, add_common_arguments, configure_logging, new_parser, progress, run
from astro_io.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from astro_io.image import SkyImage
    from simulate.sky_statistics import SkyStatistics

logger = logging.getLogger(__name__)

_PER_BAND = {
    "density": "sources per arcmin2",
    "density_snr10": "sources per arcmin2, S/N > 10",
    "half_light_radius_arcsec": "half-light radius, arcsec",
    "flux_sigma": "flux, sky sigma a pixel",
    "ellipticity": "ellipticity",
    "compact_fraction": "compact fraction",
    "noise": "noise a pixel",
    "correlation": "noise correlation",
}
_NOTABLE = 0.30
"""Relative difference of medians from which a line gets a mark."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser("simulate.compare", __doc__.splitlines()[0].removeprefix("Command: "))
    parser.add_argument("dataset", help="simulated training set")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="real image: folder, cube, or g=a.fits,r=b.fits,...",
    )
    parser.add_argument("--bands", metavar="B,B", help="compare these bands only (default all)")
    parser.add_argument(
        "--n", type=int, default=20, metavar="N", help="fields to measure (default 20)"
    )
    parser.add_argument(
        "--pixel-scale",
        type=float,
        metavar="ARCSEC",
        help="of the real images, where their headers do not tell",
    )
    parser.add_argument(
        "--zeropoint",
        metavar="MAG,MAG",
        help="of the real images, one a band, where their headers do not tell",
    )
    add_common_arguments(parser, output=None, seed=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    configure_logging(args)
    from astro_io.dataset import open_dataset
    from simulate.sky_statistics import measure_sky, pool

    dataset = open_dataset(args.dataset)
    if args.n < 1 or len(dataset) == 0:
        raise ConfigError(
            f"{args.dataset}: expected at least one field to measure; "
            f"found {len(dataset)} in the set and --n {args.n}."
        )
    bands = tuple(args.bands.split(",")) if args.bands else dataset.bands
    real = [_read_real(spec, bands, args) for spec in args.images]
    is_calibrated = all(None not in image.zeropoint_mag for image, _ in real)
    if not is_calibrated:
        logger.info("%s: no zero points; colours are of counts in both", args.images[0])
    parts = []
    for i in progress(range(min(args.n, len(dataset))), description="fields", unit="field"):
        image = dataset.read_image(i).select(bands)
        if not is_calibrated:
            image = replace(image, zeropoint_mag=(None,) * len(bands))
        parts.append(measure_sky(image, pixel_scale_arcsec=image.pixel_scale_arcsec or real[0][1]))
    measured = pool([measure_sky(image, pixel_scale_arcsec=scale) for image, scale in real])
    print("\n".join(table_lines(pool(parts), measured)))
    return DONE


def _read_real(
    spec: str, bands: tuple[str, ...], args: argparse.Namespace
) -> tuple[SkyImage, float]:
    """Read a real image and its pixel scale, with what the command line adds."""
    from astro_io.fits_read import read_image

    image = read_image(spec, bands=bands, align="ignore")
    if args.zeropoint:
        image = replace(image, zeropoint_mag=_zero_points(args.zeropoint, bands))
    scale = args.pixel_scale or image.pixel_scale_arcsec
    if not scale:
        raise ConfigError(f"{spec}: no pixel scale in the header. Give --pixel-scale.")
    return image, scale


def _zero_points(text: str, bands: tuple[str, ...]) -> tuple[float, ...]:
    """Read the numbers of ``--zeropoint``."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--zeropoint {text}: expected numbers, for example 27,27.") from error
    if len(values) != len(bands):
        raise ConfigError(
            f"--zeropoint {text}: expected one value a band ({', '.join(bands)}); "
            f"found {len(values)}."
        )
    return values


def table_lines(simulated: SkyStatistics, real: SkyStatistics) -> list[str]:
    """Return the lines of the table.

    Parameters
    ----------
    simulated, real : SkyStatistics
        Of the same bands.

    Returns
    -------
    list of str
        Quantity, band, quartiles of both, and their difference: the ratio of the medians, or
        for colours, which have no natural zero, the difference in mag. A ``*`` marks ratios
        that are off by more than 30 %, and colours by more than 0.3 mag.
    """
    lines = [f"{'quantity':32s}{'':>3s} {'simulated':>27s} {'real':>27s}{'ratio':>8s}"]
    for name, title in _PER_BAND.items():
        for band, measured in simulated.bands.items():
            pair = getattr(measured, name), getattr(real.bands[band], name)
            lines.append(_line(title, band, *pair, as_ratio=True))
    for name, colours in simulated.colours.items():
        lines.append(_line(f"colour {name}", "", colours, real.colours[name], as_ratio=False))
    return lines


def _line(title: str, band: str, simulated: np.ndarray, real: np.ndarray, *, as_ratio: bool) -> str:
    """Return one line: quartiles of two samples and how their medians differ."""
    import numpy as np

    texts, medians = [], []
    for sample in (simulated, real):
        low, middle, high = np.percentile(sample, [25, 50, 75]) if len(sample) else [np.nan] * 3
        texts.append(f"{middle:.3g} ({low:.3g} - {high:.3g})")
        medians.append(middle)
    if as_ratio:
        difference = medians[0] / medians[1] if medians[1] else np.nan
        is_notable = abs(difference - 1.0) > _NOTABLE
    else:
        difference = medians[0] - medians[1]
        is_notable = abs(difference) > _NOTABLE
    mark = " *" if is_notable else ""
    sign = "" if as_ratio else "+"
    return f"{title:32s}{band:>3s} {texts[0]:>27s} {texts[1]:>27s}{difference:>{sign}8.2f}{mark}"


if __name__ == "__main__":
    raise SystemExit(main())
