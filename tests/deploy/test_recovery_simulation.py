"""The simulation of a pod that hangs, of nodes that are upgraded and of a new version, and the README's table of it."""

from __future__ import annotations

import pytest
from overlays import KUBERNETES
from scripts import load

SIMULATION = KUBERNETES / "simulation"
manifests = load(SIMULATION / "manifests.py")
recovery = load(SIMULATION / "recovery.py")
simulate = load(SIMULATION / "simulate.py")

Probe = manifests.Probe
COMMITTED = manifests.protection("production")


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [
        # Just after a success, then three failures: 10, 20 and 30 s later, the last of which is waited for.
        pytest.param(Probe(10, 5, 3, 30), 35, id="timeout below the period"),
        pytest.param(Probe(30, 30, 3, 30), 120, id="timeout as long as the period"),
        # A round that begins while an answer is waited for is left out.
        pytest.param(Probe(10, 15, 2, 30), 45, id="timeout above the period"),
        pytest.param(Probe(10, 1, 1, 30), 11, id="one failure"),
    ],
)
def test_a_probe_notices_a_hang_at_the_latest_after(probe, seconds: int) -> None:
    assert recovery.noticed_s(probe) == seconds


def test_a_hung_pod_is_replaced_within_five_minutes_in_place_of_fourteen() -> None:
    earlier, committed = recovery.hung_pod(recovery.EARLIER, 6), recovery.hung_pod(COMMITTED, 6)

    assert earlier.whole_after_s > 12 * 60
    assert committed.whole_after_s < 5 * 60
    assert (min(earlier.serving), min(committed.serving)) == (0, 1)
    assert committed.refused == 0
    # Those that it had, and every second one until it is out of the Service.
    assert 0 < committed.lost <= 6 + recovery.noticed_s(COMMITTED.readiness) / 2 + 1


def test_node_upgrades_refuse_no_run_where_two_replicas_are_the_least() -> None:
    earlier, committed = recovery.node_upgrade(recovery.EARLIER, 6), recovery.node_upgrade(COMMITTED, 6)

    assert earlier.refused == recovery.READY_AFTER_S
    assert (committed.refused, committed.lost, min(committed.serving)) == (0, 0, 1)


def test_a_new_version_loses_no_run_that_is_shorter_than_the_drain() -> None:
    short, longer = recovery.new_version(COMMITTED, 590), recovery.new_version(COMMITTED, 1200)

    assert (short.refused, short.lost) == (0, 0)
    assert short.runs > 1000
    assert longer.lost > 0


def test_the_readmes_table_of_recovery_is_what_the_simulation_gives() -> None:
    text = f"{simulate.RECOVERY_BEGIN}{recovery.table()}{simulate.RECOVERY_END}"

    assert text in simulate.README.read_text(), "run simulate.py --write"


def test_settings_that_the_simulation_does_not_know_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = manifests._langflow

    def two_at_a_time(file: str, kind: str):
        spec = real(file, kind)
        return {**spec, "maxUnavailable": 2} if kind == "PodDisruptionBudget" else spec

    monkeypatch.setattr(manifests, "_langflow", two_at_a_time)
    with pytest.raises(ValueError, match="more than one replica"):
        manifests.protection("production")
