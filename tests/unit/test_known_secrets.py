"""Secrets that are known by their value, for texts whose run nobody knows."""

from __future__ import annotations

import threading

from langflow_otel.recording.known_secrets import recent_secrets, remember_secrets


def test_those_that_were_seen_last_are_known():
    remember_secrets(["first", *(f"secret-{number}" for number in range(255))])
    assert len(recent_secrets()) == 256

    remember_secrets(["first"])
    remember_secrets(["newest"])
    assert recent_secrets()[-2:] == ("first", "newest")
    assert "secret-0" not in recent_secrets()
    assert "secret-1" in recent_secrets()


def test_several_threads_remember_at_once():
    def remember(start: int) -> None:
        for number in range(start, start + 2_000):
            remember_secrets([f"secret-{number}"])

    threads = [threading.Thread(target=remember, args=(start,)) for start in range(0, 8_000, 2_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(recent_secrets()) <= 256
    assert len(set(recent_secrets())) == len(recent_secrets()) >= 200
