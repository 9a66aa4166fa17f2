"""URLs, paths and texts that quote them, without values."""

from __future__ import annotations

import time

import pytest

from langflow_otel.redaction.urls import (
    WORDS,
    path_without_values,
    template_without_values,
    text_without_url_values,
    url_without_values,
)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.telegram.org/bot123:ABC/sendMessage", "https://api.telegram.org/REDACTED/sendMessage"),
        ("https://hooks.slack.com/services/T0/B0/x1y2", "https://hooks.slack.com/services/REDACTED/REDACTED/REDACTED"),
        ("https://host/search/hello", "https://host/search/REDACTED"),
        ("https://host/search/what%20is%20this", "https://host/search/REDACTED"),
        ("https://host/v1;jsessionid=key/users", "https://host/REDACTED/users"),
        ("https://host:key@evil/x", "https://evil/REDACTED"),
        ("https://host#key", "https://host"),
        ("https://[fe80::1%25eth0]:8080/k1", "https://[fe80::1%25eth0]:8080/REDACTED"),
        ("https://bücher.example:443/", "https://bücher.example:443/"),
        ("https://host%2Fkey", "https://REDACTED"),
        ("https://host\\key/v1", "https://REDACTED"),
        ("https://host;key", "https://REDACTED"),
        ("https://host:12345678", "https://REDACTED"),
        ("http+unix://%2Fvar%2Fkey.sock/v1", "http+unix://REDACTED"),
        ("key=k&next=https://host/v1", "REDACTED"),
        ("file:///home/k1", "file:///REDACTED/REDACTED"),
        ("data:text/plain,hello", "REDACTED/REDACTED"),
        ("//host/path", "//REDACTED/REDACTED"),
        ("/v1.2/API/", "/v1.2/API/"),
        ("/" + "x1/" * 100, "/" + "REDACTED/" * 31 + "REDACTED"),
    ],
)
def test_a_url_keeps_place_and_known_words(url: str, sent: str):
    assert url_without_values(url) == sent
    assert url_without_values(sent) == sent


def test_words_are_found_as_they_are_compared():
    assert sorted(WORDS) == sorted(word.lower() for word in WORDS)
    assert path_without_values("/".join(WORDS).partition("/")[0]) in WORDS
    assert not [word for word in WORDS if path_without_values(word) != word]


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        ("/orders/{id}/lines/{line_id:int}", "/orders/{id}/lines/{line_id:int}"),
        ("/basket/{id}", "/basket/{id}"),
        ("/basket", "/REDACTED"),
        ("/basket/{what is this}", "/REDACTED/REDACTED"),
        ("/basket/{id}?q=key", "/REDACTED/REDACTED"),
        ("/" + "k" * 41 + "/{id}", "/REDACTED/REDACTED"),
        ("https://host/x1/{id}", "https://host/REDACTED/REDACTED"),
    ],
)
def test_a_route_stays_and_a_path_in_its_place_does_not(template: str, sent: str):
    assert template_without_values(template) == sent


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (
            "Client error '401' for url 'https://host/search?q=the prompt&key=x'\nFor more",
            "Client error '401' for url 'https://host/search'\nFor more",
        ),
        (
            "Max retries exceeded with url: /bot1/send?token=a (Caused by",
            "Max retries exceeded with url: /REDACTED/send (Caused by",
        ),
        ("see (https://u:p@host/a/b?c=d#e).", "see (https://host/REDACTED/REDACTED)."),
        ("cannot open /x?q=hello&y=1", "cannot open /x?REDACTED"),
        ("what? is a=b", "what? is a=b"),
        ("https://host:abc", "https://REDACTED"),
        ("no URL", "no URL"),
    ],
)
def test_a_text_keeps_the_places_of_its_urls(text: str, sent: str):
    assert text_without_url_values(text) == sent


@pytest.mark.parametrize(
    "part", ["://", "?", "?a", "'a://", "with url: ", "'" + "a" * 30, "https://", "a" * 30 + "://"]
)
def test_a_long_text_takes_no_longer_a_character(part: str):
    def seconds(times: int) -> float:
        text = part * times
        start = time.process_time()
        text_without_url_values(text)
        return time.process_time() - start

    assert min(seconds(40_000) for _ in range(3)) < 30 * min(seconds(4_000) for _ in range(3)) + 0.05
