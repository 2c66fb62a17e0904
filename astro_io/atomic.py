"""Write aside, then rename: a result is there in full, or not at all."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from astro_io.errors import OutputExistsError


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path beside the wanted one to write to; rename it once the block ends well.

    What stands at `path` is replaced in one step, or not touched at all.  After an error nothing
    is left; what a killed process on this machine left is removed by the next one.

    Parameters
    ----------
    path : str or Path
        The file to make.  Its folder is made as well.
    overwrite : bool
        Replace a file that is there.

    Yields
    ------
    Path
        Where to write: the same folder and the same suffixes.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    owner = f"{_host()}-{os.getpid()}-{secrets.token_hex(3)}"
    part = path.with_name(f".part-{owner}-{path.name}")
    try:
        yield part
        _flush_to_disk(part)
        _refuse_existing(path, overwrite)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists. Pass --overwrite, or choose another --output.")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"


def _flush_to_disk(path: Path) -> None:
    """Have the operating system store a file before it gets its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove_leftovers(path: Path) -> None:
    """Remove what dead processes of this machine began to write for `path`."""
    pattern = re.compile(rf"\.part-{_host()}-(\d+)-[0-9a-f]+-{re.escape(path.name)}")
    for entry in os.scandir(path.parent):
        match = pattern.fullmatch(entry.name)
        if match and not _is_alive(int(match[1])):
            with suppress(FileNotFoundError):
                os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
