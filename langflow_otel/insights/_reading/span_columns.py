"""The columns of the flat table of spans, and which attributes they are made of.

Without pyarrow, which is not needed where nothing new has to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from langflow_otel import _semconv as semconv

# Of each column the attributes that have it, the first one that is there counts.
TEXT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "error_type": (semconv.ERROR_TYPE,),
    "error_category": (semconv.ERROR_CATEGORY,),
    "flow_name": (semconv.FLOW_NAME,),
    "flow_id": (semconv.FLOW_ID,),
    "flow_version": (semconv.FLOW_VERSION,),
    "run_id": (semconv.RUN_ID,),
    "entry_point": (semconv.ENTRY_POINT,),
    "session_id": (semconv.SESSION_ID,),
    "user_id": (semconv.USER_ID,),
    "component_id": (semconv.COMPONENT_ID,),
    "component_type": (semconv.COMPONENT_TYPE,),
    "component_name": (semconv.COMPONENT_DISPLAY_NAME,),
    "component_kind": (semconv.COMPONENT_KIND,),
    "code_hash": (semconv.COMPONENT_CODE_HASH,),
    "model": (semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_RESPONSE_MODEL, "llm.model_name"),
    "provider": (semconv.GEN_AI_PROVIDER_NAME, "gen_ai.system", "llm.provider"),
    "currency": (semconv.COST_CURRENCY,),
}
INTEGER_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "loop_index": (semconv.LOOP_INDEX,),
    "input_tokens": (semconv.USAGE_INPUT_TOKENS, *semconv.TOKENS_OF_OTHERS),
    "output_tokens": (
        semconv.USAGE_OUTPUT_TOKENS,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
    ),
    "cached_tokens": (semconv.GEN_AI_USAGE_CACHE_READ, "llm.token_count.prompt_details.cache_read"),
    "reasoning_tokens": (semconv.GEN_AI_USAGE_REASONING, semconv.LLM_REASONING_TOKENS),
    "retries": (semconv.MODEL_RETRIES,),
}
FLOAT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "cost": (semconv.COST_AMOUNT,),
    "time_to_first_chunk": (semconv.GEN_AI_RESPONSE_FIRST_CHUNK, semconv.STREAM_TIME_TO_FIRST_CHUNK),
}

COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("trace_id", "span_id", "parent_id", "service", "instance", "scope", "name", "span_kind"), "text"),
    **dict.fromkeys(("start_ns", "end_ns", "duration_ns"), "integer"),
    **dict.fromkeys(("what", "status", *TEXT_COLUMNS), "text"),
    **dict.fromkeys(INTEGER_COLUMNS, "integer"),
    **dict.fromkeys(FLOAT_COLUMNS, "float"),
    "status_message": "text",
    "attributes": "map of text",
    "resource": "map of text",
    "events": "events",
    "links": "links",
    # A letter for each attribute, in their order: string, integer, boolean, double, bYtes, array, key-values, null.
    "attribute_types": "text",
    "event_attribute_types": "list of text",
}
"""Their types. Times are nanoseconds since the epoch."""

INTERNAL_COLUMNS = ("attribute_types", "event_attribute_types")
"""Those that are in no view."""
