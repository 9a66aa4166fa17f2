"""Nothing is lost while collectors are killed and away; what the library has to drop, it counts."""

from __future__ import annotations

from functools import partial

import pytest
from loss import handing_on, killed_and_down, restarted, sampling, while_disturbed, without_agent

pytestmark = pytest.mark.slow


def test_every_span_arrives_though_gateway_and_agent_are_killed_and_the_gateway_stays_away(tmp_path):
    found = while_disturbed(tmp_path, 200, handing_on, killed_and_down(15))

    assert found.sent >= 200 * 3
    assert (found.lost, found.dropped) == (0, 0), found


def test_a_sampling_gateway_that_is_restarted_loses_nothing(tmp_path):
    quick = partial(sampling, DECISION_WAIT_AFTER_ROOT="2s")

    found = while_disturbed(tmp_path, 60, quick, restarted)

    assert (found.lost, found.dropped) == (0, 0), found


def test_without_an_agent_what_is_lost_is_counted(tmp_path):
    found = without_agent(tmp_path, 100)

    assert found.sent == 100 * 4
    assert 0 < found.lost == found.dropped, found
