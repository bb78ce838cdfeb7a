"""What OpenPBS 23.06 said about free nodes, plans, reservations and limits."""

from __future__ import annotations

from datetime import datetime

import pytest

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Capacity, Hole, Limit, LimitKind, NodeGroup, OwnJob, Planned, Reservation, holes
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.capacity import pbs
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.dialect import Spoken
from tests.services.recordings import recorded

ROOT = Asker(user="root")
NODE = NodeShape(cores=16, memory_mb=16_384)


def local(words: str) -> float:
    return datetime.fromisoformat(words).timestamp()


@pytest.mark.parametrize(
    ("name", "total", "free"),
    [
        ("pbsnodes_aSj_json", 4, ("n1", "n2", "n3", "n4")),
        ("pbsnodes_busy_json", 4, ()),  # n4 is `free`, but has jobs
        ("pbsnodes_down_json", 4, ("n4",)),  # n1 is down; n2 and n3 are `free` with a core in use
        ("pbsnodes_off_json", 1, ()),
    ],
)
def test_a_node_is_free_if_nothing_is_on_it(name: str, total: int, free: tuple[str, ...]) -> None:
    assert pbs.nodes(recorded("pbs", name)) == [NodeGroup(partition="", shape=NODE, total=total, free=free)]


def test_the_virtual_nodes_of_a_host_are_one_node() -> None:
    vnode = '{"state": "%s", "resources_available": {"host": "h", "ncpus": 8, "mem": "4gb", "ngpus": 2}}'
    out = '{"pbs_server": "vm", "nodes": {"h[0]": %s, "h[1]": %s}}'
    shape = NodeShape(cores=16, memory_mb=8192, gpus=4)
    for states, free in ((("free", "free"), ("h",)), (("free", "job-busy"), ())):
        spoken = Spoken(exit_code=0, out=out % tuple(vnode % one for one in states))
        assert pbs.nodes(spoken) == [NodeGroup(partition="", shape=shape, total=1, free=free)]


def test_who_waits_with_an_estimate_has_plans_and_all_ours_are_told() -> None:
    said = pbs.batch_jobs(ROOT, recorded("pbs", "bf_qstat_json"))
    planned = [one for one in said if isinstance(one, Planned)]
    own = {one.tag: one for one in said if isinstance(one, OwnJob)}
    assert planned[0] == Planned(id="16.vm", start=local("2026-11-21T00:05:18"), nodes=("n1", "n2", "n3", "n4"))
    assert own["A1"] == OwnJob(
        id="15.vm",
        tag="A1",
        state=BatchState.RUNNING,
        partition="workq",
        nodes=3,
        walltime_s=120,
        start=local("2026-11-21T00:03:18"),
    )
    assert own["TOP"].start == planned[0].start
    others = pbs.batch_jobs(Asker(user="alice"), recorded("pbs", "bf_qstat_json"))
    assert [one for one in others if isinstance(one, OwnJob)] == []


def test_the_hole_lasts_until_the_first_estimated_start() -> None:
    """In this very moment A1 had n1 to n3, n4 was free, and TOP was to have all four."""
    said = pbs.batch_jobs(ROOT, recorded("pbs", "bf_qstat_json"))
    planned = tuple(one for one in said if isinstance(one, Planned))
    found = Capacity(nodes=(NodeGroup(partition="", shape=NODE, total=4, free=("n4",)),), planned=planned)
    now = local("2026-11-21T00:03:30")
    assert holes(found, now) == (Hole(partition="", nodes=1, seconds=108.0),)


def test_what_can_never_run_has_no_plan() -> None:
    said = pbs.batch_jobs(ROOT, recorded("pbs", "qstat_mixed_est_json"))
    assert all(one.id != "3.vm" for one in said if isinstance(one, Planned))
    assert any(isinstance(one, OwnJob) and (one.id, one.start, one.nodes) == ("3.vm", None, 99) for one in said)


