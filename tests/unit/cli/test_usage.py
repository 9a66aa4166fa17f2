"""``langflow-otel usage``: tables, budgets, prices with holes, and flows that do not run any more."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app
from tests.support.made_spans import MadeTraces

DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alice runs twice, of which a call has no price; an evil name once. Ten days ago, an hour apart."""
    made = MadeTraces(run_start_ns=time.time_ns() - 10 * DAY_NS)
    used = {"what": "model", "input_tokens": 1000, "output_tokens": 100, "provider": "openai"}
    for user, model, cost in (("alice", "large", 3.0), ("alice", "small", None), ("=1+1\x1b[31m", "large", 1.0)):
        run = made.run(60, user_id=user)
        made.run_start_ns += 3600 * 10**9
        run.add(f"chat {model}", 0, 1, model=model, cost=cost, currency=cost and "USD", **used)
    return made.write(tmp_path_factory.mktemp("usage") / "spans.jsonl")


def cli(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["usage", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def prices(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "prices.json"
    path.write_text(json.dumps({"currency": "EUR", "prices": entries}))
    return path


def test_table_has_the_most_expensive_first_and_all_together(path):
    result = cli(path, "--by", "user")

    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0] in ("alice", "=1+1", "all")] == ["alice", "=1+1", "all"]
    assert "at least 3.00 USD" in result.stdout
    assert "at least 4.00 USD" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == (
        "warning: no price for small (1 call): they are in no cost, which is at least what is shown\n"
    )


def test_json_and_csv_have_the_same(path):
    found = json.loads(cli(path, "--by", "user", "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(cli(path, "--by", "user", "--csv").stdout)))

    assert (found["by"], found["cost"], found["unpriced_models"]) == ("user", {"USD": 4.0}, {"small": 1})
    alice = found["uses"][0]
    assert (alice["key"], alice["runs"], alice["input_tokens"], alice["cost"]) == ("alice", 2, 2000, {"USD": 3.0})
    assert [row["cost_USD"] for row in rows] == ["3.0", "1.0"]
    assert rows[1]["user"] == "'=1+1 [31m"


def test_price_file_is_what_counts(path, tmp_path):
    file = prices(tmp_path, {"model": "*", "input": 1000, "output": 0})

    result = cli(path, "--prices", file, "--json")

    assert json.loads(result.stdout)["cost"] == {"EUR": 3.0}
    assert result.stderr == ""


def test_hole_in_the_price_file_is_said(path, tmp_path):
    result = cli(path, "--prices", prices(tmp_path, {"model": "large", "input": 1, "output": 0}))

    assert "warning: no price for small (1 call)" in result.stderr


def test_spans_without_costs_are_said(tmp_path):
    made = MadeTraces()
    made.run(1).add("chat m", 0, 1, what="model", model="m", input_tokens=5)
    path = made.write(tmp_path / "spans.jsonl")

    assert "note: the spans have no costs; --prices FILE computes them" in cli(path).stderr
    assert "--budget: no cost is known" in cli(path, "--budget", "5", code=2).stderr


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("3.50", "budget exceeded: all together cost 4.00 USD, and 3.50 USD are allowed"),
        ("3 USD", "budget exceeded: all together cost 4.00 USD, and 3.00 USD are allowed"),
        ("alice=2USD", "budget exceeded: alice cost 3.00 USD, and 2.00 USD are allowed"),
    ],
)
def test_exceeded_budget_is_exit_code_1(path, budget, said):
    result = cli(path, "--by", "user", "--budget", budget, code=1)

    assert said in result.stderr
    assert "alice" in result.stdout


def test_kept_budgets_pass(path):
    cli(path, "--by", "user", "--budget", "4", "--budget", "alice=3USD", "--budget", "nobody=0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "colour"], "--by colour: accepted are flow, user, session, model, provider and tag:NAME"),
        (["--budget", "much"], "--budget much: an amount is accepted, such as 100, 100EUR or alice=5EUR"),
        (["--budget", "5EUR"], "--budget: nothing is in EUR; there is USD"),
        (["--flow", "none"], "--flow none: no run of it is in these files; there are runs of shop"),
        (["--idle", "5", "--flow", "shop"], "--idle takes no --flow"),
        (["--idle", "5", "--budget", "3"], "--idle takes no --budget"),
        (["--resources", "--by", "model"], "--resources takes no --by"),
        (["--json", "--csv"], "only one of --json and --csv is accepted"),
        (["--prices", "nowhere.json"], "--prices nowhere.json cannot be read: No such file"),
        (["--idle", "long"], "Invalid value for '--idle'"),
        (["--idle", "30"], "the files hold the runs of the last 10.0 days only: none can be known to be idle for 30"),
    ],
)
def test_wrong_use_is_one_line(path, arguments, said):
    assert said in cli(path, *arguments, code=2).stderr


