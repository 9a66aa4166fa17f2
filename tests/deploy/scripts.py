"""Scripts of collector-config as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


def load(path: Path) -> ModuleType:
    """As if it was run: what lies beside it can be imported."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return importlib.import_module(path.stem)
