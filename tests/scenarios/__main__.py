"""Drives real servers into faults, and says who was told what, and when.

    python tests/scenarios hung process-stopped     # these faults, each in a deployment of its own, at the same time
    python tests/scenarios --all                    # all, and the collector's backend; some 20 min
    python tests/scenarios --all --beside FOLDER   # and what another version of collector-config/ says at the same time
    python tests/scenarios steady --steady 3300 --every 6    # an hour without a fault, with a run each 3 s
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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "server"), str(HERE.parent / "collector")]

import langflow_server  # noqa: E402
import psutil  # noqa: E402
from deployments import (  # noqa: E402
    ASKED_EVERY_S,
    Deployment,
    Told,
    Watch,
    deployment,
    missing_programs,
    opened,
    watch,
)
from fault_list import ENVIRONMENT, FAULTS, WORKERS, Fault, history_of_traffic  # noqa: E402
from gateway_fault import COLLECTOR_FAULT, COLLECTOR_JOB, Backend, collector_with_backend  # noqa: E402

langflow_server.START_S = 900.0  # several start at once, on a machine that may be busy

SETTLED_S = 180.0
"""For so long all is well before the first fault: what is usual is known."""
SHORT_OF_CPU = 0.9
"""A machine that is busier delays every event loop, also those of servers without a fault."""


def main() -> None:
    names = [fault.name for fault in FAULTS] + [COLLECTOR_FAULT.name]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("faults", nargs="*", choices=[[], *names], metavar="FAULT")
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--settled", type=float, default=SETTLED_S, help="seconds of steady load before the faults")
    arguments.add_argument("--steady", type=float, metavar="SECONDS", help="for so long steady load is watched")
    arguments.add_argument("--every", type=float, default=ASKED_EVERY_S, help="seconds between two runs of a flow")
    arguments.add_argument("--beside", type=Path, metavar="FOLDER", help="collector-config/ of another version")
    given = arguments.parse_args()
    if given.list or not (given.all or given.faults):
        print("\n".join(f"{fault.name:18} {fault.what}" for fault in (*FAULTS, COLLECTOR_FAULT)))
        return
    if missing := missing_programs():
        sys.exit(f"not installed: {', '.join(missing)} (apt-get install prometheus prometheus-alertmanager)")
    chosen = [fault for fault in FAULTS if given.all or fault.name in given.faults]
    if given.steady is not None:
        chosen = [replace(fault, watched_s=given.steady) if fault.name == "steady" else fault for fault in chosen]
    with_collector = given.all or COLLECTOR_FAULT.name in given.faults
    rows = drive(chosen, with_collector, given.settled, given.every, given.beside)
    print(table(rows, given.beside))
    sys.exit(not all(row.is_as_wanted for row in rows))


@dataclass
class Row:
    """What came of one fault.

    Attributes:
        noticed_s: When a user noticed it.
        told: What opened an incident or a ticket.
        beside: The same by another version of the configuration.
        busy: Share of the machine's processors that worked meanwhile.
    """

    fault: Fault
    noticed_s: float
    told: list[Told]
    beside: list[Told]
    busy: float

    @property
    def is_as_wanted(self) -> bool:
        """People were told once, of each alert that they are to be told of, and of no other of this fault."""
        told = sorted(each.alert for each in self.told if not self._is_of_the_machine(each))
        return told == sorted(self.fault.told)

    def _is_of_the_machine(self, told: Told) -> bool:
        return told.alert == "LangflowEventLoopBlocked" and self.busy > SHORT_OF_CPU

    def cells(self) -> list[str]:
        wanted = "" if self.is_as_wanted else f" (wanted: {', '.join(self.fault.told) or 'nobody'})"
        pages = sum(each.receiver == "page" for each in self.told)
        fault = f"{self.fault.name}: {self.fault.what}"
        return [fault, self._said(self.told) + wanted, str(pages), f"{self.busy:.0%}", self._said(self.beside)]

    def _said(self, told: list[Told]) -> str:
        each_of = (
            f"{each.receiver}: {each.alert}, {each.at_s - self.noticed_s:.0f} s"
            + (" (of the machine)" if self._is_of_the_machine(each) else "")
            for each in told
        )
        return "; ".join(each_of) or "nobody"


def drive(
    chosen: list[Fault], with_collector: bool, settled_s: float, every_s: float, beside: Path | None = None
) -> list[Row]:
    """Makes the faults, in deployments of their own."""
    with tempfile.TemporaryDirectory(prefix="scenarios-") as folder, ExitStack() as running:
        history = history_of_traffic(time.time())
        watched = running.enter_context(watch(Path(folder), history=history))
        watches = [watched]
        if beside is not None:
            other = watch(Path(folder) / "beside", history=history, config=beside, beside=watched)
            watches.append(running.enter_context(other))
        # Its threads go on until the end: with the thread that started a server, the server would end.
        starters = running.enter_context(ThreadPoolExecutor(len(FAULTS)))
        starting = {
            name: starters.submit(running.enter_context, _deployment(watched, name, every_s))
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
                    _in_turn, watches, made, [fault for fault in chosen if fault.deployment == name and not fault.flow]
                )
                for name, made in deployments.items()
            ]
            rows += [
                drivers.submit(_in_turn, watches, deployments[fault.deployment], [fault])
                for fault in chosen
                if fault.flow
            ]
            if backend is not None:
                rows.append(drivers.submit(_of_the_collector, watches, backend))
            found = {row.fault.name: row for done in rows for row in done.result()}
        jobs = {COLLECTOR_JOB, *(made.job for made in deployments.values())}
        for each in (told for one in watches for told in opened(one.told) if told.job not in jobs):
            _say(f"told of none of the deployments: {each}")
        for made in deployments.values():
            made.signal(signal.SIGCONT)
        return [found[fault.name] for fault in (*chosen, COLLECTOR_FAULT) if fault.name in found]


def _deployment(watched: Watch, name: str, every_s: float) -> AbstractContextManager[Deployment]:
    workers = WORKERS.get(name, 1)
    return deployment(watched, name, workers=workers, every_s=every_s, **ENVIRONMENT.get(name, {}))


def _in_turn(watches: list[Watch], made: Deployment, faults: list[Fault]) -> list[Row]:
    return [_row(watches, fault, made.job, partial(fault.drive, made)) for fault in faults]


def _of_the_collector(watches: list[Watch], backend: Backend) -> list[Row]:
    return [_row(watches, COLLECTOR_FAULT, COLLECTOR_JOB, backend.die)]


def _row(watches: list[Watch], fault: Fault, job: str, make: Callable[[], float]) -> Row:
    began_s, used = time.time(), psutil.cpu_times()
    noticed_s = make()
    time.sleep(max(0.0, noticed_s + fault.watched_s - time.time()))
    flows = {each.flow for each in FAULTS if each.flow and each.deployment == fault.deployment}
    told, *others = (
        [
            each
            for each in opened(watched.of(job))
            if each.at_s > began_s and (each.flow == fault.flow if fault.flow else each.flow not in flows)
        ]
        for watched in watches
    )
    row = Row(fault, noticed_s, told, [each for other in others for each in other], _busy_since(used))
    _say(" | ".join(row.cells()))
    return row


def _busy_since(used: Any) -> float:
    """Share of the processors' time, since they had been used so."""
    now = psutil.cpu_times()
    return 1 - (now.idle + now.iowait - used.idle - used.iowait) / (sum(now) - sum(used))


def table(rows: list[Row], beside: Path | None = None) -> str:
    head = ["fault", "who was told what, seconds after a user noticed", "pages", "busy", f"by {beside}"]
    cells = [head, ["---"] * len(head), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(row if beside else row[:-1])} |" for row in cells)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
