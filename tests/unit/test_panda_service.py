"""What is said about allocations and ourselves, and the commands that come back."""

from __future__ import annotations

import pytest

from hpcharvest.errors import AnswerNotUnderstood
from hpcharvest.model.allocation import Allocation
from hpcharvest.model.ids import AllocationId, Attempt, JobId
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import AllocationOutcome, AllocationState, BatchState
from hpcharvest.panda.wire import ServerCommand, decode_commands, decode_flags, encode_heartbeat, encode_worker

NOON = 1795219200.0


def allocation(state: AllocationState, outcome: AllocationOutcome | None = None) -> Allocation:
    return Allocation(
        id=AllocationId(7),
        queue="LAB",
        shape=Shape(nodes=2, walltime_s=3600),
        tag="h-7",
        jobs=((JobId(31), Attempt(1)), (JobId(32), Attempt(2))),
        state=state,
        since=NOON + 5,
        created_at=NOON,
        batch_id="4711",
        batch_state=BatchState.RUNNING,
        batch_words="R\0",
        nodes=("n1", "n2"),
        outcome=outcome,
    )


def test_running_allocation_is_a_worker_with_its_jobs() -> None:
    assert encode_worker(allocation(AllocationState.RUNNING), cores=256, host="edge", element="main") == {
        "workerID": 7,
        "batchID": "4711",
        "queueName": "LAB",
        "computingSite": "LAB",
        "status": "running",
        "nCore": 256,
        "nJobs": 2,
        "nodeID": "n1,n2",
        "computingElement": "main",
        "submissionHost": "edge",
        "harvesterHost": "edge",
        "nativeStatus": "running",
        "diagMessage": "R?",
        "submitTime": "datetime/2026-11-21 00:00:00.000000",
        "startTime": "datetime/2026-11-21 00:00:05.000000",
        "pandaid_list": [31, 32],
    }


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [
        (AllocationState.INTENDED, None, "ready"),
        (AllocationState.SUBMITTED, None, "submitted"),
        (AllocationState.ENDED, AllocationOutcome.DONE, "finished"),
        (AllocationState.ENDED, AllocationOutcome.PAYLOAD_FAILED, "finished"),
        (AllocationState.ENDED, AllocationOutcome.INFRASTRUCTURE_FAILED, "failed"),
        (AllocationState.ENDED, AllocationOutcome.TIMED_OUT, "failed"),
        (AllocationState.ENDED, AllocationOutcome.PREEMPTED, "failed"),
        (AllocationState.ENDED, AllocationOutcome.CANCELLED, "cancelled"),
        (AllocationState.ENDED, None, "failed"),
    ],
)
def test_every_end_has_a_word(state: AllocationState, outcome: AllocationOutcome | None, word: str) -> None:
    worker = encode_worker(allocation(state, outcome), cores=2)
    assert worker["status"] == word
    assert ("endTime" in worker) is state.final


def test_heartbeat_has_only_the_columns_that_the_server_has() -> None:
    assert encode_heartbeat(NOON, "1.0", harvester_id="h") == {
        "harvester_id": "h",
        "data": {"startTime": "datetime/2026-11-21 00:00:00.000000", "sw_version": "1.0"},
    }


def test_commands_are_read_and_an_unreadable_one_costs_no_other() -> None:
    raw = [
        {"command_id": 1, "command": "REPORT_WORKER_STATS:LAB", "params": {}, "ack_requested": 1},
        {"command": 5},
        {"command_id": 2, "command": "KILL_WORKERS", "params": {"status": ["submitted"]}, "ack_requested": 0},
    ]
    assert decode_commands(raw) == (
        ServerCommand(id=1, verb="REPORT_WORKER_STATS", queue="LAB", acknowledge=True),
        ServerCommand(id=0, verb="{'command': 5}"),
        ServerCommand(id=2, verb="KILL_WORKERS", params={"status": ["submitted"]}),
    )
    with pytest.raises(AnswerNotUnderstood):
        decode_commands(None)


def test_flags_are_counted() -> None:
    assert decode_flags([True, False], 2) == (True, False)
    with pytest.raises(AnswerNotUnderstood):
        decode_flags([True], 2)
