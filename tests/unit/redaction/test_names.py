"""Names of people and places, with the real Presidio over a real spaCy pipeline that needs no download."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from langflow_otel.redaction.names import redact_names
from langflow_otel.redaction.redactor import Redactor


def test_without_presidio_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)

    with pytest.raises(ImportError, match=r"pip install 'langflow-otel\[names\]'"):
        redact_names()


@pytest.fixture(scope="module")
def redact() -> Callable[[str], str]:
    spacy = pytest.importorskip("spacy", reason="pip install 'langflow-otel[names]'")
    pytest.importorskip("presidio_analyzer", reason="pip install 'langflow-otel[names]'")
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    pipeline = spacy.blank("en")
    # Finds by a list what a language model finds by itself.
    pipeline.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Ada Lovelace"},
            {"label": "PERSON", "pattern": "Ada"},
            {"label": "GPE", "pattern": "Turin"},
        ]
    )
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    engine.nlp = {"en": pipeline}
    return redact_names(nlp_engine=engine)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Ada Lovelace went to Turin.", "[redacted:person] went to [redacted:location]."),
        ("Ada, Ada and Ada", "[redacted:person], [redacted:person] and [redacted:person]"),
        ("nobody went nowhere", "nobody went nowhere"),
        ("", ""),
    ],
)
def test_names_are_taken_out_and_the_rest_stays(redact: Callable[[str], str], text: str, safe: str):
    assert redact(text) == safe


def test_as_the_hook_it_comes_after_the_secrets(redact: Callable[[str], str]):
    redactor = Redactor(hook=redact)

    assert redactor.redact("Ada Lovelace, ada@example.com") == "[redacted:person], [redacted:email]"
