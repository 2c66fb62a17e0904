"""Argument types that the commands share; argparse only."""

from __future__ import annotations

import argparse
from pathlib import Path


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


def column_pair(text: str) -> tuple[str, str]:
    """Read two names of columns, ``ra,dec``.

    Raises
    ------
    argparse.ArgumentTypeError
        If there are not two.
    """
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != 2 or not all(names):
        raise argparse.ArgumentTypeError(f"expected two names such as ra,dec; found {text!r}")
    return names[0], names[1]


def add_positions(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add ``--catalog``, ``--columns`` and ``--origin``: where the candidates are.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    several : bool
        Take a list of tables, one for each mosaic.
    """
    add = parser.add_argument
    how = {"nargs": "+", "help": "positions, a table for each mosaic"} if several else {}
    add("--catalog", required=True, type=Path, metavar="TABLE", **{"help": "positions", **how})
    add("--columns", type=column_pair, metavar="X,Y", help="columns with the positions")
    origin = (
        "number of the first pixel in x and y; 1 in FITS and DS9 (default 0; LEGUS is read right)"
    )
    add("--origin", type=float, default=0.0, choices=(0.0, 1.0), metavar="0|1", help=origin)
