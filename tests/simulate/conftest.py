"""Fixtures of the simulation tests: small fields with little in them."""

from __future__ import annotations

import pytest

from simulate.config import (
    EffectConfig,
    FieldConfig,
    GalaxyConfig,
    PsfConfig,
    StarConfig,
    SurveyConfig,
    TruthConfig,
)


@pytest.fixture
def clean() -> FieldConfig:
    """A 128 px field of electrons without detector effects; every source enters the truth."""
    return FieldConfig(
        survey=SurveyConfig(
            height=128,
            width=160,
            zeropoint_mag=(32.0, 32.0, 32.0),
            sky_mag_arcsec2=(24.0, 23.5, 23.0),
        ),
        psf=PsfConfig(fwhm_arcsec=(0.9, 0.9)),
        galaxies=GalaxyConfig(density_arcmin2=(60.0, 60.0), density_mag=23.5, faint_mag=23.5),
        stars=StarConfig(density_arcmin2=(10.0, 10.0), bright_mag=18.0),
        effects=EffectConfig(spikes=False, bleed=False),
        truth=TruthConfig(min_snr=0.0, max_stamp_px=2001),
    )
