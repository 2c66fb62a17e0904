"""Settings of the four-class set: which objects, how bright, what surrounds them, who labels them.

The classes are those of LEGUS (Adamo et al. 2017, ApJ 841, 131) and of Wei et al. 2020 (MNRAS 493,
3178): 1 symmetric, 2 asymmetric, 3 several peaks, 4 no cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError

Range = tuple[float, float]

CLASS_IDS = (1, 2, 3, 4)
IMPOSTORS = (
    "star",
    "pair",
    "triple",
    "galaxy",
    "field",
    "cosmic_ray",
    "hot_pixels",
    "saturated",
    "edge",
)
"""Kinds of class 4."""

LEGUS_FRACTIONS = (477.0, 404.0, 692.0, 878.0)
"""Objects of each class in NGC 1566 (LEGUS catalogue, class by mode of the votes)."""

HUMAN_CONFUSION = (
    (0.66, 0.119, 0.075, 0.146),
    (0.160, 0.37, 0.249, 0.221),
    (0.052, 0.127, 0.40, 0.421),
    (0.062, 0.069, 0.259, 0.61),
)
"""Probability of each label (columns) for each true class (rows).

The diagonal is the agreement of two humans as Wei et al. quote it.  The rest of each row is
divided as the votes of two humans on the same object are in NGC 1566 (LEGUS catalogue, columns 36
to 39; `benchmarks/legus_table.py` counts them).
"""


@dataclass(frozen=True, kw_only=True)
class ClassesConfig:
    """The objects of ``--task classes``; brightness is drawn, masses follow from it.

    Attributes
    ----------
    fractions : float for each of the classes 1 to 4
        Scaled to a sum of 1.
    filter : str
        Where brightness is drawn and shapes are measured.
    mag : range
        Apparent AB magnitude in `filter`; fainter ones are more frequent.
    mag_slope : float
        log10 of how much more frequent a magnitude fainter is.
    min_snr : float
        Objects that stand out less (all bands together) are drawn again: nobody would classify
        them.  Detector marks and plain fields are exempt.
    log_mass : range
        Clusters of other masses are drawn again.
    radius_arcsec, radius_pc : range
        Half-light radius of a cluster or of a clump; both hold.
    association_arcsec : range
        Standard deviation of the clumps of an association about its middle.
    n_clumps : range
        Clumps of an association.
    diffuse_share : range
        Share of an association's light between the clumps.
    impostors : float for each of `IMPOSTORS`
        What class 4 consists of.
    galaxy_radius_arcsec : range
        Half-light radius of background galaxies.
    neighbours : float
        Mean number of bright stars and clusters around the object.
    neighbour_arcsec : range
        Their distance from it.
    confusion : 4 x 4 probabilities
        Labels (columns) that a human gives to the true classes (rows).
    """

    fractions: tuple[float, ...] = LEGUS_FRACTIONS
    filter: str = "WFC3_F555W"
    mag: Range = (19.0, 24.0)
    mag_slope: float = 0.15
    min_snr: float = 30.0
    log_mass: Range = (2.5, 6.3)
    radius_arcsec: Range = (0.035, 0.4)
    radius_pc: Range = (0.8, 12.0)
    association_arcsec: Range = (0.1, 0.3)
    n_clumps: Range = (4.0, 9.0)
    diffuse_share: Range = (0.1, 0.5)
    impostors: tuple[float, ...] = (0.26, 0.16, 0.10, 0.18, 0.10, 0.06, 0.05, 0.05, 0.04)
    galaxy_radius_arcsec: Range = (0.15, 0.7)
    neighbours: float = 2.0
    neighbour_arcsec: Range = (0.5, 1.6)
    confusion: tuple[tuple[float, ...], ...] = HUMAN_CONFUSION

    def __post_init__(self) -> None:
        """Check lengths, signs and sums."""
        _check_weights("fractions", self.fractions, len(CLASS_IDS))
        _check_weights("impostors", self.impostors, len(IMPOSTORS))
        if len(self.confusion) != len(CLASS_IDS):
            raise ConfigError("[classes] confusion: expected four rows, one a class.")
        for row in self.confusion:
            _check_weights("confusion", row, len(CLASS_IDS))
            if abs(sum(row) - 1.0) > 1e-6:
                raise ConfigError(
                    f"[classes] confusion: expected rows that add up to 1; found {list(row)}."
                )
        for name in ("radius_arcsec", "radius_pc", "association_arcsec", "galaxy_radius_arcsec"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(
                    f"[classes] {name}: expected [low, high] with 0 < low <= high; "
                    f"found {[low, high]}."
                )
        if not self.mag[0] < self.mag[1] or self.neighbours < 0:
            raise ConfigError("[classes] expected mag [low, high], and neighbours of 0 or more.")

    def normalised(self, name: str) -> tuple[float, ...]:
        """Return `fractions` or `impostors` with a sum of 1."""
        values = getattr(self, name)
        return tuple(value / sum(values) for value in values)


def _check_weights(name: str, values: tuple[float, ...], n: int) -> None:
    if len(values) != n or min(values) < 0 or not sum(values) > 0:
        raise ConfigError(
            f"[classes] {name}: expected {n} numbers, none negative; found {list(values)}."
        )
