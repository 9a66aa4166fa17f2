"""Reads the standard variables, and replaces texts that the OpenTelemetry SDK would refuse or misread.

The SDK's versions (1.30 and later) differ in what they do with such a text: some raise, some log and go on with a
default, some sample everything. So it never reaches them: see :func:`accepted_environment`.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from langflow_otel._settings.masking import shown_value
from langflow_otel._settings.standard_variables import (
    OTLP,
    PROPAGATORS,
    SIGNALS,
    STANDARD,
    PartlyAcceptedError,
    StandardVariable,
    are_a_pair,
)
from langflow_otel._settings.variables import problem_with


@dataclass(frozen=True)
class Accepted:
    """The standard variables of an environment as they are used.

    Attributes:
        values: The text in force of each standard variable; a signal's own is the general one where it is not set.
        changes: Of variables that are set, the texts that the SDK must read instead.
        problems: A line for each variable that is not accepted: its text, what is, what is used instead.
    """

    values: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def use(self, name: str, text: str, env: Mapping[str, str]) -> None:
        self.values[name] = text
        if name in env and text != env[name]:
            self.changes[name] = text

    def refuse(self, name: str, accepts: str, used: str, env: Mapping[str, str]) -> None:
        """Add a problem, unless the variable has one already."""
        if not any(problem.startswith(f"{name}=") for problem in self.problems):
            self.problems.append(problem_with(name, env[name], accepts, shown_value(name, used) or "none"))


def accepted(env: Mapping[str, str]) -> Accepted:
    """Read the standard variables of an environment, with their problems. Never raises."""
    found = Accepted()
    for variable in STANDARD:
        _read(variable, env, found)
    for family in ("BSP", "BLRP"):
        _fit_batch_into_queue(family, env, found)
    _need_a_sampler_for_the_argument(env, found)
    _adapt_to_older_sdks(env, found)
    for signal in SIGNALS:
        _check_client_files(signal, env, found)
    return found


def _read(variable: StandardVariable, env: Mapping[str, str], found: Accepted) -> None:
    used = found.values[variable.general] if variable.general else variable.default
    if _is_set(variable.name, env):
        try:
            used = variable.parse(env[variable.name])
        except PartlyAcceptedError as exc:
            used = exc.used
            found.refuse(variable.name, variable.accepts, used, env)
        except (ValueError, OSError, OverflowError):
            found.refuse(variable.name, variable.accepts, used, env)
    found.use(variable.name, used, env)


def _is_set(name: str, env: Mapping[str, str]) -> bool:
    return bool(env.get(name, "").strip())


def _fit_batch_into_queue(family: str, env: Mapping[str, str], found: Accepted) -> None:
    queue, batch = f"OTEL_{family}_MAX_QUEUE_SIZE", f"OTEL_{family}_MAX_EXPORT_BATCH_SIZE"
    held, sent = found.values[queue], found.values[batch]
    if int(sent) <= int(held):
        return
    if _is_set(batch, env):
        found.refuse(batch, f"1 to {queue}, which is {held}", held, env)
        found.use(batch, held, env)
    else:
        found.refuse(queue, f"at least {batch}, which is {sent}", sent, env)
        found.use(queue, sent, env)


def _need_a_sampler_for_the_argument(env: Mapping[str, str], found: Accepted) -> None:
    argument, sampler = "OTEL_TRACES_SAMPLER_ARG", found.values["OTEL_TRACES_SAMPLER"]
    if _is_set(argument, env) and not sampler.endswith("traceidratio"):
        accepts = "it with OTEL_TRACES_SAMPLER=parentbased_traceidratio or traceidratio"
        found.refuse(argument, accepts, sampler, env)


def _adapt_to_older_sdks(env: Mapping[str, str], found: Accepted) -> None:
    """Replace valid texts that older SDKs refuse; their meaning is applied by other means."""
    if found.values[PROPAGATORS] == "none" and PROPAGATORS in env:
        found.changes[PROPAGATORS] = "tracecontext"  # See propagators.py.
    for signal in ("", *(f"{signal}_" for signal in SIGNALS)):
        name = f"{OTLP}{signal}TIMEOUT"
        if name in env:
            # Whole seconds. The exporters get the others as an argument, and read this all the same.
            found.changes[name] = str(math.ceil(float(found.values[name])))


def _check_client_files(signal: str, env: Mapping[str, str], found: Accepted) -> None:
    own = [f"{OTLP}{signal}_{form}" for form in ("CLIENT_CERTIFICATE", "CLIENT_KEY")]
    chain, key = (found.values[name] for name in own)
    deciding = [name if _is_set(name, env) else name.replace(f"{signal}_", "") for name in own]
    if (not chain and not key) or (chain and are_a_pair(chain, key)):
        return
    if chain:
        accepts = f"the path of a PEM file that belongs to the key in {deciding[1]}, or holds it, unencrypted"
        found.refuse(deciding[0], accepts, "", env)
    elif deciding[1] == own[1] or not any(_is_set(f"{OTLP}{each}_CLIENT_CERTIFICATE", env) for each in SIGNALS):
        # A general key may be for the certificate of another signal.
        found.refuse(deciding[1], f"it with {deciding[0]}", "", env)
    for name in own:
        found.use(name, "", env)
    # The exporters of other signals get theirs as arguments.
    found.changes.update({name: "" for name in deciding if name in env})


_ONE_AT_A_TIME = threading.RLock()
"""There is one environment for all threads."""
_in_force: list[Mapping[str, str]] = []


def _after_fork_in_child() -> None:
    _ONE_AT_A_TIME._at_fork_reinit()  # type: ignore[attr-defined]
    _in_force.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def accepted_environment() -> Iterator[Mapping[str, str]]:
    """Replace texts in ``os.environ`` that the SDK would refuse, while objects of the SDK are made.

    Variables are neither added nor taken away, so other threads may read them, and at the end all is as before.

    Most of these variables have no argument in each version of the SDK, and some are read though an argument is given.

    Yields:
        The text in force of each standard variable.
    """
    with _ONE_AT_A_TIME:
        if _in_force:
            yield _in_force[0]
            return
        found = accepted(os.environ)
        before = {name: os.environ[name] for name in found.changes}
        os.environ.update(found.changes)
        _in_force.append(found.values)
        try:
            yield found.values
        finally:
            _in_force.clear()
            os.environ.update(before)
