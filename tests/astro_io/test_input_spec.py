from pathlib import Path

import pytest

from astro_io.errors import ImageError, InputNotFoundError
from astro_io.input_spec import (
    FitsFile,
    band_files,
    band_name,
    band_of_file_name,
    image_name,
    resolve_input,
    sort_bands,
)


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img_z.fits", "img_g.fits", "img_r.fits"], "g r z"),
        (["img_F814W.fits.gz", "img_F435W.fits.fz"], "F435W F814W"),
        # truth beside the bands is no band
        (["img_g.fits", "img_r.fits", "masks.fits", "old_g.fits"], "g r"),
        (["reprojected_sdss_i.fits.bz2", "reprojected_sdss_g.fits.bz2", "notes_a.txt"], "g i"),
        (["b-1978m015-image-g.fits.fz", "b-1978m015-image-z.fits.fz", "b-invvar-g.fits.fz"], "g z"),
        (["m31_r.fits", "m31_g.fits", "m31_segmentation.fits"], "g r"),
        (["hlsp_x_ngc1566_f555w_v1_drc.fits", "hlsp_x_ngc1566_f275w_v1_drc.fits"], "F275W F555W"),
        (["sky_nuv.fits", "sky_fuv.fits"], "fuv nuv"),
        (["img_g.FIT", "img_r.fts"], "g r"),
    ],
)
def test_bands_of_a_folder_are_found_blue_to_red(tmp_path, names, expected):
    found = band_files(touch(tmp_path / "field", *names))
    assert list(found) == expected.split()
    assert all(path.parent.name == "field" for path in found.values())


def test_folder_without_band_files_says_what_it_holds(tmp_path):
    folder = touch(tmp_path / "field", "README.md", "a.fits", "b.fits")
    with pytest.raises(
        ImageError,
        match=r"field: expected img_<band>.fits .* found README.md, a.fits, b.fits. Name the files",
    ):
        band_files(folder)
    with pytest.raises(ImageError, match="found nothing"):
        band_files(touch(tmp_path / "empty"))


def test_long_listings_are_cut(tmp_path):
    folder = touch(tmp_path / "field", *(f"{i:02d}.txt" for i in range(20)))
    with pytest.raises(ImageError, match=r"06.txt, 07.txt and 12 more. Name"):
        band_files(folder)


def test_two_files_for_one_band_are_refused(tmp_path):
    folder = touch(tmp_path / "field", "img_g.fits", "img_g.fits.gz", "img_r.fits")
    with pytest.raises(ImageError, match=r"one file for band g, found img_g.fits, img_g.fits.gz"):
        band_files(folder)


def test_bands_of_two_images_are_not_mixed(tmp_path):
    folder = touch(tmp_path / "field", "m31_g.fits", "m33_r.fits")
    with pytest.raises(ImageError, match=r"bands of one image, found files of m31, m33"):
        band_files(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g", "g"),
        ("  F814W ", "F814W"),
        ("f814w", "F814W"),
        ("HSC-G", "g"),
        ("HSC-R2", "r"),
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("SDSS z", "z"),
        ("i.MP9703", "i"),
        ("Ks", "Ks"),
        ("Bessell V", "V"),
        ("R", "R"),
        ("CLEAR1L; F606W", "F606W"),
        ("narrow 503", "narrow_503"),
        (3, "3"),
        ("   ", None),
        (None, None),
    ],
)
def test_band_name_of_a_header_value(text, expected):
    assert band_name(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m31_g.fits.gz", "g"),
        ("cosmos_acs_f814w_Cut_HST.fits", "F814W"),
        ("img_F105W.fits", "F105W"),
        ("g.fits", None),
        ("stack_2019.fits", None),
    ],
)
def test_band_of_a_file_name(name, expected):
    assert band_of_file_name(Path(name)) == expected


def test_unknown_bands_come_last_in_alphabetical_order():
    assert sort_bands(["w2", "z", "r", "w1", "u"]) == ["u", "r", "z", "w1", "w2"]