def test_queues_say_their_limits() -> None:
    workq, debug, preempt = pbs.queues(recorded("pbs", "qstat_Qf_json"))
    assert workq == Limit(kind=LimitKind.QUEUE, name="workq")
    assert debug == Limit(kind=LimitKind.QUEUE, name="debug", max_nodes=2, max_walltime_s=1800, max_running=5)
    assert isinstance(preempt, Limit)
    assert preempt.open
    assert pbs.server(recorded("pbs", "qstat_Bf_json")) == [
        Limit(kind=LimitKind.SERVER, name="vm", routes=("workq",)),
    ]


def test_a_reservation_is_read_and_its_users() -> None:
    assert pbs.reservations(ROOT, recorded("pbs", "rstat_f")) == [
        Reservation(
            name="maint",
            start=local("2026-11-21T00:28:00"),
            end=local("2026-11-21T00:58:00"),
            nodes=4,
            names=("n1", "n2", "n3", "n4"),
            usable=True,
            words="queue=R20 users=root@vm",
        )
    ]
    (others,) = pbs.reservations(Asker(user="alice"), recorded("pbs", "rstat_f"))
    assert isinstance(others, Reservation)
    assert not others.usable


def test_a_reservation_is_chosen_by_its_queue() -> None:
    (one,) = pbs.reservations(Asker(user="root", partition="R20"), recorded("pbs", "rstat_f"))
    assert isinstance(one, Reservation)
    assert one.chosen


def test_maintenance_is_for_nobody() -> None:
    answer = recorded("pbs", "rstat_f")
    (one,) = pbs.reservations(ROOT, Spoken(exit_code=0, out=answer.out.replace("Resv ID: R20", "Resv ID: M20")))
    assert isinstance(one, Reservation)
    assert (one.maintenance, one.usable) == (True, False)


def test_what_is_not_confirmed_keeps_no_nodes() -> None:
    answer = recorded("pbs", "rstat_f")
    changed = Spoken(exit_code=0, out=answer.out.replace("RESV_CONFIRMED", "RESV_UNCONFIRMED"))
    assert pbs.reservations(ROOT, changed) == []
    assert pbs.reservations(ROOT, Spoken(exit_code=0, out="")) == []


def test_a_server_that_is_down_says_nothing() -> None:
    with pytest.raises(BatchUnreachable, match="cannot connect to server"):
        pbs.nodes(recorded("pbs", "srvdown_pbsnodes"))
    with pytest.raises(BatchUnreachable, match="cannot connect to server"):
        pbs.batch_jobs(ROOT, recorded("pbs", "srvdown_qstat"))
    with pytest.raises(BatchUnreachable, match="illegally formed"):
        pbs.reservations(ROOT, recorded("pbs", "rstat_F_json"))


def test_an_empty_queue_is_empty() -> None:
    assert pbs.batch_jobs(ROOT, recorded("pbs", "qstat_empty_json")) == []


def test_a_value_that_is_not_quoted_does_not_blind_us() -> None:
    answer = recorded("pbs", "bf_qstat_json")
    broken = Spoken(exit_code=0, out=answer.out.replace('"T":\t300', '"T":\t"a "quoted" word, and \\x'))
    assert broken.out != answer.out
    assert pbs.batch_jobs(ROOT, broken) == pbs.batch_jobs(ROOT, answer)


def test_a_node_that_is_no_json_is_read_all_the_same() -> None:
    answer = recorded("pbs", "pbsnodes_down_json")
    broken = Spoken(exit_code=0, out=answer.out.replace('"arch":\t"linux"', '"arch":\t005'))
    assert broken.out != answer.out
    assert pbs.nodes(broken) == pbs.nodes(answer)


def test_a_node_that_does_not_end_is_left_out() -> None:
    out = recorded("pbs", "pbsnodes_down_json").out
    (group,) = pbs.nodes(Spoken(exit_code=0, out=out[: out.index('"n4"')]))
    assert isinstance(group, NodeGroup)
    assert (group.total, group.free) == (3, ())
