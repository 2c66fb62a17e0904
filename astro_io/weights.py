"""Names of weights to verified local files; what is known about each file.

A registry is a ``registry.toml`` with one section a file.  Registries and files are looked for in
``$ASTRO_WEIGHTS_DIR``, in the folder that came with the program, and in the download cache.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import logging
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from astro_io.atomic import atomic_path
from astro_io.cli import configure_logging, new_parser, run, shows_progress, summary
from astro_io.config import config_from_dict, config_to_dict
from astro_io.errors import ConfigError, InputNotFoundError, WeightsError

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "ASTRO_WEIGHTS_DIR"
REGISTRY_FILE = "registry.toml"
ENTRY_SUFFIX = ".entry.toml"

_CACHE_NAME = "astro-rcnn"
_TIMEOUT_S = 30.0
_PATH_SUFFIXES = (".h5", ".hdf5", ".keras", ".toml", ".xml")


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """One file of weights: everything needed to use it and to reproduce its catalogues.

    Attributes
    ----------
    name : str
        Name in the registry; what ``--weights`` takes.
    file : str
        File name, without folder.
    sha256 : str
        Of the file.  Empty means: pinned on first use, in ``<file>.sha256`` beside the file.
    bands : tuple of str
        Bands in channel order.
    pixel_scale_arcsec : float or (float, float), optional
        Pixel size of the training images, or its range.
    normalization : str
        How pixels are brought to the network's range.
    classes : tuple of str
        Background first.
    thresholds : dict of str to float
        For example ``min_confidence`` and ``nms_iou``.
    training_set : str
        What it was trained on.
    seed : int or None
    scores : dict
        Measured scores, by data set or directly.
    licence, command, url, description : str
    n_parameters : int or None
    """

    name: str
    file: str
    sha256: str = ""
    bands: tuple[str, ...] = ()
    pixel_scale_arcsec: float | tuple[float, float] | None = None
    normalization: str = ""
    classes: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    training_set: str = ""
    seed: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    command: str = ""
    url: str = ""
    description: str = ""
    n_parameters: int | None = None

    def __post_init__(self) -> None:
        """Check the file name and the hash."""
        if not self.file or Path(self.file).name != self.file:
            raise ConfigError(f"expected file as a name without folder, found {self.file!r}.")
        is_hash = len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef")
        if self.sha256 and not is_hash:
            raise ConfigError(
                f"expected sha256 as 64 lower-case hexadecimal digits, found {self.sha256!r}."
            )


def weights_folders() -> list[Path]:
    """Return where weights are looked for, in order.

    Returns
    -------
    list of Path
        ``$ASTRO_WEIGHTS_DIR`` if set; the folder that came with the program; the cache that
        downloads go to (that is ``$ASTRO_WEIGHTS_DIR`` if set).  Not all need exist.
    """
    folders = [own_folder(), _download_folder()]
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        folders.insert(0, Path(chosen).expanduser())
    return list(dict.fromkeys(folders))


def own_folder() -> Path:
    """Return the folder of registry and weights that came with the program."""
    package = Path(__file__).resolve().parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def registry() -> dict[str, WeightsEntry]:
    """Return all known weights by name.

    Returns
    -------
    dict of str to WeightsEntry
        Where two folders know a name, the first folder wins.

    Raises
    ------
    ConfigError
        If a registry is malformed.
    """
    entries: dict[str, WeightsEntry] = {}
    for folder in weights_folders():
        path = folder / REGISTRY_FILE
        if path.is_file():
            for name, entry in read_registry(path).items():
                entries.setdefault(name, entry)
    return entries


def read_registry(path: str | Path) -> dict[str, WeightsEntry]:
    """Read one registry, or the record that a training run leaves beside its weights.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of str to WeightsEntry

    Raises
    ------
    ConfigError
        If it is not TOML, or an entry has an unknown or missing key.
    """
    path = Path(path)
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}.") from error
    return {
        name: config_from_dict(
            WeightsEntry, {"name": name, **values}, where=f"{path.name} [{name}]"
        )
        for name, values in sections.items()
        if isinstance(values, Mapping)
    }


def resolve(name_or_path: str | Path) -> tuple[Path, WeightsEntry | None]:
    """Return the verified local file of some weights, downloading it if need be.

    Parameters
    ----------
    name_or_path : str or Path
        A file; a name of the registry; or the folder of a training run.

    Returns
    -------
    path : Path
    entry : WeightsEntry or None
        What is known about the file, its ``sha256`` filled in: from the record beside it, or from
        a registry that lists a file of this name.  None for a file that nobody describes.

    Raises
    ------
    InputNotFoundError
        If a path does not exist.
    WeightsError
        If the name is unknown, the hash does not match, or the download fails.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path, _describe_file(path)
    entries = registry()
    if str(name_or_path) in entries:
        return _fetch(entries[str(name_or_path)])
    if path.is_dir():
        return _resolve_run(path)
    if len(path.parts) > 1 or path.suffix in _PATH_SUFFIXES:
        raise InputNotFoundError(
            f"{path}: no such weights file or run folder. "
            "Check the path, or train it first; python -m astro_io.weights lists the names."
        )
    close = difflib.get_close_matches(str(name_or_path), entries, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    raise WeightsError(
        f"unknown weights '{name_or_path}'{hint} Available: {', '.join(entries) or 'none'}. "
        "Or give the path of a file."
    )


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_entry(entry: WeightsEntry, registry_path: str | Path) -> None:
    """Write an entry into a registry, in place of one of the same name.

    The file is rewritten: comments in it are lost, other entries stay.

    Parameters
    ----------
    entry : WeightsEntry
    registry_path : str or Path
        Made if it does not exist.
    """
    import tomli_w

    path = Path(registry_path)
    entries = read_registry(path) if path.exists() else {}
    entries[entry.name] = entry
    sections = {}
    for name in sorted(entries):
        values = config_to_dict(entries[name])
        del values["name"]
        sections[name] = {key: value for key, value in values.items() if value not in ("", [], {})}
    with atomic_path(path, overwrite=True) as part:
        part.write_text(tomli_w.dumps(sections), encoding="utf-8")


def write_record(entry: WeightsEntry, path: Path, **changes: Any) -> None:
    """Write the record beside a weights file that was made from other weights.

    Parameters
    ----------
    entry : WeightsEntry
        Of the weights that it was made from.
    path : Path
        The new file; its name and hash go into the record.
    **changes
        Fields of `WeightsEntry` that differ.
    """
    changed = replace(entry, file=path.name, sha256=file_sha256(path), **changes)
    add_entry(changed, path.with_name(f"{changed.name}{ENTRY_SUFFIX}"))


def _download_folder() -> Path:
    """Return where downloads go."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache(_CACHE_NAME))


def _describe_file(path: Path) -> WeightsEntry | None:
    """Return what is known about a file given by its path, verified; None where nothing is."""
    record = path.with_name(path.name.removesuffix(".h5").removesuffix(".weights") + ENTRY_SUFFIX)
    known = [path.parent / REGISTRY_FILE, record]
    for source in known:
        if source.is_file():
            for entry in read_registry(source).values():
                if entry.file == path.name:
                    return _verified(path, entry)
    listed = [entry for entry in registry().values() if entry.file == path.name and entry.sha256]
    found = file_sha256(path) if listed else ""
    return next((entry for entry in listed if entry.sha256 == found), None)


def _resolve_run(folder: Path) -> tuple[Path, WeightsEntry | None]:
    """Return the weights that a training run left in its folder."""
    records = sorted(folder.glob(f"*{ENTRY_SUFFIX}"))
    if len(records) != 1:
        raise WeightsError(
            f"{folder}: expected one *{ENTRY_SUFFIX}, found {len(records)}. "
            "Give the path of the weights file."
        )
    (entry,) = read_registry(records[0]).values()
    path = folder / entry.file
    if not path.is_file():
        raise InputNotFoundError(
            f"{path}: no such weights file, though {records[0].name} names it."
        )
    return path, _verified(path, entry)


def _fetch(entry: WeightsEntry) -> tuple[Path, WeightsEntry]:
    """Return the file of an entry from a folder at hand, else from its URL."""
    folders = weights_folders()
    for folder in folders:
        path = folder / entry.file
        if path.is_file():
            return path, _verified(path, entry)
    if not entry.url:
        raise WeightsError(
            f"{entry.file}: not in {', '.join(map(str, folders))}, and no address to fetch it "
            f"from. Put it into one of these folders, or set {FOLDER_VARIABLE}."
        )
    path = _download(entry, _download_folder())
    return path, _verified(path, entry)


def _verified(path: Path, entry: WeightsEntry) -> WeightsEntry:
    """Compare a file with its entry; pin the hash of one that has none."""
    found = file_sha256(path)
    pin = path.with_name(path.name + ".sha256")
    expected, keeper = entry.sha256, "registry"
    if not expected and pin.is_file():
        expected, keeper = pin.read_text(encoding="ascii").split()[0], "that of its first use,"
    if expected and found != expected:
        raise WeightsError(
            f"{path.name}: SHA-256 {found[:8]}… does not match {keeper} {expected[:8]}…. "
            f"Delete it and fetch again. ({path})"
        )
    if not expected:
        _pin(pin, path.name, found)
    return replace(entry, sha256=found)


def _pin(pin: Path, name: str, sha256: str) -> None:
    """Store the hash of a file beside it, in the form that ``sha256sum -c`` reads."""
    try:
        pin.write_text(f"{sha256}  {name}\n", encoding="ascii")
    except OSError as error:
        log.warning("%s: SHA-256 %s cannot be stored beside it (%s)", name, sha256, error)
        return
    log.info("%s: SHA-256 %s stored in %s; later uses must match", name, sha256, pin.name)


def _download(entry: WeightsEntry, folder: Path) -> Path:
    """Fetch a file; nothing is left in the folder if it fails or has the wrong hash."""
    import pooch

    log.info("fetching %s from %s", entry.file, entry.url)
    pooch.get_logger().setLevel("WARNING")
    remedy = (
        f"Fetch it by hand from {entry.url}, put it into a folder and "
        f"set {FOLDER_VARIABLE} to that."
    )
    try:
        path = pooch.retrieve(
            url=entry.url,
            known_hash=f"sha256:{entry.sha256}" if entry.sha256 else None,
            fname=entry.file,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=shows_progress(), timeout=_TIMEOUT_S),
        )
    except ValueError as error:
        raise WeightsError(
            f"{entry.file}: the download from {entry.url} does not match registry "
            f"{entry.sha256[:8]}…. Try again; if it stays so, the file there was changed."
        ) from error
    except OSError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{entry.file}: cannot be fetched ({reason}). {remedy}") from error
    return Path(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m astro_io.weights``."""
    return run(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    """List, check, fetch or add weights; write model cards."""
    parser = new_parser("astro_io.weights", "List, check, fetch or add weights; write model cards.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="fetch and check these weights")
    parser.add_argument(
        "--add",
        type=Path,
        metavar="ENTRY.toml",
        help="copy a training run's weights and record into --folder",
    )
    parser.add_argument(
        "--scores",
        action="append",
        default=[],
        metavar="TITLE=metrics.json",
        help="put what evaluate measured into the record of the one NAME; repeatable",
    )
    parser.add_argument(
        "--write-cards", action="store_true", help="write NAME.md for each entry of --folder"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="folder with registry.toml (default: the one of the program)",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="warnings and errors only")
    parser.add_argument("--debug", action="store_true", help="show the full trace of an error")
    args = parser.parse_args(argv)
    configure_logging(args)
    return _act(args)


def _act(args: argparse.Namespace) -> int:
    from astro_io.weights_cards import add_scores, add_trained, write_cards

    folder = args.folder or own_folder()
    if args.scores:
        if len(args.names) != 1:
            raise ConfigError(f"--scores: expected one NAME, found {len(args.names)}.")
        for item in args.scores:
            summary(add_scores(args.names[0], item, folder))
    else:
        for name in args.names:
            path, entry = resolve(name)
            summary(f"{name}: {path} SHA-256 {entry.sha256 if entry else file_sha256(path)}")
    if args.add:
        summary(f"{add_trained(args.add, folder)} added to {folder / REGISTRY_FILE}")
    if args.write_cards:
        summary(f"{len(write_cards(folder))} model cards in {folder}")
    if not (args.names or args.add or args.write_cards):
        for name, entry in registry().items():
            summary(f"{name:24} {','.join(entry.bands):8} {entry.description}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