def test_pairs_keep_the_order_of_the_user(tmp_path):
    touch(tmp_path, "a.fits", "b, 1.fits")
    found = resolve_input(f"z={tmp_path}/a.fits,g={tmp_path}/b, 1.fits")
    assert found == {"z": FitsFile(tmp_path / "a.fits"), "g": FitsFile(tmp_path / "b, 1.fits")}


def test_extension_in_brackets_is_split_off(tmp_path):
    touch(tmp_path, "a.fits", "odd[1].fits", "odd.fits[2]")
    path = tmp_path / "a.fits"
    assert resolve_input(f"{path}[SCI]") == FitsFile(path, "SCI")
    assert resolve_input(f"{path}[2]") == FitsFile(path, 2)
    assert resolve_input(f"{path}[SCI,2]") == FitsFile(path, ("SCI", 2))
    assert str(FitsFile(path, ("SCI", 2))) == f"{path}[SCI,2]"
    # a file that is really called so
    assert resolve_input(tmp_path / "odd.fits[2]") == FitsFile(tmp_path / "odd.fits[2]")
    assert resolve_input(tmp_path / "odd[1].fits") == FitsFile(tmp_path / "odd[1].fits")


def test_one_filter_stands_for_another_when_asked(tmp_path):
    touch(tmp_path, "a.fits", "b.fits", "F435W=c.fits")
    spec = f"F438W=f435w={tmp_path / 'a.fits'}[SCI],F555W={tmp_path / 'b.fits'}"
    assert resolve_input(spec) == {
        "F438W": FitsFile(tmp_path / "a.fits", "SCI", alias="F435W"),
        "F555W": FitsFile(tmp_path / "b.fits"),
    }
    assert image_name(f"F438W=F435W={tmp_path / 'a.fits'}") == "a"
    assert resolve_input(f"g={tmp_path / 'F435W=c.fits'}")["g"].alias is None
    with pytest.raises(InputNotFoundError, match=r"none\.fits: no such file"):
        resolve_input(f"F438W=F435W={tmp_path / 'none.fits'}")


def test_path_with_an_equal_sign_is_a_path(tmp_path):
    touch(tmp_path, "seed=3.fits")
    assert resolve_input(tmp_path / "seed=3.fits") == FitsFile(tmp_path / "seed=3.fits")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("g=a.fits,g=b.fits", "band g is given twice"),
        ("g=,r=b.fits", "expected BAND=FILE, found 'g='"),
        ("=a.fits", "expected BAND=FILE, found '=a.fits'"),
    ],
)
def test_malformed_pairs_are_refused(spec, message):
    with pytest.raises(ImageError, match=message):
        resolve_input(spec)


def test_missing_file_says_what_lies_beside_it(tmp_path):
    touch(tmp_path, "img_g.fits", "notes.txt")
    with pytest.raises(InputNotFoundError, match=r"img_h.fits: no such file .* holds img_g.fits."):
        resolve_input(tmp_path / "img_h.fits")
    with pytest.raises(InputNotFoundError, match=r"There is no folder .*nowhere either"):
        resolve_input(tmp_path / "nowhere" / "img_g.fits")


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="expected a FITS file, found a folder"):
        resolve_input(f"g={tmp_path}")


def test_name_of_results(tmp_path, monkeypatch):
    folder = touch(tmp_path / "decals_ra197.860_dec-1.413", "img_g.fits", "img_r.fits")
    assert image_name(folder) == "decals_ra197.860_dec-1.413"
    assert image_name(f"{folder}/") == "decals_ra197.860_dec-1.413"
    assert image_name("a/b/cube.v2.fits.gz") == "cube.v2"
    assert image_name("a/mef.fits.fz[SCI,1]") == "mef"
    assert image_name(f"g={folder}/img_g.fits,r={folder}/img_r.fits") == folder.name
    assert image_name("g=x/m31_g.fits,r=y/m31_r.fits") == "m31"
    assert image_name("g=x/m31-v.fits") == "m31-v"
    assert image_name("F475W=b02/F475W.fits,F814W=b02/f814w_drz.fits") == "b02"
    assert image_name("g=b02/galaxy_g.fits,r=b02/galaxy_r.fits") == "galaxy"
    assert image_name("g=dir/a.fits,r=dir/b.fits") == "dir"
    monkeypatch.chdir(folder)
    assert image_name(".") == folder.name
