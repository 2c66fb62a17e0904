"""astro_rcnn.config: settings that cannot work are refused where they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from astro_io.config import dump_config, load_config
from astro_io.errors import ConfigError
from astro_rcnn.config import (
    ModelConfig,
    StageConfig,
    TargetConfig,
    TrainConfig,
)

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("astro_rcnn*.toml"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(trunk="vgg"), "trunk 'vgg' unknown; choose one of resnet101"),
        (lambda: ModelConfig(anchor_scales=(8.0,)), "one anchor scale for each of the 5"),
        (lambda: ModelConfig(mean_pixel=(1.0, 2.0)), "mean_pixel has 2 values for 3 bands"),
        (lambda: ModelConfig(roi_levels=(2, 4)), "must rise one by one; found .2, 4."),
        (lambda: ModelConfig(roi_levels=(0, 1)), "no pyramid level under 1 .stride 2.; found"),
        (lambda: ModelConfig(temperature=0.0), "temperature must be above 0; found 0.0"),
        (lambda: TrainConfig(precision="half"), "precision is 'float32' or 'bfloat16'"),
        (lambda: TrainConfig(keep_checkpoints=-1), "keep_checkpoints must not be negative"),
        (lambda: ModelConfig(min_confidence=1.5), "min_confidence must lie in 0..1; found 1.5"),
        (lambda: TargetConfig(loss_weights=(1.0,)), "expected five loss_weights"),
        (lambda: TargetConfig(roi_positive_fraction=1.0), "must lie between 0 and 1; found 1.0"),
        (lambda: StageConfig(layers="trunk"), "layers is 'heads' or 'all'; found 'trunk'"),
        (lambda: StageConfig(learning_rate=0.0), "learning_rate must be positive; found 0.0"),
        (lambda: TrainConfig(schedule=()), "until_epoch must rise from stage to stage"),
        (
            lambda: TrainConfig(schedule=(StageConfig(until_epoch=2), StageConfig(until_epoch=2))),
            r"until_epoch must rise from stage to stage; found \[2, 2\]",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_image_sides_are_multiples_of_the_coarsest_stride():
    assert ModelConfig().size_multiple == 64
    coarse = ModelConfig(rpn_levels=(2, 3), anchor_scales=(8.0, 16.0))
    assert coarse.size_multiple == 32  # the trunk itself halves five times


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_load_and_come_back(path, tmp_path):
    config = load_config(TrainConfig, path)
    (tmp_path / "again.toml").write_text(dump_config(config))
    assert load_config(TrainConfig, tmp_path / "again.toml") == config


def test_there_are_shipped_configurations():
    assert {path.stem for path in CONFIGS} >= {"astro_rcnn_paper", "astro_rcnn_compact"}
