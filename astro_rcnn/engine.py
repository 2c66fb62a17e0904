"""Engines: what runs the layers of a network. Keras itself, or OpenVINO on the same CPU cores.

OpenVINO takes the place of those sub-models that gain by it, one for one; proposals, suppression,
RoIAlign and pasting stay what they are. It does not take the class head: OpenVINO's convolution of
many regions of 7 x 7 cells is several times slower than TensorFlow's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from astro_io.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from astro_rcnn.model import MaskRCNN

log = logging.getLogger(__name__)

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}
"""Arithmetic of each OpenVINO engine: that of Keras, or brain floats of 8 bits of mantissa."""

ENGINES = ("keras", *PRECISIONS)

SERVED = ("features", "rpn", "mask_head")
"""Sub-models of `MaskRCNN` that OpenVINO runs."""


def check_engine(engine: str) -> None:
    """Refuse an engine that is unknown, not installed, or unable to run here.

    Raises
    ------
    ConfigError
        If there is no such engine.
    BackendError
        If OpenVINO is not installed, the Keras backend is not TensorFlow, or the processor lacks
        the arithmetic asked for.
    """
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine}: expected one of {', '.join(ENGINES)}.")
    if engine == "keras":
        return
    if find_spec("openvino") is None:
        raise BackendError(
            f"--engine {engine} needs OpenVINO (pip install openvino), or use --engine keras."
        )
    if keras.backend.backend() != "tensorflow":
        raise BackendError(
            f"--engine {engine} works on the TensorFlow backend; found "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow, or use --engine keras."
        )
    abilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if engine == "openvino-bf16" and "BF16" not in abilities:
        raise BackendError(
            "--engine openvino-bf16: this processor has no brain-float arithmetic; "
            "use --engine openvino."
        )


def install_engine(model: MaskRCNN, engine: str) -> None:
    """Have an engine run the layers of a network, whose weights are final from here on.

    Parameters
    ----------
    model : MaskRCNN
        Changed in place: it infers as before, but no longer trains.
    engine : {"keras", "openvino", "openvino-bf16"}

    Raises
    ------
    ConfigError, BackendError
        As `check_engine`; or if what was prepared for OpenVINO cannot be read.
    """
    check_engine(engine)
    if engine == "keras":
        return
    for name in SERVED:
        served = OpenVINONetwork(getattr(model, name), precision=PRECISIONS[engine])
        delattr(model, name)
        setattr(model, name, served)


class OpenVINONetwork:
    """A functional model that OpenVINO runs, inside TensorFlow functions as well.

    Parameters
    ----------
    network : keras.Model
        One input; what it computes is copied, weights included.
    precision : {"f32", "bf16"}
        Arithmetic of the layers.

    Notes
    -----
    A program is compiled for each input shape that occurs, in a fraction of a second. Translating
    the layers takes seconds: the translation is kept in `cache_folder`.
    """

    def __init__(self, network: keras.Model, *, precision: str = "f32") -> None:
        outputs = network.compute_output_spec(network.inputs[0])
        self._is_single = not isinstance(outputs, list | tuple)
        self._output_names = [f"output_{i}" for i in range(1 if self._is_single else len(outputs))]
        self._file = translate(network)
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads of several processes would all sit on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._programs: dict[tuple[int, ...], Any] = {}
        self._running = threading.Lock()
        self._read()

    def __call__(self, inputs, training: bool = False):
        """Compute what the Keras model would, for a tensor of known shape."""
        import tensorflow as tf

        assert not training, "OpenVINO does not train"
        program = self._program(tuple(inputs.shape))

        def infer(pixels: np.ndarray) -> list[np.ndarray]:
            with self._running:
                results = program(pixels, share_inputs=True)
            return [results[name] for name in self._output_names]

        outputs = tf.numpy_function(infer, [inputs], [tf.float32] * len(self._output_names))
        outputs = [
            tf.ensure_shape(output, tuple(program.output(name).shape))
            for output, name in zip(outputs, self._output_names, strict=True)
        ]
        return outputs[0] if self._is_single else outputs

    def _program(self, shape: tuple[int, ...]) -> Any:
        """Compile for one input shape, once."""
        if shape not in self._programs:
            graph = self._read()
            graph.reshape(list(shape))
            self._programs[shape] = _openvino().Core().compile_model(graph, "CPU", self._settings)
        return self._programs[shape]

    def _read(self) -> Any:
        try:
            return _openvino().Core().read_model(self._file)
        except RuntimeError as error:
            raise BackendError(
                f"{self._file}: OpenVINO cannot read what was prepared for it. "
                f"Delete the folder {self._file.parent} and run again."
            ) from error


def translate(network: keras.Model) -> Path:
    """Write a functional model as OpenVINO has it, unless that was done before.

    Through a SavedModel, which OpenVINO reads: its tensors keep their names ``output_0``, ...,
    as they do not in a direct export. Any number of processes may do so at once.

    Returns
    -------
    Path
        The ``.xml`` file; the weights lie beside it. All sizes left open stay open.
    """
    folder = cache_folder() / _content_key(network)
    if not folder.is_dir():
        log.info("translating %s for OpenVINO, once: %s", network.name, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as part:
            network.export(f"{part}/saved", format="tf_saved_model", verbose=False)
            graph = _openvino().Core().read_model(f"{part}/saved")
            target = Path(part) / "done"
            target.mkdir()
            _openvino().save_model(graph, target / "network.xml", compress_to_fp16=False)
            with suppress(OSError):  # another process was faster
                target.rename(folder)
    return folder / "network.xml"


def cache_folder() -> Path:
    """Return where translated networks are kept; it may be deleted at any time."""
    import pooch

    return Path(pooch.os_cache("astro-rcnn")) / "openvino"


def _content_key(network: keras.Model) -> str:
    """Return a hash of layers, weights, and the versions that decide how they are written."""
    key = hashlib.sha256()
    key.update(f"{_openvino().__version__} {keras.__version__} {network.to_json()}".encode())
    for weight in network.weights:
        key.update(np.ascontiguousarray(weight))
    return key.hexdigest()[:32]


def _openvino() -> Any:
    with _without_usage_reports():
        import openvino
    return openvino


@contextmanager
def _without_usage_reports() -> Iterator[None]:
    """Import OpenVINO without its message to a web service, which it omits in automatic builds."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
