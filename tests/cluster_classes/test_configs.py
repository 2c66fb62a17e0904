"""The published configurations: what they say is what the papers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from astro_io.config import load_config
from cluster_cnn.classes.config import ClassTrainConfig
from cluster_cnn.classes.networks import build_class_model
from cluster_cnn.data import split_rows
from cluster_cnn.train import read_task
from simulate.star_clusters.class_config import HUMAN_CONFUSION

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("classes_*.toml")), ids=lambda p: p.stem)
def test_configurations_are_valid(path):
    assert read_task(path) == "classes"
    config = load_config(ClassTrainConfig, path)
    assert config.data.training
    assert config.name.startswith("classes-")


@pytest.mark.parametrize(
    "name",
    [
        "phangs",
        "human_labels",
        "wei_resnet18",
        pytest.param("wei_vgg19_bn", marks=pytest.mark.slow),  # 287 million weights
    ],
)
def test_networks_of_the_configurations_can_be_built(name):
    config = load_config(ClassTrainConfig, CONFIGS / f"classes_{name}.toml")
    assert build_class_model(config.model).output_shape == (None, 4)


@pytest.mark.parametrize(("kind", "batch"), [("resnet18", 32), ("vgg19_bn", 16)])
def test_networks_of_the_paper_are_trained_as_the_paper_says(kind, batch):
    config = load_config(ClassTrainConfig, CONFIGS / f"classes_wei_{kind}.toml")
    assert config.model.network == kind
    assert (config.model.crop_size, config.model.image_size) == (50, 299)
    assert config.data.batch_size == batch
    assert config.epochs * config.steps_per_epoch == 10_000
    assert config.members == 10
    assert config.data.rotation == 1.0
    assert config.optimizer.learning_rate == 1e-4
    assert config.optimizer.final_fraction == 1.0
    training, aside = split_rows(100, config.data.validation_share)
    assert (len(training), len(aside)) == (80, 20)


def test_human_labels_are_corrected_by_the_rates_they_are_drawn_with():
    config = load_config(ClassTrainConfig, CONFIGS / "classes_human_labels.toml")
    assert config.confusion == HUMAN_CONFUSION
    assert config.data.labels == "class_human"


def test_split_by_hand():
    training, aside = split_rows(6, 0.5)
    assert training.tolist() == [1, 3, 5]
    assert aside.tolist() == [0, 2, 4]
    assert split_rows(6, 0.0)[1].size == 0
