"""One mock: a cluster, or what is none, in a star field, as the telescope would record it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from astro_io.errors import ConfigError
from simulate.star_clusters.cluster_stars import ClusterParameters, PointSources, draw_cluster
from simulate.star_clusters.config import KINDS, ClusterSetConfig
from simulate.star_clusters.extinction import extinction_ratios
from simulate.star_clusters.field_stars import (
    FieldRecipe,
    FieldScene,
    Population,
    build_components,
    draw_unresolved,
)
from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.isochrone_files import read_isochrones
from simulate.star_clusters.isochrone_fit import default_isochrones
from simulate.star_clusters.isochrones import IsochroneGrid
from simulate.star_clusters.others import draw_galaxy, draw_stars
from simulate.star_clusters.photometry import Exposure, counts_factor
from simulate.star_clusters.render import StampGrid, convolve_pair, psf_spectra
from simulate.star_clusters.wide_view import WideView

BACKGROUND, CLUSTER, NOT_CLUSTER = 0, 1, 4
"""Values of the column ``class``: plain field, symmetric cluster, star or pair or galaxy."""

_PSF_SIZES = 5
_FAINTEST_DRAWN = 1.0  # total light over the noise of a pixel
_MAX_FIELD_STARS = 12_000
_MAD_TO_SIGMA = 1.4826
_WIDE_STREAM = 2  # keeps the surroundings apart from the object: its stamp is the same without


@dataclass(frozen=True, eq=False)
class Mock:
    """A stamp and its truth.

    Attributes
    ----------
    stamp : ndarray of float32, shape (H, W, B)
        Electrons a second.
    row : dict
        Columns of the truth table; NaN where a value has no meaning.
    wide : ndarray of float32, shape (H, W, B), or None
        The same centre in larger pixels, where the settings ask for it.
    """

    stamp: np.ndarray
    row: dict[str, Any]
    wide: np.ndarray | None = None


def object_seed(seed: int, index: int) -> int:
    """Return the seed of one object of a set: a number from 0 to 2^63 - 1."""
    state = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class MockMaker:
    """Makes mocks of one configuration; holds what all of them share.

    Parameters
    ----------
    config : ClusterSetConfig

    Raises
    ------
    ConfigError
        If the isochrones lack a filter, or reach no age or metallicity of the ranges.
    """

    def __init__(self, config: ClusterSetConfig) -> None:
        self.config = config
        self.filters = get_filters(config.instrument.filters)
        self.grid = StampGrid(config.instrument.stamp_px, config.instrument.pixel_scale_arcsec)
        self.exposure = Exposure.from_config(config.instrument)
        self.wide = (
            WideView(config.instrument, self.grid) if config.instrument.wide_binning else None
        )
        self.isochrones = _read_isochrones(config)
        self._dimming = extinction_ratios(
            self.filters, config.extinction.curve, config.extinction.r_v
        )
        ages, metals = self.isochrones.log_ages, self.isochrones.metallicities
        self._log_ages = _within(ages, config.cluster.log_age, "[cluster] log_age")
        self._metallicities = _within(metals, config.cluster.metallicity, "[cluster] metallicity")
        for age in config.grid.log_age:
            _within(ages, (age, age), "[grid] log_age")
        for metallicity in config.grid.metallicity:
            _within(metals, (metallicity, metallicity), "[grid] metallicity")
        self._reference = config.instrument.filters.index(config.field.surface_brightness_filter)

    @cached_property
    def components(self) -> tuple[Population, ...]:
        """Old, intermediate and young stars of the field."""
        return build_components(
            self.isochrones,
            metallicity=self.config.field.metallicity,
            visibility=self._visibility(self._reference_distance_kpc),
        )

    @property
    def _reference_distance_kpc(self) -> float:
        return float(np.sqrt(np.prod(self.config.cluster.distance_kpc)))

    def _visibility(self, distance_kpc: float) -> np.ndarray:
        noise = np.sqrt(self.exposure.variance(np.zeros(len(self.filters))))
        return self.counts(distance_kpc, 0.0) / noise

    def counts(self, distance_kpc: float, av_mag: float) -> np.ndarray:
        """Return electrons a second for a flux of AB magnitude 0 at 10 pc, shape (B,)."""
        zero = np.array(self.config.instrument.zeropoint_mag)
        return counts_factor(zero, distance_kpc, av_mag * self._dimming)

    def make(self, seed: int, index: int, background: np.ndarray | None = None) -> Mock:
        """Make one mock; the same arguments always give the same one.

        Parameters
        ----------
        seed : int
            Of the set.
        index : int
            Which object of it.
        background : ndarray of float32, shape (span, span, B), optional
            A piece of a real mosaic in electrons a second, in place of a mock star field; the
            stamp is in its middle.

        Returns
        -------
        Mock
        """
        own_seed = object_seed(seed, index)
        rng = np.random.default_rng(own_seed)
        is_cluster = rng.random() >= self.config.others.fraction
        kind = "cluster" if is_cluster else self._draw_kind(rng)
        sizes = np.linspace(*self.config.instrument.psf_size, _PSF_SIZES)
        psf_size = float(sizes[rng.integers(_PSF_SIZES)])
        distance = _log_uniform(rng, self.config.cluster.distance_kpc)
        centre = self._draw_centre(rng)
        values: dict[str, Any] = {"psf_size": psf_size, "distance_kpc": distance}
        if is_cluster:
            grid_point = self.config.grid.point(index)
            sources, facts = self._cluster(rng, centre, distance, grid_point)
            values.update(facts)
        else:
            sources = self._other(rng, kind, centre, distance)
        field, middle = None, background
        if background is None:
            field, facts = self._draw_field(rng, distance)
            values.update(facts)
        elif self.wide is not None:
            cut = (background.shape[0] - self.grid.stamp_px) // 2
            middle = background[cut:-cut, cut:-cut]
        planes = None if field is None else self._lay_field(field)
        stamp, snr = self._expose(rng, sources, planes, middle, psf_size)
        class_id = CLUSTER if is_cluster else BACKGROUND if kind == "field" else NOT_CLUSTER
        values.update(kind=kind, seed=own_seed, index=index, snr=snr, y=centre[0], x=centre[1])
        values["class"] = class_id
        values.update(self._magnitudes(sources, kind))
        if self.wide is None:
            return Mock(stamp, values)
        rng = np.random.default_rng([own_seed, _WIDE_STREAM])
        wide = self.wide.observe(rng, stamp, sources, field, background, psf_size)
        return Mock(stamp, values, wide)

    def _draw_kind(self, rng: np.random.Generator) -> str:
        weights = np.array(self.config.others.weights)
        return KINDS[rng.choice(len(KINDS), p=weights / weights.sum())]

    def _draw_centre(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw a centre evenly from a disk about the middle of the stamp."""
        radius = self.config.cluster.centre_offset_px * np.sqrt(rng.random())
        angle = rng.uniform(0.0, 2.0 * np.pi)
        middle = (self.grid.stamp_px - 1) / 2.0
        return middle + radius * np.sin(angle), middle + radius * np.cos(angle)

    def _cluster(
        self,
        rng: np.random.Generator,
        centre: tuple[float, float],
        distance: float,
        grid_point: dict[str, float],
    ) -> tuple[PointSources, dict[str, Any]]:
        """Draw a cluster; return its stars in electrons a second, and its truth."""
        wanted = self.draw_parameters(rng, centre, distance, grid_point)
        isochrone = self.isochrones.nearest(wanted.log_age, wanted.metallicity)
        drawn = draw_cluster(
            rng, wanted, isochrone, pixel_scale_arcsec=self.grid.pixel_scale_arcsec
        )
        factor = self.counts(distance, wanted.av_mag)
        sources = PointSources(drawn.stars.y, drawn.stars.x, drawn.stars.flux * factor)
        truth = {
            "log_age": isochrone.log_age,
            "metallicity": isochrone.metallicity,
            "log_mass": float(np.log10(drawn.total_mass)),
            "half_light_radius_arcsec": wanted.half_light_radius_arcsec,
            "av": wanted.av_mag,
            "profile": wanted.profile,
            "shape": wanted.shape,
            "axis_ratio": wanted.axis_ratio,
            "angle_deg": float(np.degrees(wanted.angle_rad)),
            "n_stars": drawn.n_stars,
        }
        return sources, truth

    def draw_parameters(
        self,
        rng: np.random.Generator,
        centre: tuple[float, float],
        distance_kpc: float,
        fixed: dict[str, float],
    ) -> ClusterParameters:
        """Draw what a cluster is.

        Parameters
        ----------
        rng : numpy.random.Generator
        centre : tuple of float
            ``(y, x)``, stamp pixels.
        distance_kpc : float
        fixed : dict
            Values by name that are not drawn.

        Returns
        -------
        ClusterParameters
        """
        c = self.config.cluster
        is_king = rng.random() < c.king_fraction
        values: dict[str, Any] = {
            "log_age": float(rng.choice(self._log_ages)),
            "metallicity": float(rng.choice(self._metallicities)),
            "log_mass": rng.uniform(*c.log_mass),
            "half_light_radius_arcsec": _log_uniform(rng, self._radius_range(distance_kpc)),
            "av_mag": rng.uniform(*c.av_mag),
            "shape": rng.uniform(*(c.king_concentration if is_king else c.eff_gamma)),
            "axis_ratio": 1.0 - rng.uniform(*c.flattening),
            "angle_rad": rng.uniform(0.0, np.pi),
        }
        return ClusterParameters(
            **{**values, **fixed},
            profile="king" if is_king else "eff",
            distance_kpc=distance_kpc,
            y=centre[0],
            x=centre[1],
        )

    def _radius_range(self, distance_kpc: float) -> tuple[float, float]:
        """Return the half-light radii in arcsec that both ranges allow at a distance."""
        c = self.config.cluster
        to_arcsec = np.degrees(1.0 / (distance_kpc * 1e3)) * 3600.0
        low = max(c.half_light_radius_arcsec[0], c.half_light_radius_pc[0] * to_arcsec)
        high = min(c.half_light_radius_arcsec[1], c.half_light_radius_pc[1] * to_arcsec)
        if low > high:
            raise ConfigError(
                "[cluster] half_light_radius_arcsec, half_light_radius_pc: nothing in common at "
                f"{distance_kpc:.0f} kpc."
            )
        return low, high

    def _other(
        self, rng: np.random.Generator, kind: str, centre: tuple[float, float], distance: float
    ) -> PointSources:
        """Draw an object that is no cluster, in electrons a second; none for a plain field."""
        if kind == "field":
            empty = np.empty(0)
            return PointSources(empty, empty, np.empty((0, len(self.filters))))
        config = self.config.others
        if kind == "galaxy":
            drawn = draw_galaxy(
                rng,
                self.components,
                config,
                reference_band=self._reference,
                distance_kpc=distance,
                centre=centre,
                grid=self.grid,
                surroundings=None if self.wide is None else self.wide.grid,
            )
        else:
            drawn = draw_stars(
                rng,
                1 if kind == "star" else int(rng.integers(2, 4)),
                self.components,
                config,
                distance_kpc=distance,
                centre=centre,
                pixel_scale_arcsec=self.grid.pixel_scale_arcsec,
            )
        factor = self.counts(distance, rng.uniform(*self.config.field.av_mag))
        return PointSources(drawn.y, drawn.x, drawn.flux * factor)

    def _field(
        self, rng: np.random.Generator, distance: float
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw the star field on the fine grid, in electrons a second, and its truth."""
        field, facts = self._draw_field(rng, distance)
        return self._lay_field(field), facts

    def _lay_field(self, field: FieldScene) -> np.ndarray:
        planes = self.grid.deposit(field.y, field.x, field.flux)
        planes += self.grid.deposit_lattice(field.smooth)
        return planes

    def _draw_field(
        self, rng: np.random.Generator, distance: float
    ) -> tuple[FieldScene, dict[str, Any]]:
        """Draw the star field in electrons a second, and its truth."""
        c = self.config.field
        brightness = rng.uniform(*c.surface_brightness_mag)
        young = _log_uniform(rng, c.young_fraction)
        middle = rng.uniform(*c.intermediate_fraction)
        av = rng.uniform(*c.av_mag)
        shares = (1.0 - young - middle, middle, young)
        per_mass = sum(
            share * part.light[self._reference]
            for share, part in zip(shares, self.components, strict=True)
        )
        nearness = counts_factor(np.zeros(1), distance, np.zeros(1))[0]
        mass = 10.0 ** (-0.4 * brightness) / (per_mass * nearness)
        recipe = FieldRecipe(
            components=self.components,
            mass_arcsec2=tuple(share * mass for share in shares),
            counts=self.counts(distance, av),
            faintest=_FAINTEST_DRAWN * (distance / self._reference_distance_kpc) ** 2,
            max_stars=_MAX_FIELD_STARS,
        )
        light = recipe.draw(rng, self.grid.wide_area_arcsec2)
        y, x = self.grid.draw_positions(rng, len(light.flux))
        smooth = draw_unresolved(rng, light, n_cells=self.grid.wide_px**2).T
        field = FieldScene(
            recipe=recipe,
            y=y,
            x=x,
            flux=light.flux * recipe.counts,
            smooth=smooth * recipe.counts,
        )
        facts = {
            "field_surface_brightness": brightness,
            "field_young_fraction": young,
            "field_av": av,
        }
        return field, facts

    def _expose(
        self,
        rng: np.random.Generator,
        sources: PointSources,
        field: np.ndarray | None,
        background: np.ndarray | None,
        psf_size: float,
    ) -> tuple[np.ndarray, float]:
        """Render, add noise; return the stamp and the object's signal to noise."""
        spectra = psf_spectra(self.filters, self.grid, psf_size)
        light = self._deposit(sources)
        around = np.zeros_like(light) if field is None else field
        own, behind = convolve_pair(light, around, spectra, self.grid)
        if background is None:
            stamp = self.exposure.observe(rng, own + behind)
            variance = _background_variance(behind) + self.exposure.variance(
                np.median(behind, axis=(0, 1))
            )
        else:
            stamp = background + self.exposure.add_photons(rng, own)
            variance = _background_variance(background)
        snr = np.sqrt(np.sum(own**2 / variance)) if len(sources.flux) else 0.0
        return stamp.astype(np.float32), float(snr)

    def _deposit(self, sources: PointSources) -> np.ndarray:
        inside = self.grid.inside(sources.y, sources.x)
        return self.grid.deposit(sources.y[inside], sources.x[inside], sources.flux[inside])

    def _magnitudes(self, sources: PointSources, kind: str) -> dict[str, float]:
        """Return apparent AB magnitudes of the whole object, extinction included."""
        zero = self.config.instrument.zeropoint_mag
        total = sources.flux.sum(axis=0)
        bands = self.config.instrument.bands
        if kind == "field":
            return {f"mag_{band}": float("nan") for band in bands}
        return {
            f"mag_{band}": float(zero[b] - 2.5 * np.log10(total[b])) for b, band in enumerate(bands)
        }


def _read_isochrones(config: ClusterSetConfig) -> IsochroneGrid:
    """Return the isochrones of a configuration in its filters."""
    files = config.isochrones.files
    grid = (
        read_isochrones(files, system=config.isochrones.system) if files else default_isochrones()
    )
    return grid.select(config.instrument.filters)


def _within(values: np.ndarray, limits: tuple[float, float], name: str) -> np.ndarray:
    """Return the values of a grid inside a range; the nearest one for a range of one value."""
    inside = values[(values >= limits[0] - 1e-9) & (values <= limits[1] + 1e-9)]
    if len(inside):
        return inside
    if limits[0] == limits[1] and values[0] <= limits[0] <= values[-1]:
        return values[[np.argmin(np.abs(values - limits[0]))]]
    raise ConfigError(
        f"{name}: the isochrones have nothing in {list(limits)}; "
        f"they reach from {values[0]:g} to {values[-1]:g}."
    )


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def _background_variance(pixels: np.ndarray) -> np.ndarray:
    """Return the variance of the bulk of the pixels of each band, from the median deviation."""
    middle = np.median(pixels, axis=(0, 1))
    return (_MAD_TO_SIGMA * np.median(np.abs(pixels - middle), axis=(0, 1))) ** 2
