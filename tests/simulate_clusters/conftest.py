"""Fixtures of the mock-cluster tests: two isochrones that one can compute by hand, small sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulate.star_clusters.config import ClusterSetConfig, load_preset
from simulate.star_clusters.isochrone_fit import read_grid
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid

SMALL = (
    "instrument.filters=ACS_F475W,ACS_F814W",
    "instrument.exposure_s=[3620,3235]",
    "instrument.zeropoint_mag=[26.059,25.943]",
    "instrument.sky_mag_arcsec2=[22.6,21.9]",
    "instrument.dark_e_per_s=[0.003,0.003]",
    "instrument.read_noise_e=[10,10]",
    "instrument.noise_blur_px=[0,0]",
    "instrument.stamp_px=32",
)


def toy_isochrone(log_age: float = 8.0, metallicity: float = 0.014) -> Isochrone:
    """Return a line of magnitudes: 10 at one tenth of a solar mass, 0 at five."""
    mass = np.array([0.1, 5.0])
    mag = np.array([[10.0, 11.0], [0.0, 1.0]])
    return Isochrone(
        log_age=log_age,
        metallicity=metallicity,
        filters=("ACS_F475W", "ACS_F814W"),
        m_ini=mass,
        mag=mag,
    )


def dense_isochrone(log_age: float = 8.0, metallicity: float = 0.014) -> Isochrone:
    """Return the same line with 200 rows."""
    line = toy_isochrone(log_age, metallicity)
    mass = np.geomspace(0.1, 5.0, 200)
    return replace(line, m_ini=mass, mag=line.magnitudes(mass))


@pytest.fixture
def toy() -> Isochrone:
    return toy_isochrone()


@pytest.fixture(scope="session")
def small() -> ClusterSetConfig:
    """Two bands of PHAT, stamps of 32 px, clusters alone."""
    return load_preset("phat", (*SMALL, "others.fraction=0"))


@pytest.fixture(scope="session")
def parsec(shared_data: Path) -> IsochroneGrid:
    """Return the grid that the embedded isochrones were fitted to, or skip."""
    path = shared_data / "clusters" / "isochrones_hst.h5"
    if not path.exists():
        pytest.skip(f"isochrone grid not found at {path}")
    return read_grid(path)
