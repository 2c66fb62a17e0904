"""DS9 region files: an ellipse or a box for each source of a catalogue, coloured by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.atomic import atomic_path

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

COLORS = {"star": "cyan", "galaxy": "yellow"}
OTHER_COLOR = "magenta"

_HEADER = (
    "# Region file format: DS9 version 4.1\n"
    'global width=1 font="helvetica 9 normal roman" select=1 edit=1 move=1 delete=1\n'
)


def write_regions(
    path: str | Path,
    catalog: Table,
    *,
    wcs: WCS | None = None,
    n_sigma: float = 3.0,
    overwrite: bool = False,
) -> Path:
    """Write a DS9 region file.

    Parameters
    ----------
    path : str or Path
        By custom ``*.reg``.
    catalog : astropy.table.Table
        With ``source_id``, ``class``, ``score``, ``x``, ``y``, ``a``, ``b``, ``theta`` and the
        box, as :mod:`astro_io.catalog` defines them.  A source without a finite shape gets its box.
    wcs : astropy.wcs.WCS, optional
        Of the image; regions are then on the sky (ICRS), else in image coordinates.
    n_sigma : float
        Semi-axes of the ellipses in units of ``a`` and ``b``.
    overwrite : bool

    Returns
    -------
    Path
        The file; without sources it has its header lines only.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    """
    lines = [_HEADER, "image\n" if wcs is None else "icrs\n"]
    values = {name: _values(catalog, name) for name in _NUMBERS}
    for i in range(len(catalog)):
        row = {name: float(values[name][i]) for name in _NUMBERS}
        shape = _shape(row, n_sigma)
        drawn = _in_pixels(*shape) if wcs is None else _on_sky(*shape, wcs)
        kind = str(catalog["class"][i])
        lines.append(
            f"{drawn} # color={COLORS.get(kind, OTHER_COLOR)} "
            f"text={{{catalog['source_id'][i]}}} tag={{{kind}}}\n"
        )
    with atomic_path(path, overwrite=overwrite) as part:
        part.write_text("".join(lines), encoding="utf-8")
    return Path(path)


_NUMBERS = ("x", "y", "a", "b", "theta", "bbox_y1", "bbox_x1", "bbox_y2", "bbox_x2")


def _values(catalog: Table, name: str) -> np.ndarray:
    """Return a column in its schema unit, without it."""
    column: Any = catalog[name]
    return np.asarray(getattr(column, "value", column), np.float64)


def _shape(row: dict[str, float], n_sigma: float) -> tuple[str, float, float, float, float, float]:
    """Return kind, centre, half-sizes (0-based pixels) and angle of the region of one source."""
    if all(np.isfinite(row[name]) for name in ("x", "y", "a", "b", "theta")):
        return "ellipse", row["x"], row["y"], n_sigma * row["a"], n_sigma * row["b"], row["theta"]
    half_w, half_h = (row["bbox_x2"] - row["bbox_x1"]) / 2, (row["bbox_y2"] - row["bbox_y1"]) / 2
    x, y = row["bbox_x1"] + half_w - 0.5, row["bbox_y1"] + half_h - 0.5
    return "box", x, y, half_w, half_h, 0.0


def _in_pixels(kind: str, x: float, y: float, a: float, b: float, angle: float) -> str:
    """Return a region in DS9 image coordinates, which count from 1."""
    size = 2 if kind == "box" else 1  # DS9 takes full widths of boxes, semi-axes of ellipses
    return f"{kind}({x + 1:.3f},{y + 1:.3f},{size * a:.3f},{size * b:.3f},{angle:.2f})"


def _on_sky(kind: str, x: float, y: float, a: float, b: float, angle: float, wcs: WCS) -> str:
    """Return a region in sky coordinates, sizes in arcsec.

    DS9 counts angles from west towards north, that is from the x axis of an image with north up
    and east left: the position angle (north through east) plus 90 degrees.
    """
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    sky = wcs.celestial.pixel_to_world([x, x + cosine, x - sine], [y, y + sine, y + cosine]).icrs
    ra, dec = sky.ra.deg, sky.dec.deg
    east = ((ra[1:] - ra[0] + 180) % 360 - 180) * np.cos(np.deg2rad(dec[0]))
    north = dec[1:] - dec[0]
    scale = np.hypot(east, north) * 3600.0
    on_sky_angle = (np.rad2deg(np.arctan2(east[0], north[0])) + 90.0) % 360.0
    size = 2 if kind == "box" else 1
    return (
        f'{kind}({ra[0]:.7f},{dec[0]:+.7f},{size * a * scale[0]:.3f}",'
        f'{size * b * scale[1]:.3f}",{on_sky_angle:.2f})'
    )
