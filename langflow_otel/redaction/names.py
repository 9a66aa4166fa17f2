"""Names of people and places: Microsoft Presidio, as a hook for ``instrument(redact=...)``.

Presidio finds them with a language model, which pip does not bring and which takes some milliseconds for each text:
that is too much for every server, so it is an extra, and asked for in code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from presidio_analyzer.nlp_engine import NlpEngine

__all__ = ["PEOPLE_AND_PLACES", "redact_names"]

PEOPLE_AND_PLACES: Final = ("PERSON", "LOCATION")
"""As Presidio calls them: https://microsoft.github.io/presidio/supported_entities/"""


def redact_names(
    entities: Sequence[str] = PEOPLE_AND_PLACES,
    *,
    language: str = "en",
    nlp_engine: NlpEngine | None = None,
    min_score: float = 0.5,
) -> Callable[[str], str]:
    """A hook that puts ``[redacted:person]`` and the like in place of names.

    Args:
        entities: Presidio's names of what is to be found.
        language: Of the texts, as Presidio knows it.
        nlp_engine: With its language model; None for Presidio's default, the model ``en_core_web_lg`` of spaCy, which
            Presidio downloads if it is not installed.
        min_score: Between 0 and 1; what Presidio is less sure of stays.

    Raises:
        ImportError: Presidio is not installed; the message says how to.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as exc:
        raise ImportError("redact_names needs Presidio: pip install 'langflow-otel[names]'") from exc
    analyzer = AnalyzerEngine(nlp_engine=nlp_engine, supported_languages=[language])
    wanted = list(entities)
    # spaCy's pipelines are not made for several threads at once.
    one_at_a_time = threading.Lock()

    def redact(text: str) -> str:
        with one_at_a_time:
            found = analyzer.analyze(text, language=language, entities=wanted, score_threshold=min_score)
        return _without(text, found)

    return redact


def _without(text: str, found: Sequence[Any]) -> str:
    """From the end, so that what stands before keeps its place; of two that overlap the longer."""
    end = len(text)
    for each in sorted(found, key=lambda each: (-each.end, each.start)):
        if each.end <= end:
            text = f"{text[: each.start]}[redacted:{each.entity_type.lower()}]{text[each.end :]}"
            end = each.start
    return text
