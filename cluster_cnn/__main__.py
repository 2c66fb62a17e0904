"""``cluster-cnn VERB ...`` and ``python -m cluster_cnn VERB ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from astro_io.cli import dispatch

VERBS = {
    "predict": "measure star-cluster candidates on mosaics",
    "train": "train a network on stamps whose truth is known",
    "evaluate": "score weights on stamps whose truth is known",
    "stamps": "cut stamps and training sets from mosaics",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name; return its exit code."""
    return dispatch("cluster_cnn", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
