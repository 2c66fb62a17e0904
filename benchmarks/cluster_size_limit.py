"""How well can the size of a stochastic cluster be known? Best fits to lists of its stars.

::

    python benchmarks/cluster_size_limit.py --n 400

Each mock of the preset is handed to an estimator that is told more than any image says: centre,
age, metallicity, extinction, the mean density and colours of the field's stars and, but for the
last line, family and shape of the profile; mass and half-light radius are unknown (priors even in
their logarithms over the ranges of the test set). What it sees:

- *all stars*: every living star of the cluster within reach, without noise and without a field;
- *members told*: only stars that stand out from the noise of the stamp by `STANDS_OUT` sigma;
- *in the field*: these and the field's own, not told apart but for magnitude and colour, and the
  light of all fainter stars in rings, with photon noise, fluctuations of field and cluster, and
  an unknown level of the background;
- *shape unknown*: the same, over all profiles that the preset draws from.

The scatter of the last is what an ideal reader of the image attains, or less than that: crowding
of the cluster's own stars is left out, and age, metallicity and centre are told, which no image
does. Printed by S/N and size, for the stamp and for the wide view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from cluster_cnn.metrics import error_statistics
from simulate.star_clusters.config import ClusterConfig, load_preset
from simulate.star_clusters.field_stars import FieldRecipe
from simulate.star_clusters.imf import KroupaImf
from simulate.star_clusters.isochrones import Isochrone
from simulate.star_clusters.mock import MockMaker
from simulate.star_clusters.profiles import eff_scale, king_share
from simulate.star_clusters.psf_hst import psf_image

TEST_RANGE = (
    "cluster.log_mass=[2.4,3.6]",
    "cluster.log_age=[6.6,9.5]",
    "cluster.av_mag=[0,0]",
    "cluster.flattening=[0,0]",
    "cluster.centre_offset_px=0",
    "others.fraction=0",
    "instrument.psf_size=[1.0,1.0]",
)
STANDS_OUT = 5.0
REACH_ARCSEC = {"stamp": 2.0, "wide view": 8.0}
SEEN = ("all stars", "members told", "in the field", "in the field, shape unknown")
N_SHAPES = 8
"""Shapes of each family that stand for all, where the profile is unknown."""

LOG_RADII = np.linspace(np.log10(0.15), 1.0, 80)
LOG_MASSES = np.linspace(2.4, 3.6, 13)
N_RINGS = 16
MAG_STEP = 0.5
BLUE, RED = "F475W", "F814W"

_MAD_TO_SIGMA = 1.4826
_LEVEL_PRIOR = 1e3  # electrons a second and square arcsec: the background is free


@dataclass(frozen=True, eq=False, kw_only=True)
class StarList:
    """A mock before its pixels: stars within reach, and what is known of them.

    Attributes
    ----------
    radius : ndarray of float, shape (N,)
        Of the cluster's stars from its centre, arcsec.
    flux : ndarray of float, shape (N, B)
        Electrons a second.
    expected : tuple of ndarray, shapes (P,) and (P, B)
        Numbers of stars for each solar mass formed, and their fluxes.
    field : tuple of ndarray, shapes (F,) and (F, B)
        Numbers of field stars in a square arcsec, and their fluxes.
    faintest : ndarray of float, shape (B,)
        Flux that stands out.
    pixel_variance : ndarray of float, shape (B,)
        Photon and read noise of a square arcsec.
    truth : dict
    """

    radius: np.ndarray
    flux: np.ndarray
    expected: tuple[np.ndarray, np.ndarray]
    field: tuple[np.ndarray, np.ndarray]
    faintest: np.ndarray
    pixel_variance: np.ndarray
    truth: dict[str, Any]

    def stands_out(self, flux: np.ndarray) -> np.ndarray:
        """Return which stars stand out in some band."""
        return (flux > self.faintest).any(axis=1)


class ListMaker(MockMaker):
    """Draws clusters as lists of stars, with the noise of their stamps."""

    def draw(self, rng: np.random.Generator) -> StarList:
        """Draw one mock."""
        middle = (self.grid.stamp_px - 1) / 2.0
        distance = self.config.cluster.distance_kpc[0]
        sources, truth = self._cluster(rng, (middle, middle), distance, {})
        field, _ = self._draw_field(rng, distance)
        stamp, snr = self._expose(rng, sources, self._lay_field(field), None, 1.0)
        area = self.grid.pixel_scale_arcsec**2
        level = np.median(stamp, axis=(0, 1))
        scatter = _MAD_TO_SIGMA * np.median(np.abs(stamp - level), axis=(0, 1))
        isochrone = self.isochrones.nearest(truth["log_age"], truth["metallicity"])
        return StarList(
            radius=np.hypot(sources.y - middle, sources.x - middle) * self.grid.pixel_scale_arcsec,
            flux=sources.flux,
            expected=self._expected(isochrone, distance),
            field=_field_numbers(field.recipe),
            faintest=STANDS_OUT * scatter / np.sqrt(self.sharpness),
            pixel_variance=self.exposure.variance(level) / area,
            truth={**truth, "snr": snr},
        )

    def _expected(self, isochrone: Isochrone, distance: float) -> tuple[np.ndarray, np.ndarray]:
        number, flux = isochrone.points(KroupaImf())
        return number, flux * self.counts(distance, 0.0)

    @property
    def sharpness(self) -> np.ndarray:
        """Sum of the squares of each point spread function, shape (B,)."""
        scale = self.grid.pixel_scale_arcsec
        images = [psf_image(f, size=41, pixel_scale_arcsec=scale) for f in self.filters]
        return np.array([(image**2).sum() for image in images])


def _field_numbers(recipe: FieldRecipe) -> tuple[np.ndarray, np.ndarray]:
    pairs = zip(recipe.components, recipe.mass_arcsec2, strict=True)
    number = np.concatenate([np.diff(part.cumulative) * mass for part, mass in pairs])
    flux = np.concatenate([part.flux for part in recipe.components])
    return number, flux * recipe.counts


Profile = tuple[str, float, float]
"""Family, shape (gamma of EFF, concentration of King), and how probable it is."""


def known_profile(truth: dict[str, Any]) -> list[Profile]:
    """Return the profile that a mock was drawn from."""
    return [(truth["profile"], truth["shape"], 1.0)]


def drawn_profiles(config: ClusterConfig) -> list[Profile]:
    """Return profiles that stand for all that a preset draws from."""
    families = (
        ("eff", config.eff_gamma, 1.0 - config.king_fraction),
        ("king", config.king_concentration, config.king_fraction),
    )
    middles = (np.arange(N_SHAPES) + 0.5) / N_SHAPES
    return [
        (family, low + (high - low) * middle, share / N_SHAPES)
        for family, (low, high), share in families
        if share > 0
        for middle in middles
    ]


def ring_shares(profiles: Sequence[Profile], edges: np.ndarray) -> np.ndarray:
    """Return the share of the stars in each ring, shape (profiles * R, rings).

    One row for each of `LOG_RADII`, profile by profile.
    """
    radii = 10.0 ** LOG_RADII[:, None]
    within = []
    for family, shape, _ in profiles:
        if family == "eff":
            scale = eff_scale(radii, shape)
            within.append(1.0 - (1.0 + (edges / scale) ** 2) ** (1.0 - shape / 2.0))
        else:
            tidal = 10.0**shape
            fine = np.geomspace(1e-3, tidal, 4000)
            half = np.interp(0.5, king_share(fine, core=1.0, tidal=tidal), fine)
            within.append(king_share(edges * half / radii, core=1.0, tidal=tidal))
    return np.diff(np.concatenate(within), axis=1)


def rings(reach: float) -> np.ndarray:
    """Return the edges of the rings in arcsec."""
    return np.concatenate([[0.0], np.geomspace(0.06, reach, N_RINGS)])


def kinds_of(flux: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """Return a number for the cell of magnitude and colour of each star."""
    blue, red = (np.maximum(flux[:, list(bands).index(b)], 1e-12) for b in (BLUE, RED))
    mag = np.floor(-2.5 * np.log10(red) / MAG_STEP).astype(int)
    colour = np.clip(np.floor(2.5 * np.log10(red / blue) / MAG_STEP), -20, 20).astype(int)
    return mag * 100 + colour


def log_likelihood(
    stars: StarList,
    seen: str,
    reach: float,
    bands: Sequence[str],
    rng: np.random.Generator,
    profiles: Sequence[Profile],
) -> np.ndarray:
    """Return the likelihood of each mass and radius, shape (M, R), over the profiles."""
    edges = rings(reach)
    by_profile = _log_likelihood(stars, seen, edges, ring_shares(profiles, edges), bands, rng)
    by_profile = by_profile.reshape(len(LOG_MASSES), len(profiles), len(LOG_RADII))
    prior = np.log([probable for _, _, probable in profiles])
    return logsumexp(by_profile + prior[:, None], axis=1)


def _log_likelihood(
    stars: StarList,
    seen: str,
    edges: np.ndarray,
    share: np.ndarray,
    bands: Sequence[str],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the likelihood of each mass and each row of `share`, shape (M, rows)."""
    area = np.pi * np.diff(edges**2)
    mass = 10.0**LOG_MASSES
    number, flux = stars.expected
    is_out = np.ones(len(stars.flux), bool) if seen == SEEN[0] else stars.stands_out(stars.flux)
    could = np.ones(len(flux), bool) if seen == SEEN[0] else stars.stands_out(flux)
    ring = np.searchsorted(edges, stars.radius, side="right") - 1
    is_out &= ring < N_RINGS
    counted = mass[:, None] * (number[could].sum() * share.sum(axis=1))
    if seen in SEEN[:2]:
        in_ring = np.bincount(ring[is_out], minlength=N_RINGS)
        log_share = np.log(np.maximum(share, 1e-300))
        return (in_ring.sum() * np.log(mass))[:, None] + log_share @ in_ring - counted
    total = -counted
    field_number, field_flux = stars.field
    field_out = stars.stands_out(field_flux)
    cells, weight = _by_kind(number[could], flux[could], bands)
    field_cells, field_weight = _by_kind(field_number[field_out], field_flux[field_out], bands)
    drawn = rng.poisson(field_weight[:, None] * area)
    kinds = [(k, ring[is_out & (kinds_of(stars.flux, bands) == k)]) for k in cells]
    for kind, own in kinds:
        at = np.flatnonzero(field_cells == kind)
        level = field_weight[at[0]] * area if len(at) else np.zeros(N_RINGS)
        n = np.bincount(own, minlength=N_RINGS) + (drawn[at[0]] if len(at) else 0)
        mean = mass[:, None, None] * weight[cells == kind][0] * share + level
        total = total + (n * np.log(np.maximum(mean, 1e-300))).sum(axis=2)
    return total + _log_likelihood_of_light(stars, ~stars.stands_out(stars.flux), share, edges, rng)


