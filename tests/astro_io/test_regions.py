"""DS9 region files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS

from astro_io.catalog import new_catalog
from astro_io.errors import OutputExistsError
from astro_io.regions import write_regions


def catalog_of(**columns):
    table = new_catalog(len(columns["x"]), ("g",))
    for name, values in columns.items():
        unit = table[name].unit
        table[name] = np.asarray(values) if unit is None else np.asarray(values) * unit
    return table


def one_star():
    return catalog_of(x=[10.0], y=[20.0], a=[2.0], b=[1.0], theta=[30.0], **{"class": ["star"]})


def numbers(line):
    return [float(word) for word in re.findall(r"[-+]?\d+\.\d+", line)]


def test_without_wcs_ellipses_are_in_image_coordinates_from_one(tmp_path):
    lines = write_regions(tmp_path / "a.reg", one_star()).read_text().splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1" and lines[2] == "image"
    assert lines[3] == "ellipse(11.000,21.000,6.000,3.000,30.00) # color=cyan text={1} tag={star}"


def test_source_without_a_shape_gets_its_box(tmp_path):
    table = catalog_of(
        x=[10.0], y=[20.0], bbox_y1=[18], bbox_x1=[4], bbox_y2=[23], bbox_x2=[8],
        **{"class": ["galaxy"]},
    )  # fmt: skip
    line = write_regions(tmp_path / "a.reg", table).read_text().splitlines()[3]
    # Columns 4 to 7, rows 18 to 22: centre (5.5, 20) counted from 0.
    assert line.startswith("box(6.500,21.000,4.000,5.000,0.00) # color=yellow")


def test_angle_on_the_sky_is_that_of_the_pixels_when_north_is_up(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [0.0, 10.0], [11.0, 21.0]
    wcs.wcs.cdelt = [-0.5 / 3600, 0.5 / 3600]
    lines = write_regions(tmp_path / "a.reg", one_star(), wcs=wcs).read_text().splitlines()
    assert lines[2] == "icrs"
    ra, dec, a, b, angle = numbers(lines[3])
    assert (ra % 360, dec) == pytest.approx((0.0, 10.0), abs=1e-6)
    assert (a, b, angle) == pytest.approx((3.0, 1.5, 30.0), abs=0.01)
    assert lines[3].count('"') == 2


@pytest.mark.parametrize("axes", [("GLON-CAR", "GLAT-CAR"), ("DEC--TAN", "RA---TAN")])
def test_regions_are_icrs_whatever_the_axes_are(tmp_path, axes):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = axes, [0.5 / 3600, 0.5 / 3600]
    wcs.wcs.crval, wcs.wcs.crpix = ([30.0, 0.0] if "CAR" in axes[0] else [2.0, 150.0]), [5.0, 5.0]
    line = write_regions(tmp_path / "a.reg", one_star(), wcs=wcs).read_text().splitlines()[3]
    expected = wcs.pixel_to_world(10.0, 20.0).icrs
    assert numbers(line)[:2] == pytest.approx((expected.ra.deg, expected.dec.deg), abs=1e-6)


@pytest.mark.parametrize("parity", [-1, 1])
def test_ellipse_points_along_the_source_whatever_the_orientation(tmp_path, parity):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [0.0, 60.0], [1.0, 1.0]
    c, s = np.cos(0.7), np.sin(0.7)
    wcs.wcs.cd = np.array([[parity * c, s], [-parity * s, c]]) * 0.3 / 3600
    line = write_regions(tmp_path / "a.reg", one_star(), wcs=wcs).read_text().splitlines()[3]
    ra, dec, a, _, angle = numbers(line)
    centre = wcs.pixel_to_world(10.0, 20.0)
    tip = wcs.pixel_to_world(10 + 6 * np.cos(np.pi / 6), 20 + 6 * np.sin(np.pi / 6))
    assert centre.ra.deg == pytest.approx(ra, abs=1e-6)
    assert centre.dec.deg == pytest.approx(dec, abs=1e-6)
    assert centre.separation(tip).arcsec == pytest.approx(a, abs=0.01)
    assert (centre.position_angle(tip) + 90 * u.deg).wrap_at(360 * u.deg).deg == pytest.approx(
        angle, abs=0.1
    )


def test_no_source_leaves_the_header(tmp_path):
    text = write_regions(tmp_path / "a.reg", new_catalog(0, ("g",))).read_text()
    assert len(text.splitlines()) == 3


def test_existing_file_is_not_replaced(tmp_path):
    write_regions(tmp_path / "a.reg", one_star())
    with pytest.raises(OutputExistsError, match="exists"):
        write_regions(tmp_path / "a.reg", one_star())
