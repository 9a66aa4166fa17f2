"""``langflow-otel config``: every setting, its value, where it comes from, and what is wrong with it."""

from __future__ import annotations

import difflib
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from langflow_otel._settings.masking import Secrets, shown_problem, shown_value
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted
from langflow_otel._settings.standard_variables import STANDARD, StandardVariable
from langflow_otel._settings.variables import VARIABLES, Variable
from langflow_otel.cli.console import FAILED, give_up, heading, make_console, printable, say
from langflow_otel.cli.doctor.local import file_problems

_COLUMNS_FROM = 140
"""Narrower terminals have the meaning on a line of its own."""
_LONGEST_NAME: Final = 100


class Format(str, Enum):
    """What the settings are printed as."""

    TABLE = "table"
    ENV = "env"
    YAML = "yaml"


@dataclass(frozen=True)
class Setting:
    """One variable as it stands.

    Attributes:
        value: What is in force and may be shown; empty if there is none.
        text: What the environment says; None if nothing.
        is_accepted: False for a text that means nothing: then the default is in force.
        is_masked: The value is not the whole text.
    """

    variable: Variable
    value: str
    text: str | None
    is_accepted: bool
    is_masked: bool

    @property
    def source(self) -> str:
        if self.text is None:
            return "default" if self.value else "not set"
        return "environment" if self.is_accepted else "not accepted"


def format_named(name: str) -> Format:
    """The format; exits with 2 if there is none of that name."""
    try:
        return Format(name.strip().lower())
    except ValueError:
        give_up(f"--format {name}: there is table, env and yaml")


def config(wanted: Format, *, check: bool) -> None:
    """Print the settings, or only what is wrong with them; then exits with 1 if anything is."""
    env = dict(os.environ)
    problems = [*all_problems(env), *_shown(file_problems(Settings.from_env(env)), env)]
    ours, standard = _all_settings(env)
    if check:
        _check(problems, [*ours, *standard])
        return
    if wanted is Format.TABLE:
        _show(ours, standard)
    else:
        _print_lines(_env_lines(ours, standard) if wanted is Format.ENV else _yaml_lines([*ours, *standard]))
    for problem in problems:
        say(f"problem: {printable(problem)}")


def all_problems(env: Mapping[str, str]) -> list[str]:
    """Wrong values and misspelled names, without credentials."""
    return _shown([*Settings.from_env(env).problems, *standard_problems(env)], env)


def _shown(problems: Iterable[str], env: Mapping[str, str]) -> list[str]:
    secrets = Secrets(env)
    return list(dict.fromkeys(secrets.hide_in_line(shown_problem(problem, env)) for problem in problems))


def _check(problems: list[str], settings: Iterable[Setting]) -> None:
    for problem in problems:
        say(printable(problem))
    if problems:
        raise typer.Exit(FAILED)
    number = sum(each.text is not None for each in settings)
    typer.echo(f"{number} {'variable' if number == 1 else 'variables'} set, nothing wrong")


def _all_settings(env: Mapping[str, str]) -> tuple[list[Setting], list[Setting]]:
    """This library's own variables, and the standard ones that the SDK reads itself."""
    settings, values = Settings.from_env(env), accepted(env).values
    refused = {problem.partition("=")[0] for problem in settings.problems}
    ours = [_setting(each, env, each.default, is_accepted=each.name not in refused) for each in VARIABLES]
    standard = [
        _setting(each, env, _in_force(each, env, values), is_accepted=each.name not in refused)
        for each in standard_variables(env)
    ]
    return ours, standard


def _in_force(variable: StandardVariable, env: Mapping[str, str], values: Mapping[str, str]) -> str:
    """Where the variable is not set or not accepted. A signal's own form that is not set says nothing."""
    text, value = env.get(variable.name, ""), values[variable.name]
    if not text.strip() and not variable.default:
        return ""
    # As it stands, the value is only that of a variable that something else refuses.
    return variable.default if value == text else shown_value(variable.name, value)


def _setting(variable: Variable, env: Mapping[str, str], otherwise: str, *, is_accepted: bool) -> Setting:
    text = env.get(variable.name, "")
    if not text.strip():
        return Setting(variable, otherwise, None, is_accepted=True, is_masked=False)
    shown = shown_value(variable.name, text)
    return Setting(variable, shown if is_accepted else otherwise, text, is_accepted, is_masked=shown != text)


# A table


