"""Turn what astropy raises on damaged files into one line that says what to do."""

from __future__ import annotations

import bz2
import gzip
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astro_io.errors import ImageError
from astro_io.input_spec import FitsFile

GZIP_MAGIC, BZIP2_MAGIC = b"\x1f\x8b", b"BZ"
"""First bytes of compressed files."""


@contextmanager
def quiet_headers() -> Iterator[None]:
    """Silence astropy's remarks on headers; damage shows when pixels are read."""
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        yield


@contextmanager
def readable(file: FitsFile | Path) -> Iterator[None]:
    """Turn whatever a damaged file makes the reader raise into one clear line."""
    try:
        with quiet_headers():
            yield
    except ImageError:
        raise
    except (OSError, EOFError, TypeError, ValueError, KeyError, zlib.error) as error:
        path = file.path if isinstance(file, FitsFile) else file
        raise ImageError(f"{file}: {_diagnosis(path, error)}") from error


def check_complete(path: Path, end: int) -> None:
    """Look behind the last extension that could be read for one that could not.

    astropy drops an extension whose header is cut short, or that lies behind the point where a
    compressed stream breaks off; a band would go missing without a word.

    Parameters
    ----------
    path : Path
        The file, plain or compressed.
    end : int
        Where the last extension ends in the decompressed file, in bytes.

    Raises
    ------
    OSError
        If an extension begins there but does not end.
    EOFError
        If the compressed stream breaks off.
    """
    with path.open("rb") as stream:
        magic = stream.read(2)
    openers: dict[bytes, Callable[..., Any]] = {GZIP_MAGIC: gzip.open, BZIP2_MAGIC: bz2.open}
    with openers.get(magic, open)(path, "rb") as stream:
        stream.seek(end)
        if stream.read(80).startswith(b"XTENSION"):
            raise OSError("the last extension is cut short")


def _diagnosis(path: Path, error: Exception) -> str:
    """Say in one line why a file cannot be read, and what to do."""
    size = path.stat().st_size
    if size == 0:
        return "the file is empty. Fetch it again."
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "expected FITS, found a web page. The download failed; fetch it again."
    if not start.startswith((b"simple", GZIP_MAGIC, BZIP2_MAGIC.lower())):
        return f"expected FITS, found another kind of file, which begins {start[:8]!r}."
    return f"the file is damaged or cut short ({size} bytes; {one_line(error)}). Fetch it again."


def one_line(error: Exception, limit: int = 160) -> str:
    """Return the message of an error without line breaks, shortened if need be."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
