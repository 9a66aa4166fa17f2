"""The resource of all exported telemetry: the service, its instance and its process."""

from __future__ import annotations

import functools
import importlib
import os
import uuid
from contextlib import suppress
from typing import Final

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPERIMENTAL_RESOURCE_DETECTORS,
    OTEL_RESOURCE_ATTRIBUTES,
    OTEL_SERVICE_NAME,
)
from opentelemetry.sdk.resources import PROCESS_PID, SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.util.types import Attributes

from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted_environment

# What the SDK and its own detectors read: with other values, another resource is right.
_READ_BY_DETECTORS: Final = (OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME)


def langflow_resource(settings: Settings) -> Resource:
    """``service.name``, and ``service.instance.id`` and ``process.pid`` of this process; OTEL_RESOURCE_ATTRIBUTES
    wins over them, OTEL_SERVICE_NAME over all (OpenTelemetry resource conventions).

    The first call in a process runs the detectors of OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, which may ask a network:
    keep it off an event loop.
    """
    from_env = _detected()
    ours: dict[str, str | int] = {SERVICE_INSTANCE_ID: _instance_id(os.getpid()), PROCESS_PID: os.getpid()}
    # Resource.create() invents "unknown_service" where no variable names one.
    named = str(from_env.attributes.get(SERVICE_NAME, "")).strip()
    if not named or named.startswith("unknown_service") or _cannot_be_sent(named):
        from_env = from_env.merge(Resource({SERVICE_NAME: settings.service_name}))
    return Resource(ours).merge(from_env)


def _detected() -> Resource:
    """What the SDK makes of the environment, and what its detectors find."""
    # One thread at a time is in here; a cache alone would let each of several detect.
    with accepted_environment():
        return _detect(os.getpid(), tuple(os.environ.get(name) for name in _READ_BY_DETECTORS))


@functools.lru_cache(maxsize=1)
def _detect(pid: int, read: tuple[str | None, ...]) -> Resource:
    # In a child that was forked, a detector may find another process, host or container.
    found = Resource.create()
    if any(name in os.environ for name in (OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, OTEL_RESOURCE_ATTRIBUTES)):
        _import_logs_sdk(found)
    return found


def _import_logs_sdk(found: Resource) -> None:
    """Its import creates a resource, for the default of a field: the detectors would run once more,
    and the SDK would read the attributes that are not accepted."""
    create = Resource.create

    def create_from_found(attributes: Attributes | None = None, schema_url: str | None = None) -> Resource:
        return found.merge(Resource(attributes or {}, schema_url))

    Resource.create = staticmethod(create_from_found)  # type: ignore[method-assign]
    try:
        # Logs are not stable in the SDK: a module that moved must not cost the spans.
        with suppress(ImportError):
            importlib.import_module("opentelemetry.sdk._logs")
    finally:
        Resource.create = staticmethod(create)  # type: ignore[method-assign]


def _cannot_be_sent(text: str) -> bool:
    """True for bytes of the environment that are no text; the settings have reported it already."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@functools.cache
def _instance_id(pid: int) -> str:
    return str(uuid.uuid4())
