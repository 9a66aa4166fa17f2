"""Files that hold a credential: the headers of an exporter, the token of a scrape, a certificate and its key."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 2**20


def read_secret(path: Path) -> bytes:
    """Read a file that holds a credential.

    Raises:
        OSError: It cannot be read, holds more than 1 MiB, or is no regular file: a device may have no end, and a pipe
            waits for its writer.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        found = file.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise OSError(errno.EFBIG, "it is larger than 1 MiB")
    return found


def is_readable(path: Path) -> bool:
    """True if :func:`read_secret` can read it."""
    try:
        read_secret(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False
    return True
