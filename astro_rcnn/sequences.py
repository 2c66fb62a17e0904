"""The training and validation sets of a configuration, opened and checked."""

from __future__ import annotations

from astro_io.errors import ConfigError
from astro_io.truth import MaskRule
from astro_rcnn.augment import named_augmentation
from astro_rcnn.config import TrainConfig
from astro_rcnn.data import TrainingSequence


def make_sequences(config: TrainConfig) -> tuple[TrainingSequence, TrainingSequence | None]:
    """Open the training and validation sets as the configuration says.

    Raises
    ------
    ConfigError
        If no training set is named, or the pyramid of the network does not divide the crops.
    """
    data, model = config.data, config.model
    if not data.training:
        raise ConfigError(
            "[data]: no training set. Name one: --set data.training=PATH "
            "(python -m simulate.fields makes them)."
        )
    is_scaled = model.normalization in ("asinh", "lupton")
    common = {
        "bands": model.bands,
        "size": data.crop or None,
        "batch_size": data.batch_size,
        "max_instances": data.max_instances,
        "mask_rule": MaskRule(kind=data.mask_rule),
        "normalization": model.normalization,
        "normalization_parameters": (
            {"softening": model.normalization_softening} if is_scaled else {}
        ),
        "n_classes": len(model.class_names),
        "truth_min_snr": data.truth_min_snr,
        "min_visible_fraction": data.min_visible_fraction,
        "seed": config.seed,
        "cache_mb": data.cache_mb,
        "threads": data.workers,
    }
    training = TrainingSequence(
        data.training,
        augmentation=named_augmentation(data.augmentation, normalization=model.normalization),
        steps_per_epoch=config.steps_per_epoch,
        repeats=data.repeats,
        **common,
    )
    validation = None
    if data.validation:
        validation = TrainingSequence(
            data.validation, shuffle=False, steps_per_epoch=config.validation_steps, **common
        )
    check_crops(config, training, validation)
    return training, validation


def check_crops(config: TrainConfig, *sequences: TrainingSequence | None) -> None:
    """Raise unless the pyramid of the network divides the crops."""
    multiple = config.model.size_multiple
    for sequence in sequences:
        if sequence is not None and any(side % multiple for side in sequence.shape):
            raise ConfigError(
                f"[data]: expected crops whose sides are multiples of {multiple} px; found "
                f"{sequence.shape[0]}x{sequence.shape[1]} px. Set data.crop (0 takes whole images)."
            )
