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
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langflow_otel._sdk.rotating_file import RotatingFile, why_not_writable
from langflow_otel._settings.masking import shown_path

MAX_BYTES = 64 * 1024 * 1024
KEPT_FILES = 3
UNWRITABLE = "LANGFLOW_OTEL_TRACE_FILE: name a file that can be written; until then spans are lost"

_ID_FIELDS = ("traceId", "spanId", "parentSpanId")

logger = logging.getLogger("langflow_otel")


class TraceFileExporter(SpanExporter):
    """Appends spans to a regular file; at 64 MiB it is renamed to ``.1`` and so on, three old ones are kept.

    Several processes may write to the same file. A batch that cannot be written whole is not written at all.

    Args:
        path: The file; its folder is made if need be. It may hold prompts: if it is made here, only its owner may
            read it. One that cannot be written is said at once, and tried again with each batch.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._file = RotatingFile(path, max_bytes=max_bytes, kept_files=KEPT_FILES)
        problem = why_not_writable(path)
        self._failed = problem is not None
        if problem is not None:
            logger.warning("%s (%s: %s)", UNWRITABLE, shown_path(str(path)), problem)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._file.append(otlp_json(spans).encode() + b"\n")
        except OSError as exc:
            if not self._failed:
                logger.warning("LANGFLOW_OTEL_TRACE_FILE: cannot write %s: %s", self._file.path, exc)
            self._failed = True
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def otlp_json(spans: Sequence[ReadableSpan]) -> str:
    """The spans as one line of OTLP JSON."""
    return message_json(encode_spans(spans))


def message_json(message: Any) -> str:
    """OTLP's message of spans as one line of OTLP JSON."""
    data = MessageToDict(message, use_integers_for_enums=True)
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