def _by_kind(
    number: np.ndarray, flux: np.ndarray, bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    cells, which = np.unique(kinds_of(flux, bands), return_inverse=True)
    return cells, np.bincount(which, weights=number, minlength=len(cells))


def _log_likelihood_of_light(
    stars: StarList,
    faint: np.ndarray,
    share: np.ndarray,
    edges: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the likelihood of the light of faint stars in rings, in the band that tells most."""
    area = np.pi * np.diff(edges**2)
    mass = 10.0 ** LOG_MASSES[:, None, None]
    number, flux = stars.expected
    below = ~stars.stands_out(flux)
    mean = number[below] @ flux[below]  # for each solar mass, by band
    square = number[below] @ flux[below] ** 2
    field_number, field_flux = stars.field
    field_below = ~stars.stands_out(field_flux)
    field_square = field_number[field_below] @ field_flux[field_below] ** 2
    band = int(np.argmax(mean**2 / (stars.pixel_variance + field_square)))
    noise = area * (stars.pixel_variance[band] + field_square[band])
    inside = faint & (stars.radius < edges[-1])
    light = np.histogram(stars.radius[inside], edges, weights=stars.flux[inside, band])[0]
    light = light + rng.normal(0.0, np.sqrt(noise))
    difference = light - mass * mean[band] * share
    variance = noise + mass * square[band] * share
    curvature = 1.0 / _LEVEL_PRIOR**2 + (area**2 / variance).sum(axis=2)
    chi2 = (difference**2 / variance).sum(axis=2)
    chi2 -= (difference * area / variance).sum(axis=2) ** 2 / curvature
    return -0.5 * (chi2 + np.log(variance).sum(axis=2) + np.log(curvature))


def median_radius(likelihood: np.ndarray) -> float:
    """Return the median of log radius where mass is not known, from a grid (M, R)."""
    posterior = np.exp(likelihood - likelihood.max()).sum(axis=0)
    below = np.cumsum(posterior) / posterior.sum()
    return float(np.interp(0.5, below, LOG_RADII))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="phat")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args(argv)
    config = load_preset(args.preset, TEST_RANGE)
    maker = ListMaker(config)
    bands = config.instrument.bands
    rng = np.random.default_rng(args.seed)
    errors: dict[tuple[str, str], list[float]] = {}
    snr, radius = [], []
    unknown = drawn_profiles(config.cluster)
    for _ in range(args.n):
        stars = maker.draw(rng)
        true = np.log10(stars.truth["half_light_radius_arcsec"])
        snr.append(stars.truth["snr"])
        radius.append(10.0**true)
        for place, reach in REACH_ARCSEC.items():
            for seen in SEEN:
                profiles = unknown if seen == SEEN[3] else known_profile(stars.truth)
                found = median_radius(log_likelihood(stars, seen, reach, bands, rng, profiles))
                errors.setdefault((place, seen), []).append(found - true)
    print(f"{args.n} mocks of {args.preset}, seed {args.seed}: scatter of log radius, dex\n")
    print(table(errors, np.array(snr), np.array(radius)))
    return 0


def table(errors: dict[tuple[str, str], list[float]], snr: np.ndarray, radius: np.ndarray) -> str:
    """Return a Markdown table: what is seen, by S/N and size."""
    columns = {
        "all": np.ones(len(snr), bool),
        "S/N > 20": snr > 20,
        **{
            f"S/N > 20, {low:g}-{high:g} arcsec": (snr > 20) & (radius >= low) & (radius < high)
            for low, high in ((0.15, 0.3), (0.3, 0.6), (0.6, 1.5), (1.5, 4.0), (4.0, 10.1))
        },
    }
    names = [f"{name} ({chosen.sum()})" for name, chosen in columns.items()]
    rows = [["", "", *names], ["---"] * (len(names) + 2)]
    for (place, seen), values in errors.items():
        cells = [error_statistics(np.array(values)[c])["scatter"] for c in columns.values()]
        rows.append([place, seen, *(f"{value:.3f}" for value in cells)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
