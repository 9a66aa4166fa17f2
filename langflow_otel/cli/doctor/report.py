"""What the doctor found, as it stands on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel._settings.masking import Secrets
from langflow_otel.cli.console import UNICODE, glyphs_of, heading, printable
from langflow_otel.version import __version__

Status = Literal["ok", "info", "warning", "problem"]

_STYLES: Final[dict[Status, str]] = {"ok": "green", "info": "dim", "warning": "yellow", "problem": "bold red"}
_NAME_WIDTH: Final = 14
_INDENT: Final = 4


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at, in a word or two.
        status: Only ``problem`` makes the exit code 1.
        advice: What to change, on one line; names the variable.
        facts: More of it, for programs.
    """

    name: str
    status: Status
    text: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Findings about one thing."""

    title: str
    detail: str
    findings: Sequence[Finding]


def without_secrets(section: Section, secrets: Secrets) -> Section:
    """The section without credentials, whichever finding quotes one."""
    findings = [
        replace(
            finding,
            text=secrets.hide_in_line(finding.text),
            advice=secrets.hide_in_line(finding.advice),
            facts={name: _hidden(value, secrets) for name, value in finding.facts.items()},
        )
        for finding in section.findings
    ]
    return replace(section, findings=findings)


def _hidden(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return secrets.hide_in_line(value)
    return [_hidden(each, secrets) for each in value] if isinstance(value, (list, tuple)) else value


def show(console: Console, section: Section) -> None:
    """The section's lines, each piece of advice below its finding."""
    heading(console, section.title, section.detail)
    glyphs, said = glyphs_of(console), ""
    signs = {"ok": glyphs.ok, "info": glyphs.dot, "warning": "!", "problem": glyphs.error}
    for finding in section.findings:
        style = _STYLES[finding.status]
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_column(width=3, justify="right")
        line.add_column(width=_NAME_WIDTH, overflow="fold")
        line.add_column(overflow="fold")
        text = Text(printable(finding.text), "dim" if finding.status == "info" else "")
        line.add_row(Text(signs[finding.status], style), Text(printable(finding.name)), text)
        console.print(line)
        # All signals of one collector that is down need one piece of advice.
        if finding.advice and finding.advice != said:
            console.print(_advice(finding.advice, console))
        said = finding.advice


def _advice(advice: str, console: Console) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=_INDENT - 1 + _NAME_WIDTH)
    line.add_column(width=2)
    line.add_column(overflow="fold")
    line.add_row("", Text("→" if glyphs_of(console) is UNICODE else "->", "cyan"), Text(printable(advice), "cyan"))
    return line


def summary(sections: Sequence[Section]) -> str:
    """How many problems there are."""
    counts = {status: _count(sections, status) for status in ("problem", "warning")}
    told = [f"{number} {word if number == 1 else word + 's'}" for word, number in counts.items() if number]
    return f"{', '.join(told)}." if told else "All is well."


def is_well(sections: Sequence[Section]) -> bool:
    """True without a problem."""
    return not _count(sections, "problem")


def _count(sections: Sequence[Section], status: str) -> int:
    return sum(finding.status == status for section in sections for finding in section.findings)


def as_object(sections: Sequence[Section]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "ok": is_well(sections),
        "version": __version__,
        "problems": _count(sections, "problem"),
        "warnings": _count(sections, "warning"),
        "checks": [
            {
                "section": section.title.lower(),
                "name": finding.name,
                "status": finding.status,
                "text": finding.text,
                "advice": finding.advice or None,
                **finding.facts,
            }
            for section in sections
            for finding in section.findings
        ],
    }
