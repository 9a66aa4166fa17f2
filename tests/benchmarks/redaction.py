"""What redaction finds, what it leaves alone and what it costs.

    python tests/benchmarks/redaction.py [--texts 2000] [--rounds 50] [--json]

Needs no LangFlow. Recall and precision are those of tests/support/secret_corpus.py, times are the best of their rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from langflow_otel.redaction.known_secrets import without_secrets  # noqa: E402
from langflow_otel.redaction.redactor import Redactor  # noqa: E402
from tests.support import secret_corpus  # noqa: E402
from tests.support.secret_corpus import LOOK_ALIKES, SENTENCES  # noqa: E402

SIZES = (1_000, 8_000)
KNOWN_SECRETS = (5, 50, 256)
ID_SIZES = (9, 11, 14, 15, 16, 18, 19)
CLOCK = "import time; start = time.perf_counter(); {}; print((time.perf_counter() - start) * 1e3)"
PACKAGE = "import langflow_otel._guard"
IMPORTS = {
    "google-re2": CLOCK.format("import re2"),
    "redaction": f"{PACKAGE}; " + CLOCK.format("import langflow_otel.redaction.redactor"),
    "first Redactor, re2 with it": "import langflow_otel.redaction.redactor as r; " + CLOCK.format("r.Redactor()"),
    "second Redactor": "import langflow_otel.redaction.redactor as r; r.Redactor(); " + CLOCK.format("r.Redactor()"),
}


def sorts_of_text(rng: random.Random) -> dict[str, str]:
    """At least 8 kB of each sort, without a secret where the name does not say otherwise."""
    english = [sentence for sentence in SENTENCES if sentence.isascii() and "Kunde" not in sentence]
    logs = (
        f"2026-03-01 12:{rng.randrange(10, 60)}:07,{rng.randrange(100, 999)} INFO 10.0.0.{rng.randrange(250)} "
        f"GET /v1/items/{rng.randrange(10**9)} {rng.randrange(200, 500)} {rng.random():.3f}s"
        for _ in range(120)
    )
    records = [
        {"id": rng.randrange(10**9), "at": "2026-01-01T00:00:00Z", "score": rng.random(), "text": rng.choice(english)}
        for _ in range(70)
    ]
    texts = {
        "prose": " ".join(rng.choices(english, k=120)),
        "prose, CJK": "".join(sentence for sentence in rng.choices(SENTENCES, k=900) if ord(sentence[0]) > 0x3000),
        "JSON": json.dumps(records),
        "code": Path(secret_corpus.__file__).read_text("utf-8")[:400]
        + (ROOT / "langflow_otel/_settings/settings.py").read_text(),
        "logs": "\n".join(logs),
        "base64": secret_corpus.base64_of(rng, 8_000),
        "look-alikes": " ".join(rng.choice(LOOK_ALIKES)(rng) for _ in range(400)),
        "a secret every 200 characters": "\n".join(text.text for text in secret_corpus.planted(3, 90)),
    }
    return {name: text * (1 + SIZES[-1] // len(text)) for name, text in texts.items()}


def costs(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds per kB (of UTF-8) by sort of text and size of text."""
    redact = Redactor().redact
    found: dict[str, dict[str, float]] = {}
    for name, text in sorts_of_text(random.Random(3)).items():
        found[name] = {}
        for size in SIZES:
            part = text[:size]
            best = float("inf")
            for _ in range(rounds):
                start = time.perf_counter()
                redact(part)
                best = min(best, time.perf_counter() - start)
            found[name][str(size)] = best * 1e6 / (len(part.encode()) / 1000)
    return found


def imports(rounds: int) -> dict[str, float]:
    """Milliseconds, each in processes of its own."""

    def one(code: str) -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    return {name: min(one(code) for _ in range(rounds)) for name, code in IMPORTS.items()}


def quality(texts: int) -> dict[str, object]:
    score = secret_corpus.score(Redactor().redact, secret_corpus.planted(size=texts), secret_corpus.clean(size=texts))
    return {
        "recall": score.recall,
        "recall_all": score.recall_all,
        "precision": score.precision,
        "right_kind": score.named,
        "clean_unchanged": score.clean_unchanged,
    }


def known(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds to look for so many secrets that are known by their value, in texts of these sizes without one."""
    rng = random.Random(5)
    text = " ".join(rng.choices(SENTENCES, k=200))
    found: dict[str, dict[str, float]] = {}
    for number in KNOWN_SECRETS:
        secrets = [secret_corpus.some(rng, 40) for _ in range(number)]
        found[str(number)] = {}
        for size in (100, *SIZES):
            best = float("inf")
            for _ in range(rounds):
                start = time.perf_counter()
                without_secrets(text[:size], secrets)
                best = min(best, time.perf_counter() - start)
            found[str(number)][str(size)] = best * 1e6
    return found


def ids(numbers: int) -> dict[str, dict[str, float]]:
    """Of random numbers of so many digits, which are nobody's, the share that is redacted, by where they stand."""
    rng, redact = random.Random(4), Redactor().redact
    found: dict[str, dict[str, float]] = {place: {} for place in secret_corpus.IDS}
    for size in ID_SIZES:
        texts = [secret_corpus.number(rng, size) for _ in range(numbers)]
        for place, put in secret_corpus.IDS.items():
            found[place][str(size)] = sum(redact(put(text)) != put(text) for text in texts) / numbers
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2000, help="texts with secrets, and as many without")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {
        "quality": quality(options.texts),
        "ids": ids(max(300, options.texts * 3 // 2)),
        "us_per_kb": costs(options.rounds),
        "known_us": known(options.rounds),
        "import_ms": imports(max(1, options.rounds // 10)),
    }
    print(json.dumps(found, indent=2) if options.json else table(found))


def table(found: dict) -> str:
    quality = found["quality"]
    lines = [f"{'kind':20} {'recall':>8} {'precision':>10}"]
    lines += [
        f"{kind:20} {recall:8.4f} {quality['precision'].get(kind, 1.0):10.4f}"
        for kind, recall in sorted(quality["recall"].items())
    ]
    lines += [
        f"{'all':20} {quality['recall_all']:8.4f}",
        "",
        f"texts without secrets that pass unchanged: {quality['clean_unchanged']:.4f}",
        f"markers that name the right kind:          {quality['right_kind']:.4f}",
        "",
        f"{'random ids that are redacted':30} " + " ".join(f"{size:>2} digits" for size in ID_SIZES),
        *(
            f"{place:30} " + " ".join(f"{by_size[str(size)]:9.4f}" for size in ID_SIZES)
            for place, by_size in found["ids"].items()
        ),
        "",
        f"{'us per kB':30} " + " ".join(f"{size:>6} B" for size in SIZES),
        *(
            f"{name:30} " + " ".join(f"{by_size[str(size)]:8.1f}" for size in SIZES)
            for name, by_size in found["us_per_kb"].items()
        ),
        "",
        f"{'known secrets, us':30} " + " ".join(f"{size:>6} B" for size in (100, *SIZES)),
        *(
            f"{name:30} " + " ".join(f"{us:8.1f}" for us in by_size.values())
            for name, by_size in found["known_us"].items()
        ),
        "",
        *(f"{name:30} {took:8.1f} ms" for name, took in found["import_ms"].items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
