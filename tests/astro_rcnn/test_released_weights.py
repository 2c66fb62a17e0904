"""astro_rcnn.released_weights: files of the matterport layout. Sizes: see test_conformance."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_network import TINY_MODEL

from astro_io.errors import InputNotFoundError, WeightsError
from astro_rcnn.model import MaskRCNN, build_model
from astro_rcnn.named_weights import named_variables
from astro_rcnn.released_weights import CLASS_LAYERS, load_matterport, read_matterport


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return build_model(TINY_MODEL)


def write_matterport(path: Path, model: MaskRCNN, *, wrapper: str = "", rename=None) -> Path:
    """Write as Keras 2 did: ``<layer>/<layer>/kernel:0``, the proposal network's in its model."""
    with h5py.File(path, "w") as file:
        for number, (name, variable) in enumerate(named_variables(model).items()):
            layer, kind = (rename or {}).get(name, name).split("/")
            group = "rpn_model" if layer.startswith("rpn_") else layer
            value = np.full(variable.shape, number, np.float32)
            file[f"{wrapper}{group}/{layer}/{kind}:0"] = value
    return path


@pytest.mark.parametrize("wrapper", ["", "model_weights/"])
def test_every_tensor_is_read_by_its_name(network, tmp_path, wrapper):
    path = write_matterport(tmp_path / "w.h5", network, wrapper=wrapper)
    with h5py.File(path, "a") as file:  # what files saved whole hold besides
        file["optimizer_weights/SGD/conv1/kernel:0"] = np.zeros(3)
        file.create_group(f"{wrapper}top_level_model_weights")
    report = load_matterport(network, path)
    assert len(report.loaded) == len(named_variables(network)) and not report.left_out
    for number, variable in enumerate(named_variables(network).values()):
        assert (np.asarray(variable) == number).all()


def test_a_renamed_tensor_is_an_error_that_names_it(network, tmp_path):
    rename = {"fpn_p2/kernel": "fpn_p9/kernel"}
    path = write_matterport(tmp_path / "w.h5", network, rename=rename)
    message = r"w\.h5: missing in the file: fpn_p2/kernel .* not in the network: fpn_p9/kernel"
    with pytest.raises(WeightsError, match=message):
        load_matterport(network, path)


def test_other_classes_are_left_out_unless_that_is_forbidden(tmp_path):
    from dataclasses import replace

    names = ("background", *(f"class {i}" for i in range(6)))
    other = build_model(replace(TINY_MODEL, class_names=names))
    path = write_matterport(tmp_path / "w.h5", other)
    model = build_model(TINY_MODEL)
    report = load_matterport(model, path)
    assert {name.split("/")[0] for name in report.left_out} == set(CLASS_LAYERS)
    with pytest.raises(WeightsError, match="shape differs: .*mrcnn_class_logits/kernel: network"):
        load_matterport(model, path, leave_out_classes=False)


def test_two_tensors_of_one_name_are_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/conv1/kernel:0"] = file["b/conv1/kernel:0"] = np.zeros(2)
    with pytest.raises(WeightsError, match=r"w\.h5: two tensors are called conv1/kernel"):
        read_matterport(tmp_path / "w.h5")


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such weights file"):
        read_matterport(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not found")
    with pytest.raises(WeightsError, match=r"text\.h5: not a readable HDF5 file"):
        read_matterport(tmp_path / "text.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("conv1")
    with pytest.raises(WeightsError, match=r"empty\.h5: no tensor found"):
        read_matterport(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["kernel:0"] = np.zeros(2)
    assert set(read_matterport(tmp_path / "flat.h5")) == {"kernel"}
