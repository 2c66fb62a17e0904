from __future__ import annotations

import pytest

from astro_io.errors import ConfigError
from cluster_cnn.classes.config import ClassDataConfig, ClassModelConfig, ClassTrainConfig

PAPER = {"network": "resnet18", "normalization": "zscore", "background": "none"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClassModelConfig(bands=("a", "a")), "named once"),
        (lambda: ClassModelConfig(class_ids=(4, 1)), "rising"),
        (lambda: ClassModelConfig(dropout=1.0), "dropout"),
        (lambda: ClassModelConfig(stamp_size=50), "multiple of 8"),
        (lambda: ClassModelConfig(widths=(8, 8)), "three positive"),
        (lambda: ClassModelConfig(network="resnet18"), "zscore"),
        (lambda: ClassModelConfig(bands=tuple("abcdefg"), **PAPER), "at most six"),
        (lambda: ClassModelConfig(crop_size=65, **PAPER), "crop_size"),
        (lambda: ClassDataConfig(batch_size=0), "batch_size"),
        (lambda: ClassDataConfig(rotation=1.5), "rotation"),
        (lambda: ClassDataConfig(zoom=-0.1), "zoom"),
        (lambda: ClassTrainConfig(members=0), "members"),
        (lambda: ClassTrainConfig(confusion=((1.0,),)), "4 rows of 4"),
        (lambda: ClassTrainConfig(torch_weights="a.pth"), "model.network"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_defaults_are_the_five_bands_and_four_classes():
    model = ClassTrainConfig().model
    assert len(model.bands) == 5
    assert model.class_ids == (1, 2, 3, 4)
