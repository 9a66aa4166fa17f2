"""What a person gets: a real Alertmanager sends to an HTTP server in the place of PagerDuty, Slack and the webhook."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("promql_parser", reason="reads the rules: pip install 'langflow-otel[configs]'")

from live import free_port, process
from promql import CONFIG, alerts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None,
        reason="Alertmanager is not installed: apt-get install prometheus-alertmanager",
    ),
]

SEVERITIES = {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}


@dataclass
class Pager:
    """Alertmanager, and what it has sent."""

    address: str
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def fire(self, *fired: dict[str, str], resolved: bool = False) -> None:
        """Report these alerts at once, as Prometheus does."""
        # To the fraction: Alertmanager doesn't wait for others with an alert that is older than its group_wait.
        now = datetime.now(timezone.utc).isoformat()
        body = [
            {
                "labels": {"severity": SEVERITIES[labels["alertname"]], **labels},
                "annotations": {
                    "summary": f"{labels['alertname']} of {_about(labels)}",
                    "description": "It is so.",
                    "impact": f"Users notice: {labels['alertname']}.",
                    "dashboard_url": f"http://grafana/d/?var-flow={labels.get('flow', '')}",
                    "runbook_url": f"http://runbook#{labels['alertname'].lower()}",
                },
                "startsAt": now,
                **({"endsAt": now} if resolved else {}),
            }
            for labels in fired
        ]
        request = urllib.request.Request(
            f"http://{self.address}/api/v2/alerts",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def events(self, job: str, action: str = "trigger") -> list[dict[str, Any]]:
        """What PagerDuty got about a job, in order."""
        return [
            body
            for path, body in list(self.sent)
            if path == "/pagerduty" and body["payload"].get("group", job) == job and body["event_action"] == action
        ]

    def incidents(self, job: str) -> dict[str, str]:
        """Incidents that PagerDuty has opened for a job: the newest description by the name of the alert."""
        return {event["payload"]["class"]: event["payload"]["summary"] for event in self.events(job)}

    def wait(self, holds: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline_s, f"{what}; was sent: {self.sent}"
            time.sleep(0.05)


def _about(labels: dict[str, str]) -> str:
    job = labels.get("job", "all")
    return labels.get("flow") or (f"{labels['namespace']}/{job}" if "namespace" in labels else job)


@pytest.fixture(scope="module")
def pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pager]:
    """Our alertmanager.yml as it is, but for addresses and shorter waits."""
    folder = tmp_path_factory.mktemp("pager")
    found = Pager(f"127.0.0.1:{free_port()}")

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.sent.append((self.path, body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    config = rewritten(folder, f"http://127.0.0.1:{receiver.server_port}")
    command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder}"]
    with process(
        [*command, f"--web.listen-address={found.address}", "--cluster.listen-address="], folder / "alertmanager.log"
    ):
        found.wait(lambda: is_ready(found.address), "Alertmanager does not answer")
        yield found
    receiver.shutdown()
    receiver.server_close()


def rewritten(folder: Path, receiver: str) -> Path:
    text = (CONFIG / "alertmanager" / "alertmanager.yml").read_text()
    for name, value in (("pagerduty_routing_key", "k"), ("tickets_token", "t"), ("slack_url", f"{receiver}/slack")):
        assert f"/etc/alertmanager/secrets/{name}" in text
        (folder / name).write_text(value)
    text = text.replace("/etc/alertmanager/secrets", str(folder))
    text = re.sub(r"( +)- routing_key_file: .+", rf"\g<0>\n\1  url: {receiver}/pagerduty", text)
    text = re.sub(r"url: http://(tickets:8080/\w+)", f"url: {receiver}/webhook", text)
    text = text.replace("http://watchdog:8080/alive", f"{receiver}/watchdog")
    text = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", text)
    config = folder / "alertmanager.yml"
    config.write_text(text)
    return config


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def dashboard(flow: str) -> str:
    return rf"http://grafana/d/\?var-flow={flow}&from=(\d+)&to=(\d+)"


def test_a_page_has_the_summary_of_every_alert(pager: Pager):
    """Three components of one flow are one incident."""
    types = ("A", "B", "C")
    fault = {"alertname": "LangflowComponentFailing", "job": "langflow-three", "flow": "shop"}
    pager.fire(*({**fault, "component_type": each} for each in types))

    pager.wait(lambda: pager.events("langflow-three"), "no page")
    [event] = pager.events("langflow-three")
    assert event["payload"]["summary"] == "3 alerts: " + "; ".join(["LangflowComponentFailing of shop"] * 3)
    details = event["payload"]["custom_details"]["firing"]
    linked = rf"Dashboard: {dashboard('shop')}\nTraces: \S+\nRunbook: http://runbook#langflowcomponentfailing"
    assert len(re.findall(linked, details)) == 3
    assert details.count("LangflowComponentFailing of shop\nUsers notice: LangflowComponentFailing.\nIt is so.\n") == 3
    runbook, link = event["links"]
    assert runbook == {"href": "http://runbook#langflowcomponentfailing", "text": "Runbook"}
    found = re.fullmatch(dashboard("shop"), link["href"])
    assert found, link
    # The half hour before the alert and that after it, in milliseconds.
    from_ms, to_ms = map(int, found.groups())
    assert to_ms - from_ms == 3_600_000
    assert abs((from_ms + to_ms) / 2000 - time.time()) < 600


@pytest.mark.parametrize(("alert", "status"), [("LangflowFlowFailing", " && status=error"), ("LangflowRunHangs", "")])
def test_a_page_opens_the_search_for_the_traces_of_its_flow(pager: Pager, alert: str, status: str):
    job = f"langflow-{alert.lower()}"
    pager.fire({"alertname": alert, "job": job, "flow": 'the "shop" & more'})

    pager.wait(lambda: pager.events(job), "no page")
    [event] = pager.events(job)
    details = event["payload"]["custom_details"]["firing"]
    url = re.search(r"^Traces: (\S+)$", details, re.MULTILINE)
    dashboard_times = re.search(r"&from=(\d+)&to=(\d+)", details)
    assert url, details
    assert dashboard_times, details
    address = urllib.parse.urlsplit(url[1])
    assert f"{address.scheme}://{address.netloc}{address.path}" == "http://grafana/explore"
    [pane] = json.loads(urllib.parse.parse_qs(address.query)["panes"][0]).values()
    assert pane["datasource"] == "tempo"
    assert pane["queries"][0]["query"] == f'{{span.langflow.flow.name="the \\"shop\\" & more"{status}}}'
    assert (pane["range"]["from"], pane["range"]["to"]) == dashboard_times.groups()


def test_a_page_of_one_alert_is_its_summary(pager: Pager):
    pager.fire({"alertname": "LangflowMemoryHigh", "job": "langflow-one", "instance": "a:9464"})

    pager.wait(lambda: pager.events("langflow-one"), "no page")
    assert pager.incidents("langflow-one") == {"LangflowMemoryHigh": "LangflowMemoryHigh of langflow-one"}


def test_the_end_of_a_fault_says_what_ended(pager: Pager):
    fault = {"alertname": "LangflowFlowFailing", "job": "langflow-end", "flow": "shop"}
    pager.fire(fault)
    pager.wait(lambda: pager.events("langflow-end"), "no page")

    pager.fire(fault, resolved=True)

    pager.wait(lambda: pager.events("langflow-end", "resolve"), "the incident stays open")
    [opened], [ended] = pager.events("langflow-end"), pager.events("langflow-end", "resolve")
    assert ended["dedup_key"] == opened["dedup_key"]


def test_a_worse_fault_is_a_page_of_its_own(pager: Pager):
    """While a flow fails, memory runs full, and then nothing answers."""
    job = "langflow-worse"
    pager.fire({"alertname": "LangflowFlowFailing", "job": job, "flow": "shop"})
    pager.wait(lambda: len(pager.incidents(job)) == 1, "no page")
    pager.fire({"alertname": "LangflowMemoryHigh", "job": job, "instance": "a:9464"})
    pager.wait(lambda: len(pager.incidents(job)) == 2, "no page for the worse fault")
    pager.fire({"alertname": "LangflowDown", "job": job})
    pager.wait(lambda: len(pager.incidents(job)) == 3, "no page for the worst fault")

    assert len({event["dedup_key"] for event in pager.events(job)}) == 3


def test_a_second_flow_that_fails_is_a_page_of_its_own(pager: Pager):
    job = "langflow-second"
    for count, flow in enumerate(("shop", "orders"), start=1):
        pager.fire({"alertname": "LangflowFlowFailing", "job": job, "flow": flow})
        pager.wait(lambda count=count: len(pager.events(job)) == count, f"no page for {flow}")

    assert len({event["dedup_key"] for event in pager.events(job)}) == 2


def test_a_fault_mutes_nothing_of_another_namespace(pager: Pager):
    job = "langflow-namespaces"
    pager.fire({"alertname": "LangflowDown", "job": job, "namespace": "ai"})
    pager.fire(*({"alertname": "LangflowServerErrors", "job": job, "namespace": each} for each in ("ai", "shop")))

    pager.wait(lambda: "LangflowServerErrors" in pager.incidents(job), "no page of the other namespace")
    [errors] = [event for event in pager.events(job) if event["payload"]["class"] == "LangflowServerErrors"]
    assert errors["payload"]["custom_details"]["firing"].startswith("LangflowServerErrors of shop/")


def kubernetes(name: str, job: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "job": job, "namespace": "ai", **labels}


FAULTS = {
    "a dead deployment": (
        lambda job: [
            {"alertname": "LangflowDown", "job": job},
            {"alertname": "LangflowCrashLoop", "job": job, "instance": "10.0.0.1:9464"},
            kubernetes("LangflowPodCrashLoop", job, pod=f"{job}-7d9f8b6c5-x2x4z", container="langflow"),
            kubernetes("LangflowDeploymentUnavailable", job, deployment=job),
            {"alertname": "LangflowServerErrors", "job": job, "http_route": "/api/v1/flows"},
        ],
        "LangflowDown",
    ),
    "a dead deployment whose probe and targets have no namespace": (
        lambda job: [
            {"alertname": "LangflowDown", "job": job},
            {"alertname": "LangflowNotAnswering", "job": job},
            kubernetes("LangflowDeploymentUnavailable", job, deployment=job),
        ],
        "LangflowDown",
    ),
    "a flow with few runs that fails at each": (
        lambda job: [
            {"alertname": "LangflowFlowNeverSucceeds", "job": job, "flow": "rare"},
            {"alertname": "LangflowErrorBudgetBurn1h", "job": job},
            {"alertname": "LangflowServerErrors", "job": job, "http_route": "/api/v1/run/{flow_id_or_name}"},
        ],
        "LangflowFlowNeverSucceeds",
    ),
    "pods that crash, with an endpoint in between": (
        lambda job: [
            {"alertname": "LangflowCrashLoop", "job": job, "instance": "10.0.0.1:9464"},
            kubernetes("LangflowPodCrashLoop", job, pod=f"{job}-7d9f8b6c5-x2x4z", container="langflow"),
            kubernetes("LangflowDeploymentUnavailable", job, deployment=job),
        ],
        "LangflowPodCrashLoop",
    ),
    "nothing answers, though it is scraped": (
        lambda job: [
            {"alertname": "LangflowNotAnswering", "job": job},
            {"alertname": "LangflowEventLoopStopped", "job": job, "instance": "a:9464"},
            {"alertname": "LangflowRunHangs", "job": job, "flow": "shop"},
            kubernetes("LangflowDeploymentUnavailable", job, deployment=job),
        ],
        "LangflowNotAnswering",
    ),
    "three flows that fail at once": (
        lambda job: [
            {"alertname": "LangflowFlowsFailing", "job": job},
            *({"alertname": "LangflowFlowFailing", "job": job, "flow": flow} for flow in "abc"),
            {"alertname": "LangflowComponentFailing", "job": job, "flow": "a", "component_type": "Model"},
            {"alertname": "LangflowServerErrors", "job": job, "http_route": "/api/v1/run/{flow_id_or_name}"},
        ],
        "LangflowFlowsFailing",
    ),
    "an API that times out": (
        lambda job: [
            {"alertname": "LangflowApiTimeouts", "job": job, "flow": "shop", "component_type": "Model"},
            {"alertname": "LangflowComponentFailing", "job": job, "flow": "shop", "component_type": "Model"},
            {"alertname": "LangflowFlowFailing", "job": job, "flow": "shop"},
            {"alertname": "LangflowServerErrors", "job": job, "http_route": "/api/v1/run/{flow_id_or_name}"},
            {"alertname": "LangflowErrorBudgetBurn1h", "job": job},
        ],
        "LangflowApiTimeouts",
    ),
}
"""Alerts that one fault makes, and the one that is paged."""


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_one_page(pager: Pager, fault: str):
    make, cause = FAULTS[fault]
    job = f"langflow-{list(FAULTS).index(fault)}"
    pager.fire(*make(job))

    pager.wait(lambda: pager.incidents(job), "no page")
    # Another job's page, fired later, is there: so would be a second one of this fault.
    pager.fire({"alertname": "LangflowDown", "job": f"{job}-later"})
    pager.wait(lambda: pager.incidents(f"{job}-later"), "no page")
    assert list(pager.incidents(job)) == [cause]


def test_the_watchdog_is_heard_outside_and_nowhere_else(pager: Pager):
    pager.fire({"alertname": "Watchdog"})

    pager.wait(lambda: "/watchdog" in {path for path, _ in pager.sent}, "the watchdog is not heard")
    assert {path for path, body in pager.sent if "Watchdog" in json.dumps(body)} == {"/watchdog"}


def test_a_ticket_and_a_note_name_their_alerts(pager: Pager):
    pager.fire(
        {"alertname": "LangflowFasterThanLastWeek", "job": "langflow-note", "flow": "a"},
        {"alertname": "LangflowFasterThanLastWeek", "job": "langflow-note", "flow": "b"},
        {"alertname": "LangflowCpuHigh", "job": "langflow-note", "instance": "a:9464"},
    )

    pager.wait(lambda: {path for path, _ in pager.sent} >= {"/slack", "/webhook"}, "no ticket or no note")
    [note] = [body for path, body in pager.sent if path == "/slack"]
    [ticket] = [body for path, body in pager.sent if path == "/webhook"]
    for flow in ("a", "b"):
        links = rf"<{dashboard(flow)}\|dashboard> <http://runbook#langflowfasterthanlastweek\|runbook>"
        told = f"LangflowFasterThanLastWeek of {flow}. Users notice: LangflowFasterThanLastWeek. {links}"
        assert re.search(told, note["attachments"][0]["text"])
    [alert] = ticket["alerts"]
    assert alert["labels"]["alertname"] == "LangflowCpuHigh"
    assert alert["annotations"]["impact"] == "Users notice: LangflowCpuHigh."
