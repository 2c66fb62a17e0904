"""PhoSim's files: what we write and what we read."""

from __future__ import annotations

from pathlib import Path

import pytest
from astropy.io import fits

from astro_io.errors import ConfigError, DatasetError, ImageError
from simulate.phosim_files import (
    IMAGE_COMMANDS,
    Observation,
    field_catalog,
    filter_number,
    image_name,
    object_catalog,
    parse_header,
    parse_trimmed,
    trimmed_chip,
    truth_commands,
)
from simulate.phosim_scene import read_phosim_image

OBSERVATION = Observation(
    ra_deg=52.026949,
    dec_deg=6.653023,
    filter_number=1,
    exposure_s=150.0,
    observation_id=9999999,
    seed=1006,
)
STAR = "object 3.0 52.03 6.65 18.5 ../sky/sed_flat.txt 0 0 0 0 0 0 star none none"
BULGE = "object 12.1 52.02 6.66 21.0 sed 0.3 0 0 0 0 0 sersicComplex 0.4 0.3 0.3 1 2 3 4 none none"
DISK = "object 12.2 52.02 6.66 20.0 sed 0.3 0 0 0 0 0 sersicComplex 1.0 0.2 0.9 1 2 3 1 none none"


def test_instance_catalogue_of_a_field_has_phosims_words():
    assert field_catalog(OBSERVATION, faintest_mag=23.0, diameter_deg=0.1).splitlines() == [
        "rightascension 52.026949",
        "declination 6.653023",
        "filter 1",
        "vistime 150.000",
        "nsnap 1",
        "obshistid 9999999",
        "seed 1006",
        "stars 15.0 23.000 0.10000",
        "galaxies 15.0 23.000 0.10000",
    ]


def test_trimmed_catalogue_joins_bulge_and_disk():
    star, galaxy = parse_trimmed(f"\n\n{STAR}\n\n{BULGE}\n\n{DISK}\n\n")
    assert (star.number, star.class_id, star.name) == (3, 1, "star3")
    assert (galaxy.number, galaxy.class_id, galaxy.name) == (12, 2, "gal12")
    assert galaxy.lines == (BULGE, DISK)
    # 10^-8.4 + 10^-8 = 1.398e-8
    assert galaxy.mag_norm == pytest.approx(19.636, abs=1e-3)
    # lights 0.398 and 1: (0.398 * 0.4 + 1.0) / 1.398
    assert galaxy.half_light_radius_arcsec == pytest.approx(0.829, abs=1e-3)
    assert star.half_light_radius_arcsec == 0.0


def test_object_goes_back_into_a_catalogue_unchanged():
    text = object_catalog(OBSERVATION, parse_trimmed(f"{BULGE}\n{DISK}\n"))
    assert text.splitlines()[:7] == OBSERVATION.header_lines()
    assert text.splitlines()[7:] == [BULGE, DISK]


def test_star_and_galaxy_of_one_number_are_two():
    assert len(parse_trimmed(f"{STAR.replace('3.0', '12.0')}\n{BULGE}\n")) == 2


def test_raytrace_file_is_read_for_its_objects_alone():
    text = f"pointingra 52.0\nchipid 4S\n{STAR}\ntelconfig 0\n"
    assert [item.name for item in parse_trimmed(text)] == ["star3"]
    assert parse_trimmed("\n\n") == []


def test_line_that_is_cut_short_is_an_error():
    with pytest.raises(DatasetError, match="expected at least 13 words a line; found 'object 1.0"):
        parse_trimmed("object 1.0 3.4 5.6")


def test_truth_keeps_the_psf_and_nothing_else():
    assert truth_commands(IMAGE_COMMANDS["distributed"]) == (
        "spacemode 1",
        "toypsf 1.0",
        "backgroundmode 0",
        "contaminationmode 0",
        "saturationmode 0",
        "raydensity 0.0",
    )


def test_filters_have_phosims_numbers():
    assert [filter_number("decam", band) for band in "grz"] == [1, 2, 4]
    assert filter_number("subaru_hsc", "g") == 0
    with pytest.raises(ConfigError, match="decam has u, g, r, i, z, Y"):
        filter_number("decam", "J")
    with pytest.raises(ConfigError, match="expected one of decam, lsst, subaru_hsc"):
        filter_number("wfi", "g")


def test_images_have_phosims_names():
    assert image_name("decam", OBSERVATION, "4S") == "decam_e_9999999_f1_4S_E000.fits.gz"


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("trimcatalog_9999999_4S.pars", "4S"),
        ("trimcatalog_9999999_R22_S11.pars", "R22_S11"),
        ("raytrace_9999999_4S_E000.pars", "4S"),
        ("trimcatalog_9999999_opd.pars", None),
        ("trimcatalog_9999998_4S.pars", None),
        ("obs_9999999.pars", None),
    ],
)
def test_file_of_a_chip_is_known_by_its_name(name: str, chip: str | None):
    assert trimmed_chip(name, 9999999) == chip


def test_headers_of_real_images_are_understood(shared_data: Path):
    for band, number in (("g", 1), ("r", 2), ("z", 4)):
        pixels, header, wcs = read_phosim_image(shared_data / "phosim" / f"img_{band}.fits")
        assert pixels.shape == (512, 512)
        assert header.filter_number == number == filter_number("decam", band)
        assert header.chip == "4S"
        assert header.exposure_s == 150.0
        assert header.full_well_e == 180000.0
        assert header.version == "v5.0-112-g302aa03"
        # the cards before PHOV2 are counts of frames, not physics
        assert set(IMAGE_COMMANDS["distributed"]) - {"backgamma 500"} <= set(header.commands)
        assert (wcs.proj_plane_pixel_scales()[0].to_value("arcsec")) == pytest.approx(0.263, 2e-3)
    assert header.observation_id == 9999997


def test_image_of_another_program_is_refused(tmp_path: Path):
    fits.PrimaryHDU([[1.0, 2.0]]).writeto(tmp_path / "a.fits")
    with pytest.raises(ImageError, match="expected CREATOR = PHOSIM; found None"):
        read_phosim_image(tmp_path / "a.fits")
    with pytest.raises(ImageError, match="no card OBSID, FILTNM, CHIPID"):
        parse_header({"CREATOR": "PHOSIM", "EXPTIME": 1.0}, Path("a.fits"))
    (tmp_path / "b.fits").write_text("text")
    with pytest.raises(ImageError, match="cannot be read as FITS"):
        read_phosim_image(tmp_path / "b.fits")