def test_unknown_names_are_said(path):
    """A budget that nothing can exceed, since its name is wrong; a key that no run has."""
    misspelt = cli(path, "--by", "user", "--budget", "alise=1USD")
    without = cli(path, "--by", "tag:tenant")
    late = cli(path, "--by", "user", "--since", "1m", code=2)

    assert "warning: --budget alise: no run of it is in these files; there are =1+1 [31m, alice" in misspelt.stderr
    assert "alice: no run" not in cli(path, "--by", "user", "--budget", "alice=9USD", "--since", "12d").stderr
    assert "note: no run has the attribute tenant, nor has its resource" in without.stderr
    assert "no run started in the last 1m; the newest started " in late.stderr


def test_users_that_were_not_recorded_are_said(tmp_path):
    made = MadeTraces()
    made.run(1)

    said = cli(made.write(tmp_path / "spans.jsonl"), "--by", "user").stderr

    assert "note: no run has a user.id: LANGFLOW_OTEL_USER_ID=true records it" in said


def test_prices_that_fit_no_call_are_said(path, tmp_path):
    """Nothing is shown as at least something then."""
    file = prices(tmp_path, {"model": "huge", "input": 1, "output": 0})

    shown = cli(path, "--prices", file)
    result = cli(path, "--prices", file, "--budget", "5", code=2)

    assert "warning: no price for large (2 calls), small (1 call): no cost is known\n" in shown.stderr
    assert f"--budget: no cost is known; {file} has no price for any call" in result.stderr


def test_invalid_prices_are_one_line(path, tmp_path):
    result = cli(path, "--prices", prices(tmp_path, {"model": "large", "input": 1}), code=2)

    assert "prices.json: prices[0].output is missing" in result.stderr


def test_budget_names_one_of_several_currencies(path, tmp_path):
    file = prices(
        tmp_path,
        {"model": "large", "input": 1, "output": 0},
        {"model": "small", "input": 1, "output": 0, "currency": "USD"},
    )

    assert (
        "--budget 5: name one of the currencies EUR, USD" in cli(path, "--prices", file, "--budget", "5", code=2).stderr
    )
    cli(path, "--prices", file, "--budget", "5EUR")


def test_idle_flows_are_listed(path, tmp_path):
    result = cli(path, "--idle", "5")
    assert "shop" in result.stdout
    assert "9.9" in result.stdout

    (flow,) = json.loads(cli(path, "--idle", "5", "--json").stdout)
    assert (flow["flow"], flow["runs"], flow["idle_days"]) == ("shop", 3, pytest.approx(9.9, abs=0.1))
    assert cli(path, "--idle", "5", "--csv").stdout.splitlines()[0] == "flow,flow_id,runs,last_run,idle_days"

    made = MadeTraces(run_start_ns=time.time_ns() - 10 * DAY_NS)
    made.run(1)
    made.run_start_ns = time.time_ns() - DAY_NS
    made.run(1)
    assert cli(made.write(tmp_path / "new.jsonl"), "--idle", "5").stderr == "every flow ran within that time\n"
