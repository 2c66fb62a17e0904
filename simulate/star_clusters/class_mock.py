"""One object of the four-class set, as the telescope would record it, with its true class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from astro_io.errors import ConfigError
from simulate.star_clusters.blemishes import (
    add_bleeding,
    add_cosmic_ray,
    add_edge,
    add_hot_pixels,
)
from simulate.star_clusters.class_config import CLASS_IDS, IMPOSTORS
from simulate.star_clusters.class_objects import (
    ObjectSource,
    draw_association,
    draw_asymmetric,
    draw_background_galaxy,
    draw_magnitude,
    draw_neighbours,
    draw_star_group,
    draw_symmetric,
)
from simulate.star_clusters.cluster_stars import PointSources
from simulate.star_clusters.config import ClusterSetConfig
from simulate.star_clusters.mock import Mock, MockMaker, object_seed
from simulate.star_clusters.morphology import Morphology, measure_morphology
from simulate.star_clusters.render import convolve_pair, psf_spectra

KIND_OF_CLASS = {1: "symmetric", 2: "asymmetric", 3: "association"}

_DRAW = {1: draw_symmetric, 2: draw_asymmetric, 3: draw_association}
_MAX_TRIES = 300
_MAX_DRAWS = 100  # at one brightness and distance
_LABEL_STREAM = 1  # keeps the label apart from the object
_WINDOW_PX = 24  # around the object, for its shape
_SATURATED_MAG = (14.5, 17.0)
_EXEMPT = ("field", "cosmic_ray", "hot_pixels", "edge")
_N_STARS = {"star": 1, "pair": 2, "triple": 3}


def human_label(class_id: int, own_seed: int, confusion: Sequence[Sequence[float]]) -> int:
    """Return the class that a human gives to an object: a function of the object's seed.

    Parameters
    ----------
    class_id : int
        True class.
    own_seed : int
        Column ``seed`` of the object.
    confusion : 4 x 4 probabilities
        Labels (columns) of each true class (rows).
    """
    row = np.array(confusion[class_id - 1])
    rng = np.random.default_rng([own_seed, _LABEL_STREAM])
    return int(rng.choice(CLASS_IDS, p=row / row.sum()))


class ClassMockMaker(MockMaker):
    """Makes objects of the four classes.

    Parameters
    ----------
    config : ClusterSetConfig
        Its section ``classes`` says what is made.
    """

    def __init__(self, config: ClusterSetConfig) -> None:
        super().__init__(config)
        classes = config.classes
        if config.instrument.wide_binning:
            raise ConfigError(
                "[instrument] wide_binning: classes are told from the stamp alone. Leave it out."
            )
        if classes.filter not in config.instrument.filters:
            raise ConfigError(
                f"[classes] filter: expected one of {', '.join(config.instrument.filters)}; "
                f"found {classes.filter}."
            )
        self._band = config.instrument.filters.index(classes.filter)

    @cached_property
    def source(self) -> ObjectSource:
        """What objects are drawn from."""
        ages, metals = self._log_ages, self._metallicities
        return ObjectSource(
            config=self.config,
            grid=self.grid,
            counts=self.counts,
            isochrones=[self.isochrones.nearest(float(t), float(z)) for t in ages for z in metals],
            components=self.components,
            band=self._band,
        )

    def make(self, seed: int, index: int, background: np.ndarray | None = None) -> Mock:
        """Make one object; the same arguments always give the same one.

        Parameters and result as of `MockMaker.make`.
        """
        own_seed = object_seed(seed, index)
        rng = np.random.default_rng(own_seed)
        class_id = int(rng.choice(CLASS_IDS, p=self.config.classes.normalised("fractions")))
        for _ in range(_MAX_TRIES):
            found = self._attempt(rng, class_id, background)
            if found is None:
                continue
            stamp, values = found
            if values["kind"] in _EXEMPT or values["snr"] >= self.config.classes.min_snr:
                break
        else:
            raise ConfigError(
                f"[classes]: no object of class {class_id} in {_MAX_TRIES} tries. Lower min_snr "
                "or widen log_mass, radius_arcsec or mag."
            )
        human = human_label(class_id, own_seed, self.config.classes.confusion)
        values.update(seed=own_seed, index=index, class_human=human)
        return Mock(stamp, values)

    def _attempt(
        self, rng: np.random.Generator, class_id: int, background: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Draw an object of a class, however faint; return stamp and truth.

        None where no object of that brightness and distance looks like the class.
        """
        values: dict[str, Any] = {"class": class_id, "psf_size": self._draw_psf_size(rng)}
        distance = float(np.exp(rng.uniform(*np.log(self.config.cluster.distance_kpc))))
        centre = self._draw_centre(rng)
        mag = draw_magnitude(self.config.classes, rng)
        if class_id in _DRAW:
            drawn = self._cluster_of(rng, class_id, centre, distance, mag, values)
            if drawn is None:
                return None
            sources, facts = drawn
        else:
            sources, facts = self._impostor(rng, centre, distance, mag)
        values.update(facts)
        stamp, snr = self._observe(rng, sources, centre, distance, background, values)
        stamp = self._blemished(rng, stamp, values["kind"], centre, mag)
        values.update(snr=snr, y=centre[0], x=centre[1], distance_kpc=distance)
        values.update(self._magnitudes(sources, "object" if len(sources.flux) else "field"))
        return stamp, values

    def _draw_psf_size(self, rng: np.random.Generator) -> float:
        sizes = np.linspace(*self.config.instrument.psf_size, 5)
        return float(sizes[rng.integers(5)])

    def _cluster_of(
        self,
        rng: np.random.Generator,
        class_id: int,
        centre: tuple[float, float],
        distance: float,
        mag: float,
        values: dict[str, Any],
    ) -> tuple[PointSources, dict[str, Any]] | None:
        """Draw until the noiseless image shows what the class says; None if it never does."""
        for _ in range(_MAX_DRAWS):
            drawn = _DRAW[class_id](self.source, rng, centre, distance, mag)
            if drawn is None:
                continue
            shape = self._shape_of(drawn[0], centre, values["psf_size"])
            if shape.class_id == class_id:
                return drawn[0], {
                    **drawn[1],
                    "kind": KIND_OF_CLASS[class_id],
                    "n_peaks": shape.n_peaks,
                    "asymmetry": shape.asymmetry,
                    "elongation": shape.elongation,
                }
        return None

    def _shape_of(
        self, sources: PointSources, centre: tuple[float, float], psf_size: float
    ) -> Morphology:
        """Measure the object alone in the reference band, without noise."""
        band = slice(self._band, self._band + 1)
        spectrum = psf_spectra(self.filters[band], self.grid, psf_size)
        light = self._deposit(PointSources(sources.y, sources.x, sources.flux[:, band]))
        image = convolve_pair(light, np.zeros_like(light), spectrum, self.grid)[0][..., 0]
        y, x = (max(0, round(c) - _WINDOW_PX) for c in centre)
        window = image[y : y + 2 * _WINDOW_PX + 1, x : x + 2 * _WINDOW_PX + 1]
        return measure_morphology(window, (centre[0] - y, centre[1] - x))

    def _impostor(
        self, rng: np.random.Generator, centre: tuple[float, float], distance: float, mag: float
    ) -> tuple[PointSources, dict[str, Any]]:
        """Draw an object of class 4."""
        kind = str(rng.choice(IMPOSTORS, p=self.config.classes.normalised("impostors")))
        if kind in _N_STARS:
            sources = draw_star_group(self.source, rng, centre, mag, _N_STARS[kind])
        elif kind == "galaxy":
            sources = draw_background_galaxy(self.source, rng, centre, distance, mag)
        elif kind == "saturated":
            bright = rng.uniform(*_SATURATED_MAG)
            sources = draw_star_group(self.source, rng, centre, bright, 1)
        else:
            empty = np.empty(0)
            sources = PointSources(empty, empty, np.empty((0, len(self.filters))))
        return sources, {"kind": kind}

    def _observe(
        self,
        rng: np.random.Generator,
        sources: PointSources,
        centre: tuple[float, float],
        distance: float,
        background: np.ndarray | None,
        values: dict[str, Any],
    ) -> tuple[np.ndarray, float]:
        """Put the object among its neighbours into a field; return stamp and S/N."""
        field = None
        if background is None:
            field, facts = self._field(rng, distance)
            values.update(facts)
            field = field + self._deposit(draw_neighbours(self.source, rng, centre, distance))
        return self._expose(rng, sources, field, background, values["psf_size"])

    def _blemished(
        self,
        rng: np.random.Generator,
        stamp: np.ndarray,
        kind: str,
        centre: tuple[float, float],
        mag: float,
    ) -> np.ndarray:
        """Add what the detector did wrong."""
        zero = np.array(self.config.instrument.zeropoint_mag)
        flux = 10.0 ** (-0.4 * (mag - zero))
        if kind == "cosmic_ray":
            return add_cosmic_ray(stamp, rng, centre, flux)
        if kind == "hot_pixels":
            return add_hot_pixels(stamp, rng, centre, flux)
        if kind == "saturated":
            return add_bleeding(stamp, rng, centre, self.exposure.exposure_s)
        if kind == "edge":
            noise = np.sqrt(self.exposure.variance(np.zeros(len(self.filters))))
            return add_edge(stamp, rng, centre, noise)
        return stamp
