"""Read the isochrone tables that people download: PARSEC (CMD web form) and MIST."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astro_io.errors import ConfigError, InputNotFoundError
from simulate.star_clusters.filters import FILTERS
from simulate.star_clusters.isochrones import Isochrone, IsochroneGrid

SYSTEMS = ("auto", "vega", "ab")

_LOG_AGE = ("logAge", "log(age/yr)", "log10_isochrone_age_yr")
_AGE = ("Age", "isochrone_age_yr")
"""In years: older tables of PARSEC, and MIST where the web form's linear age was chosen."""

_MASS = ("Mini", "M_ini", "initial_mass")
_METALLICITY = ("Zini", "Z")
_WHITE_DWARF_PHASE = 6  # of MIST; 9 is Wolf-Rayet
_AGE_DIGITS = 4


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of a file, with what its comments say."""

    path: Path
    header: str
    names: tuple[str, ...]
    rows: np.ndarray

    def column(self, candidates: Sequence[str]) -> np.ndarray | None:
        for name in candidates:
            if name in self.names:
                return self.rows[:, self.names.index(name)]
        return None

    def required(self, candidates: Sequence[str], meaning: str) -> np.ndarray:
        column = self.column(candidates)
        if column is None:
            raise ConfigError(
                f"{self.path.name}: expected a column of {meaning} ({' or '.join(candidates)}); "
                f"found {' '.join(self.names[:8])} ... Download isochrones, not tracks."
            )
        return column


def read_isochrones(paths: Sequence[str | Path], *, system: str = "auto") -> IsochroneGrid:
    """Read isochrone tables, of PARSEC or MIST, into one grid.

    Several files either add ages and metallicities, or add filters to the same stars (PARSEC and
    MIST give ACS and WFC3 in separate files).

    Parameters
    ----------
    paths : sequence of str or Path
        Plain or ``.gz``.
    system : {"auto", "vega", "ab"}
        Of the magnitudes; ``auto`` takes the header's word (``ABmags``), else Vega.

    Returns
    -------
    IsochroneGrid
        In AB magnitudes, with every known HST filter that the files have.

    Raises
    ------
    InputNotFoundError
        If a file is missing.
    ConfigError
        If a table is of neither kind, or has no known HST filter.
    """
    found: dict[tuple[float, float], Isochrone] = {}
    for path in paths:
        for iso in _isochrones(_read_table(Path(path)), system):
            key = (iso.metallicity, iso.log_age)
            found[key] = _join(found[key], iso, Path(path)) if key in found else iso
    if not found:
        raise ConfigError("[isochrones] files: expected at least one table; found none.")
    filters = {iso.filters for iso in found.values()}
    if len(filters) > 1:
        raise ConfigError(
            "[isochrones] files: not every age has every filter. Give each filter set the same "
            "ages and metallicities."
        )
    return IsochroneGrid(tuple(found[key] for key in sorted(found)), "+".join(map(_name, paths)))


def _name(path: str | Path) -> str:
    return Path(path).name


def _read_table(path: Path) -> _Table:
    """Read comments and numbers; the last comment before the numbers names the columns."""
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such isochrone table.")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        header, names, body = [], (), []
        for line in file:
            if line.startswith("#"):
                header.append(line[1:].strip())
            elif line.strip():
                if not body:
                    names = tuple(header[-1].split()) if header else ()
                body.append(line)
    try:
        rows = np.loadtxt(body, ndmin=2) if body else np.empty((0, len(names)))
    except ValueError as error:
        raise ConfigError(f"{path.name}: not an isochrone table: {error}.") from error
    if not len(rows) or rows.shape[1] != len(names):
        raise ConfigError(
            f"{path.name}: expected numbers below a comment line that names their columns; "
            f"found {len(names)} names for {rows.shape[1]} columns of {len(rows)} rows."
        )
    return _Table(path, "\n".join(header), names, rows)


def _isochrones(table: _Table, system: str) -> list[Isochrone]:
    """Cut a table into isochrones, in AB magnitudes."""
    age_yr = table.column(_AGE)
    if age_yr is None:
        log_age = table.required(_LOG_AGE, "log10 of the age in years")
    else:
        log_age = np.log10(age_yr)
    log_age = np.round(log_age, _AGE_DIGITS)
    mass = table.required(_MASS, "initial masses")
    metallicity = _metallicities(table)
    filters = _filter_columns(table)
    mag = table.rows[:, list(filters.values())]
    if not _is_ab(table, system):
        mag = mag + np.array([FILTERS[name].ab_minus_vega for name in filters])
    phase = table.column(("phase",))
    alive = np.ones(len(mass), bool)
    if phase is not None:
        alive = (phase < _WHITE_DWARF_PHASE) | (phase > _WHITE_DWARF_PHASE + 2)
    isochrones = []
    for z, age in sorted(set(zip(metallicity, log_age, strict=True))):
        rows = np.flatnonzero((metallicity == z) & (log_age == age) & alive)
        if len(rows) < 2:
            continue
        rows = rows[np.argsort(mass[rows], kind="stable")]
        isochrones.append(
            Isochrone(
                log_age=float(age),
                metallicity=float(z),
                filters=tuple(filters),
                m_ini=mass[rows],
                mag=mag[rows],
            )
        )
    return isochrones


def _metallicities(table: _Table) -> np.ndarray:
    """Return Z of each row: a column (PARSEC), or from the header (MIST)."""
    column = table.column(_METALLICITY)
    if column is not None:
        return column
    lines = table.header.splitlines()
    for line, values in itertools.pairwise(lines):
        if "Zinit" in line.split():
            return np.full(len(table.rows), float(values.split()[line.split().index("Zinit")]))
    raise ConfigError(
        f"{table.path.name}: expected the metallicity in a column Zini or in the header (Zinit); "
        "found neither."
    )


def _filter_columns(table: _Table) -> dict[str, int]:
    """Return the column of each HST filter that we know.

    MIST writes ``WFC3_UVIS_F275W``; PARSEC ``F275Wmag``, with the camera in the header.
    """
    columns: dict[str, int] = {}
    system = re.search(r"[Pp]hotometric system[^\n]*", table.header)
    cameras = [c for c in ("ACS", "WFC3") if system and c in system.group()] or ["ACS", "WFC3"]
    for index, name in enumerate(table.names):
        match = re.fullmatch(r"(?:(ACS|WFC3)_(?:WFC_|UVIS_|IR_)?)?(F\d{3}\w+?)1?(?:mag)?", name)
        if not match:
            continue
        for camera in [match[1]] if match[1] else cameras:
            if f"{camera}_{match[2]}" in FILTERS:
                columns.setdefault(f"{camera}_{match[2]}", index)
    if not columns:
        raise ConfigError(
            f"{table.path.name}: no magnitudes of HST filters; found {' '.join(table.names[-6:])}. "
            "Choose HST ACS/WFC or WFC3 as photometric system when you download."
        )
    return columns


def _is_ab(table: _Table, system: str) -> bool:
    if system not in SYSTEMS:
        raise ConfigError(f"[isochrones] system: expected {', '.join(SYSTEMS)}; found {system!r}.")
    said = re.search(r"\bAB ?(?:mags?)?\b", table.header)
    return system == "ab" or (system == "auto" and said is not None)


def _join(first: Isochrone, second: Isochrone, path: Path) -> Isochrone:
    """Put the filters of two tables of the same stars side by side."""
    new = [i for i, name in enumerate(second.filters) if name not in first.filters]
    if not new:
        raise ConfigError(
            f"{path.name}: log age {second.log_age}, Z {second.metallicity} is in another file "
            "already. Leave one out."
        )
    if first.m_ini.shape != second.m_ini.shape or not np.allclose(first.m_ini, second.m_ini):
        raise ConfigError(
            f"{path.name}: at log age {second.log_age} its stars are not those of the other "
            "file. Download both filter sets with the same settings."
        )
    return replace(
        first,
        filters=first.filters + tuple(second.filters[i] for i in new),
        mag=np.concatenate([first.mag, second.mag[:, new]], axis=1),
    )
