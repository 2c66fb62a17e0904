"""What makes two runs write the same training set: so that one can go on where another stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astro_io.errors import OutputExistsError


def set_identity(bands: Sequence[str], attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return bands and attributes as JSON would give them back.

    Parameters
    ----------
    bands : sequence of str
    attributes : mapping, optional
        Plain JSON values.

    Returns
    -------
    dict
        With keys ``bands`` and ``attributes``.
    """
    plain = json.loads(json.dumps({"bands": list(bands), "attributes": dict(attributes or {})}))
    assert isinstance(plain, dict)
    return plain


def require_same_set(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise unless a set on disk has the identity of the one to be written.

    Parameters
    ----------
    path : Path
        For the message.
    found, wanted : mapping
        From `set_identity`.

    Raises
    ------
    OutputExistsError
        Naming the settings that differ.
    """
    old = _flat({"bands": found["bands"], **found["attributes"]})
    new = _flat({"bands": wanted["bands"], **wanted["attributes"]})
    differs = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differs:
        key = differs[0]
        raise OutputExistsError(
            f"{path} exists and was made with other settings ({', '.join(differs)}: "
            f"{key} = {_short(old.get(key))}, now {_short(new.get(key))}). "
            "Pass --overwrite, or choose another --output."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        flat.update(_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
