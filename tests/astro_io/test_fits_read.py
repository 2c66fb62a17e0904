import bz2
import gzip
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_io.errors import ImageError, InputNotFoundError
from astro_io.fits_read import image_name, read_image

HEIGHT, WIDTH = 24, 31


def plane(band: str) -> np.ndarray:
    """Return pixels that differ from band to band and from place to place, none zero."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (1000 * (1 + "ugrizyF".index(band[0])) + 40 * y + x + 0.5).astype(np.float32)


def wcs_header(dx=0.0, dy=0.0, **cards) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [197.0, -1.4]
    wcs.wcs.crpix = [16.0 + dx, 12.0 + dy]
    wcs.wcs.cdelt = [-0.262 / 3600, 0.262 / 3600]
    header = wcs.to_header()
    header.update(cards)
    return header


def write_folder(folder, bands="grz", suffix=".fits", stem="img_", headers=None):
    folder.mkdir(exist_ok=True)
    for band in bands:
        header = (headers or {}).get(band)
        hdus = [fits.PrimaryHDU(plane(band), header)]
        if suffix.endswith(".fz"):
            options = {"compression_type": "GZIP_1", "quantize_level": 0}
            hdus = [fits.PrimaryHDU(), fits.CompImageHDU(plane(band), header, **options)]
        fits.HDUList(hdus).writeto(folder / f"{stem}{band}{suffix}")
    return folder


def assert_bands(image, bands):
    assert image.bands == tuple(bands)
    assert image.pixels.dtype == np.float32
    for channel, band in enumerate(bands):
        np.testing.assert_array_equal(image.pixels[..., channel], plane(band))
    assert not image.bad.any()


# --- forms of input ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.bz2", ".fits.fz"])
def test_folder_of_bands(tmp_path, suffix):
    folder = write_folder(tmp_path / "field_7", "zgr", suffix)
    image = read_image(folder)
    assert_bands(image, "grz")
    assert image.name == image_name(folder) == "field_7"
    assert image.sources == tuple(str(folder / f"img_{b}{suffix}") for b in "grz")


def test_bands_are_returned_in_the_order_asked(tmp_path):
    folder = write_folder(tmp_path / "field", "grz")
    assert_bands(read_image(folder, bands=("z", "g")), "zg")


def test_missing_band_is_named(tmp_path):
    folder = write_folder(tmp_path / "field", "gr")
    with pytest.raises(ImageError, match=r"field: expected bands g, r, z; found g, r. Add z"):
        read_image(folder, bands=("g", "r", "z"))


def test_pairs_of_band_and_file(tmp_path):
    write_folder(tmp_path, "gr", stem="a_")
    spec = f"r={tmp_path}/a_r.fits,g={tmp_path}/a_g.fits"
    assert_bands(read_image(spec), "rg")
    assert_bands(read_image(spec, bands="gr"), "gr")
    assert read_image(spec).name == "a"


def cube(path, **cards):
    fits.writeto(path, np.stack([plane(b) for b in "grz"]), fits.Header(cards))
    return path


@pytest.mark.parametrize(
    "cards",
    [
        {"BAND0": "g", "BAND1": "r", "BAND2": "z"},
        {"BANDS": "grz"},
        {"BANDS": "g, r, z"},
        {"FILTERS": "HSC-G HSC-R HSC-Z"},
    ],
)
def test_cube_whose_header_names_its_planes(tmp_path, cards):
    path = cube(tmp_path / "c.fits", **cards)
    assert_bands(read_image(path), "grz")
    assert_bands(read_image(path, bands=("z", "r")), "zr")


def test_cube_without_names_needs_bands(tmp_path):
    path = cube(tmp_path / "c.fits")
    with pytest.raises(
        ImageError, match=r"each of 3 images, found unnamed, unnamed, unnamed. Name 3 in order"
    ):
        read_image(path)
    assert_bands(read_image(path, bands="grz"), "grz")
    with pytest.raises(ImageError, match="expected a band name for each of 3 images"):
        read_image(path, bands="gr")


def test_bands_rename_planes_that_the_header_calls_otherwise(tmp_path):
    path = cube(tmp_path / "c.fits", BAND0="F435W", BAND1="F606W", BAND2="F814W")
    assert_bands(read_image(path, bands="grz"), "grz")


def test_extensions_of_other_hst_filters_are_not_renamed_by_position(tmp_path):
    hdus = [fits.ImageHDU(plane(b), name=n) for b, n in zip("gr", ("F475W", "F606W"), strict=True)]
    path = write_mef(tmp_path / "m.fits", *hdus)
    with pytest.raises(ImageError, match="expected bands F438W, F555W; found F475W, F606W. Add"):
        read_image(path, bands=("F438W", "F555W"))
    assert read_image(path, bands=("f606w", "f475w")).bands == ("f606w", "f475w")
    assert_bands(read_image(path, bands="gr"), "gr")  # these name no filter of HST


def test_bands_never_rename_part_of_what_the_header_names(tmp_path):
    path = cube(tmp_path / "c.fits", BANDS="grz")
    with pytest.raises(ImageError, match="expected bands g, r, i; found g, r, z. Add i"):
        read_image(path, bands=("g", "r", "i"))


def test_compressed_cube(tmp_path):
    cubic = fits.CompImageHDU(
        np.stack([plane(b) for b in "grz"]), compression_type="GZIP_1", quantize_level=0
    )
    cubic.header["BANDS"] = "grz"
    fits.HDUList([fits.PrimaryHDU(), cubic]).writeto(tmp_path / "c.fits.fz")
    assert_bands(read_image(tmp_path / "c.fits.fz"), "grz")


def write_mef(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def test_extensions_named_by_extname(tmp_path):
    # astropy writes EXTNAME in capitals
    path = write_mef(tmp_path / "m.fits", *(fits.ImageHDU(plane(b), name=b) for b in "grz"))
    assert_bands(read_image(path), "grz")
    assert_bands(read_image(path, bands="zg"), "zg")
    assert_bands(read_image(f"z={path},r={path}"), "zr")
    assert_bands(read_image(f"{path}[r]"), "r")


def test_capital_r_and_i_alone_stay_johnson_bands(tmp_path):
    path = write_mef(tmp_path / "m.fits", *(fits.ImageHDU(plane(b), name=b) for b in "ri"))
    assert read_image(path).bands == ("R", "I")
    assert read_image(path, bands=("i", "r")).bands == ("i", "r")


def test_extensions_named_by_filter_beside_weights_and_masks(tmp_path):
    hdus = []
    for band in ("g", "r"):
        header = fits.Header({"FILTER": f"{band} DECam SDSS c0002 6415.0 1480.0"})
        hdus.append(fits.ImageHDU(plane(band), header, name="SCI"))
        hdus.append(fits.ImageHDU(np.ones((HEIGHT, WIDTH), np.uint8), header, name="WHT"))
    assert_bands(read_image(write_mef(tmp_path / "m.fits", *hdus)), "gr")


def test_filter_of_the_primary_header_serves_its_extension(tmp_path):
    path = write_mef(tmp_path / "m.fits", fits.ImageHDU(plane("g"), name="SCI"))
    fits.setval(path, "FILTER", value="g", ext=0)
    fits.setval(path, "MAGZERO", value=30.0, ext=0)
    image = read_image(path)
    assert_bands(image, "g")
    assert image.zeropoint_mag == (30.0,)


def test_two_extensions_of_one_band_must_be_chosen_from(tmp_path):
    header = fits.Header({"FILTER": "F814W"})
    hdus = [fits.ImageHDU(plane(b), header, name="SCI", ver=v) for v, b in ((1, "g"), (2, "r"))]
    path = write_mef(tmp_path / "m.fits", *hdus)
    with pytest.raises(ImageError, match=r"one image a band, found F814W, F814W. Choose an ext"):
        read_image(path)
    image = read_image(f"{path}[SCI,2]")
    assert image.bands == ("F814W",)
    np.testing.assert_array_equal(image.pixels[..., 0], plane("r"))
    with pytest.raises(ImageError, match=r"\[SCI,3\]: no such extension; .* 0 PRIMARY, 1 SCI, 2"):
        read_image(f"{path}[SCI,3]")


def test_single_image_takes_its_band_from_header_name_or_user(tmp_path):
    fits.writeto(tmp_path / "a.fits", plane("F"), fits.Header({"FILTER": "F105W"}))
    fits.writeto(tmp_path / "x_f814w_drc.fits", plane("F"))
    fits.writeto(tmp_path / "b.fits", plane("F"), fits.Header({"FILTER1": "CLEAR1L"}))
    assert read_image(tmp_path / "a.fits").bands == ("F105W",)
    assert read_image(tmp_path / "x_f814w_drc.fits").bands == ("F814W",)
    assert read_image(tmp_path / "b.fits", bands=["F606W"]).bands == ("F606W",)
    with pytest.raises(ImageError, match=r"b.fits: expected a band name for each of 1 images"):
        read_image(tmp_path / "b.fits")
    with pytest.raises(ImageError, match=r"a.fits: expected bands g, r; found F105W"):
        read_image(tmp_path / "a.fits", bands=("g", "r"))


def test_degenerate_axes_are_dropped(tmp_path):
    fits.writeto(tmp_path / "r.fits", plane("r")[None, None])
    assert_bands(read_image(tmp_path / "r.fits", bands="r"), "r")


def test_data_in_the_first_extension(tmp_path):
    for band in "gr":
        write_mef(tmp_path / f"img_{band}.fits", fits.ImageHDU(plane(band)))
    assert_bands(read_image(tmp_path), "gr")


# --- pixel types and missing data ---------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["u1", ">i2", "<i2", "u2", ">i4", "u4", "i8", ">f4", "<f4", ">f8", "<f8"]
)
def test_every_pixel_type_and_byte_order(tmp_path, dtype):
    values = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 97 + 3).astype(dtype)
    fits.writeto(tmp_path / "img_g.fits", values)
    image = read_image(tmp_path)
    assert image.pixels.dtype == np.float32 and image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels[..., 0], values.astype(np.float32))


def test_scaled_integers_and_blank(tmp_path):
    hdu = fits.PrimaryHDU(np.full((HEIGHT, WIDTH), 1000, np.int16))
    hdu.data[3, 4] = -32768
    hdu.data[5, 6] = 1010
    hdu.header["BLANK"] = -32768
    # written as they are: astropy would scale them otherwise
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, 50.0
    hdu.writeto(tmp_path / "img_g.fits")
    with fits.open(tmp_path / "img_g.fits", do_not_scale_image_data=True) as stored:
        assert stored[0].data[5, 6] == 1010
    image = read_image(tmp_path)
    assert image.pixels[5, 6, 0] == 302.5  # 1010 / 4 + 50
    assert image.bad.sum() == 1 and image.bad[3, 4, 0]
    assert image.pixels[3, 4, 0] == 0.0


def test_non_finite_and_overflowing_pixels_are_bad_and_zero(tmp_path):
    values = plane("g").astype(np.float64)
    values[0, 0], values[1, 1], values[2, 2], values[3, 3] = np.nan, np.inf, -np.inf, 1e300
    fits.writeto(tmp_path / "img_g.fits", values)
    image = read_image(tmp_path)
    assert np.argwhere(image.bad[..., 0]).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert not image.pixels[image.bad].any()
    assert np.isfinite(image.pixels).all()


def test_area_without_coverage_is_bad_in_its_band_only(tmp_path):
    folder = write_folder(tmp_path / "field", "gr")
    with fits.open(folder / "img_g.fits", mode="update") as hdus:
        hdus[0].data[:, :10] = 0
        hdus[0].data[12, 20] = 0
    image = read_image(folder)
    assert image.bad[..., 0].sum() == HEIGHT * 10
    assert image.bad[:, :10, 0].all()
    assert not image.bad[..., 1].any()


def test_isolated_zeros_of_an_integer_image_are_data(tmp_path, rng):
    fits.writeto(tmp_path / "img_g.fits", rng.poisson(3, (60, 60)).astype(np.uint16))
    image = read_image(tmp_path)
    assert (image.pixels == 0).sum() > 50
    assert not image.bad.any()


# --- geometry -----------------------------------------------------------------------------


def test_bands_of_different_shape_are_refused(tmp_path):
    fits.writeto(tmp_path / "img_g.fits", np.ones((10, 12)))
    fits.writeto(tmp_path / "img_r.fits", np.ones((12, 10)))
    with pytest.raises(ImageError, match=r"one shape, found g 10x12, r 12x10 px \(height x width"):
        read_image(tmp_path)


def test_missing_or_broken_wcs_is_none(tmp_path):
    assert read_image(write_folder(tmp_path / "a", "g")).wcs is None
    broken = wcs_header(PC1_1=0.0, PC2_2=0.0)
    image = read_image(write_folder(tmp_path / "b", "gr", headers={"g": broken, "r": broken}))
    assert image.wcs is None


@pytest.mark.parametrize("frame", ["fk5", "icrs", "J2000", "GAPPT"])
def test_a_frame_by_another_name_is_read(tmp_path, frame, caplog):
    folder = write_folder(tmp_path / "a", "r", headers={"r": wcs_header(RADESYS=frame)})
    sky = read_image(folder).wcs.pixel_to_world(1.0, 2.0)
    assert np.isfinite(sky.icrs.ra.deg)
    assert ("RADESYS" in caplog.text) == (frame in ("J2000", "GAPPT"))


def test_axes_that_are_not_on_the_sky_are_left_out_and_said(tmp_path, caplog):
    header = wcs_header(CTYPE1="HPLN-TAN", CTYPE2="HPLT-TAN")
    folder = write_folder(tmp_path / "a", "r", headers={"r": header})
    assert read_image(folder).wcs is None
    assert "in no frame on the sky" in caplog.text


def test_lookup_tables_of_hst_are_left_out_and_the_rest_of_the_wcs_stays(tmp_path, caplog):
    header = wcs_header(CPDIS1="Lookup", D2IMDIS2="Lookup", CPERR1=0.04)
    for i, axis in ((1, 1.0), (2, 2.0)):
        header.extend([fits.Card.fromstring(f"DP1     = 'AXIS.{i}: {axis}'")])
    header.extend([fits.Card.fromstring("DP1     = 'NAXES: 2.0'")])
    folder = write_folder(tmp_path / "a", "r", headers={"r": header})
    assert read_image(folder).wcs is not None
    assert "distortion tables (CPDIS1, D2IMDIS2) left out" in caplog.text


def test_wcs_gives_0_based_pixel_centres(tmp_path):
    headers = {b: wcs_header() for b in "gr"}
    image = read_image(write_folder(tmp_path / "field", "gr", headers=headers))
    # CRPIX 16, 12 is pixel x = 15, y = 11 counted from 0
    assert image.wcs.pixel_to_world_values(15, 11) == pytest.approx((197.0, -1.4))
    assert image.wcs.array_shape == image.shape == (HEIGHT, WIDTH)
    assert image.pixel_scale_arcsec == pytest.approx(0.262)


def test_wcs_of_a_cube_is_that_of_the_sky(tmp_path):
    path = tmp_path / "c.fits"
    header = wcs_header()
    header["BANDS"] = "grz"
    header["CTYPE3"], header["CRVAL3"], header["CRPIX3"] = "WAVE", 5e-7, 1
    fits.writeto(path, np.stack([plane(b) for b in "grz"]), header)
    image = read_image(path)
    assert image.wcs.naxis == 2
    assert image.wcs.pixel_to_world_values(15, 11) == pytest.approx((197.0, -1.4))


def test_band_without_wcs_takes_that_of_the_others(tmp_path):
    image = read_image(write_folder(tmp_path / "field", "gr", headers={"g": wcs_header()}))
    assert_bands(image, "gr")
    assert image.wcs is not None


def shifted(tmp_path, dx, dy=0.0):
    headers = {"g": wcs_header(dx, dy), "r": wcs_header(), "z": wcs_header()}
    return write_folder(tmp_path / "field", "grz", headers=headers)


@pytest.mark.parametrize("align", ["reproject", "refuse", "ignore"])
def test_offset_below_half_a_pixel_is_left_alone(tmp_path, align):
    assert_bands(read_image(shifted(tmp_path, 0.45, -0.45), align=align), "grz")


def test_offset_above_half_a_pixel_is_reprojected_onto_r(tmp_path):
    image = read_image(shifted(tmp_path, 2.0, -1.0))
    np.testing.assert_array_equal(image.pixels[..., 1], plane("r"))
    # reference (y, x) is (y - 1, x + 2) of g: row 0 and the last two columns are not covered
    moved = plane("g")[4:20, 7:27]
    np.testing.assert_allclose(image.pixels[5:21, 5:25, 0], moved, rtol=1e-5)
    assert image.bad[0, :, 0].all() and image.bad[:, -2:, 0].all()
    assert not image.bad[2:-1, 1:-3].any()
    assert image.wcs.wcs.crpix.tolist() == [16.0, 12.0]
    assert not image.pixels[image.bad].any()


def test_offset_is_refused_or_ignored_as_asked(tmp_path):
    folder = shifted(tmp_path, 0.7)
    with pytest.raises(ImageError, match=r"img_g.fits: band g lies more than half a pixel off"):
        read_image(folder, align="refuse")
    assert_bands(read_image(folder, align="ignore"), "grz")
    with pytest.raises(ImageError, match="align 'shift' is unknown; choose one of reproject, ref"):
        read_image(folder, align="shift")


def test_band_of_another_part_of_the_sky_is_refused(tmp_path):
    with pytest.raises(ImageError, match="band g shows another part of the sky"):
        read_image(shifted(tmp_path, 5000.0))


def test_bad_pixels_stay_bad_through_reprojection(tmp_path):
    folder = shifted(tmp_path, 1.0)
    with fits.open(folder / "img_g.fits", mode="update") as hdus:
        hdus[0].data[12, 12] = np.nan
    image = read_image(folder)
    assert image.bad[12, 11, 0]
    assert np.isfinite(image.pixels).all()


# --- what the header says of flux ------------------------------------------------------------


def test_units_zero_points_and_saturation_follow_their_band(tmp_path):
    headers = {
        "g": fits.Header({"BUNIT": "nanomaggy"}),
        "r": fits.Header({"BUNIT": "adu", "MAGZERO": 27.5, "SATURATE": 6e4}),
    }
    image = read_image(write_folder(tmp_path / "field", "gr", headers=headers), bands="rg")
    assert image.unit == ("adu", "nanomaggy")
    assert image.zeropoint_mag == (27.5, 22.5)
    assert image.saturation == (6e4, None)


# --- damaged files --------------------------------------------------------------------------


def test_truncated_file_is_one_clear_line(tmp_path):
    path = cube(tmp_path / "c.fits", BANDS="grz")
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(
        ImageError, match=r"c.fits: the file is damaged or cut short \(6000 bytes"
    ) as e:
        read_image(path)
    assert "\n" not in str(e.value)


def test_padding_missing_at_the_end_does_no_harm(tmp_path):
    path = cube(tmp_path / "c.fits", BANDS="grz")
    n_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[: n_bytes - 10])
    assert_bands(read_image(path), "grz")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_extension_that_is_cut_off_does_not_vanish_in_silence(tmp_path, pack):
    path = write_mef(tmp_path / "m.fits", *(fits.ImageHDU(plane(b), name=b) for b in "grz"))
    whole = path.read_bytes()
    # cut inside the header of the third band
    start_of_z = whole.rindex(b"XTENSION")
    packed = pack(whole)
    keep = start_of_z + 160 if pack is bytes else len(packed) - 40
    path.write_bytes(packed[:keep])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(path)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.99])
def test_truncated_gzip(tmp_path, rng, fraction):
    fits.writeto(tmp_path / "img_g.fits.gz", rng.normal(size=(60, 60)))
    packed = (tmp_path / "img_g.fits.gz").read_bytes()
    (tmp_path / "img_g.fits.gz").write_bytes(packed[: int(fraction * len(packed))])
    with pytest.raises(ImageError, match=r"img_g.fits.gz: the file is damaged or cut short"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty. Fetch it again"),
        (b"\n<!DOCTYPE html><html>404</html>", "expected FITS, found a web page. The download"),
        (
            b"\x93NUMPY\x01\x00",
            "expected FITS, found another kind of file, which begins b'\\\\x93numpy",
        ),
        (b"SIMPLE  =", "the file is damaged or cut short"),
    ],
)
def test_what_is_no_fits_file_is_called_by_its_name(tmp_path, content, message):
    (tmp_path / "img_g.fits").write_bytes(content)
    with pytest.raises(ImageError, match=f"img_g.fits: {message}"):
        read_image(tmp_path)


def test_table_is_no_image(tmp_path):
    columns = [fits.Column("flux", "E", array=[1.0])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    with pytest.raises(ImageError, match="two or three dimensions, found none among 2 extensions"):
        read_image(tmp_path / "t.fits")


def test_missing_path_and_empty_folder(tmp_path):
    with pytest.raises(InputNotFoundError, match="nothing.fits: no such file or folder"):
        read_image(tmp_path / "nothing.fits")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match=r"expected img_<band>.fits .*; found notes.txt"):
        read_image(tmp_path)


# --- manners --------------------------------------------------------------------------------


def test_import_loads_neither_astropy_nor_scipy():
    code = (
        "import sys, astro_io.fits_read, astro_io.normalize, astro_io.seams;"
        "print(sorted({'astropy', 'scipy', 'reproject', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_warning_filters_and_handles_are_left_as_they_were(tmp_path):
    folder = write_folder(
        tmp_path / "field", headers={b: wcs_header(RADECSYS="FK5") for b in "grz"}
    )
    before = list(warnings.filters)
    image = read_image(folder)
    assert warnings.filters == before
    for path in folder.iterdir():
        path.unlink()
    assert_bands(image, "grz")


def test_memory_is_one_copy_and_one_band(tmp_path, rng):
    n = 400
    for band in "grz":
        fits.writeto(tmp_path / f"img_{band}.fits", rng.normal(size=(n, n)).astype(np.float32))
    read_image(tmp_path)  # imports
    tracemalloc.start()
    image = read_image(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_band = 4 * n * n
    assert peak < image.pixels.nbytes + image.bad.nbytes + 2 * one_band


# --- real sky ---------------------------------------------------------------------------------


def test_decals_folder(shared_data):
    folder = shared_data / "sky" / "decals_dr7_ra197.860_dec-1.413"
    image = read_image(folder)
    assert image.bands == ("g", "r", "z")
    assert image.shape == (512, 512)
    assert image.unit == ("nanomaggy",) * 3
    assert image.zeropoint_mag == pytest.approx((22.5,) * 3)
    assert image.pixel_scale_arcsec == pytest.approx(0.262)
    assert not image.bad.any()
    with fits.open(folder / "img_z.fits") as hdus:
        np.testing.assert_array_equal(image.pixels[..., 2], hdus[0].data)


def test_decals_cube(shared_data):
    image = read_image(
        shared_data / "sky/decals_grz_cubes/ra146.714_dec-1.041_0.262arcsec_DR5.fits"
    )
    assert image.bands == ("g", "r", "z")
    assert image.shape == (225, 225)
    assert image.wcs.naxis == 2
    assert image.zeropoint_mag == pytest.approx((22.5,) * 3)


def test_area_without_coverage_of_a_real_cube(shared_data):
    image = read_image(
        shared_data / "sky/decals_grz_cubes/ra147.457_dec1.093_0.130arcsec_DR3_BADPIX.fits"
    )
    assert image.bad.mean(axis=(0, 1)) == pytest.approx([0.757, 0.728, 0.0], abs=1e-3)


def test_truncated_download(shared_data):
    with pytest.raises(ImageError, match=r"TRUNCATED_FILE.fits: the file is damaged or cut short"):
        read_image(shared_data / "sky/decals_grz_cubes/TRUNCATED_FILE.fits")


def test_sdss_integers_with_half_pixel_offsets_are_not_resampled(shared_data):
    folder = shared_data / "sky/sdss_s82_run6377_field0399"
    image = read_image(folder, align="refuse")
    assert image.shape == (1400, 1400)
    assert np.array_equal(image.pixels, np.rint(image.pixels))
    assert image.pixels.min() == 1054.0  # of g: counts with a bias, not shifted by 32768
    assert image.unit == ("DNs",) * 3
    assert image.zeropoint_mag == (None,) * 3


def test_sdss_bzip2_folder_with_rows_that_were_never_observed(shared_data):
    image = read_image(shared_data / "sky/sdss_hcg88_1.19arcsec")
    assert image.bands == ("g", "r", "i")
    assert image.zeropoint_mag == pytest.approx((22.5,) * 3)
    assert image.bad.sum(axis=(0, 1)).tolist() == [0, 2 * 682, 682]


def test_hsc_planes_without_wcs(shared_data):
    image = read_image(shared_data / "sky/hsc_cosmos_blends/43158172147388270")
    assert image.bands == ("g", "r", "i", "z")
    assert image.shape == (74, 152)
    assert image.wcs is None and image.pixel_scale_arcsec is None


def test_hst_images(shared_data):
    image = read_image(shared_data / "sky/hst/abell_2744_cd_galaxy_f105w.fits.gz")
    assert image.bands == ("F105W",)
    assert image.zeropoint_mag == pytest.approx((26.269,), abs=1e-3)
    assert image.pixel_scale_arcsec == pytest.approx(0.06, rel=1e-4)
    assert read_image(shared_data / "sky/hst/cosmos_acs_f814w_Cut_HST.fits").bands == ("F814W",)
    cube_path = shared_data / "sky/hst/cosmos_hsc_grizy_same_sky_Cut_HSC.fits"
    assert read_image(cube_path, bands="grizy").shape == (50, 50)
