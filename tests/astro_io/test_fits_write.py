"""Masks and segmentation images."""

from __future__ import annotations

import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_io.errors import ImageError, InputNotFoundError, OutputExistsError
from astro_io.fits_write import (
    SourceMasks,
    label_image,
    read_masks,
    write_masks,
    write_segmentation,
)

L_SHAPE = np.array([[1, 0, 0], [1, 1, 1]], bool)


def sources(boxes, masks, scores=None, class_ids=None):
    n = len(boxes)
    return SourceMasks(
        source_ids=np.arange(1, n + 1),
        class_ids=np.asarray([1] * n if class_ids is None else class_ids, np.int32),
        scores=np.asarray(np.linspace(0.9, 0.5, n) if scores is None else scores, np.float32),
        mask_boxes=np.asarray(boxes, np.int32).reshape(-1, 4),
        masks=tuple(masks),
    )


def two():
    return sources(
        [(10, 20, 12, 23), (0, 0, 90, 100)],
        [L_SHAPE, np.ones((90, 100), bool)],
        scores=[0.987654, 0.5],
        class_ids=[2, 1],
    )


def rotated_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [0.01, 40.0]  # near RA 0, where differences wrap
    wcs.wcs.crpix = [50.0, 60.0]
    wcs.wcs.cd = [[-6e-5, 3e-5], [3e-5, 6e-5]]
    return wcs


def test_each_source_is_an_hdu_after_an_empty_primary(tmp_path):
    path = write_masks(tmp_path / "a.masks.fits", two(), source_ids=np.array([7, 9]))
    with fits.open(path) as hdus:
        assert len(hdus) == 3 and hdus[0].data is None
        assert hdus[0].header["NSOURCES"] == 2
        header, data = hdus[1].header, hdus[1].data
        assert np.array_equal(data, L_SHAPE) and data.dtype == np.uint8
        assert (header["CLASS_ID"], header["SOURCE_ID"], header["EXTNAME"]) == (2, 7, "SOURCE_7")
        assert header["SCORE"] == 0.987654
        assert header["BBOX"] == "[10 20 12 23]"


def test_large_masks_are_compressed_and_small_ones_are_not(tmp_path):
    path = write_masks(tmp_path / "a.fits", two())
    with fits.open(path) as hdus:
        assert [type(hdu).__name__ for hdu in hdus[1:]] == ["ImageHDU", "CompImageHDU"]
        assert hdus[2].header["SOURCE_ID"] == 2 and hdus[2].data.dtype == np.uint8
    packed = write_masks(tmp_path / "b.fits", two(), compress="all")
    with fits.open(packed) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU) and hdus[1].name == "SOURCE_1"


@pytest.mark.parametrize("compress", ["auto", "all", "none"])
def test_masks_come_back(tmp_path, compress):
    path = write_masks(
        tmp_path / "a.fits",
        two(),
        source_ids=np.array([7, 9]),
        wcs=rotated_wcs(),
        compress=compress,
    )
    back = read_masks(path)
    assert back.source_ids.tolist() == [7, 9] and back.class_ids.tolist() == [2, 1]
    assert np.allclose(back.scores, [0.987654, 0.5])
    assert np.array_equal(back.mask_boxes, two().mask_boxes)
    for mask, expected in zip(back.masks, two().masks, strict=True):
        assert mask.dtype == bool and np.array_equal(mask, expected)


@pytest.mark.parametrize("compress", ["none", "all"])
def test_cutouts_know_where_on_the_sky_they_are(tmp_path, compress):
    wcs = rotated_wcs()
    path = write_masks(tmp_path / "a.fits", two(), wcs=wcs, compress=compress)
    with fits.open(path) as hdus:
        cutout = WCS(hdus[1].header)
    expected = wcs.pixel_to_world(22, 11)  # row 11, column 22 of the image
    assert cutout.pixel_to_world(2, 1).separation(expected).arcsec < 1e-6


def test_no_source_still_makes_a_file(tmp_path):
    path = write_masks(tmp_path / "a.fits", sources([], []), metadata={"WEIGHTS": "w"})
    with fits.open(path) as hdus:
        assert len(hdus) == 1 and hdus[0].header["WEIGHTS"] == "w"
    back = read_masks(path)
    assert len(back) == 0 and back.mask_boxes.shape == (0, 4)


def test_empty_mask_keeps_its_place(tmp_path):
    both = sources([(0, 0, 0, 0), (10, 20, 12, 23)], [np.zeros((0, 0), bool), L_SHAPE])
    back = read_masks(write_masks(tmp_path / "a.fits", both))
    assert [mask.shape for mask in back.masks] == [(0, 0), (2, 3)]
    assert back.source_ids.tolist() == [1, 2]


