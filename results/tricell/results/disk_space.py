"""Room on the disk, asked for before HDF5 writes.

HDF5 cannot undo a write that fails half-way: the file is lost and the process may crash at its
end. So a full disk, a used-up quota or a file size limit has to be noticed beforehand.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path


def require_room(path: Path, needed_bytes: int) -> None:
    """Make sure that a file can grow by so many bytes.

    Raises
    ------
    OSError
        If it cannot.
    """
    folder = path.absolute().parent
    size = path.stat().st_size if path.exists() else 0
    if hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), size, needed_bytes)
    elif shutil.disk_usage(folder).free < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
