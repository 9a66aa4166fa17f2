"""Programs that no package has in a current release: .ci/newest-programs builds them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / ".ci" / "newest-programs"


def _folder() -> Path:
    digest = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12] if SCRIPT.exists() else ""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "langflow-otel" / f"newest-{digest}"


# Found once: each test has a home of its own.
FOLDER = _folder()


def newest_program(name: str) -> str | None:
    """The path of the program that .ci/newest-programs has built, if it has."""
    return str(FOLDER / name) if (FOLDER / name).exists() else None
