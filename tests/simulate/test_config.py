"""Presets and their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from astro_io.config import dump_config, load_config
from astro_io.errors import ConfigError
from simulate.config import (
    ClusterConfig,
    EffectConfig,
    FieldConfig,
    GalaxyConfig,
    PsfConfig,
    StarConfig,
    SurveyConfig,
    load_preset,
    preset_names,
)


def test_presets_of_the_paper_and_the_surveys_are_there():
    assert {"decam", "decam-paper", "mixed", "sdss"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_preset_survives_writing_and_reading(name: str, tmp_path: Path):
    config = load_preset(name)
    path = tmp_path / "again.toml"
    path.write_text(dump_config(config))
    assert load_config(FieldConfig, path) == config
    assert load_preset(str(path)) == config


def test_override_wins_over_the_preset():
    config = load_preset("decam", ("survey.height=128", "stars.density_arcmin2=[2.0, 2.0]"))
    assert config.survey.height == 128
    assert config.stars.density_arcmin2 == (2.0, 2.0)


def test_paper_sky_is_that_of_phosim():
    survey = load_preset("decam-paper").survey
    sky = [
        10.0 ** (0.4 * (zero - mag)) * 0.263**2
        for zero, mag in zip(survey.zeropoint_mag, survey.sky_mag_arcsec2, strict=True)
    ]
    assert sky == pytest.approx([53.0, 76.0, 76.0], rel=2e-3)


def test_decam_noise_is_that_of_a_real_tile():
    survey = load_preset("decam").survey
    for zero, mag, expected in zip(
        survey.zeropoint_mag, survey.sky_mag_arcsec2, (0.0029, 0.0051, 0.0125), strict=True
    ):
        sigma_e = (10.0 ** (0.4 * (zero - mag)) * 0.262**2) ** 0.5
        assert sigma_e * 10.0 ** (-0.4 * (zero - 22.5)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SurveyConfig(height=4), "expected at least 16 px; found 4 x 512"),
        (lambda: SurveyConfig(unit=("Jansky",)), "electron, nanomaggy, nJy, DN, count, electron/s"),
        (lambda: SurveyConfig(unit=("count",)), "give count_zeropoint_mag, too"),
        (lambda: SurveyConfig(noise_correlation=(0.0, 0.9)), "values from 0 to 0.6"),
        (lambda: SurveyConfig(pixel_scale_arcsec=(0.0, 0.3)), "must be above 0"),
        (lambda: PsfConfig(fwhm_arcsec=(0.0, 1.0)), "fwhm_arcsec: expected above 0"),
        (lambda: PsfConfig(beta=(1.0, 3.0)), "beta: expected above 1.1"),
        (lambda: GalaxyConfig(faint_mag=10.0), "bright_mag < density_mag <= faint_mag"),
        (lambda: GalaxyConfig(bulge_indices=(8.0,)), "from 0.5 to 6; found"),
        (lambda: StarConfig(bright_mag=25.0), "bright_mag < faint_mag; found 25.0, 24.5"),
        (lambda: load_preset("hsc", ("stars.density_arcmin2=[5,5]",)),
         "density_arcmin2: does nothing beside .stars.milky_way."),
        (lambda: load_preset("decam", ("galaxies.count_band=i",)),
         "count_band: expected one of the bands of .survey., g, r, z; found i"),
        (lambda: ClusterConfig(probability=1.5), "expected 0 to 1; found 1.5"),
        (lambda: EffectConfig(bleed_along=("up",)), "expected column or row; found"),
        (lambda: EffectConfig(cosmic_rays=(3.0, 1.0)), "0 <= low <= high; found"),
        (lambda: FieldConfig(survey=SurveyConfig(bands=("g",), zeropoint_mag=(30.0,),
         sky_mag_arcsec2=(22.0,), gain_e_per_dn=(1.0,))), "band_factor: expected one value"),
    ],
)  # fmt: skip
def test_impossible_setting_is_refused(make, message: str):
    with pytest.raises(ConfigError, match=message):
        make()
