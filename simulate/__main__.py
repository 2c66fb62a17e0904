"""``simulate VERB ...`` and ``python -m simulate VERB ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from astro_io.cli import dispatch

VERBS = {
    "fields": "simulate fields of stars and galaxies with the truth of every source",
    "phosim": "simulate fields with an installed PhoSim",
    "clusters": "simulate star clusters in star fields, with age, mass, size and extinction known",
    "compare": "compare simulated fields with a real image, number by number",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name; return its exit code."""
    return dispatch("simulate", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
