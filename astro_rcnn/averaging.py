"""The moving average of the weights, made fit for use.

Averaged weights see other activations than the ones that batch normalisation kept statistics of:
used as they are, they forget rare classes. So statistics are measured again (Izmailov et al. 2018,
section 3.2: stochastic weight averaging).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from astro_io.errors import WeightsError
from astro_rcnn.checkpoint import load_model_state
from astro_rcnn.detector import compiled

_AVERAGE = "_average"


def holds_averages(checkpoint: Path) -> bool:
    """Return whether a checkpoint holds moving averages: those packed without optimiser do not."""
    with h5py.File(checkpoint, "r") as file:
        return any(name.endswith(_AVERAGE) for name in file.get("optimizer", ()))


def load_averaged(model: keras.Model, checkpoint: Path) -> int:
    """Fill a network with the averaged weights of a checkpoint.

    Parameters
    ----------
    model : MaskRCNN
    checkpoint : Path
        Of a run with ``optimizer.ema_momentum`` above 0.

    Returns
    -------
    int
        Number of tensors replaced by their average.

    Raises
    ------
    WeightsError
        If the checkpoint holds no averages, or some of another network.
    """
    load_model_state(model, checkpoint)
    with h5py.File(checkpoint, "r") as file:
        averages = {
            name.split("|", 1)[1].removesuffix(_AVERAGE): dataset[()]
            for name, dataset in file.get("optimizer", {}).items()
            if name.endswith(_AVERAGE)
        }
    variables = {v.path.replace("/", "_"): v for v in model.weights}
    if not averages or not set(averages) <= set(variables):
        raise WeightsError(
            f"{checkpoint.name}: expected averages of tensors of this network, found "
            f"{len(averages)}. Train with optimizer.ema_momentum above 0."
        )
    for name, value in averages.items():
        variables[name].assign(value)
    return len(averages)


def recalibrate_batch_norm(
    model: keras.Model, batches: Iterable[tuple[dict[str, np.ndarray], ...]]
) -> None:
    """Measure the statistics of batch normalisation anew.

    Parameters
    ----------
    model : MaskRCNN
        Its other weights stay.
    batches : iterable
        Training batches; with a momentum of 0.97, a hundred forget 95 % of the old statistics.
    """
    statistics = list(model.non_trainable_variables)

    def pass_forward(inputs):
        model(inputs, training=True)
        return [variable.value for variable in statistics]

    run = compiled(model, pass_forward)
    for batch in batches:
        # On JAX a compiled function has no effects: the values come back.
        for variable, value in zip(statistics, run(_inputs(batch)), strict=True):
            variable.assign(value)


def _inputs(batch: Any) -> dict[str, np.ndarray]:
    return batch[0] if isinstance(batch, tuple) else batch
