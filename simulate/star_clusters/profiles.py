"""Where the stars of a cluster stand: EFF and King profiles, in projection, by half-light radius.

Light follows number here (no mass segregation), so the half-light radius is the projected radius
that holds half of the stars.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TABLE = 2048


def eff_scale(half_light_radius: float, gamma: float) -> float:
    """Return the scale radius ``a`` of an EFF profile with a given half-light radius.

    The surface density is ``(1 + r^2/a^2)^(-gamma/2)``, so the share within ``r`` is
    ``1 - (1 + r^2/a^2)^(1 - gamma/2)`` and ``r_h = a sqrt(2^(2/(gamma-2)) - 1)``.

    Parameters
    ----------
    half_light_radius : float
        Any unit.
    gamma : float
        Above 2, where the total is finite.

    Returns
    -------
    float
        In the unit of `half_light_radius`.

    References
    ----------
    Elson, Fall and Freeman 1987, ApJ 323, 54.
    """
    return half_light_radius / np.sqrt(2.0 ** (2.0 / (gamma - 2.0)) - 1.0)


def eff_radii(
    rng: np.random.Generator, n: int, *, half_light_radius: float, gamma: float
) -> np.ndarray:
    """Draw projected radii from an EFF profile.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
    half_light_radius : float
    gamma : float
        Above 2.

    Returns
    -------
    ndarray of float64, shape (n,)
        In the unit of `half_light_radius`.
    """
    outside = 1.0 - rng.random(n)  # in (0, 1]
    scale = eff_scale(half_light_radius, gamma)
    return scale * np.sqrt(outside ** (-2.0 / (gamma - 2.0)) - 1.0)


def king_share(radius: np.ndarray, *, core: float, tidal: float) -> np.ndarray:
    """Return the share of a King profile's stars within a projected radius.

    The surface density is ``[(1 + r^2/rc^2)^(-1/2) - (1 + rt^2/rc^2)^(-1/2)]^2`` within ``rt``.

    Parameters
    ----------
    radius : ndarray of float
    core, tidal : float
        Core and tidal radius, in the unit of `radius`.

    Returns
    -------
    ndarray of float64, the shape of `radius`

    References
    ----------
    King 1962, AJ 67, 471, eqs 14 and 18.
    """
    edge = 1.0 + (tidal / core) ** 2

    def enclosed(x: np.ndarray | float) -> np.ndarray | float:
        return np.log1p(x) - 4.0 * (np.sqrt(1.0 + x) - 1.0) / np.sqrt(edge) + x / edge

    inside = np.minimum(np.asarray(radius, dtype=np.float64), tidal)
    return enclosed((inside / core) ** 2) / enclosed(edge - 1.0)


def king_radii(
    rng: np.random.Generator, n: int, *, half_light_radius: float, concentration: float
) -> np.ndarray:
    """Draw projected radii from a King profile.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
    half_light_radius : float
    concentration : float
        ``log10(rt / rc)``.

    Returns
    -------
    ndarray of float64, shape (n,)
        In the unit of `half_light_radius`.
    """
    radius, share = _king_table(concentration)
    half = np.interp(0.5, share, radius)
    return half_light_radius / half * np.interp(rng.random(n), share, radius)


def _king_table(concentration: float) -> tuple[np.ndarray, np.ndarray]:
    """Return radii in core radii, dense where the stars are, and the share within them."""
    tidal = 10.0**concentration
    inner = np.linspace(0.0, 1.0, _TABLE // 4, endpoint=False)
    outer = np.geomspace(1.0, tidal, _TABLE - len(inner))
    radius = np.concatenate([inner, outer])
    return radius, king_share(radius, core=1.0, tidal=tidal)


PROFILES: dict[str, Callable[..., np.ndarray]] = {"eff": eff_radii, "king": king_radii}
SHAPE_PARAMETER = {"eff": "gamma", "king": "concentration"}


def draw_offsets(
    rng: np.random.Generator,
    n: int,
    *,
    profile: str,
    shape: float,
    half_light_radius: float,
    axis_ratio: float = 1.0,
    angle_rad: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions of stars about the centre of a cluster.

    Flattening keeps the area of an isophote: the half-light radius is the geometric mean of the
    half-light ellipse's axes.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
    profile : {"eff", "king"}
    shape : float
        ``gamma`` of an EFF profile, ``log10(rt / rc)`` of a King profile.
    half_light_radius : float
        Any unit.
    axis_ratio : float
        Minor over major axis of the isophotes.
    angle_rad : float
        Of the major axis, from x towards y.

    Returns
    -------
    dy, dx : ndarray of float64, shape (n,)
        In the unit of `half_light_radius`.
    """
    radii = PROFILES[profile](
        rng, n, half_light_radius=half_light_radius, **{SHAPE_PARAMETER[profile]: shape}
    )
    direction = rng.uniform(0.0, 2.0 * np.pi, n)
    along = radii * np.cos(direction) / np.sqrt(axis_ratio)
    across = radii * np.sin(direction) * np.sqrt(axis_ratio)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return along * sin + across * cos, along * cos - across * sin
