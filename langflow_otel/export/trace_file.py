"""Spans on disk, as OTLP JSON lines: one ``TracesData`` object a line.

The format is that of the collector's ``otlp_json_file`` receiver and of the OTLP file exporter
specification (https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/): hexadecimal ids,
integer enums. Written here and not with ``opentelemetry-exporter-otlp-json-file``, which does not
rotate and needs a newer SDK than LangFlow 1.7 has.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

MAX_BYTES = 64 * 1024 * 1024
KEPT_FILES = 3

_ID_FIELDS = ("traceId", "spanId", "parentSpanId")

logger = logging.getLogger("langflow_otel")


class TraceFileExporter(SpanExporter):
    """Appends spans to a file; at 64 MiB it is renamed to ``.1`` and so on, three old ones are kept.

    Args:
        path: The file; its folder is made if need be.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._handler = _Lines(path, maxBytes=max_bytes, backupCount=KEPT_FILES, encoding="utf-8", delay=True)
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._handler.write_line(otlp_json(spans))
        except OSError as exc:
            if not self._failed:
                logger.warning("LANGFLOW_OTEL_TRACE_FILE: cannot write %s: %s", self._handler.baseFilename, exc)
            self._failed = True
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        # A full disk refuses once more what it refused before, and what is counted already.
        with suppress(OSError):
            self._handler.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class _Lines(RotatingFileHandler):
    """The standard library's rotating file, without its logging: a failed write raises."""

    def write_line(self, line: str) -> None:
        record = logging.makeLogRecord({"msg": line})
        with self.lock:  # type: ignore[union-attr]  # always set on a handler
            if self.stream is not None and self.shouldRollover(record):
                self.doRollover()
            if self.stream is None:
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
                self.stream = self._open()
            self.stream.write(line + "\n")
            self.stream.flush()


def otlp_json(spans: Sequence[ReadableSpan]) -> str:
    """The spans as one line of OTLP JSON."""
    data = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for resource_spans in data.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                _hex_ids(span)
                for link in span.get("links", []):
                    _hex_ids(link)
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _hex_ids(entry: dict[str, Any]) -> None:
    # Protobuf's own JSON has bytes in base64; OTLP wants the two ids in hexadecimal.
    for field in _ID_FIELDS:
        if field in entry:
            entry[field] = base64.b64decode(entry[field]).hex()
