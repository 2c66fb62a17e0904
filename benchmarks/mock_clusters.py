"""Time mock star clusters, and the drawing of their stars beside GalSim.

::

    python benchmarks/mock_clusters.py --preset phat --n 100

One process; prints machine and versions, mocks a second (best of three), and how much longer
GalSim takes to draw the same stars one by one with the same point spread function.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np

from simulate.star_clusters.config import load_preset
from simulate.star_clusters.filters import HstFilter
from simulate.star_clusters.mock import MockMaker
from simulate.star_clusters.psf_hst import psf_image
from simulate.star_clusters.render import StampGrid, convolve_pair, psf_spectra

ASKED_PER_SECOND = 20.0
N_STARS = 10_000
N_GALSIM = 100  # stars; its time grows with their number
REPEATS = 3


def best_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def seconds_of_galsim(item: HstFilter, stamp_px: int, scale: float) -> float:
    """Return processor seconds for one star in one band, drawn into its part of the stamp."""
    import galsim

    fine = psf_image(item, size=161, pixel_scale_arcsec=scale / 2)
    psf = galsim.InterpolatedImage(galsim.Image(fine, scale=scale / 2))
    rng = np.random.default_rng(1)
    image = galsim.ImageF(stamp_px, stamp_px, scale=scale)
    positions = rng.uniform(1, stamp_px, (N_GALSIM, 2))

    def draw() -> None:
        for x, y in positions:
            star = psf.drawImage(
                nx=41, ny=41, scale=scale, center=galsim.PositionD(x, y), method="no_pixel"
            )
            bounds = star.bounds & image.bounds
            image[bounds] += star[bounds]

    return best_seconds(draw) / N_GALSIM


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="phat")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--wide-binning", type=int, default=0, help="with wide views (4)")
    args = parser.parse_args(argv)
    view = f"instrument.wide_binning={args.wide_binning}"
    maker = MockMaker(load_preset(args.preset, (view,)))
    maker.make(0, 0)
    print(f"{platform.processor() or platform.machine()}, {platform.system()}")
    print(f"Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "galsim")
    ))  # fmt: skip
    seconds = best_seconds(lambda: [maker.make(1, i) for i in range(args.n)])
    rate = args.n / seconds
    size, bands = maker.grid.stamp_px, len(maker.filters)
    views = ", with wide views" if args.wide_binning else ""
    print(
        f"{args.preset}: {rate:.1f} mocks a second and core, {size}x{size} px, {bands} bands{views}"
    )

    rng = np.random.default_rng(2)
    grid: StampGrid = maker.grid
    y, x = grid.draw_positions(rng, N_STARS)
    flux = rng.random((N_STARS, bands)).astype(np.float32)
    spectra = psf_spectra(maker.filters, grid)

    def render() -> object:
        planes = grid.deposit(y, x, flux)
        return convolve_pair(planes, planes, spectra, grid)

    ours = best_seconds(render) / N_STARS / bands
    theirs = seconds_of_galsim(maker.filters[-1], size, grid.pixel_scale_arcsec)
    print(
        f"a star in a band: {ours * 1e6:.2f} us here ({N_STARS} at once), "
        f"{theirs * 1e6:.0f} us by GalSim one by one: ratio {theirs / ours:.0f}"
    )
    return 0 if rate >= ASKED_PER_SECOND or args.preset != "phat" else 1


if __name__ == "__main__":
    sys.exit(main())
