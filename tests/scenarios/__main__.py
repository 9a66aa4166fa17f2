"""Drives real servers into faults, and says who was told what, and when.

    python tests/scenarios hung process-stopped     # these faults, each in a deployment of its own, at the same time
    python tests/scenarios --all                    # all, and the collector's backend; about 25 min on two cores
    python tests/scenarios --list

Needs Python with langflow-base, Debian's prometheus and prometheus-alertmanager, and for collector-backend a collector
(.ci/collector). Writes its table to standard output.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "server"), str(HERE.parent / "collector")]

import langflow_server  # noqa: E402
from deployments import Deployment, Told, Watch, deployment, missing_programs, opened, watch  # noqa: E402
from fault_list import ENVIRONMENT, FAULTS, WORKERS, Fault, history_of_traffic  # noqa: E402
from gateway_fault import COLLECTOR_FAULT, Backend, collector_with_backend  # noqa: E402

langflow_server.START_S = 900.0  # several start at once, on a machine that may be busy

SETTLED_S = 180.0
"""For so long all is well before the first fault: what is usual is known."""


def main() -> None:
    names = [fault.name for fault in FAULTS] + [COLLECTOR_FAULT.name]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("faults", nargs="*", choices=[[], *names], metavar="FAULT")
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--settled", type=float, default=SETTLED_S, help="seconds of steady load before the faults")
    given = arguments.parse_args()
    if given.list or not (given.all or given.faults):
        print("\n".join(f"{fault.name:18} {fault.what}" for fault in (*FAULTS, COLLECTOR_FAULT)))
        return
    if missing := missing_programs():
        sys.exit(f"not installed: {', '.join(missing)} (apt-get install prometheus prometheus-alertmanager)")
    chosen = [fault for fault in FAULTS if given.all or fault.name in given.faults]
    with_collector = given.all or COLLECTOR_FAULT.name in given.faults
    rows = drive(chosen, with_collector, given.settled)
    print(table(rows))
    sys.exit(not all(row.is_as_wanted for row in rows))


@dataclass
class Row:
    """What came of one fault: what opened an incident or a ticket."""

    fault: Fault
    noticed_s: float
    told: list[Told]

    @property
    def is_as_wanted(self) -> bool:
        """People were told once, of each alert that they are to be told of, and of no other."""
        return sorted(each.alert for each in self.told) == sorted(self.fault.told)

    def __str__(self) -> str:
        told = [f"{each.receiver}: {each.alert}, {each.at_s - self.noticed_s:.0f} s" for each in self.told]
        wanted = "" if self.is_as_wanted else f" (wanted: {', '.join(self.fault.told) or 'nobody'})"
        said = "; ".join(told) or "nobody"
        pages = sum(each.receiver == "page" for each in self.told)
        return f"| {self.fault.name}: {self.fault.what} | {said}{wanted} | {pages} |"


def drive(chosen: list[Fault], with_collector: bool, settled_s: float) -> list[Row]:
    """Makes the faults, in deployments of their own."""
    with tempfile.TemporaryDirectory(prefix="scenarios-") as folder, ExitStack() as running:
        watched = running.enter_context(watch(Path(folder), history=history_of_traffic(time.time())))
        # Its threads go on until the end: with the thread that started a server, the server would end.
        starters = running.enter_context(ThreadPoolExecutor(len(FAULTS)))
        starting = {
            name: starters.submit(running.enter_context, _deployment(watched, name))
            for name in dict.fromkeys(fault.deployment for fault in chosen)
        }
        deployments = {name: started.result() for name, started in starting.items()}
        backend = running.enter_context(collector_with_backend(watched, Path(folder))) if with_collector else None
        time.sleep(settled_s)
        for each in watched.told:
            if each.job:
                _say(f"told before the faults: {each}")
        _say("the faults begin")
        with ThreadPoolExecutor(len(FAULTS) + 1) as drivers:
            rows = [
                drivers.submit(
                    _in_turn, watched, made, [fault for fault in chosen if fault.deployment == name and not fault.flow]
                )
                for name, made in deployments.items()
            ]
            rows += [
                drivers.submit(_in_turn, watched, deployments[fault.deployment], [fault])
                for fault in chosen
                if fault.flow
            ]
            if backend is not None:
                rows.append(drivers.submit(_of_the_collector, watched, backend))
            found = {row.fault.name: row for done in rows for row in done.result()}
        for made in deployments.values():
            made.signal(signal.SIGCONT)
        return [found[fault.name] for fault in (*chosen, COLLECTOR_FAULT) if fault.name in found]


def _deployment(watched: Watch, name: str) -> AbstractContextManager[Deployment]:
    return deployment(watched, name, workers=WORKERS.get(name, 1), **ENVIRONMENT.get(name, {}))


def _in_turn(watched: Watch, made: Deployment, faults: list[Fault]) -> list[Row]:
    return [_row(watched, fault, made.job, partial(fault.drive, made)) for fault in faults]


def _of_the_collector(watched: Watch, backend: Backend) -> list[Row]:
    return [_row(watched, COLLECTOR_FAULT, "otel-collector", backend.die)]


def _row(watched: Watch, fault: Fault, job: str, make: Callable[[], float]) -> Row:
    began_s = time.time()
    flows = {each.flow for each in FAULTS if each.flow and each.deployment == fault.deployment}
    noticed_s = make()
    time.sleep(max(0.0, noticed_s + fault.watched_s - time.time()))
    told = [
        each
        for each in opened(watched.of(job))
        if each.at_s > began_s and (each.flow == fault.flow if fault.flow else each.flow not in flows)
    ]
    row = Row(fault, noticed_s, told)
    _say(str(row))
    return row


def table(rows: list[Row]) -> str:
    head = ["| fault | who was told what, seconds after a user noticed | pages |", "| --- | --- | --- |"]
    return "\n".join([*head, *map(str, rows)])


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
