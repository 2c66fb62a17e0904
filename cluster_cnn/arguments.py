"""Argument types that the commands share; argparse only."""

from __future__ import annotations

import argparse


def named_range(text: str) -> tuple[str, tuple[float, float]]:
    """Read ``log_age=6.6,8.0``.

    Returns
    -------
    name : str
    limits : tuple of float
        Low and high.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not of this form, or low is not below high.
    """
    name, _, limits = text.partition("=")
    try:
        low, high = (float(part) for part in limits.split(","))
    except ValueError:
        low = high = 0.0
    if not name or not low < high:
        raise argparse.ArgumentTypeError(f"expected NAME=LOW,HIGH; found {text!r}")
    return name.strip(), (low, high)


def add_within(parser: argparse.ArgumentParser) -> None:
    """Add ``--within``, which may be given several times."""
    parser.add_argument(
        "--within",
        action="append",
        type=named_range,
        default=[],
        metavar="NAME=LOW,HIGH",
        help="range that a parameter is known to lie in, such as log_age=6.6,8; repeatable",
    )
