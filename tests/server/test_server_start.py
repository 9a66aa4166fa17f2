"""LangFlow's own server: the ways to start it, to give it workers and to stop it.

Runs where ``langflow-base`` is installed. Most tests start a server of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import httpx
import paths
import pytest
from langflow_server import TRACE_FILE, Server, langflow_server, lfx_server
from received import render, runs_below
from ways import (
    CALLER,
    CALLER_ID,
    FAILING,
    NATIVE,
    OK,
    PLAYGROUND,
    PROMPT,
    RUN,
    SETTINGS,
    TRACE_ID,
    VERSION,
    ZERO_CODE,
    assert_joined,
    instances,
    only_root,
    ours,
    scored_tree,
    sent_by,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class TestWorkers:
    """Each process that answers has exporters and an identity of its own, however it came to be."""

    def test_two_workers(self) -> None:
        self.runs_on_two_workers({})

    @pytest.mark.skipif(VERSION < (1, 10), reason="LangFlow 1.10 and later can load before it forks")
    def test_two_workers_that_are_forked_after_loading(self) -> None:
        # LangFlow makes its own metric reader before it forks. Where that is sending just then, its lock stays shut in
        # the workers for good, and LangFlow waits 30 s for it at the end.
        seldom = {"OTEL_METRIC_EXPORT_INTERVAL": "600000"}
        self.runs_on_two_workers({"LANGFLOW_GUNICORN_PRELOAD": "true", **seldom})

    def runs_on_two_workers(self, environment: dict[str, str]) -> None:
        with langflow_server(workers=2, prefix=ZERO_CODE, environment={**SETTINGS, **environment}) as server:
            done = 0
            while done < 60 and (done < 10 or len(instances(server)) < 2):
                # A connection of its own each time, so that any worker may answer.
                answer = paths.api_run(server, "ok", PROMPT, {"Connection": "close"})
                assert answer.status == 200, answer
                done += 1
            assert [render([root]) for root in server.traces(runs=done)] == [RUN.tree("ok", *OK)] * done
            assert len(instances(server)) == 2
            for process in {str(span.resource["process.pid"]) for span in ours(server)}:
                assert int(process) in server.process_ids()

            # What ran just before the end is sent at the end.
            paths.api_run(server, "failing", PROMPT)
            assert server.stop() < 15
            assert len([root for root in server.traces(runs=done + 1) if "failing" in str(render([root]))]) == 1


class TestStart:
    """Other ways to start, and starts at which something is wrong: the server answers in each."""

    @pytest.mark.parametrize("prefix", [("opentelemetry-instrument",)], ids=lambda words: words[0])
    def test_commands_that_start_it(self, prefix: tuple[str, ...]) -> None:
        with langflow_server(prefix=prefix, environment=SETTINGS) as server:
            assert paths.api_run(server, "ok", PROMPT, CALLER).status == 200
            root = only_root(server)

        assert render([root]) == RUN.tree("ok", *OK)
        assert_joined(root, RUN)

    @pytest.mark.any_version
    def test_no_destination_no_telemetry(self) -> None:
        with langflow_server(prefix=ZERO_CODE, endpoint=False) as server:
            assert paths.api_run(server, "ok", PROMPT).status == 200
            server.wait_until_quiet()
            assert sent_by(server) == []
            output = server.output()

        assert "langflow-otel" not in output
        assert "Traceback" not in output

    @pytest.mark.any_version
    def test_a_destination_that_is_none_and_one_that_does_not_answer(self) -> None:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://[not an address",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        with langflow_server(prefix=ZERO_CODE, environment=environment) as server:
            assert paths.api_run(server, "ok", PROMPT).status == 200
            assert server.stop() < 20

    @pytest.mark.skipif(not NATIVE, reason="LangFlow 1.12 and later have telemetry of their own")
    def test_beside_langflows_own_telemetry_that_is_off(self) -> None:
        """Only ours is exported: the request's span is ours then, and no parent is missing."""
        environment = {"LANGFLOW_OTEL_TRACE_FILE": TRACE_FILE}
        with langflow_server(prefix=ZERO_CODE, environment=environment, endpoint=False) as server:
            for way in (RUN, PLAYGROUND):
                way.drive(server, "ok", PROMPT, CALLER)
            trees = server.trees(2)

        expected = [*RUN.tree("ok", *OK), *PLAYGROUND.tree("ok", *OK)]
        assert trees == [line for line in expected if "flow.execute" not in line]


class TestSamplingAndStop:
    """One server, started by ``langflow-otel exec``, which before LangFlow 1.8 starts all; the last test stops it."""

    @pytest.fixture(scope="class")
    def server(self) -> Iterator[Server]:
        environment = {**SETTINGS, "LANGFLOW_OTEL_SAMPLING": "ok=0,failing=0,*=1"}
        with langflow_server(prefix=("langflow-otel", "exec", "--"), environment=environment) as server:
            yield server

    def test_of_flows_that_are_not_sampled_the_failed_runs_are_kept(self, server: Server) -> None:
        for flow, headers in (("ok", {}), ("failing", {}), ("scored", CALLER)):
            paths.api_run(server, flow, PROMPT, headers)
        failed, sampled = server.traces(runs=2)

        # LangFlow's own telemetry follows the flag that the run had while it ran.
        expected = RUN.tree("failing", *FAILING, status="error", request_status="error")
        assert render([failed]) == [line for line in expected if "flow.execute" not in line]
        assert runs_below(failed)[0].attributes["langflow.kept"] == "error"
        assert render([sampled]) == scored_tree(RUN)
        assert_joined(sampled, RUN)

    def test_what_still_runs_is_sent_before_the_server_may_be_killed(self, server: Server) -> None:
        """A server waits without end for what it is answering; who stops it waits 30 s, and kills it."""
        server.forget()
        client = threading.Thread(target=_run_that_is_cut_off, args=(server,))
        client.start()
        paths.wait_until_waiting(server, PROMPT)
        server.process.send_signal(signal.SIGTERM)
        (root,) = server.traces(runs=1, timeout_s=30)
        (run,) = runs_below(root)
        # It goes on waiting until then.
        os.killpg(server.process.pid, signal.SIGKILL)
        client.join()

        assert (run.status, run.attributes["langflow.cancellation.reason"]) == ("cancelled", "shutdown")
        assert [child.name for child in run.children if "execute" not in child.name] == [
            "component Chat Input",
            "component Slow",
        ]


def _run_that_is_cut_off(server: Server) -> None:
    with contextlib.suppress(httpx.HTTPError):
        paths.api_run(server, "slow", PROMPT)


class TestLfxServe:
    def test_a_run(self) -> None:
        with lfx_server("ok", prefix=("langflow-otel", "exec", "--")) as server:
            (flow,) = server.client.get("/flows").json()
            answer = server.client.post(f"/flows/{flow['id']}/run", json={"input_value": PROMPT}, headers=CALLER)
            assert answer.status_code == 200, answer.text
            root = only_root(server)

        (run,) = runs_below(root)
        names = [span.name for span in root.walk() if span.scope == "langflow_otel" and span is not root]
        assert names == ["invoke_workflow ok", *OK]
        assert (root.trace_id, root.parent_id) == (TRACE_ID, CALLER_ID)
        assert run.attributes["langflow.entry_point"] == "serve"
