"""One field: reproducible, with the flux, sky and truth that were asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulate.config import (
    ClusterConfig,
    EffectConfig,
    FieldConfig,
    GalaxyConfig,
    StarConfig,
    load_preset,
    preset_names,
)
from simulate.field import draw_exposure, draw_sources, make_field, render


def _render(config: FieldConfig, seed: int):
    rng = np.random.default_rng(seed)
    exposure = draw_exposure(rng, config)
    return render(config, draw_sources(rng, config, exposure), exposure)


def _empty(config: FieldConfig) -> FieldConfig:
    return replace(
        config,
        galaxies=replace(config.galaxies, density_arcmin2=(0.0, 0.0)),
        stars=replace(config.stars, density_arcmin2=(0.0, 0.0)),
        clusters=ClusterConfig(probability=0.0),
    )


def test_same_seed_and_index_give_the_same_field(clean: FieldConfig):
    first = make_field(clean, seed=3, index=5)
    again = make_field(clean, seed=3, index=5)
    np.testing.assert_array_equal(first.image.pixels, again.image.pixels)
    assert [s.box for s in first.stamps] == [s.box for s in again.stamps]


def test_other_index_gives_another_field(clean: FieldConfig):
    one = make_field(clean, seed=3, index=5).image.pixels
    assert not np.array_equal(one, make_field(clean, seed=3, index=6).image.pixels)
    assert not np.array_equal(one, make_field(clean, seed=4, index=5).image.pixels)


def test_truth_stamps_add_up_to_the_noiseless_image(clean: FieldConfig):
    parts = _render(clean, 1)
    assert len(parts.truth.stamps) > 25
    height, width = parts.exposure.shape
    margin = 1100
    total = np.zeros((height + 2 * margin, width + 2 * margin, 3))
    for stamp in parts.truth.stamps:
        y1, x1, y2, x2 = (edge + margin for edge in stamp.box)
        total[y1:y2, x1:x2] += stamp.pixels
    total = total[margin : margin + height, margin : margin + width]
    np.testing.assert_allclose(total, parts.light_e, rtol=1e-5, atol=1e-3)


def test_sources_bring_the_flux_of_their_magnitudes(clean: FieldConfig):
    parts = _render(clean, 2)
    asked = 10.0 ** (-0.4 * (parts.sources.mag - 32.0))  # zero point 32: one electron
    for row, stamp in zip(parts.truth.rows, parts.truth.stamps, strict=True):
        np.testing.assert_allclose(stamp.pixels.sum(axis=(0, 1)), asked[row], rtol=5e-3)


def test_empty_field_has_the_sky_and_noise_asked_for(clean: FieldConfig):
    scene = make_field(_empty(clean), seed=1, index=0)
    assert len(scene) == 0
    assert "blend_id" in scene.catalog.colnames
    # 10^(0.4 (32 - 24)) electrons per square arcsec, times the area of a pixel
    expected = 10.0 ** (0.4 * (32.0 - np.array([24.0, 23.5, 23.0]))) * 0.262**2
    n = 128 * 160
    pixels = scene.image.pixels.reshape(n, 3).astype(float)
    np.testing.assert_array_less(abs(pixels.mean(axis=0) - expected), 3 * np.sqrt(expected / n))
    relative = abs(pixels.var(axis=0) / expected - 1.0)
    np.testing.assert_array_less(relative, 3 * np.sqrt(2.0 / n))
    np.testing.assert_allclose(scene.catalog.meta["sky_sigma"], np.sqrt(expected))


def test_sky_subtracted_nanomaggies_have_zero_mean_and_the_right_scale(clean: FieldConfig):
    survey = replace(clean.survey, unit=("nanomaggy",), sky_subtracted=1.0)
    scene = make_field(replace(clean, survey=survey), seed=1, index=0)
    assert scene.image.zeropoint_mag == pytest.approx((22.5, 22.5, 22.5))
    assert abs(np.median(scene.image.pixels)) < np.mean(scene.catalog.meta["sky_sigma"])
    flux = 10.0 ** (-0.4 * (scene.catalog["mag_r"] - 22.5))
    np.testing.assert_allclose(scene.catalog["flux_r"], flux, rtol=1e-4)
    stamp_flux = [stamp.pixels[..., 1].sum() for stamp in scene.stamps]
    np.testing.assert_allclose(stamp_flux, scene.catalog["flux_r"], rtol=5e-3)


def test_digital_numbers_carry_gain_and_soft_bias(clean: FieldConfig):
    survey = replace(clean.survey, unit=("DN",), gain_e_per_dn=(2.0, 4.0, 5.0), soft_bias=1000.0)
    scene = make_field(_empty(replace(clean, survey=survey)), seed=1, index=0)
    sky = 10.0 ** (0.4 * (32.0 - np.array([24.0, 23.5, 23.0]))) * 0.262**2
    expected = 1000.0 + sky / (2.0, 4.0, 5.0)
    np.testing.assert_allclose(scene.image.pixels.mean(axis=(0, 1)), expected, rtol=1e-3)


def test_truth_keeps_only_sources_above_the_limit(clean: FieldConfig):
    config = replace(clean, truth=replace(clean.truth, min_snr=150.0))
    some, every = make_field(config, seed=1, index=0), make_field(clean, seed=1, index=0)
    assert 0 < len(some) < len(every)
    assert some.catalog["snr"].min() >= 150.0
    np.testing.assert_array_equal(some.image.pixels, every.image.pixels)


def test_signal_to_noise_is_that_of_a_matched_filter(clean: FieldConfig):
    scene = make_field(clean, seed=1, index=0)
    sigma = np.array(scene.catalog.meta["sky_sigma"])
    inside = [
        i
        for i, s in enumerate(scene.stamps)
        if min(s.box[:2]) >= 0 and s.box[2] <= 128 and s.box[3] <= 160
    ]
    assert len(inside) > 5
    for i in inside:
        expected = np.sqrt(((scene.stamps[i].pixels / sigma) ** 2).sum())
        assert scene.catalog["snr"][i] == pytest.approx(expected, rel=1e-4)


def test_catalog_positions_agree_with_the_wcs(clean: FieldConfig):
    scene = make_field(clean, seed=1, index=0)
    x, y = scene.image.wcs.all_world2pix(scene.catalog["ra"], scene.catalog["dec"], 0)
    np.testing.assert_allclose(x, scene.catalog["x"], atol=1e-4)
    np.testing.assert_allclose(y, scene.catalog["y"], atol=1e-4)
    assert scene.image.pixel_scale_arcsec == pytest.approx(0.262)


def test_cluster_adds_red_galaxies_about_a_centre(clean: FieldConfig):
    clusters = ClusterConfig(
        probability=1.0, richness=(80.0, 80.0), core_arcsec=(3.0, 3.0), redshift=(0.2, 0.2)
    )
    exposure = draw_exposure(np.random.default_rng(0), clean)
    config = replace(_empty(clean), clusters=clusters)
    members = draw_sources(np.random.default_rng(0), config, exposure)
    assert len(members) == 80
    g_r = members.mag[:, 0] - members.mag[:, 1]
    assert np.median(g_r) == pytest.approx(1.2, abs=0.12)  # red sequence at z = 0.2
    assert members.mag[0, 1] == members.mag[:, 1].min()  # the cD galaxy is the brightest
    distance = np.hypot(members.x - members.x[0], members.y - members.y[0])
    assert distance.max() < 8.2 * 3.0 / 0.262


@pytest.mark.parametrize("name", preset_names())
def test_preset_makes_a_field_with_stars_and_galaxies(name: str):
    size = 128 if name.startswith("hst") else 192
    settings = [f"survey.height={size}", f"survey.width={size}", "stars.faint_mag=26.0"]
    if load_preset(name).stars.milky_way is not None:
        settings.append("stars.milky_way.latitude_deg=[5.0,5.0]")  # a small field may lack stars
    config = load_preset(name, tuple(settings))
    n_fields = 1 if name == "decam-deep" or name.startswith("hst") else 3
    scenes = [make_field(config, seed=1, index=i) for i in range(n_fields)]
    classes = np.concatenate([scene.catalog["class_id"] for scene in scenes])
    assert set(classes) == {1, 2}
    for scene in scenes:
        assert scene.image.pixels.dtype == np.float32
        assert np.isfinite(scene.image.pixels).all()
        assert scene.catalog["snr"].min() >= config.truth.min_snr
        assert scene.catalog["visible_fraction"].max() == pytest.approx(1.0)


def test_saturation_limits_every_pixel(clean: FieldConfig):
    config = replace(
        clean,
        survey=replace(clean.survey, saturation_e=5000.0),
        stars=StarConfig(density_arcmin2=(20.0, 20.0), bright_mag=17.0, faint_mag=19.0),
        galaxies=GalaxyConfig(density_arcmin2=(0.0, 0.0)),
        effects=EffectConfig(spikes=True, bleed=True),
    )
    pixels = make_field(config, seed=1, index=0).image.pixels
    assert pixels.max() == 5000.0
    assert (pixels == 5000.0).sum() > 20
