import pytest

from astro_io.zeropoint import flux_unit, saturation_level, zeropoint_mag


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # 1 nanomaggy is 3.631 uJy: 2.5 log10(1e9) = 22.5
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": " nanomaggies "}, 22.5),
        ({"SURVEY": "DECaLS"}, 22.5),
        ({"SURVEY": "LegacySurvey"}, 22.5),
        ({"BUNIT": "maggy"}, 0.0),
        # 2.5 log10(3631e9) = 31.400
        ({"BUNIT": "nJy"}, 31.40006),
        ({"BUNIT": "uJy"}, 23.90006),
        ({"BUNIT": "Jy"}, 8.90006),
        ({"BUNIT": "adu", "MAGZERO": 30.0}, 30.0),
        ({"MAGZPT": "27.35"}, 27.35),
        ({"ZEROPOINT": 25}, 25.0),
        ({"PHOTZP": 30.0}, 30.0),
        # 2.5 log10(6.30957e10) = 27.0
        ({"FLUXMAG0": 63095734448.0194}, 27.0),
        # a calibrated unit says more than the zero point of the raw counts
        ({"BUNIT": "nanomaggy", "MAGZERO": 25.1}, 22.5),
    ],
)
def test_zero_point_that_the_header_tells(header, expected):
    assert zeropoint_mag(header) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"BUNIT": "DNs", "FLUX20": 1948.0},
        {"MAGZERO": 0.0},
        {"MAGZERO": "unknown"},
        {"MAGZERO": float("nan")},
        {"MAGZERO": True},
        {"FLUXMAG0": -1.0},
        {"BUNIT": "MJy/sr"},
        {"BUNIT": "MJy"},
        {"SURVEY": "SDSS"},
        # ST zero point and no pivot wavelength (WFPC2)
        {"BUNIT": "COUNTS", "PHOTFLAM": 6.92e-18, "PHOTZPT": -21.1},
        # counts of an unknown time, and an unknown unit
        {"BUNIT": "ELECTRONS", "PHOTFLAM": 3e-20, "PHOTPLAM": 10551.0},
        {"PHOTFLAM": 3e-20, "PHOTPLAM": 10551.0, "EXPTIME": 100.0},
    ],
)
def test_zero_point_is_none_where_the_header_is_no_help(header):
    assert zeropoint_mag(header) is None


HST = {"PHOTFLAM": 3.0386574e-20, "PHOTPLAM": 10551.047}


@pytest.mark.parametrize("unit", ["electron / s", "ELECTRONS/S", "electron s-1", "counts/s"])
def test_hst_zero_point_of_rates(unit):
    # WFC3/IR F105W AB zero point 26.2687 (WFC3 handbook, 2012 calibration)
    assert zeropoint_mag(HST | {"BUNIT": unit}) == pytest.approx(26.2687, abs=2e-3)


def test_hst_zero_point_of_counts_adds_the_exposure():
    rate = zeropoint_mag(HST | {"BUNIT": "ELECTRONS/S"})
    counts = zeropoint_mag(HST | {"BUNIT": "ELECTRONS", "EXPTIME": 1000.0})
    assert counts - rate == pytest.approx(7.5)


def test_unit_is_that_of_the_file():
    assert flux_unit({"BUNIT": " DNs "}) == "DNs"
    assert flux_unit({"SURVEY": "DECaLS  "}) == "nanomaggy"
    assert flux_unit({"SURVEY": "DECaLS", "BUNIT": "adu"}) == "adu"
    assert flux_unit({}) == ""


def test_saturation_level():
    assert saturation_level({"SATURATE": 58000}) == 58000.0
    assert saturation_level({"SATLEVEL": "6.5e4"}) == 65000.0
    assert saturation_level({"SATURATE": 0}) is None
    assert saturation_level({}) is None
