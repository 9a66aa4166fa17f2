"""A regular expression of the user's, for what is redacted beside the built-in kinds."""

from __future__ import annotations

from typing import Any, Final

from langflow_otel.redaction.scan import compile_re2

_MAX_PROGRAM: Final = 3000
"""RE2 instructions: a literal has one a character, ``\\pL`` has 1200."""


def check_pattern(text: str) -> str:
    """The pattern itself, if a :class:`Redactor` takes it.

    Raises:
        ValueError: With the reason in one line: no regular expression of RE2 (which has neither look-around nor
            back-references), too large, or matching the empty text. Also when ``google-re2`` is missing.
    """
    try:
        compiled_own(text)
    except ImportError as exc:
        raise ValueError("a pattern needs the package google-re2") from exc
    return text


def compiled_own(pattern: str) -> Any:
    try:
        compiled = compile_re2(pattern)
    except UnicodeEncodeError as exc:
        raise ValueError("not text that can be encoded") from exc
    if compiled.programsize > _MAX_PROGRAM:
        raise ValueError(f"too large ({compiled.programsize} instructions; at most {_MAX_PROGRAM})")
    if compiled.search(b"") is not None:
        raise ValueError("it matches the empty text")
    return compiled
