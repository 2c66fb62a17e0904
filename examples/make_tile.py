"""Make the example tile again: ``python examples/make_tile.py``.

Writes ``examples/tile/img_{g,r,z}.fits.fz``, one simulated DECam field as a telescope would
deliver it, and ``examples/tile/truth.h5``, the same field with the truth of every source.
"""

from __future__ import annotations

import sys
from pathlib import Path

from astropy.io import fits

from astro_io.config import config_to_dict
from astro_io.dataset import DatasetWriter
from astro_io.scene import Scene
from simulate.config import load_preset
from simulate.field import make_field

PRESET, SEED = "decam-paper", 7
STAMP_BITS = 7
"""Stamps within 0.4 %, so that the file stays small."""
TILE = Path(__file__).resolve().parent / "tile"


def main() -> int:
    """Simulate the field and write it."""
    config = load_preset(PRESET)
    scene = make_field(config, seed=SEED, index=0)
    TILE.mkdir(exist_ok=True)
    for band in scene.image.bands:
        write_band(scene, band, config.survey.saturation_e)
    attributes = {"preset": PRESET, "seed": SEED, "config": config_to_dict(config)}
    with DatasetWriter(
        TILE / "truth.h5",
        bands=scene.image.bands,
        attributes=attributes,
        n_planned=1,
        overwrite=True,
        compress_pixels=True,
        stamp_bits=STAMP_BITS,
    ) as writer:
        writer.write(scene)
    print(f"{TILE}: {len(scene)} sources with truth")
    return 0


def write_band(scene: Scene, band: str, saturation_e: float) -> None:
    """Write one band, losslessly compressed, with its WCS, unit and zero point."""
    index = scene.image.bands.index(band)
    header = scene.image.wcs.to_header()
    header["FILTER"] = (band, "band")
    header["BUNIT"] = (scene.image.unit[index], "unit of the pixels")
    header["MAGZERO"] = (scene.image.zeropoint_mag[index], "AB magnitude of one unit")
    header["SATURATE"] = (saturation_e, "full well")
    header["EXPTIME"] = (150.0, "s")
    header["ORIGIN"] = "simulate.fields"
    header["COMMENT"] = f"Simulated: preset {PRESET}, seed {SEED}, field 0. Not sky."
    hdu = fits.CompImageHDU(
        scene.image.pixels[..., index],
        header,
        compression_type="GZIP_2",
        quantize_level=0.0,
    )
    hdu.writeto(TILE / f"img_{band}.fits.fz", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
