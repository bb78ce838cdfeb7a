"""Every end of a batch job in PBS and in Torque, by exit status, substate and comment."""

from __future__ import annotations

import pytest

from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.pbs_ends import PBS_CODES, TORQUE_CODES
from tests.services.pbs import in_text

PBS, TORQUE = (PbsDialect(VARIANTS[name], NodeShape(cores=1)) for name in ("pbs", "torque"))
ENDS = [
    ({"Exit_status": "0", "substate": "92"}, BatchState.COMPLETED),
    ({"Exit_status": "0", "substate": "93"}, BatchState.FAILED),
    ({"Exit_status": "1", "substate": "93"}, BatchState.FAILED),
    ({"Exit_status": "271", "substate": "93"}, BatchState.FAILED),
    ({"Exit_status": "271", "substate": "91"}, BatchState.CANCELLED),
    ({"Exit_status": "271", "substate": "91", "comment": "terminated: preempted by deletion"}, BatchState.PREEMPTED),
    ({"Exit_status": "265", "substate": "93", "comment": "and exceeded resource mem"}, BatchState.OUT_OF_MEMORY),
    ({"Exit_status": "137", "substate": "93", "comment": "Cgroup memory limit exceeded"}, BatchState.OUT_OF_MEMORY),
    ({"substate": "91"}, BatchState.CANCELLED),
    ({"substate": "92"}, BatchState.CANCELLED),
    ({"substate": "94"}, BatchState.UNKNOWN),
    ({}, BatchState.UNKNOWN),
    ({"Exit_status": "-99", "substate": "93"}, BatchState.FAILED),
    *(({"Exit_status": str(code), "substate": "93"}, state) for code, state in PBS_CODES.items()),
]


@pytest.mark.parametrize(("attributes", "state"), ENDS)
def test_every_end_in_pbs_has_its_own_name(attributes: dict[str, str], state: BatchState) -> None:
    (said,) = PBS.read_accounting(in_text(job_state="F", **attributes)).values()
    assert said.state is state


def test_codes_of_launch_node_and_time_are_kept_apart() -> None:
    assert {PBS_CODES[code] for code in (-1, -2, -3)} == {BatchState.LAUNCH_FAILED}
    assert {PBS_CODES[code] for code in (-14, -20)} == {BatchState.NODE_FAILED}
    assert (PBS_CODES[-29], TORQUE_CODES[-11]) == (BatchState.TIMED_OUT, BatchState.TIMED_OUT)


CLOCKS = {"resources_used__walltime": "00:02:01", "Resource_List__walltime": "00:02:00"}


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({"exit_status": "0"}, BatchState.COMPLETED),
        ({"exit_status": "7"}, BatchState.FAILED),
        ({"exit_status": "271"}, BatchState.CANCELLED),
        ({"exit_status": "271", "comment": "Job was preempted"}, BatchState.PREEMPTED),
        # Older versions give the signal instead of their own code.
        ({"exit_status": "271", **CLOCKS}, BatchState.TIMED_OUT),
        ({"exit_status": "265", **CLOCKS}, BatchState.TIMED_OUT),
        ({"exit_status": "265", **CLOCKS, "resources_used__walltime": "00:00:03"}, BatchState.FAILED),
        ({}, BatchState.CANCELLED),
        *(({"exit_status": str(code)}, state) for code, state in TORQUE_CODES.items()),
    ],
)
def test_every_end_in_torque_has_its_own_name(attributes: dict[str, str], state: BatchState) -> None:
    (said,) = TORQUE.read_status(in_text(Job_Name="t", job_state="C", **attributes)).values()
    assert (said.state, said.tag) == (state, "t")
    (alive,) = TORQUE.read_status(in_text(Job_Name="t", job_state="E", **attributes)).values()
    assert alive.state is BatchState.RUNNING
