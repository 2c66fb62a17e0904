"""Ranges and per-band values of settings, and their checks.

A pair ``(low, high)`` is a range from which every field draws its own value; equal ends fix it.
"""

from __future__ import annotations

from dataclasses import fields

from astro_io.errors import ConfigError

Range = tuple[float, float]
PerBand = tuple[float, ...]


def check_ranges(section: object, name: str) -> None:
    """Raise ConfigError where a pair is not ``(low, high)`` with low <= high, both >= 0."""
    for entry in fields(section):  # type: ignore[arg-type]
        if entry.type != "Range":
            continue
        value = getattr(section, entry.name)
        if len(value) != 2 or not 0 <= value[0] <= value[1]:
            raise ConfigError(
                f"[{name}] {entry.name}: expected [low, high] with 0 <= low <= high; "
                f"found {list(value)}."
            )


def require_positive(section: object, name: str, *keys: str) -> None:
    """Raise ConfigError where the lower end of a range is not above 0."""
    for key in keys:
        low = getattr(section, key)[0]
        if low <= 0:
            raise ConfigError(f"[{name}] {key}: expected above 0; found {low}.")
