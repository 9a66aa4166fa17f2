"""Unique texts of a known kind, which can be found again in whatever leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["content", "span content", "error", "logged error", "attribute", "secret"]
"""What may leave as content of components and tools; what only spans have; exceptions' messages on spans and in log
records; what leaves in any mode; what never does."""

_CANARY = re.compile(rb"canary-?(\d{5})", re.IGNORECASE)


@dataclass(frozen=True)
class Canary:
    kind: Kind
    where: str


class Canaries:
    """All that were planted.

    Attributes:
        planted: By their numbers.
    """

    def __init__(self) -> None:
        self.planted: dict[int, Canary] = {}

    def plant(self, kind: Kind, where: str) -> str:
        """A text such as ``canary-00017-secret_str``."""
        return f"canary-{self._next(kind, where):05}-{where.replace(' ', '_')}"

    def text(self, kind: Kind, where: str) -> str:
        """The same with what looks like a secret in it: that never leaves, whatever becomes of the text."""
        number = self._next("secret", f"key in {where}")
        keys = (
            "AK" + "IA" + f"CANARY{number:05}ABCDE",
            "gh" + "p_" + f"canary{number:05}" + "a1B2c3D4e5F6g7H8i9J0k1L2m",
            f"password=canary-{number:05}-x",
            f"canary-{number:05}@example.com",
        )
        return f"{self.plant(kind, where)} {keys[number % len(keys)]} said"

    def _next(self, kind: Kind, where: str) -> int:
        number = len(self.planted) + 1
        self.planted[number] = Canary(kind, where)
        return number

    def of(self, *kinds: Kind) -> set[int]:
        return {number for number, each in self.planted.items() if each.kind in kinds}

    def named(self, numbers: set[int]) -> list[str]:
        """For the message of a failing test."""
        return [f"{number} {self.planted[number].kind}: {self.planted[number].where}" for number in sorted(numbers)]


def found_in(sent: bytes) -> set[int]:
    """Numbers of the canaries in there, cut ones and those in other letters too."""
    return {int(number) for number in _CANARY.findall(sent)}
