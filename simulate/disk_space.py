"""Is there room for the next field? Asked beforehand, for a full disk ruins an open HDF5 file."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from astro_io.errors import DatasetError
from astro_io.scene import Scene

_MARGIN_BYTES = 2_000_000
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def require_room(path: Path, scene: Scene) -> None:
    """Raise unless the disk can hold a scene, uncompressed, and a little more.

    A file of that size is allocated beside the training set, where the system can, so that
    quotas count, too; and removed at once.

    Parameters
    ----------
    path : Path
        The training set, file or folder.
    scene : Scene

    Raises
    ------
    DatasetError
        If there is no room. What was written before is whole.
    """
    n_bytes = scene.image.pixels.nbytes + sum(stamp.pixels.nbytes for stamp in scene.stamps)
    n_bytes += _MARGIN_BYTES
    folder = path if path.is_dir() else path.parent
    try:
        if shutil.disk_usage(folder).free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate"):
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return
        raise DatasetError(
            f"{path}: no room for {scene.name}, about {n_bytes / 1e6:.0f} MB ({error.strerror}). "
            "The scenes before it are kept: make room, and run the same line again."
        ) from error
