"""What Slurm 22.05.8 said about free nodes, plans, reservations and limits."""

from __future__ import annotations

from datetime import datetime

import pytest

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import (
    Limit,
    LimitKind,
    NodeGroup,
    OwnJob,
    Planned,
    Reservation,
    Start,
    Topic,
)
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.capacity import slurm
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.dialect import Spoken
from tests.services.recordings import recorded

ROOT = Asker(user="root")
NODE = NodeShape(cores=4, memory_mb=1000)
SHAPE = Shape(nodes=1, walltime_s=600)


def local(words: str) -> float:
    return datetime.fromisoformat(words).timestamp()


def sinfo(state: str, gres: str = "(null)") -> Spoken:
    fields = ("p", state, "2", "2", "8", "1000", gres, "n[1-2]")
    return Spoken(exit_code=0, out="\x1e" + "\x1f".join(fields) + "\n")


def free(state: str) -> tuple[str, ...]:
    (group,) = slurm.nodes(sinfo(state))
    assert isinstance(group, NodeGroup)
    assert group.total == 2
    return group.free


def test_planned_nodes_are_free_and_drained_ones_are_not() -> None:
    assert slurm.nodes(recorded("slurm", "sinfo_free")) == [
        NodeGroup(partition="regular", shape=NODE, total=4, free=("n2", "n3")),
        NodeGroup(partition="debug", shape=NODE, total=2, free=("n2",)),
        NodeGroup(partition="preempt", shape=NODE, total=4, free=("n2", "n3")),
    ]


@pytest.mark.parametrize("state", ["idle", "planned", "idle~", "idle#"])
def test_a_node_with_nothing_on_it_is_free(state: str) -> None:
    assert free(state) == ("n1", "n2")


NOT_FREE = """idle* down* down drained draining maint reserved allocated mixed completing unknown idle$ idle@ idle%
idle! new fail planned* reboot^ future blocked"""


@pytest.mark.parametrize("state", NOT_FREE.split())
def test_whatever_else_slurm_says_of_a_node_means_no(state: str) -> None:
    assert free(state) == ()


@pytest.mark.parametrize(
    ("gres", "number"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2(S:0,3),gpu:v100:1(S:1),nvme:1", 3),
        ("craynetwork:4,gpu:mi250:8", 8),
        ("gpu", 0),
    ],
)
def test_gpus_are_counted(gres: str, number: int) -> None:
    (group,) = slurm.nodes(sinfo("idle", gres))
    assert isinstance(group, NodeGroup)
    assert group.shape == NodeShape(cores=16, memory_mb=1000, gpus=number)


def test_a_plan_has_nodes_and_a_begin_time_alone_is_none() -> None:
    assert slurm.planned(recorded("slurm", "squeue_planned")) == [
        Planned(id="2", start=1795557526.0, nodes=("n1", "n2", "n3"))
    ]


def test_our_jobs_are_told_with_their_start() -> None:
    waiting, later, held, running = slurm.own(recorded("slurm", "squeue_own"))
    assert waiting == OwnJob(
        id="2",
        tag="j.sh",
        state=BatchState.PENDING,
        partition="regular",
        nodes=3,
        walltime_s=300,
        start=1795557526.0,
    )
    assert isinstance(later, OwnJob)
    assert isinstance(held, OwnJob)
    assert isinstance(running, OwnJob)
    assert (later.start, held.start, running.state) == (1795560826.0, None, BatchState.RUNNING)


def test_maintenance_is_for_nobody_and_who_is_named_may_use_a_reservation() -> None:
    maintenance, ours = slurm.reservations(ROOT, recorded("slurm", "show_res_epoch"))
    assert maintenance == Reservation(
        name="maint",
        start=1795558426.0,
        end=1795560226.0,
        nodes=4,
        names=("n1", "n2", "n3", "n4"),
        usable=False,
        maintenance=True,
        words="MAINT,SPEC_NODES,ALL_NODES users=root accounts=(null)",
    )
    assert isinstance(ours, Reservation)
    assert (ours.names, ours.usable, ours.maintenance) == (("n2",), True, False)
    (_, others) = slurm.reservations(Asker(user="alice"), recorded("slurm", "show_res_epoch"))
    assert isinstance(others, Reservation)
    assert not others.usable


def test_an_account_opens_a_reservation_and_a_minus_closes_it() -> None:
    words = (
        "ReservationName=a StartTime=1795558426 EndTime=1795560226 Nodes=n1 NodeCnt=1 Flags=SPEC Accounts={} Users={}"
    )
    asker = Asker(user="me", account="physics")
    for accounts, users, usable in (("physics,x", "(null)", True), ("x", "(null)", False), ("physics", "-me", False)):
        (one,) = slurm.reservations(asker, Spoken(exit_code=0, out=words.format(accounts, users)))
        assert isinstance(one, Reservation)
        assert one.usable is usable


