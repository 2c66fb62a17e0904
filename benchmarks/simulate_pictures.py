"""Draw the pictures of docs/simulate.md: simulated fields beside real images, same stretch.

::

    python benchmarks/simulate_pictures.py --data DATA --output docs/images

DATA holds the real images (``sky`` and ``phosim``); without ``--data`` only pictures without a
real side are drawn. Every picture is in units of the noise of its own sky.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astro_io.fits_read import read_image
from astro_io.normalize import measure_statistics
from simulate.config import load_preset
from simulate.field import make_field

_GAP_PX = 6


@dataclass(frozen=True)
class Pair:
    """A preset and the real images that it should look like."""

    name: str
    preset: str
    settings: tuple[str, ...]
    bands: tuple[str, ...]
    real: tuple[str, ...]
    size: int
    seed: int
    zoom: int = 1
    crop: tuple[int, int] = (0, 0)


_HSC = "sky/hsc_cosmos_blends/43158172147"
PAIRS = (
    Pair("decam", "decam", (), ("g", "r", "z"), ("sky/decals_dr7_ra197.860_dec-1.413",), 420, 3),
    Pair("decam-paper", "decam-paper", (), ("g", "r", "z"), ("phosim",), 420, 3),
    Pair(
        "sdss", "sdss", (), ("g", "r", "z"), ("sky/sdss_s82_run6377_field0399",), 420, 2,
        crop=(500, 300),
    ),
    Pair(
        "hsc", "hsc", ("survey.exposure_factor=[1.3,1.3]", "clusters.probability=0"),
        ("g", "r", "i"), tuple(f"{_HSC}{n}" for n in (389506, 390115, 388587, 389779)), 115, 6, 2,
    ),
    Pair(
        "hst-acs", "hst-acs", ("survey.exposure_factor=[1,1]", "clusters.probability=0",
        "effects.gaps.probability=0"), ("F814W",),
        ("F814W=sky/hst/cosmos_acs_f814w_Cut_HST.fits",), 250, 7, 2,
    ),
    Pair(
        "hst-wfc3", "hst-wfc3", ("survey.exposure_factor=[1,1]", "clusters.probability=1",
        "clusters.redshift=[0.3,0.31]"), ("F105W",),
        ("F105W=sky/hst/abell_2744_cd_galaxy_f105w.fits.gz",), 400, 6,
    ),
)  # fmt: skip
ALONE = (("lsst", ("i", "r", "g")), ("decam-deep", ("z", "r", "g")))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with sky and phosim")
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    for pair in PAIRS if args.data else ():
        if not args.only or pair.name in args.only:
            save(draw_pair(pair, args.data), args.output / f"simulate_{pair.name}.png")
    for preset, bands in ALONE:
        if not args.only or preset in args.only:
            config = load_preset(preset, ("survey.height=420", "survey.width=840"))
            image = make_field(config, seed=3, index=0).image.select(bands[::-1])
            save(picture(image.pixels), args.output / f"simulate_{preset}.png")
    if not args.only or "artefacts" in args.only:
        save(draw_artefacts(), args.output / "simulate_artefacts.png")
    return 0


def picture(pixels: np.ndarray, bad: np.ndarray | None = None) -> np.ndarray:
    """Return an RGB picture, y upwards, of one band or of three (first blue), in sky noise."""
    from astropy.visualization import make_lupton_rgb

    bad = np.zeros(pixels.shape, bool) if bad is None else bad
    statistics = measure_statistics(pixels, bad, "zscore")
    scaled = (pixels - statistics.center) / statistics.scale
    if pixels.shape[2] == 1:
        gray = np.arcsinh(scaled[..., 0] / 2.0)
        low, high = np.arcsinh(-1.0), np.arcsinh(60.0)
        level = np.clip((gray - low) / (high - low), 0.0, 1.0)
        return np.repeat((255 * level).astype(np.uint8)[::-1, :, None], 3, axis=2)
    red, green, blue = (scaled[..., b] for b in (2, 1, 0))
    return make_lupton_rgb(red, green, blue, minimum=-1.0, stretch=12.0, Q=8.0)[::-1]


def draw_pair(pair: Pair, data: Path) -> np.ndarray:
    """Return simulated fields on the left, real images on the right."""
    settings = (*pair.settings, f"survey.height={pair.size}", f"survey.width={pair.size}")
    n = len(pair.real)
    left, right = [], []
    for index in range(n):
        image = make_field(load_preset(pair.preset, settings), seed=pair.seed, index=index).image
        left.append(picture(image.select(pair.bands).pixels))
    for spec in pair.real:
        band, _, path = spec.rpartition("=")
        spec = f"{band}={data / path}" if band else str(data / path)
        image = read_image(spec, bands=pair.bands, align="ignore")
        y, x = pair.crop
        right.append(picture(_fit(image.pixels, y, x, pair.size)))
    sides = [_grid(side, pair.zoom) for side in (left, right)]
    gap = np.full((sides[0].shape[0], 3 * _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def _fit(pixels: np.ndarray, y: int, x: int, size: int) -> np.ndarray:
    """Cut a square from an image; a narrower one is filled up with its own noise mirrored."""
    part = pixels[y : y + size, x : x + size]
    lacking = [(0, max(0, size - n)) for n in part.shape[:2]]
    return np.pad(part, (*lacking, (0, 0)), mode="reflect")


def _grid(pictures: list[np.ndarray], zoom: int) -> np.ndarray:
    """Put pictures into a square grid, each pixel `zoom` wide."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    tiles = [p.repeat(zoom, axis=0).repeat(zoom, axis=1) for p in pictures]
    framed = [np.pad(t, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255) for t in tiles]
    rows = [np.concatenate(framed[i : i + columns], axis=1) for i in range(0, len(framed), columns)]
    return np.concatenate(rows, axis=0)[:-_GAP_PX, :-_GAP_PX]


def draw_artefacts() -> np.ndarray:
    """Return one field plain and with each artefact."""
    size = ("survey.height=240", "survey.width=240", "stars.bright_mag=13.5")
    switches = (
        (),
        ("effects.satellite_trails.rate=[2,2]", "effects.satellite_trails.brightness_sigma=[8,20]"),
        ("effects.ghosts.faintest_mag=17.5", "effects.ghosts.flux_fraction=[0.05,0.1]"),
        (
            "effects.bad_columns.rate=[4,4]",
            "effects.gaps.probability=0.6",
            "effects.gaps.width_arcsec=[4,8]",
        ),
    )
    pictures = []
    for switch in switches:
        config = load_preset("decam", (*size, *switch))
        image = make_field(config, seed=5, index=2).image
        pictures.append(picture(image.pixels, image.bad))
    gap = np.full((240, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for p in pictures for part in (p, gap)][:-1], axis=1)


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG of 256 dithered colours, to be small."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    palette = picture.quantize(256, method=Image.Quantize.MEDIANCUT)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(main())
