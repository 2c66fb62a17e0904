"""build_model(config) -> keras.Model: wiring only."""

from __future__ import annotations

import keras
from keras import layers

from cluster_cnn import resnets
from cluster_cnn.config import ModelConfig, TrainConfig
from cluster_cnn.heads import CLASS_OUTPUT, VISIBILITY_OUTPUT, build_outputs, output_losses

FEATURES = "features"
"""Output of `with_features` that tells how usual a stamp is."""


def build_model(config: ModelConfig, *, seed: int = 0) -> keras.Model:
    """Wire trunk, photometry and heads.

    Parameters
    ----------
    config : ModelConfig
    seed : int
        Of the random start.

    Returns
    -------
    keras.Model
        From normalised stamps (N, S, S, C) to raw outputs by name, see
        `cluster_cnn.heads.output_sizes`.  C is `ModelConfig.n_channels`.
    """
    keras.utils.set_random_seed(seed)
    size, n_bands = config.stamp_size, len(config.bands)
    stamps = keras.Input((size, size, config.n_channels), name="stamps")
    seen = []
    for number, prefix in enumerate(config.views_of_stamp):
        view = stamps
        if config.wide_binning:
            view = stamps[..., number * n_bands : (number + 1) * n_bands]
        seen.append(_trunk(view, config, prefix))
        if config.has_photometry:
            seen.append(_photometry(view, config, prefix))
    x = layers.Concatenate(name="with_photometry")(seen) if len(seen) > 1 else seen[0]
    for name, activation in _head_names(config):
        x = layers.Dense(config.head_width, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.98, epsilon=1e-3, name=f"{name}_bn")(x)
        x = layers.ReLU(name=activation)(x)
    if config.dropout > 0:
        x = layers.Dropout(config.dropout, seed=seed, name="head_dropout")(x)
    return keras.Model(stamps, build_outputs(x, config, seed=seed), name="cluster_cnn")


def with_features(model: keras.Model) -> keras.Model:
    """Return the same network with its last hidden layer among the outputs."""
    outputs = {name: model.get_layer(name).output for name in model.output_names}
    return keras.Model(model.input, {**outputs, FEATURES: model.get_layer(FEATURES).output})


def split_model(
    model: keras.Model, config: ModelConfig, *, dropout: float = 0.0
) -> tuple[keras.Model, keras.Model]:
    """Return the network in two parts that share its weights.

    Parameters
    ----------
    model : keras.Model
        From `build_model`.
    config : ModelConfig
    dropout : float
        Share of the last hidden units left out in training, beside that of `config`.

    Returns
    -------
    trunk : keras.Model
        From stamps (N, S, S, B) to what the dense layers see, (N, F).
    head : keras.Model
        From there to the outputs of `model`.
    """
    names = _head_names(config)
    seen = model.get_layer(names[0][0]).input
    x = start = keras.Input(seen.shape[1:], name="trunk_features")
    for name, activation in names:
        for part in (name, f"{name}_bn", activation):
            x = model.get_layer(part)(x)
    if config.dropout > 0:
        x = model.get_layer("head_dropout")(x)
    if dropout > 0:
        x = layers.Dropout(dropout, seed=0)(x)
    outputs = {name: model.get_layer(name)(x) for name in model.output_names}
    return keras.Model(model.input, seen, name="trunk"), keras.Model(start, outputs, name="head")


def compile_model(model: keras.Model, config: TrainConfig, steps: int) -> None:
    """Give the model its losses and an optimiser for so many steps.

    Parameters
    ----------
    model : keras.Model
        From `build_model`.
    config : TrainConfig
    steps : int
        Of the whole run.
    """
    factor = {CLASS_OUTPUT: config.class_weight, VISIBILITY_OUTPUT: config.visibility_weight}
    losses = output_losses(config.model)
    model.compile(
        optimizer=make_optimizer(config, steps),
        loss=losses,
        loss_weights={name: factor.get(name, 1.0) for name in losses},
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)  # a step that builds it is traced twice


def make_optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """Build AdamW (Adam, without decay) with warm-up and cosine decay over `steps`."""
    settings = config.optimizer
    warmup = min(settings.warmup_steps, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        max(steps - warmup, 1),
        alpha=settings.final_fraction,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    # The name is part of checkpoints.
    common = {"name": "adamw", "global_clipnorm": settings.clip_norm or None}
    if not settings.weight_decay:
        return keras.optimizers.Adam(schedule, **common)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _head_names(config: ModelConfig) -> list[tuple[str, str]]:
    """Return the names of each dense layer before the outputs, and of its rectifier."""
    inner = [(f"head_{i + 1}", f"head_{i + 1}_relu") for i in range(config.head_layers - 1)]
    return [*inner, ("head", FEATURES)]


def _trunk(stamps, config: ModelConfig, prefix: str):
    if config.trunk == "resnet50" and not prefix:
        return resnets.resnet50(stamps)
    if config.trunk == "paper1" and not prefix:
        return resnets.paper1(stamps, widths=config.widths, blocks=config.blocks)
    return resnets.compact(
        stamps,
        widths=config.wide_widths if prefix else config.widths,
        blocks=config.wide_blocks if prefix else config.blocks,
        profile_channels=config.profile_channels,
        profile_units=config.head_width // 2,
        prefix=prefix,
    )


def _photometry(stamps, config: ModelConfig, prefix: str):
    """Add sums in rings, through a dense layer of their own."""
    softening = config.softening if config.normalization == "asinh" else 0.0
    return resnets.ring_features(
        stamps, config.head_width // 2, softening=softening, name=f"{prefix}photometry"
    )
