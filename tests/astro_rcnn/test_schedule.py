"""astro_rcnn.schedule: the learning rate at every step."""

from __future__ import annotations

import numpy as np
import pytest

from astro_rcnn.config import StageConfig
from astro_rcnn.schedule import StagedSchedule

pytestmark = pytest.mark.backend


def rates(schedule, n: int) -> list[float]:
    return [float(schedule(step)) for step in range(n)]


def test_constant_stages_change_at_the_end_of_an_epoch():
    stages = (
        StageConfig(until_epoch=1, learning_rate=1e-3),
        StageConfig(until_epoch=3, learning_rate=1e-4),
    )
    found = rates(StagedSchedule.from_stages(stages, 2), 8)
    # Epochs of two steps; after the last stage its rate stays.
    np.testing.assert_allclose(found, [1e-3] * 2 + [1e-4] * 6, rtol=1e-5)


def test_a_cosine_leads_from_start_to_end():
    stage = StageConfig(until_epoch=1, learning_rate=1.0, final_learning_rate=0.2)
    found = rates(StagedSchedule.from_stages((stage,), 5), 6)
    # 0.2 + 0.8 (1 + cos(pi k / 4)) / 2
    expected = [1.0, 0.2 + 0.4 * (1 + 0.5**0.5), 0.6, 0.2 + 0.4 * (1 - 0.5**0.5), 0.2, 0.2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_warmup_rises_linearly_and_ends():
    stage = StageConfig(until_epoch=1, learning_rate=0.8)
    found = rates(StagedSchedule.from_stages((stage,), 10, warmup_steps=4), 6)
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8], rtol=1e-5)


def test_a_later_start_goes_on_where_the_first_would_be():
    stages = (
        StageConfig(until_epoch=2, learning_rate=1.0, final_learning_rate=0.1),
        StageConfig(until_epoch=4, learning_rate=0.5, final_learning_rate=0.0),
    )
    whole = rates(StagedSchedule.from_stages(stages, 3, warmup_steps=5), 12)
    rest = rates(StagedSchedule.from_stages(stages, 3, warmup_steps=5, first_step=4), 8)
    np.testing.assert_allclose(rest, whole[4:], rtol=1e-5)


def test_every_argument_comes_back_from_the_configuration():
    schedule = StagedSchedule((3, 9), (0.1, 0.2), (0.3, 0.4), warmup_steps=5, first_step=2)
    again = StagedSchedule.from_config(schedule.get_config())
    assert vars(again) == vars(schedule)
    assert (again.last_steps, again.starts, again.ends) == ((3, 9), (0.1, 0.2), (0.3, 0.4))
    assert (again.warmup_steps, again.first_step) == (5, 2)