def _show(ours: list[Setting], standard: list[Setting]) -> None:
    console = make_console()
    name_width = max(len(each.variable.name) for each in (*ours, *standard))
    for title, detail, settings in (
        ("langflow-otel", "what this library reads", ours),
        ("OpenTelemetry", "what its SDK reads itself", standard),
    ):
        heading(console, title, detail)
        if console.width >= _COLUMNS_FROM:
            console.print(_table(settings, name_width, (console.width - name_width) // 3))
        else:
            _print_stacked(console, settings, name_width)


def _table(settings: list[Setting], name_width: int, value_width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Variable", no_wrap=True, width=name_width)
    table.add_column("Value", overflow="fold", width=value_width)
    table.add_column("From", no_wrap=True, width=len("not accepted"))
    table.add_column("Meaning", ratio=1)
    for each in settings:
        style = _style(each)
        meaning = Text(_meaning(each), "dim")
        table.add_row(each.variable.name, Text(_value(each), style), Text(each.source, style), meaning)
    return table


def _print_stacked(console: Console, settings: list[Setting], name_width: int) -> None:
    for each in settings:
        line = Text(f"{each.variable.name:<{name_width}}  ").append(_value(each), _style(each))
        console.print(line.append(f"  ({each.source})", _style(each) or "dim"), overflow="fold")
        console.print(Padding(Text(_meaning(each), "dim"), (0, 0, 0, 4)))


def _value(setting: Setting) -> str:
    return printable(setting.value) or "-"


def _meaning(setting: Setting) -> str:
    return setting.variable.meaning.replace("`", "")


def _style(setting: Setting) -> str:
    if not setting.is_accepted:
        return "bold red"
    return "dim" if setting.text is None else "cyan"


# For programs


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        # Bytes that are no text reach us as halves of surrogates, which nothing can print.
        typer.echo(line.encode("utf-8", "replace").decode())


def _env_lines(*groups: list[Setting]) -> Iterable[str]:
    """For a shell. Defaults stay comments: to say one can mean more than to say nothing (OTEL_TRACES_EXPORTER)."""
    for setting in (each for group in groups for each in group):
        name = setting.variable.name
        if setting.text is None:
            if setting.value:
                yield f"# {name}={shlex.quote(setting.value)}  # default"
        elif not setting.is_accepted:
            yield f"# {name} is not accepted as it is; in force: {shlex.quote(setting.value)}"
        elif setting.is_masked:
            yield f"# export {name}={shlex.quote(_on_one_line(setting.value))}  # masked"
        else:
            yield f"export {name}={shlex.quote(setting.text)}"


def _on_one_line(text: str) -> str:
    """A line break would end the comment, and the rest be run."""
    return " ".join(text.splitlines())


def _yaml_lines(settings: Iterable[Setting]) -> Iterable[str]:
    """A mapping from names to value, source and whether the value is masked. Each scalar of JSON is one of YAML."""
    for each in settings:
        value = each.value if each.value or each.text is not None else None
        yield f"{each.variable.name}:"
        yield f"  value: {_yaml(value)}"
        yield f"  source: {_yaml(each.source)}"
        if each.is_masked:
            yield "  masked: true"


def _yaml(value: str | None) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # JSON may hold control codes as they are, YAML may not.
    return "".join(sign if _is_plain(sign) else f"\\u{ord(sign):04x}" for sign in text)


def _is_plain(sign: str) -> bool:
    return sign.isprintable() or sign > "\uffff" or "\ud800" <= sign <= "\udfff"


def standard_variables(env: Mapping[str, str]) -> list[StandardVariable]:
    """Those that matter here: the general ones, and of a signal's own forms and the rare ones those that are set."""
    return [variable for variable in STANDARD if variable.is_listed or env.get(variable.name, "").strip()]


def standard_problems(env: Mapping[str, str]) -> list[str]:
    """What the SDK would refuse, or read as something else, and names that look misspelled."""
    return [*accepted(env).problems, *_misspelled(env)]


def _misspelled(env: Mapping[str, str]) -> Iterator[str]:
    known = [variable.name for variable in (*VARIABLES, *STANDARD) if variable.name.startswith("OTEL_")]
    for name in sorted(env):
        if not name.startswith("OTEL_") or name in known or len(name) > _LONGEST_NAME:
            continue
        # More exist than are listed here, none of them this close to one that is.
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.93)
        if close:
            shown = name if name.isprintable() else repr(name)
            yield f"{shown} is not a standard variable; did you mean {close[0]}? It is ignored."
