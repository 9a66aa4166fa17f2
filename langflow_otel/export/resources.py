"""The resource that everything we send carries: which service this is, and which instance of it."""

from __future__ import annotations

import functools
import os
import uuid

from opentelemetry.sdk.resources import PROCESS_PID, SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from langflow_otel.settings import Settings
from langflow_otel.standard import accepted_environment


def langflow_resource(settings: Settings) -> Resource:
    """``service.name``, and ``service.instance.id`` and ``process.pid`` of this process; OTEL_RESOURCE_ATTRIBUTES
    wins over them, OTEL_SERVICE_NAME over all (OpenTelemetry resource conventions)."""
    with accepted_environment():
        from_env = Resource.create()
    ours: dict[str, str | int] = {SERVICE_INSTANCE_ID: _instance_id(os.getpid()), PROCESS_PID: os.getpid()}
    # Resource.create() invents "unknown_service" where no variable names one.
    named = str(from_env.attributes.get(SERVICE_NAME, "")).strip()
    if not named or named.startswith("unknown_service") or _cannot_be_sent(named):
        from_env = from_env.merge(Resource({SERVICE_NAME: settings.service_name}))
    return Resource(ours).merge(from_env)


def _cannot_be_sent(text: str) -> bool:
    """True for bytes of the environment that are no text; the settings have said so already."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@functools.cache
def _instance_id(pid: int) -> str:
    return str(uuid.uuid4())
