"""astro_rcnn.imgaug_compat: imgaug 0.4.0 imports under a NumPy it was not written for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from astro_io.errors import BackendError
from astro_rcnn import imgaug_compat


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_imgaug_imports_in_a_fresh_process_and_numpy_is_left_as_it_was():
    pytest.importorskip("cv2", reason="imgaug is not installed")
    out = run_python(
        "import numpy as np; before = 'sctypes' in vars(np)\n"
        "from astro_rcnn.imgaug_compat import import_imgaug\n"
        "imgaug = import_imgaug(); assert import_imgaug() is imgaug\n"
        "assert ('sctypes' in vars(np)) == before\n"
        "image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)\n"
        "print(imgaug.augmenters.SomeOf(1, [imgaug.augmenters.Fliplr(1.0)])"
        ".augment_image(image)[0, 0, 0])"
    )
    assert out.strip() == "3"


def test_missing_names_are_supplied_as_in_numpy_1_26():
    """Where ``numpy.bool`` is absent (1.24 to 1.26) it is put back for imgaug."""
    pytest.importorskip("cv2", reason="imgaug is not installed")
    out = run_python(
        "import numpy as np\n"
        "from astro_rcnn.imgaug_compat import import_imgaug\n"
        "saved = np.bool_; np.__dict__.pop('bool', None)\n"
        "import_imgaug(); print(np.bool is saved)"
    )
    assert out.strip() == "True"


def test_sctypes_name_every_width():
    types = imgaug_compat._sctypes()
    assert [np.dtype(t).itemsize for t in types["float"]] == [2, 4, 8]
    assert {np.dtype(t).kind for t in types["uint"]} == {"u"}


def test_without_imgaug_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imgaug", None)
    with pytest.raises(BackendError, match=r"pip install 'astro-rcnn\[imgaug\]'"):
        imgaug_compat.import_imgaug()
    assert "sctypes" not in vars(np)
