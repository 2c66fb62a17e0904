"""HST filters: wavelengths, magnitude systems and the numbers of their point spread functions.

The blur and the two halos are least-squares fits to the encircled-energy table of WFC3/UVIS (STScI;
radii of 0.08 arcsec and more, 0.12 in the ultraviolet), to aperture photometry of TinyTim images
of ACS/WFC, and to the widths and the energy within 0.4 arcsec that the WFC3 Instrument Handbook
(tables 7.5 and 7.7) gives for the IR channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from astro_io.errors import ConfigError

_UVIS, _ACS, _IR = 0.0396, 0.0495, 0.128


@dataclass(frozen=True)
class HstFilter:
    """One filter of one camera.

    Attributes
    ----------
    name : str
        ``CAMERA_FILTER``, for example ``"ACS_F475W"``.
    pivot_nm : float
        Pivot wavelength.
    ab_minus_vega : float
        Magnitude of Vega in the AB system.
    range_nm : tuple of float
        Wavelengths between which the point spread function is averaged.
    pixel_arcsec : float
        Side of the detector's pixels.
    blur_arcsec : float
        Standard deviation of the Gaussian for charge diffusion, jitter and zonal figure errors.
    inner_halo, outer_halo : tuple of float
        Share of the light and scale radius in arcsec of ``(r^2 + a^2)^(-3/2)`` halos.
    """

    name: str
    pivot_nm: float
    ab_minus_vega: float
    range_nm: tuple[float, float]
    pixel_arcsec: float
    blur_arcsec: float
    inner_halo: tuple[float, float]
    outer_halo: tuple[float, float]

    @property
    def band(self) -> str:
        """Name without the camera."""
        return self.name.split("_", 1)[1]


_TABLE = (
    HstFilter("WFC3_F275W", 271.0, 1.480, (245, 305), _UVIS, 0.036, (0.317, 0.129), (0.014, 0.40)),
    HstFilter("WFC3_F336W", 335.5, 1.163, (312, 364), _UVIS, 0.036, (0.450, 0.071), (0.015, 0.41)),
    HstFilter("WFC3_F438W", 432.6, -0.165, (400, 465), _UVIS, 0.035, (0.295, 0.050), (0.043, 0.44)),
    HstFilter("WFC3_F475W", 477.4, -0.106, (415, 540), _UVIS, 0.035, (0.285, 0.050), (0.037, 0.45)),
    HstFilter("WFC3_F555W", 530.8, -0.029, (465, 620), _UVIS, 0.034, (0.284, 0.050), (0.026, 0.53)),
    HstFilter("WFC3_F606W", 588.7, 0.082, (490, 700), _UVIS, 0.032, (0.168, 0.079), (0.019, 0.48)),
    HstFilter("WFC3_F814W", 802.9, 0.428, (710, 930), _UVIS, 0.028, (0.141, 0.086), (0.012, 0.50)),
    HstFilter("ACS_F435W", 432.7, -0.115, (385, 475), _ACS, 0.036, (0.272, 0.050), (0.045, 0.82)),
    HstFilter("ACS_F475W", 474.5, -0.107, (415, 535), _ACS, 0.034, (0.276, 0.050), (0.036, 0.90)),
    HstFilter("ACS_F555W", 536.0, -0.010, (470, 610), _ACS, 0.028, (0.272, 0.050), (0.028, 0.97)),
    HstFilter("ACS_F606W", 591.9, 0.086, (490, 700), _ACS, 0.028, (0.277, 0.050), (0.022, 1.00)),
    HstFilter("ACS_F814W", 806.0, 0.433, (710, 930), _ACS, 0.026, (0.108, 0.082), (0.015, 0.70)),
    HstFilter("WFC3_F110W", 1153.4, 0.777, (900, 1400), _IR, 0.041, (0.060, 0.10), (0.030, 0.50)),
    HstFilter("WFC3_F160W", 1536.9, 1.274, (1400, 1690), _IR, 0.036, (0.060, 0.10), (0.030, 0.50)),
)
FILTERS: dict[str, HstFilter] = {item.name: item for item in _TABLE}


def get_filters(names: tuple[str, ...]) -> tuple[HstFilter, ...]:
    """Return filters by name.

    Raises
    ------
    ConfigError
        If a name is not known.
    """
    unknown = [name for name in names if name not in FILTERS]
    if unknown:
        raise ConfigError(
            f"[instrument] filters: {', '.join(unknown)} not known; "
            f"expected some of {', '.join(FILTERS)}."
        )
    return tuple(FILTERS[name] for name in names)
