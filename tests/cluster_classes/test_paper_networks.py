"""The networks of Wei et al. from stamps to classes: against NumPy, and from published weights."""

from __future__ import annotations

import numpy as np
import torch_referee
from class_stamps import tiny_model, tiny_run, write_set

from cluster_cnn.classes.config import ClassModelConfig
from cluster_cnn.classes.networks import COPIES, LOGITS, build_class_model
from cluster_cnn.classes.predictor import ClassPredictor
from cluster_cnn.classes.trainer import train_classes
from cluster_cnn.classes.weights_file import read_member
from cluster_cnn.normalise import measure_scale
from cluster_cnn.torch_weights import assign_torch_tensors, from_torch_order, torch_variables
from cluster_cnn.weights_file import named_variables

PAPER = {"network": "resnet18", "normalization": "zscore", "background": "none"}


def state_of(model, prefix, *, seed):
    shapes = {n: shape for n, (_, shape) in torch_variables(model, prefix=prefix).items()}
    return torch_referee.random_state(shapes, seed=seed)


def blown_up(plane: np.ndarray, size: int) -> np.ndarray:
    """Resize a square plane bilinearly, half-pixel centres, edges repeated."""
    n = len(plane)
    places = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.minimum(places.astype(int), n - 2)
    part = places - low
    matrix = np.zeros((size, n))
    matrix[np.arange(size), low] = 1 - part
    matrix[np.arange(size), low + 1] += part
    return matrix @ plane @ matrix.T


def paper_logits(stamps, states, kernel, bias):
    """Say what Wei et al. do with stamps (N, 64, 64, 5): the middle 50 px, [0, 1], 299 px."""
    channels = np.zeros((len(stamps), 6, 299, 299))
    for i, stamp in enumerate(stamps):
        for band in range(5):
            middle = stamp[7:57, 7:57, band]
            if np.isfinite(middle).any():
                unit = (middle - middle.min()) / np.ptp(middle)
                channels[i, band] = blown_up(unit, 299)
    said = [torch_referee.resnet18(s, channels[:, 3 * k : 3 * k + 3]) for k, s in enumerate(states)]
    return np.concatenate(said, axis=1) @ kernel + bias


def test_two_copies_agree_with_the_referee_on_stamps_of_five_bands(rng):
    """From flux to logits at the size of the paper, with one band missing in the second stamp."""
    config = ClassModelConfig(**PAPER, has_distance=False)
    model = build_class_model(config, seed=1)
    states = [state_of(model, prefix, seed=k) for k, prefix in enumerate(COPIES)]
    for state, prefix in zip(states, COPIES, strict=True):
        assign_torch_tensors(model, state, where="referee", prefix=prefix)
    stamps = rng.normal(5, 2, (2, 64, 64, 5)).astype(np.float32) ** 2
    stamps[1, ..., 0] = np.nan
    scale = measure_scale(stamps, bands=config.bands, method="zscore", background="none")
    tensors = {name: v.numpy() for name, v in named_variables(model).items()}
    predictor = ClassPredictor.from_members([tensors], config=config, scale=scale)
    said = predictor.outputs(stamps)[0][0]
    kernel, bias = tensors[f"{LOGITS}/kernel"], tensors[f"{LOGITS}/bias"]
    wanted = paper_logits(stamps.astype(np.float64), states, kernel, bias)
    np.testing.assert_allclose(said, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    assert np.isfinite(predictor.predict(stamps).probabilities).all()


def test_published_weights_fill_both_copies_before_the_training(tmp_path, monkeypatch):
    """Nothing is trained here: they are in the network as they are in the file."""
    monkeypatch.setattr("keras.Model.fit", lambda *_, **__: None)
    model = tiny_model(**PAPER, crop_size=24, image_size=32, has_distance=False)
    state = state_of(build_class_model(model), COPIES[0], seed=3)
    published = torch_referee.save_zip(tmp_path / "resnet18.pth", state)
    config = tiny_run(
        write_set(tmp_path / "train.h5", 40, seed=1),
        members=1,
        epochs=1,
        steps_per_epoch=1,
        model=model,
        torch_weights=str(published),
    )
    run = tmp_path / "run"
    train_classes(config, run, resume=False, overwrite=False, verbose=0)
    tensors, _ = read_member(run / "member_0" / "member.h5")
    for prefix in COPIES:
        for ours, theirs in (("layer2.0.conv1/kernel", "layer2.0.conv1.weight"),
                             ("fc/kernel", "fc.weight")):  # fmt: skip
            found = tensors[prefix + ours]
            wanted = from_torch_order(state[theirs], found.shape)
            np.testing.assert_allclose(found, wanted, atol=1e-6)
