"""Reads files again when they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langflow_otel._settings.masking import shown_path

logger = logging.getLogger("langflow_otel")

_NOW_LASTS_NS = 2_000_000_000


class WatchedFile:
    """A value that is read from files, and read again when one of them changes.

    A version that cannot be read, for example half of one, is logged once, and the value before it stays in use.

    Without a lock, which a forked child might inherit locked: threads that come at once each read the files.

    Args:
        paths: Each file, by the variable that names it.
        read: Makes it. Raises OSError or ValueError if the files are no good.
        use: What it is for, in the words of the log line; for example ``for costs``.
        without: End of the log line where the first version is no good: what is used instead.
        with_last: The same where a later version is no good.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        read: Callable[[], Any],
        use: str,
        without: str = "",
        with_last: str = "",
    ) -> None:
        self._use = use
        self._without = without
        self._with_last = with_last
        self._variables = " and ".join(paths)
        self._paths = tuple(paths.values())
        self._read = read
        self._known: tuple[object, Any] = (None, None)
        self._settled = False
        self._logged: object = None

    def get(self) -> Any:
        version = [self._version_of(path) for path in self._paths]
        if version != self._known[0] or not self._settled:
            try:
                self._settled = all(found is None or _is_old(found[0]) for found in version)
                self._known = (version, self._read())
            except (OSError, ValueError) as exc:
                if version != self._logged:
                    self._logged = version
                    self._log(str(exc))
        return self._known[1]

    def _log(self, why: str) -> None:
        # The error quotes the path, and some put there what belongs into the file.
        for path in map(str, self._paths):
            why = why.replace(path, shown_path(path))
        names = " and ".join(shown_path(str(path)) for path in self._paths)
        last = self._without if self._known[0] is None else self._with_last
        logger.warning("%s: %s cannot be used %s: %s%s", self._variables, names, self._use, why, last)

    @staticmethod
    def _version_of(path: Path) -> tuple[int, ...] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        # The time of the last change of all cannot be set: a file may be put in place with the times of another.
        return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def _is_old(changed_ns: int) -> bool:
    """True if a change after this one has another time: what a file system calls now may last for some time."""
    return time.time_ns() - changed_ns > _NOW_LASTS_NS
