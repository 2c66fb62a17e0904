"""The presets that networks were trained on keep their pixels and their settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from astro_io.config import config_to_dict
from simulate.config import load_preset
from simulate.field import make_field


@dataclass(frozen=True)
class Pin:
    """What a field of 160 x 192 px with seed 7 and index 0 held when networks were trained."""

    n_sources: int
    n_stars: int
    absolute_sums: tuple[float, float, float]
    stamp_sum: float
    n_settings: int


PINS = {
    "decam-paper": Pin(19, 7, (5414603.9, 7205651.7, 8545720.4), 14708464.0, 59),
    "decam": Pin(27, 4, (83.025113, 158.61685, 388.52411), 135.06367, 59),
    "mixed": Pin(46, 12, (1977499.1, 2591071.7, 5425720.3), 7665435.2, 59),
    "sdss": Pin(15, 7, (32804814.0, 34279668.0, 33289229.0), 20755.424, 59),
}


@pytest.mark.parametrize("name", PINS)
def test_field_is_the_one_networks_were_trained_on(name: str):
    config = load_preset(name, ("survey.height=160", "survey.width=192"))
    scene = make_field(config, seed=7, index=0)
    pin = PINS[name]
    assert len(scene) == pin.n_sources
    assert np.count_nonzero(scene.catalog["class_id"] == 1) == pin.n_stars
    sums = np.abs(scene.image.pixels.astype(np.float64)).sum(axis=(0, 1))
    np.testing.assert_allclose(sums, pin.absolute_sums, rtol=1e-4)
    stamp_sum = sum(stamp.pixels.sum(dtype=np.float64) for stamp in scene.stamps)
    assert stamp_sum == pytest.approx(pin.stamp_sum, rel=1e-4)
    assert not scene.image.bad.any()


@pytest.mark.parametrize("name", PINS)
def test_stored_settings_stay_the_same(name: str):
    # a training set that was begun with fewer settings could not be resumed with more
    settings = config_to_dict(load_preset(name))
    count = sum(len(part) if isinstance(part, dict) else 1 for part in settings.values())
    assert count == PINS[name].n_settings