def test_output_of_astro_rcnn_itself_is_read(tmp_path):
    """Its first source is the primary HDU, and BBOX is a printed array with padding."""
    hdus = fits.HDUList()
    for box in ("[10 20 12 23]", "[ 0  0  2  3]"):
        header = fits.Header()
        header["CLASS_ID"], header["SCORE"], header["BBOX"] = 2, 0.988, box
        hdus.append(fits.ImageHDU(L_SHAPE.astype(np.uint8), header))
    hdus.writeto(tmp_path / "output_0.fits")
    back = read_masks(tmp_path / "output_0.fits")
    assert back.mask_boxes.tolist() == [[10, 20, 12, 23], [0, 0, 2, 3]]
    assert back.source_ids.tolist() == [1, 2] and back.class_ids.tolist() == [2, 2]


def test_mask_that_does_not_fill_its_box_is_an_error(tmp_path):
    header = fits.Header({"BBOX": "[0 0 3 2]"})
    fits.PrimaryHDU(L_SHAPE.astype(np.uint8), header).writeto(tmp_path / "a.fits")
    with pytest.raises(
        ImageError, match=r"a\.fits\[PRIMARY\]: BBOX .* of \(3, 2\), found \(2, 3\)"
    ):
        read_masks(tmp_path / "a.fits")
    fits.PrimaryHDU(header=fits.Header({"BBOX": "x"})).writeto(tmp_path / "b.fits")
    with pytest.raises(ImageError, match="expected BBOX as four whole numbers, found 'x'"):
        read_masks(tmp_path / "b.fits")


def test_missing_and_foreign_mask_files_are_named(tmp_path):
    with pytest.raises(InputNotFoundError, match="none.fits: no such mask file"):
        read_masks(tmp_path / "none.fits")
    (tmp_path / "a.fits").write_text("no FITS")
    with pytest.raises(ImageError, match="a.fits: not a readable FITS file"):
        read_masks(tmp_path / "a.fits")


def test_better_score_wins_a_shared_pixel():
    block = np.ones((2, 2), bool)
    three = sources([(0, 0, 2, 2), (0, 1, 2, 3), (1, 0, 3, 2)], [block] * 3, [0.5, 0.9, 0.7])
    assert label_image(three, (3, 4)).tolist() == [[1, 2, 2, 0], [3, 2, 2, 0], [3, 3, 0, 0]]
    tied = sources([(0, 0, 2, 2), (0, 1, 2, 3)], [block] * 2, [0.5, 0.5])
    assert label_image(tied, (2, 3)).tolist() == [[1, 1, 2], [1, 1, 2]]


def test_segmentation_holds_source_ids_and_the_wcs(tmp_path):
    path = write_segmentation(
        tmp_path / "a.fits",
        sources([(1, 2, 3, 5)], [L_SHAPE]),
        (4, 6),
        source_ids=np.array([70_000]),
        wcs=rotated_wcs(),
        metadata={"WEIGHTS": "w"},
    )
    labels, header = fits.getdata(path, header=True)
    assert labels.dtype.kind == "i" and labels.dtype.itemsize == 4
    assert labels.shape == (4, 6) and header["WEIGHTS"] == "w"
    assert np.argwhere(labels == 70_000).tolist() == [[1, 2], [2, 2], [2, 3], [2, 4]]
    assert np.count_nonzero(labels) == 4
    assert np.allclose(WCS(header).wcs.crval, [0.01, 40.0])


def test_segmentation_without_sources_is_all_background(tmp_path):
    path = write_segmentation(tmp_path / "a.fits", sources([], []), (3, 5))
    assert fits.getdata(path).shape == (3, 5) and not fits.getdata(path).any()


def test_segmentation_named_fz_is_compressed(tmp_path):
    path = write_segmentation(tmp_path / "a.fits.fz", two(), (100, 120), wcs=rotated_wcs())
    with fits.open(path) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU)
        assert np.array_equal(hdus[1].data, label_image(two(), (100, 120)))
        assert WCS(hdus[1].header).has_celestial


def test_existing_results_are_not_replaced(tmp_path):
    path = write_masks(tmp_path / "a.fits", two())
    with pytest.raises(OutputExistsError, match="exists. Pass --overwrite"):
        write_masks(path, two())
    with pytest.raises(OutputExistsError, match="exists. Pass --overwrite"):
        write_segmentation(path, two(), (100, 120))
    write_segmentation(path, two(), (100, 120), overwrite=True)
    assert fits.getdata(path).shape == (100, 120)


def test_wrong_number_of_ids_is_a_programming_error():
    with pytest.raises(TypeError, match="2 masks but 3 source_ids"):
        label_image(two(), (100, 120), source_ids=np.arange(3))


def test_hundreds_of_masks_take_about_a_second(tmp_path):
    rows, columns = np.mgrid[-12:13, -12:13]
    disk = rows**2 + columns**2 < 150
    many = sources([(i, i, i + 25, i + 25) for i in range(300)], [disk] * 300)
    start = time.perf_counter()
    read_masks(write_masks(tmp_path / "a.fits", many, wcs=rotated_wcs()))
    assert time.perf_counter() - start < 4  # 0.6 s on a quiet core
