"""The wide view: the surroundings of a stamp in larger pixels, around the same centre.

Its middle is the stamp itself, noise and all, summed over its pixels. Around that the stars of
the same cluster and of the same field are rendered on a coarse grid at once; where the stamp's own
field ends (a margin outside the stamp) the field goes on with new stars of the same population.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.sparse import csc_array

from astro_io.binning import bin_pixels
from simulate.star_clusters.cluster_stars import PointSources
from simulate.star_clusters.config import InstrumentConfig
from simulate.star_clusters.field_stars import FieldScene, draw_unresolved
from simulate.star_clusters.filters import get_filters
from simulate.star_clusters.photometry import Exposure
from simulate.star_clusters.render import StampGrid, convolve, psf_spectra

_OVERSAMPLING = 3  # a star is then right to 1.5 % of its peak wherever it stands in a pixel


class WideView:
    """Renders wide views of one instrument.

    Parameters
    ----------
    instrument : InstrumentConfig
        With a `wide_binning`.
    stamp : StampGrid
        Of the stamps.

    Attributes
    ----------
    binning : int
        Pixels of the stamp along the side of a wide one.
    grid : StampGrid
    """

    def __init__(self, instrument: InstrumentConfig, stamp: StampGrid) -> None:
        self._filters = get_filters(instrument.filters)
        self.binning = instrument.wide_binning
        self.stamp = stamp
        self.grid = StampGrid(
            instrument.stamp_px,
            instrument.pixel_scale_arcsec * self.binning,
            oversampling=_OVERSAMPLING,
            binning=self.binning,
        )
        self._exposure = Exposure.from_config(instrument).binned(self.binning)

    def observe(
        self,
        rng: np.random.Generator,
        stamp: np.ndarray,
        sources: PointSources,
        field: FieldScene | None,
        background: np.ndarray | None,
        psf_size: float,
    ) -> np.ndarray:
        """Render the surroundings of a stamp, add noise, put the stamp into the middle.

        Parameters
        ----------
        rng : numpy.random.Generator
        stamp : ndarray of float32, shape (S, S, B)
            As observed, electrons a second.
        sources : PointSources
            The object, in stamp pixels and electrons a second.
        field : FieldScene or None
            The field of the stamp.
        background : ndarray of float, shape (S binning, S binning, B), or None
            In place of a field: a real mosaic in stamp pixels.
        psf_size : float
            Stretch of the point spread functions.

        Returns
        -------
        ndarray of float32, shape (S, S, B)
        """
        planes = self._lay(sources.y, sources.x, sources.flux)
        if field is not None:
            planes += self._lay(field.y, field.x, field.flux)
            planes += self._lay_smooth(field.smooth)
            planes += self._draw_outside(rng, field)
        light = convolve(planes, psf_spectra(self._filters, self.grid, psf_size), self.grid)
        if background is None:
            wide = self._exposure.observe(rng, light)
        else:
            around = bin_pixels(background, self.binning)
            wide = (around + self._exposure.add_photons(rng, light)).astype(np.float32)
        first = (self.grid.stamp_px - self.grid.stamp_px // self.binning) // 2
        middle = slice(first, self.grid.stamp_px - first)
        wide[middle, middle] = bin_pixels(stamp, self.binning)
        return wide

    def _lay(self, y: np.ndarray, x: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """Lay point sources, in stamp pixels, on the coarse grid."""
        y, x = (self.grid.positions_of(self.stamp, position) for position in (y, x))
        inside = self.grid.inside(y, x)
        return self.grid.deposit(y[inside], x[inside], flux[inside])

    def _lay_smooth(self, smooth: np.ndarray) -> np.ndarray:
        """Lay the unresolved light of the stamp's field on the coarse grid."""
        light = _lattice_onto(self.stamp, self.grid) @ smooth.astype(np.float32)
        return np.ascontiguousarray(light.T).reshape(-1, self.grid.n, self.grid.n)

    def _draw_outside(self, rng: np.random.Generator, field: FieldScene) -> np.ndarray:
        """Draw the field outside that of the stamp, on the coarse grid."""
        recipe, grid = field.recipe, self.grid
        light = recipe.draw(rng, grid.wide_area_arcsec2, binning=self.binning)
        y, x = grid.draw_positions(rng, len(light.flux))
        new = ~self._is_in_field_of_stamp(y, x)
        planes = grid.deposit(y[new], x[new], light.flux[new] * recipe.counts)
        smooth = draw_unresolved(rng, light, n_cells=grid.wide_px**2).T * recipe.counts
        smooth[self._is_in_field_of_stamp(*grid.lattice())] = 0.0
        planes += grid.deposit_lattice(smooth)
        return planes

    def _is_in_field_of_stamp(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self.stamp.inside(*(self.stamp.positions_of(self.grid, p) for p in (y, x)))


@lru_cache(maxsize=2)
def _lattice_onto(stamp: StampGrid, grid: StampGrid) -> csc_array:
    """Return the share of the light of each pixel of one field at each point of another grid."""
    return grid.spread_matrix(*(grid.positions_of(stamp, p) for p in stamp.lattice()))
