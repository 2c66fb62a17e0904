"""What made a file: versions, commit, command line, date; for tables, headers and cards."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "astro-rcnn"

_ALWAYS = ("numpy", "astropy")
_WHEN_LOADED = (
    "keras", "tensorflow", "jax", "openvino", "galsim", "photutils", "scikit-image", "scipy",
    "h5py", "sep", "pycocotools",
)  # fmt: skip
_MODULES = {"scikit-image": "skimage"}


def provenance(**extra: Any) -> dict[str, str]:
    """Say what is making a file, here and now.

    Parameters
    ----------
    **extra
        Further facts, for example ``weights="compact-grz-v1"``; None is left out.

    Returns
    -------
    dict of str to str
        ``date`` (UTC, ISO 8601), ``command``, ``version``, ``commit`` (where the program runs
        from a Git checkout; ``-dirty`` if it was changed), ``python``, the version of each
        library in use under its name, and `extra`.
    """
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command": command_line(),
        "version": _version(DISTRIBUTION) or "unknown",
        "commit": _commit() or "",
        "python": platform.python_version(),
    }
    for name in (*_ALWAYS, *_WHEN_LOADED):
        if name in _ALWAYS or _MODULES.get(name, name) in sys.modules:
            facts[name] = _version(name) or ""
    facts.update({key: str(value) for key, value in extra.items() if value is not None})
    return {key: text for key, text in facts.items() if text}


def command_line() -> str:
    """Return the command that started this process, as one could type it.

    A module run by ``python -m`` shows as such; the folders that Python itself lives in do not.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        name = spec.name.removesuffix(".__main__")
        return shlex.join(["python", "-m", name, *sys.argv[1:]])
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    return shlex.join([program, *sys.argv[1:]])


@lru_cache(maxsize=32)
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
    for variant in (f"{name}-cpu", f"{name}_cpu"):  # tensorflow-cpu provides tensorflow
        try:
            return metadata.version(variant)
        except metadata.PackageNotFoundError:
            continue
    return None


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """Return the commit of the checkout that this file belongs to, or None."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
