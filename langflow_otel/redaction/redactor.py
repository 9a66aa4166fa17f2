"""Replaces secrets and personal data in a text by markers.

All candidates are found by RE2 (``google-re2``), whose time grows with the length of the text and with nothing else,
so that neither a prompt nor a user's own pattern can hang the host: 900 instructions that defeat its automaton take
0.6 s for 100 kB, without the interpreter's lock. ``regex`` with its timeout was the other choice. It has wheels for
musl, which RE2 lacks, but an unlucky pattern would spend its timeout on each text, on the event loop.

Not the patterns of detect-secrets 1.5.0, which are made to point at a line and not to cut a secret out of it: of the
keys and tokens in ``tests/support/secret_corpus.py`` its 46 remove 32 % (of a JWT not the signature, of a private key
only the heading; nothing for Google, Anthropic, Hugging Face), for 540 us per kB and 250 ms of import, some of them in
quadratic time. Nor ``phonenumbers``, Presidio or python-stdnum: a checksum is five lines, the others are megabytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from langflow_otel._guard import Guard
from langflow_otel.redaction import keys, personal
from langflow_otel.redaction.scan import MARKER, Finding, Scan, compiled_own

_BUDGET_S: Final = 0.5
_BUDGET_S_PER_MB: Final = 2.0
_MAX_PASSES: Final = 5
_REDACT = Guard("redact")
_PATTERN = Guard("redact.pattern")
_HOOK = Guard("redact.hook")


class Redactor:
    """Replaces secrets and personal data by markers such as ``[redacted:aws_key]``.

    Keys, tokens, passwords, private keys, e-mail addresses, phone numbers, payment cards and IBANs.

    Args:
        pattern: A regular expression (RE2 syntax) for more; what it matches becomes ``[redacted:pattern]``.
        ips: IPv4 and IPv6 addresses, too. Default: they stay.
        hook: Gets the redacted text and returns what may leave of it. It runs for each text, in the caller's thread.

    Raises:
        ValueError: ``pattern`` is not acceptable; see :func:`~langflow_otel.redaction.scan.check_pattern`.
        ImportError: ``google-re2`` is missing.
    """

    def __init__(
        self, pattern: str | None = None, *, ips: bool = False, hook: Callable[[str], str] | None = None
    ) -> None:
        self._keys = keys.compiled()
        self._personal = personal.compiled(ips)
        self._own = None if pattern is None else compiled_own(pattern)
        self._hook = hook

    def redact(self, text: str) -> str | None:
        """The text without its secrets, or None if nothing of it may be exported.

        None: the hook failed or gave something that is no str, time ran out (0.5 s of this thread's CPU time, and 2 s
        for each MB), or an error of ours. Each is logged once and counted by the guard. Never raises. Twice is the
        same as once, hooks aside. A lone surrogate, which no exporter can send, becomes ``?``.

        Redact before cutting a long text: half of a key is not known for one.
        """
        safe: str | None = None
        with _REDACT:
            safe = self._without_secrets(text)
        if safe is not None and self._own is not None:
            inner, safe = safe, None
            with _PATTERN:
                safe = self._without_own(inner)
        if safe is not None and self._hook is not None:
            inner, safe = safe, None
            with _HOOK:
                safe = self._hooked(self._hook, inner)
        return safe

    def _without_secrets(self, text: str) -> str:
        raw = text.encode("utf-8", "replace")
        deadline = _deadline(raw)
        for _ in range(_MAX_PASSES):
            redacted = raw
            for find in (*self._keys, *self._personal):
                redacted = replaced(redacted, find(Scan(redacted, deadline)))
            if redacted == raw:
                return raw.decode()
            # What is left may read differently beside a marker; most often nothing changes any more.
            raw = redacted
        raise TimeoutError("the text does not settle")

    def _without_own(self, text: str) -> str:
        raw = text.encode()
        deadline = _deadline(raw)
        parts, at = [], 0
        for marker in MARKER.finditer(raw):
            parts += [self._own_in(raw[at : marker.start()], deadline), marker.group()]
            at = marker.end()
        parts.append(self._own_in(raw[at:], deadline))
        return b"".join(parts).decode()

    def _own_in(self, raw: bytes, deadline: float) -> bytes:
        def find() -> Iterator[Finding]:
            for match in Scan(raw, deadline).matches(self._own):
                yield match.start(), match.end(), "pattern"

        return replaced(raw, find())

    @staticmethod
    def _hooked(hook: Callable[[str], str], text: str) -> str:
        safe: Any = hook(text)
        if not isinstance(safe, str):
            raise TypeError("the hook returned no str")
        return safe


def replaced(raw: bytes, findings: Iterator[Finding]) -> bytes:
    """The text with each finding replaced by its marker. Findings come in order and do not overlap."""
    parts, at = [], 0
    for start, end, kind, *around in findings:
        before, behind = around or (b"", b"")
        parts += [raw[at:start], b"%s[redacted:%s]%s" % (before, kind.encode(), behind)]
        at = end
    if not parts:
        return raw
    parts.append(raw[at:])
    return b"".join(parts)


def _deadline(raw: bytes) -> float:
    return time.thread_time() + _BUDGET_S + _BUDGET_S_PER_MB * len(raw) / 1e6
