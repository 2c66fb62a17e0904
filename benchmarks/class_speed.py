"""Where the processor time of classifying goes: reading, the networks, what is measured beside.

::

    python benchmarks/class_speed.py --dataset sets/classes-test.h5

Prints processor seconds for 1000 stamps, one thread, best of three: of the ensemble as
``cluster_cnn.predict`` runs it, of one member alone, and of the parts.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

N_STAMPS, N_TIMES = 500, 3


def seconds(call: Callable[[], object]) -> float:
    """Return processor seconds of 1000 stamps, best of `N_TIMES`, after a first call."""
    call()
    found = []
    for _ in range(N_TIMES):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return 1000 * min(found) / N_STAMPS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--weights", default="classes-phangs")
    options = parser.parse_args(argv)
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    import keras
    import numpy as np

    from astro_io.weights import resolve
    from cluster_cnn.classes.predictor import ClassPredictor
    from cluster_cnn.classes.weights_file import read_class_weights
    from cluster_cnn.data import StampSource
    from cluster_cnn.normalise import normalise_stamps

    weights = read_class_weights(resolve(options.weights)[0])
    source = StampSource.seen_by(weights.config, [options.dataset])
    rows = np.arange(N_STAMPS) % len(source)
    stamps = source.read(rows)
    whole = ClassPredictor(weights)
    one = ClassPredictor(replace(weights, members=weights.members[:1]))
    calls: dict[str, Callable[[], object]] = {
        f"all {whole.n_members} members, whole": lambda: whole.predict(stamps),
        "one member, whole": lambda: one.predict(stamps),
        f"networks of {whole.n_members}": lambda: whole.outputs(stamps),
        "network of one": lambda: one.outputs(stamps),
        "scatter of pixels": lambda: whole.noise_of(stamps),
        "normalising": lambda: normalise_stamps(stamps, whole.scale),
        "reading": lambda: source.read(rows),
    }
    if whole.calibration.order:
        calls["order of bands"] = lambda: whole.calibration.order.doubtful(stamps)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}; processor s for 1000 stamps, one thread"
    )
    for name, call in calls.items():
        print(f"{name:24s} {seconds(call):6.2f}", flush=True)
    source.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
