"""Train the tiny network on a number of devices; run by test_distribution in a new process.

Arguments: kind of distribution, number of devices, training set, folder. Prints nothing; leaves
``result.npz`` in the folder: losses of each epoch, and every weight (the first worker does).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path


def make_devices(kind: str, n: int) -> None:
    """Divide the processor into `n` devices; before the backend is used."""
    if os.environ["KERAS_BACKEND"] == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={n}"
        return
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * n
    tf.config.set_logical_device_configuration(processor, devices)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # see conftest
    # One device takes the same steps operation by operation: a minute of tracing less.
    tf.config.run_functions_eagerly(kind == "none")


def main(kind: str, n: int, dataset: str, folder: str, die_after: str = "0") -> None:
    """Train two epochs of two steps on batches of four; with `die_after`, vanish after an epoch."""
    make_devices(kind, n)
    import keras
    import numpy as np
    from tiny_network import tiny_run

    from astro_io.run_folder import latest_checkpoint
    from astro_rcnn import recorder
    from astro_rcnn.checkpoint import load_model_state
    from astro_rcnn.config import OptimizerConfig, StageConfig
    from astro_rcnn.model import build_model
    from astro_rcnn.trainer import train

    looks = 0 if kind == "none" or die_after != "0" else 1
    config = tiny_run(Path(dataset), steps_per_epoch=2, n_looks=looks)
    config = replace(
        config,
        data=replace(config.data, batch_size=4, validation=(dataset,)),
        # Long steps: the weights move by far more than what they are compared to.
        schedule=(StageConfig(until_epoch=2, learning_rate=0.05),),
        optimizer=OptimizerConfig(name="sgd", clip_norm=0.5, warmup_steps=2, ema_momentum=0.9),
    )
    if kind == "data-parallel" or keras.backend.backend() == "jax":
        config = replace(config, model=undecided(config.model), targets=all_taken(config.targets))
    output = Path(folder) / "run"
    if die_after != "0":
        write = recorder.save_checkpoint

        def vanish(model, path, **options):
            write(model, path, **options)
            if options["epoch"] == int(die_after):
                os._exit(9)

        recorder.save_checkpoint = vanish
    resume = (output / "checkpoints").exists()
    train(config, output, resume=resume, overwrite=False, verbose=0, distribute=kind)
    if json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0) > 0:
        return
    model = build_model(config.model)
    load_model_state(model, latest_checkpoint(output / "checkpoints")[0])
    weights = {variable.path.replace("/", "|"): np.asarray(variable) for variable in model.weights}
    rows = (output / "history.csv").read_text().splitlines()
    np.savez(Path(folder) / "result.npz", history=np.array(json.dumps(rows)), **weights)


def undecided(model):
    """Let every anchor be a proposal: rounding cannot change which regions are looked at.

    JAX compiles another program for two devices, which rounds otherwise.
    """
    return replace(model, rpn_nms_iou=1.0, pre_nms_limit=960, post_nms_train=960, rpn_levels=(2, 3))


def all_taken(targets):
    """Take all regions: 960 anchors and 8 truths."""
    return replace(targets, n_rois=2000, roi_positive_fraction=0.49)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
