"""``astro-rcnn VERB ...`` and ``python -m astro_rcnn VERB ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from astro_io.cli import dispatch

VERBS = {
    "detect": "find, classify and measure the sources in FITS images",
    "train": "train a network on simulated or labelled images",
    "evaluate": "score weights on images whose truth is known",
    "calibrate": "fit the temperature of the scores and store it with the weights",
    "refine": "teach weights a second look at the class of each detection",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name; return its exit code."""
    return dispatch("astro_rcnn", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
