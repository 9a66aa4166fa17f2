"""What kind of fault an error is, for ``langflow.error.category``: few values, the same for all providers.

Decided by names of classes and by HTTP status: no provider's library is imported for it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, Literal

from langflow_otel._errors import attribute_of, http_status_of, with_causes
from langflow_otel._runs.facts import Outcome

Category = Literal[
    "authentication",
    "rate_limit",
    "timeout",
    "network",
    "invalid_request",
    "content_filter",
    "provider",
    "tool",
    "code",
    "cancelled",
]

_BY_CODE: Final[dict[str, Category]] = {
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "insufficient_quota": "rate_limit",
    "invalid_api_key": "authentication",
    "rate_limit_exceeded": "rate_limit",
    "server_error": "provider",
}
"""By the ``code`` that OpenAI and those who follow it write into the body, in the middle of a stream too."""

_BY_CLASS: Final[dict[str, Category]] = {
    # Clients of model providers: openai, anthropic and those who follow them, google, botocore.
    "APIConnectionError": "network",
    "APITimeoutError": "timeout",
    "AuthenticationError": "authentication",
    "BlockedPromptException": "content_filter",
    "ConnectTimeoutError": "timeout",
    "ContentFilterFinishReasonError": "content_filter",
    "ContentPolicyViolationError": "content_filter",
    "DeadlineExceeded": "timeout",
    "DefaultCredentialsError": "authentication",
    "InvalidArgument": "invalid_request",
    "MissingCredentialsError": "authentication",
    "NoCredentialsError": "authentication",
    "PartialCredentialsError": "authentication",
    "PermissionDeniedError": "authentication",
    "RateLimitError": "rate_limit",
    "ReadTimeoutError": "timeout",
    "RefreshError": "authentication",
    "ResourceExhausted": "rate_limit",
    "StopCandidateException": "content_filter",
    "ThrottlingException": "rate_limit",
    # HTTP clients: httpx and httpcore, requests and urllib3, aiohttp, urllib.
    "ChunkedEncodingError": "network",
    "ClientConnectionError": "network",
    "ClientPayloadError": "network",
    "ConnectTimeout": "timeout",
    "DecodingError": "network",
    "HTTPClientError": "network",
    "IncompleteRead": "network",
    "InvalidURL": "invalid_request",
    "InvalidSchema": "invalid_request",
    "MissingSchema": "invalid_request",
    "NetworkError": "network",
    "ProtocolError": "network",
    "ServerTimeoutError": "timeout",
    "Timeout": "timeout",
    "TimeoutException": "timeout",
    "TooManyRedirects": "network",
    "TransportError": "network",
    "UnsupportedProtocol": "invalid_request",
    # Python's own; of requests too.
    "CancelledError": "cancelled",
    "ConnectionError": "network",
    "SSLError": "network",
    "TimeoutError": "timeout",
    "gaierror": "network",
    # Tools: LangChain's and MCP's.
    "McpError": "tool",
    "MCPError": "tool",
    "ToolException": "tool",
}
"""The first that is found along the base classes."""

_BASES: Final[dict[str, Category]] = {
    "APIError": "provider",
    "AnthropicError": "authentication",
    "ClientResponseError": "provider",
    "InternalServerError": "provider",
    "OpenAIError": "authentication",
    "RpcError": "provider",
    "URLError": "network",
}
"""The same, of errors without an HTTP status. A bare ``OpenAIError`` is a client that was made without a key."""

_BY_STATUS: Final[dict[int, Category]] = {
    401: "authentication",
    403: "authentication",
    407: "authentication",
    408: "timeout",
    429: "rate_limit",
    504: "timeout",
}


def category_of(outcome: Outcome, unknown: Category = "code") -> Category | None:
    """The category of a run that did not succeed; None of any other.

    Args:
        outcome: How the run ended.
        unknown: What an error is of which nothing is known.
    """
    if outcome.status == "cancelled":
        return "cancelled"
    if outcome.status != "error":
        return None
    # Not the context of an error: it was handled, and need not be the reason.
    for error in with_causes(outcome.error, contexts=False):
        category = _category_by_itself(error)
        if category is not None:
            return category
    return unknown


def is_from_outside(error: BaseException) -> bool:
    """True for the error of a library that talks with a provider, or with another server."""
    root = str(type(error).__module__).partition(".")[0]
    return root not in sys.stdlib_module_names and _category_by_itself(error) not in (None, "tool", "cancelled")


def _category_by_itself(error: BaseException) -> Category | None:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    code = attribute_of(error, "code")
    if type(code) is str and code in _BY_CODE:
        return _BY_CODE[code]
    names = [base.__name__ for base in type(error).__mro__]
    return (
        next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)
        or _by_status(http_status_of(error))
        or next((_BASES[name] for name in names if name in _BASES), None)
    )


def _by_status(status: int | None) -> Category | None:
    if status is None or status < 400:
        return None
    return _BY_STATUS.get(status) or ("provider" if status >= 500 else "invalid_request")
