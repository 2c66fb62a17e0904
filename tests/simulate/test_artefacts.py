"""Artefacts of single exposures: each alone, then switched on in a field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from astro_io.errors import ConfigError
from simulate.bad_columns import add_bad_columns
from simulate.config import FieldConfig, TruthConfig, load_preset
from simulate.effect_config import (
    BadColumnConfig,
    EffectConfig,
    GapConfig,
    GhostConfig,
    SatelliteTrailConfig,
)
from simulate.field import make_field
from simulate.gaps import draw_gap
from simulate.ghosts import draw_ghost
from simulate.satellite_trails import draw_satellite_trail
from simulate.truth import with_blends


def test_trail_crosses_the_field_with_the_width_asked_for(rng: np.random.Generator):
    for _ in range(5):
        light = draw_satellite_trail(rng, (300, 400), brightness=10.0, fwhm_px=6.0)
        ridge = light > 4.99  # half of 10 at least, wherever the tumbling dims it least
        touched = [ridge[0].any(), ridge[-1].any(), ridge[:, 0].any(), ridge[:, -1].any()]
        assert sum(touched) >= 2
        # a Gaussian holds 1.0645 peak * FWHM a unit of length; length at most the diagonal
        assert light.sum() < 1.3 * 10.0 * 1.0645 * 6.0 * 501.0
        assert light.max() <= 13.0


def test_trail_is_as_wide_as_asked(rng: np.random.Generator):
    light = draw_satellite_trail(rng, (400, 400), brightness=1.0, fwhm_px=8.0)
    # area above half of the local maximum over the length of the trail
    columns = light[:, light.max(axis=0) > 0.5]
    slant = columns / columns.max(axis=0)
    rows = light[light.max(axis=1) > 0.5]
    flat = rows / rows.max(axis=1, keepdims=True)
    widths = np.median((slant > 0.5).sum(axis=0)), np.median((flat > 0.5).sum(axis=1))
    # an oblique line of width w is w / cos wide along columns and w / sin along rows
    across = 1.0 / np.hypot(1.0 / widths[0], 1.0 / widths[1])
    assert across == pytest.approx(8.0, rel=0.12)


def test_ghost_is_an_even_ring_that_holds_its_flux():
    light = draw_ghost((201, 201), x=100.0, y=100.0, flux=500.0, radius_px=60.0, hole=0.4)
    assert light.sum() == pytest.approx(500.0, rel=5e-3)
    # area of the ring: pi 60^2 (1 - 0.16)
    assert light[100, 142] == pytest.approx(500.0 / (np.pi * 3600 * 0.84), rel=1e-3)
    assert light[100, 142] == pytest.approx(light[142, 100])
    assert light[100, 100] < 1e-3 * light[100, 142]
    assert light[100, 170] < 1e-3 * light[100, 142]


def test_ghost_outside_the_field_only_reaches_in():
    light = draw_ghost((50, 80), x=-20.0, y=25.0, flux=1.0, radius_px=40.0, hole=0.0)
    assert light[25, 0] > 0.0
    assert light[25, 40] < 1e-6 * light[25, 0]


def test_dead_columns_have_no_light_and_hot_ones_more(rng: np.random.Generator):
    image = np.full((50, 60), 7.0)
    dead, bad = add_bad_columns(
        rng, image, n=4, hot_fraction=0.0, hot_charge=(5.0, 5.0), no_light=1.0
    )
    assert (dead[bad] == 1.0).all()
    assert (dead[~bad] == 7.0).all()
    assert 1 <= bad.any(axis=0).sum() <= 4
    hot, bad = add_bad_columns(rng, image, n=1, hot_fraction=1.0, hot_charge=(5.0, 5.0))
    np.testing.assert_allclose(hot[bad], 12.0)
    assert bad.any(axis=0).sum() == 1
    assert (image == 7.0).all()


def test_bad_part_of_a_column_reaches_an_edge(rng: np.random.Generator):
    image = np.zeros((50, 60))
    for _ in range(20):
        _, bad = add_bad_columns(rng, image, n=1, hot_fraction=1.0, hot_charge=(5.0, 5.0))
        column = bad[:, bad.any(axis=0)][:, 0]
        assert column[0] or column[-1]
        assert np.count_nonzero(np.diff(column)) <= 1


def test_gap_is_a_strip_along_rows_or_columns(rng: np.random.Generator):
    for _ in range(30):
        gap = draw_gap(rng, (40, 70), width_px=9.4)
        across = gap.all(axis=1).sum() or gap.all(axis=0).sum()
        assert 1 <= across <= 9
        assert gap.sum() in (across * 70, across * 40)


def _small(config: FieldConfig) -> FieldConfig:
    """96 px without fainter sources, to be quick."""
    galaxies = replace(config.galaxies, density_mag=22.0, faint_mag=22.0)
    survey = replace(config.survey, height=96, width=96)
    return replace(config, survey=survey, galaxies=galaxies, truth=TruthConfig(min_snr=5.0))


@pytest.fixture
def effects() -> EffectConfig:
    """Every artefact, certain to appear in a field of 128 px."""
    return EffectConfig(
        spikes=False,
        bleed=False,
        satellite_trails=SatelliteTrailConfig(rate=(20.0, 20.0), brightness_sigma=(20.0, 20.0)),
        ghosts=GhostConfig(faintest_mag=23.0, flux_fraction=(0.5, 0.5), offset_arcsec=(0.0, 5.0)),
        bad_columns=BadColumnConfig(rate=(20.0, 20.0)),
        gaps=GapConfig(probability=1.0, width_arcsec=(5.0, 5.0)),
    )


@pytest.mark.parametrize("name", ["satellite_trails", "ghosts", "bad_columns", "gaps"])
def test_each_artefact_changes_pixels_but_not_the_noise(
    clean: FieldConfig, effects: EffectConfig, name: str
):
    clean = _small(clean)
    alone = replace(clean.effects, **{name: getattr(effects, name)})
    plain = make_field(clean, seed=2, index=0)
    marked = make_field(replace(clean, effects=alone), seed=2, index=0)
    again = make_field(replace(clean, effects=alone), seed=2, index=0)
    np.testing.assert_array_equal(marked.image.pixels, again.image.pixels)
    changed = marked.image.pixels != plain.image.pixels
    assert changed.any()
    is_damage = name in ("bad_columns", "gaps")
    assert marked.image.bad.any() == is_damage
    if is_damage:
        assert not changed[~marked.image.bad].any()


def test_source_without_data_in_any_band_has_no_truth(clean: FieldConfig):
    scene = make_field(_small(clean), seed=1, index=0)
    left_half = np.zeros(scene.image.bad.shape, dtype=bool)
    left_half[:, :48, :2] = True
    two_bands = replace(scene, image=replace(scene.image, bad=left_half))
    assert len(with_blends(two_bands)) == len(scene)
    left_half[:, :48] = True
    kept = with_blends(replace(scene, image=replace(scene.image, bad=left_half)))
    assert 0 < len(kept) < len(scene)
    assert kept.catalog["x"].min() > 40.0
    everywhere = replace(scene, image=replace(scene.image, bad=np.ones_like(left_half)))
    assert len(with_blends(everywhere)) == 0


def test_unflagged_columns_are_not_marked(clean: FieldConfig, effects: EffectConfig):
    columns = replace(effects.bad_columns, flagged=False)
    unmarked = replace(clean.effects, bad_columns=columns)
    scene = make_field(replace(_small(clean), effects=unmarked), seed=2, index=0)
    assert not scene.image.bad.any()


def test_section_in_the_settings_switches_an_effect_on():
    assert load_preset("decam").effects.satellite_trails is None
    config = load_preset("decam", ("effects.satellite_trails.rate=[1.0, 2.0]",))
    assert config.effects.satellite_trails == SatelliteTrailConfig(rate=(1.0, 2.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SatelliteTrailConfig(width_arcsec=(0.0, 1.0)), "width_arcsec: expected above 0"),
        (lambda: GhostConfig(hole=1.0), r"ghosts\] hole: expected 0 up to 1; found 1.0"),
        (lambda: BadColumnConfig(hot_fraction=2.0), "hot_fraction: expected 0 to 1; found 2.0"),
        (lambda: GapConfig(probability=-1.0), "probability: expected 0 to 1; found -1.0"),
        (lambda: GapConfig(width_arcsec=(3.0, 2.0)), "0 <= low <= high; found"),
    ],
)
def test_impossible_setting_is_refused(make, message: str):
    with pytest.raises(ConfigError, match=message):
        make()
