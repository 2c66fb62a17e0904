"""The one place that knows how to import imgaug 0.4.0, which predates NumPy 2."""

from __future__ import annotations

import importlib
import threading
from types import ModuleType

import numpy as np

from astro_io.errors import BackendError

_LOCK = threading.Lock()


def _sctypes() -> dict[str, list[type]]:
    """Return the lists of scalar types that ``numpy.sctypes`` held before NumPy 2."""
    return {
        "int": [np.int8, np.int16, np.int32, np.int64],
        "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
        "float": [np.float16, np.float32, np.float64],
    }


def import_imgaug() -> ModuleType:
    """Import imgaug and its augmenters under any NumPy from 1.24 on.

    imgaug asks for ``numpy.sctypes`` while it is imported (gone since NumPy 2.0): the name is
    lent to it for that moment only. It asks for ``numpy.bool`` while it runs (absent from NumPy
    1.24 to 1.26): the name is put back for good, with the meaning it has again in NumPy 2.

    Returns
    -------
    module
        ``imgaug``; ``imgaug.augmenters`` is loaded.

    Raises
    ------
    BackendError
        If imgaug is not installed.
    """
    with _LOCK:
        if "bool" not in vars(np):
            np.bool = np.bool_
        is_lent = "sctypes" not in vars(np)
        if is_lent:
            np.sctypes = _sctypes()  # noqa: NPY201
        try:
            imgaug = importlib.import_module("imgaug")
            importlib.import_module("imgaug.augmenters")
        except ImportError as error:
            raise BackendError(
                f"imgaug cannot be imported ({error}). "
                "Install it: pip install 'astro-rcnn[imgaug]'."
            ) from error
        finally:
            if is_lent:
                del np.sctypes  # noqa: NPY201
    return imgaug
