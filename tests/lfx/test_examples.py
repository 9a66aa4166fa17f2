"""Each example runs by the one command that its first lines state."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from flows import line
from nodes.edited import Edited

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.slow


def stated_command(example: str) -> tuple[list[str], dict[str, str]]:
    """The first indented command of an example's docstring, and the variables set before it."""
    text = (EXAMPLES / example).read_text()
    line = re.search(r"^    (.+)$", text, re.MULTILINE)
    assert line is not None
    words = shlex.split(line.group(1))
    variables = dict(word.split("=", 1) for word in words if re.match(r"^[A-Z_]+=", word))
    return [word for word in words if word.split("=")[0] not in variables], variables


def environment(**variables: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}


def run(example: str, **more: str) -> str:
    command, variables = stated_command(example)
    env = environment(**variables, **more)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def console_spans(text: str) -> list[dict]:
    """The spans that the SDK's console exporter wrote, in the order of their ends."""
    decoder, found, position = json.JSONDecoder(), [], text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except ValueError:
            break
        if "context" in value:
            found.append(value)
        position = text.find("{", end)
    return found


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "custom_metrics.py",
        "decorated_component.py",
        "fastapi_app.py",
        "hello_flow.py",
        "run_often.py",
    }


def test_decorated_component():
    assert run("decorated_component.py").splitlines()[-6:] == [
        "invoke_workflow orders",
        "  component Chat Input",
        "  component Order Lookup",
        "    OrderLookup.parse input_size=4",
        "    lookup table=orders rows=2",
        "  component Chat Output",
    ]


def test_custom_metrics():
    lines = run("custom_metrics.py", OTEL_EXPORTER_PROMETHEUS_PORT="0").splitlines()

    assert [line for line in lines if "bucket" not in line] == [
        "# HELP orders_scored_total Orders that were scored.",
        "# TYPE orders_scored_total counter",
        'orders_scored_total{region="eu"} 1.0',
        'orders_scored_total{region="us"} 1.0',
        "# HELP order_score Scores of orders.",
        "# TYPE order_score histogram",
        'order_score_sum{region="eu"} 0.3',
        'order_score_count{region="eu"} 1.0',
        'order_score_sum{region="us"} 0.8',
        'order_score_count{region="us"} 1.0',
    ]
    assert 'order_score_bucket{region="eu",le="0.5"} 1.0' in lines


def test_opentelemetry_instrument_lfx_run():
    output = run("hello_flow.py")

    spans = console_spans(output)
    assert [span["name"] for span in spans] == [
        "component Chat Input",
        "component Chat Output",
        "invoke_workflow hello",
    ]
    assert {span["parent_id"] for span in spans[:2]} == {spans[2]["context"]["span_id"]}
    assert '"result": "hello"' in output


def test_fastapi_app():
    command, variables = stated_command("fastapi_app.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment(PORT=str(port), **variables), stdout=subprocess.PIPE, text=True
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/ask?question=hi",
            headers={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        )
        answer = _when_up(request)
    finally:
        server.terminate()
        output, _ = server.communicate(timeout=30)

    assert answer == {"answer": "hi"}
    spans = console_spans(output)
    assert [span["name"] for span in spans][-1] == "invoke_workflow echo"
    assert {span["context"]["trace_id"] for span in spans} == {"0x4bf92f3577b34da6a3ce929d0e0e4736"}
    assert spans[-1]["parent_id"] == "0x00f067aa0ba902b7"


@pytest.mark.any_version
def test_github_actions(tmp_path: Path) -> None:
    """The example's own steps, in a repository where a change makes a component of a flow slower."""
    job = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["compare"]
    steps = [step["run"] for step in job["steps"] if "langflow-otel " in step.get("run", "")]
    flow = json.dumps(line(Edited).dump())
    slower = flow.replace("return Message(", "__import__('time').sleep(0.2); return Message(")
    assert slower != flow
    (tmp_path / "flows").mkdir()
    (tmp_path / "run_often.py").write_text((EXAMPLES / "run_often.py").read_text())
    (tmp_path / "questions.txt").write_text("Where is my order?\nThank you\n")
    (tmp_path / "flows" / "shop.json").write_text(flow)
    identity = ["-c", "user.name=author", "-c", "user.email=author@example.com"]
    for git in (
        ["init"],
        ["add", "."],
        [*identity, "commit", "-m", "flow"],
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
    ):
        subprocess.run(["git", *git], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "flows" / "shop.json").write_text(slower)

    done = [
        subprocess.run(
            ["bash", "-e", "-c", step.replace("${{ github.base_ref }}", "main")],
            cwd=tmp_path,
            env=environment(RUNS="40", COLUMNS="120"),
            capture_output=True,
            text=True,
            check=False,
        )
        for step in steps
    ]

    assert [step.returncode for step in done] == [0, 1], [step.stderr for step in done]
    assert "Edited" in done[-1].stdout, done[-1].stdout


def _when_up(request: urllib.request.Request) -> dict:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
