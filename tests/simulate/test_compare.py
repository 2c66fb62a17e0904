"""Numbers of a field: what SEP finds in images whose content is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astro_io.image import SkyImage
from simulate.compare import main, table_lines
from simulate.fields import main as fields
from simulate.sky_statistics import measure_sky, pool


def _image(rng: np.random.Generator, n: int, *, sigma_px: float = 2.0) -> SkyImage:
    """Gaussians of equal flux on a grid, in noise of 1; band z twice as bright as r."""
    pixels = rng.normal(0.0, 1.0, (256, 256, 3))
    y, x = np.indices((256, 256))
    spots = np.zeros((256, 256))
    for k in range(n):
        cy, cx = 20 + 40 * (k // 6), 20 + 40 * (k % 6)
        spots += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma_px**2))
    for b, scale in enumerate((50.0, 100.0, 200.0)):
        pixels[..., b] += scale * spots
    return SkyImage(
        pixels=pixels.astype(np.float32),
        bands=("g", "r", "z"),
        bad=np.zeros(pixels.shape, bool),
        zeropoint_mag=(22.5, 22.5, 22.5),
    )


def test_density_counts_sources_per_square_arcmin(rng: np.random.Generator):
    measured = measure_sky(_image(rng, 24), pixel_scale_arcsec=0.3)
    area = (256 * 0.3 / 60.0) ** 2
    assert measured.bands["r"].density_snr10[0] == pytest.approx(24 / area)


def test_size_noise_and_colour_are_those_put_in(rng: np.random.Generator):
    measured = measure_sky(_image(rng, 24), pixel_scale_arcsec=0.5)
    band = measured.bands["z"]
    # half of a Gaussian lies within 1.177 sigma
    bright = band.half_light_radius_arcsec[band.flux_sigma > 500]
    assert np.median(bright) == pytest.approx(1.177 * 2.0 * 0.5, rel=0.05)
    assert band.noise[0] == pytest.approx(1.0, rel=0.05)
    assert abs(band.correlation[0]) < 0.05
    # twice the flux: 2.5 log10(2) mag
    assert np.median(measured.colours["r-z"]) == pytest.approx(0.753, abs=0.03)


def test_pooling_joins_images(rng: np.random.Generator):
    parts = [measure_sky(_image(rng, n), pixel_scale_arcsec=0.3) for n in (5, 10)]
    both = pool(parts)
    assert both.bands["g"].density.shape == (2,)
    total = sum(len(p.bands["g"].flux_sigma) for p in parts)
    assert len(both.bands["g"].flux_sigma) == total
    with pytest.raises(ValueError, match="nothing to pool"):
        pool([])


def test_table_marks_what_is_off_by_a_third(rng: np.random.Generator):
    image = _image(rng, 24)
    one = measure_sky(image, pixel_scale_arcsec=0.3)
    assert not any(line.endswith("*") for line in table_lines(one, one))
    noisier = measure_sky(replace(image, pixels=2 * image.pixels), pixel_scale_arcsec=0.3)
    marked = [line for line in table_lines(noisier, one) if line.endswith("*")]
    assert len(marked) == 3
    assert all(line.startswith("noise a pixel") and "2.00" in line for line in marked)


def test_image_without_sources_is_measured(rng: np.random.Generator):
    empty = measure_sky(_image(rng, 0), pixel_scale_arcsec=0.3)
    assert len(empty.colours["g-r"]) == 0
    assert len(table_lines(empty, empty)) > 10


def test_command_compares_a_set_with_a_real_tile(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--preset", "decam", "--n", "2", "--quiet", "--output", str(tmp_path / "a.h5")]
    assert fields(arguments) == 0
    capsys.readouterr()
    real = shared_data / "sky" / "decals_dr7_ra197.860_dec-1.413"
    assert main([str(tmp_path / "a.h5"), str(real), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    noise = [line for line in lines if line.startswith("noise a pixel")]
    assert len(noise) == 3
    assert not any(line.endswith("*") for line in noise)


def test_missing_real_image_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small = ["--set", "survey.height=64", "--set", "survey.width=64", "--quiet"]
    fields(["--preset", "decam", "--n", "1", "--output", str(tmp_path / "a.h5"), *small])
    assert main([str(tmp_path / "a.h5"), str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