@pytest.mark.parametrize("option", ["--reservation=ours", "--reservation ours", "--reservation=a,ours"])
def test_a_reservation_is_chosen_by_the_options_of_our_batch_jobs(option: str) -> None:
    said = slurm.reservations(Asker(user="root", options=("--exclusive", option)), recorded("slurm", "show_res_epoch"))
    assert {one.name: one.chosen for one in said if isinstance(one, Reservation)} == {"maint": False, "ours": True}


def test_reservations_are_read_in_local_time_too() -> None:
    (one,) = slurm.reservations(ROOT, recorded("slurm", "show_res"))
    assert isinstance(one, Reservation)
    assert (one.start, one.end) == (local("2026-11-21T00:36:30"), local("2026-11-21T01:06:30"))
    assert slurm.reservations(ROOT, Spoken(exit_code=0, out="No reservations in the system\n")) == []


@pytest.mark.parametrize("name", ["show_part", "show_part_oneline"])
def test_partitions_say_their_limits(name: str) -> None:
    regular, debug, *others = slurm.partitions(recorded("slurm", name))
    assert isinstance(regular, Limit)
    assert (regular.name, regular.default, regular.max_walltime_s) == ("regular", True, 86_400)
    assert debug == Limit(kind=LimitKind.PARTITION, name="debug", max_nodes=2, max_walltime_s=1800)
    assert len(others) == {"show_part": 2, "show_part_oneline": 1}[name]


def test_a_closed_partition_and_its_qos_are_seen() -> None:
    words = "PartitionName=p MaxTime=UNLIMITED MaxNodes=UNLIMITED TotalNodes=7 MinNodes=3 QoS=big State=DRAIN"
    assert slurm.partitions(Spoken(exit_code=0, out=words)) == [
        Limit(kind=LimitKind.PARTITION, name="p", min_nodes=3, max_nodes=7, open=False, qos="big")
    ]


def test_qos_and_accounts_say_their_limits() -> None:
    assert slurm.qos(recorded("slurm", "sacctmgr_qos")) == [
        Limit(kind=LimitKind.QOS, name="normal"),
        Limit(
            kind=LimitKind.QOS,
            name="premium",
            min_nodes=2,
            max_nodes=2,
            max_walltime_s=172_800,
            max_running=4,
            max_submitted=9,
            max_eligible=3,
        ),
    ]
    assert slurm.associations(recorded("slurm", "sacctmgr_assoc")) == [
        Limit(
            kind=LimitKind.ACCOUNT,
            name="physics",
            max_walltime_s=43_200,
            max_running=6,
            max_submitted=12,
            qos="premium",
        ),
        Limit(kind=LimitKind.ACCOUNT, name="root"),
    ]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("testonly_noresv", "2026-11-21T00:16:30"),
        ("testonly_resv", "2026-11-21T01:06:30"),  # behind the maintenance
        ("sbatch_testonly", "2026-11-20T23:36:46"),
    ],
)
def test_what_if_is_answered_on_stderr(name: str, at: str) -> None:
    (one,) = slurm.start(SHAPE, recorded("slurm", name))
    assert isinstance(one, Start)
    assert one.at == local(at)


def test_what_can_never_start_is_told_so() -> None:
    (one,) = slurm.start(SHAPE, recorded("slurm", "sbatch_testonly_bad"))
    words = "allocation failure: Requested node configuration is not available"
    assert one == Start(shape=SHAPE, at=None, words=words)


@pytest.mark.parametrize(
    "words", ["Unable to contact slurm controller (connect failure)", "Zero Bytes were transmitted or received", "x y"]
)
def test_a_controller_that_is_away_is_no_never(words: str) -> None:
    with pytest.raises(BatchUnreachable, match=words.partition(" (")[0]):
        slurm.start(SHAPE, Spoken(exit_code=1, out="", err=f"allocation failure: {words}" if words != "x y" else words))


def test_a_controller_that_is_away_says_nothing() -> None:
    with pytest.raises(BatchUnreachable, match="Unable to contact slurm controller"):
        slurm.nodes(recorded("slurm", "ctld_down_sinfo"))
    for read in (slurm.nodes, slurm.partitions):
        with pytest.raises(BatchUnreachable):
            read(Spoken(exit_code=0, out=""))
    with pytest.raises(BatchUnreachable, match="connect failure"):
        slurm.own(Spoken(exit_code=0, out="", err="slurm_load_jobs error: connect failure"))
    assert slurm.own(Spoken(exit_code=0, out="")) == []


def test_the_questions_are_about_the_site() -> None:
    asker = Asker(
        user="me", account="physics", qos="big", partition="p", options=("--constraint=cpu",), shapes=(SHAPE,)
    )
    asked = {one.topics[0]: one for one in slurm.questions(asker)}
    assert list(asked[Topic.STARTS].command) == [
        "sbatch",
        "--test-only",
        "--wrap=true",
        "--nodes=1",
        "--time=10",
        "--partition=p",
        "--account=physics",
        "--qos=big",
        "--constraint=cpu",
    ]
    assert asked[Topic.STARTS].argv[0] == "env"
    assert {"SLURM_TIME_FORMAT=%s", "--unset=SQUEUE_PARTITION"} <= set(asked[Topic.STARTS].argv)
    assert "user=me" in slurm.questions(asker)[-1].argv
