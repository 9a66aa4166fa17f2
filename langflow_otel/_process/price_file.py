"""The user's list of prices, from a file that may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langflow_otel._runs import prices
from langflow_otel._runs.prices import PriceTable, Pricing, price_table, shown
from langflow_otel._settings.secret_files import read_secret
from langflow_otel._settings.watched_file import WatchedFile


class PriceFile:
    """Keeps :data:`langflow_otel._runs.prices.in_force` at what a file holds.

    Args:
        path: JSON by its suffix, else YAML.
    """

    def __init__(self, path: Path) -> None:
        self._pricing = Pricing()
        self._file = WatchedFile(
            {"LANGFLOW_OTEL_PRICES": path},
            lambda: read_prices(path),
            "for costs",
            ". There are no costs until it can.",
            ". The last prices stay in force.",
        )

    def check(self) -> None:
        """Read the file if it has changed. A version that is no good is logged once, and changes nothing."""
        self._pricing.table = self._file.get()
        prices.in_force = self._pricing

    def close(self) -> None:
        """Price nothing any more."""
        if prices.in_force is self._pricing:
            prices.in_force = None


def read_prices(path: Path) -> PriceTable:
    """What the file holds.

    Raises:
        OSError: It cannot be read, is larger than 1 MiB, or is no regular file.
        ValueError: What is wrong in it, where, and what is accepted.
    """
    text = read_secret(path).decode()
    try:
        document = _json(text) if path.suffix.lower() == ".json" else _yaml(text)
    except RecursionError:
        raise ValueError("it is nested too deeply; use a list of entries under prices") from None
    return price_table(document)


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno}, column {exc.colno}: {exc.msg}; use JSON") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is there twice in one mapping; use it once")
        found[name] = value
    return found


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError("PyYAML is not installed; use a .json file, or pip install pyyaml") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML brings no types
        """PyYAML itself takes the last of several values."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    problem = f"{shown(key.value)} is there twice in one mapping"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
            return node

    try:
        return yaml.load(text, Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = " ".join(str(getattr(exc, "problem", None) or exc).split())
        raise ValueError(f"{place}{problem}; use YAML") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as exc:
        # What PyYAML lets pass where a value does not fit its tag, such as ``!!int ''``.
        raise ValueError(f"a value does not fit its type ({type(exc).__name__}); use YAML") from None
