"""Moab and LSF, by documentation and former use (nobody has asked a real one); and the embedded batch system."""

from __future__ import annotations

import json

import pytest

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Hole, Limit, LimitKind, NodeGroup, OwnJob
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.capacity import local, lsf, moab
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.dialect import Spoken

SHOWBF = """\
Partition      Tasks  Nodes      Duration   StartOffset       StartDate
---------     ------  -----  ------------  ------------  --------------
titan           4800    300      02:00:00      00:00:00  10:00:00_11/20
titan           1600    100      INFINITY      00:00:00  10:00:00_11/20
titan          16000   1000    1:00:00:00      06:00:00  16:00:00_11/20
"""
QSTAT = """\
Queue: batch
    queue_type = Execution
    total_jobs = 5
    resources_max.nodect = 18688
    resources_max.walltime = 24:00:00
    max_user_run = 2
    max_user_queuable = 4
    enabled = True
    started = True

Queue: killable
    queue_type = Execution
    enabled = True
    started = False
"""
BHOSTS = """\
HOST_NAME          STATUS          JL/U    MAX  NJOBS    RUN  SSUSP  USUSP    RSV
batch5             ok              -      1      0      0      0      0      0
h49n16             ok              -     42      0      0      0      0      0
h49n17             ok              -     42     42     42      0      0      0
h49n18             closed_Adm      -     42      0      0      0      0      0
h49n19             ok              -     42      0      0      0      0     42
login1             unavail         -      -      0      0      0      0      0
"""
BSLOTS = """\
SLOTS: 84
RUNTIME: 1 hour 30 minutes 5 seconds
HOSTS: 42*h49n16 42*h49n19

SLOTS: 42
RUNTIME: UNLIMITED
HOSTS: 42*h49n16
"""
BQUEUES = """\

QUEUE: batch
  -- All jobs go here.  This is the default queue.

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 30    0  Open:Active       -    -    -    -     5     0     5     0     0    0     0

MAXIMUM LIMITS:
 RUNLIMIT
 1440.0 min

USERS: all
HOSTS:  all
-------------------------------------------------------------------------------

QUEUE: killable
  -- They may be ended at any time.

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 10    0  Closed:Active     -    -    -    -     0     0     0     0     0    0     0

DEFAULT LIMITS:
 RUNLIMIT
 60.0 min

"""
INFO = {
    "queues": [{"name": "batch", "max_walltime_s": 86400.0}, {"name": "debug", "max_walltime_s": 600.0}],
    "limits": {"max_jobs_per_user": 7},
    "nodes": [
        {"name": "vn001", "state": "up", "cores": 4, "free": 4, "job": None},
        {"name": "vn002", "state": "up", "cores": 4, "free": 0, "job": 1},
        {"name": "vn003", "state": "down", "cores": 4, "free": 4, "job": None},
    ],
}


def said(out: str, err: str = "", exit_code: int = 0) -> Spoken:
    return Spoken(exit_code=exit_code, out=out, err=err)


def test_moab_counts_holes_itself_and_later_ones_are_none_now() -> None:
    assert moab.holes(said(SHOWBF)) == [
        Hole(partition="titan", nodes=300, seconds=7200),
        Hole(partition="titan", nodes=100, seconds=None),
    ]


def test_moab_has_nothing_free_or_says_nothing() -> None:
    assert moab.holes(said("no procs available\n")) == []
    for spoken in (said("ERROR: cannot connect"), said("", "ERROR: lost connection", 1), said("")):
        with pytest.raises(BatchUnreachable):
            moab.holes(spoken)


def test_moab_is_asked_about_the_partition() -> None:
    assert moab.questions(Asker(user="me", partition="titan"))[0].argv == ("showbf", "-p", "titan", "--blocking")
    assert moab.questions(Asker(user="me"))[0].argv == ("showbf", "--blocking")


def test_torque_says_its_queues() -> None:
    batch, killable = moab.queues(said(QSTAT))
    assert batch == Limit(
        kind=LimitKind.QUEUE,
        name="batch",
        max_nodes=18_688,
        max_walltime_s=86_400,
        max_running=2,
        max_submitted=4,
    )
    assert killable == Limit(kind=LimitKind.QUEUE, name="killable", open=False)


def test_a_host_of_lsf_is_free_if_it_is_ok_and_nobody_has_or_awaits_a_slot() -> None:
    assert lsf.nodes(said(BHOSTS)) == [
        NodeGroup(partition="", shape=NodeShape(cores=1), total=1, free=("batch5",)),
        NodeGroup(partition="", shape=NodeShape(cores=42), total=4, free=("h49n16",)),
    ]


def test_windows_of_lsf_are_counted_in_hosts() -> None:
    assert lsf.holes(said(BSLOTS)) == [
        Hole(partition="", nodes=2, seconds=5405),
        Hole(partition="", nodes=1, seconds=None),
    ]
    assert lsf.holes(said("", "No backfill window exists at this time", 255)) == []


def test_queues_of_lsf_say_their_run_limit() -> None:
    assert lsf.queues(said(BQUEUES)) == [
        Limit(kind=LimitKind.QUEUE, name="batch", max_walltime_s=86_400, default=True),
        Limit(kind=LimitKind.QUEUE, name="killable", max_walltime_s=None, open=False),
    ]


def test_jobs_of_lsf_are_told() -> None:
    out = "7|tag|RUN|batch|2\n8|t|PEND|batch|-\n".replace("|", "\x1f")
    running, waiting = lsf.own(said(out))
    assert isinstance(running, OwnJob)
    assert isinstance(waiting, OwnJob)
    assert (running.state, running.nodes) == (BatchState.RUNNING, 2)
    assert (waiting.state, waiting.nodes) == (BatchState.PENDING, None)
    assert lsf.own(said("", "No unfinished job found\n")) == []


@pytest.mark.parametrize("read", [lsf.nodes, lsf.holes, lsf.own, lsf.queues, moab.queues])
def test_lsf_that_is_down_says_nothing(read: object) -> None:
    assert callable(read)
    with pytest.raises(BatchUnreachable, match="not responding"):
        read(said("", "batch daemon not responding ... still trying", 255))


def test_the_embedded_batch_system_tells_nodes_and_queues() -> None:
    assert local.info(said(json.dumps(INFO))) == [
        NodeGroup(partition="", shape=NodeShape(cores=4), total=3, free=("vn001",)),
        Limit(kind=LimitKind.QUEUE, name="batch", max_nodes=3, max_walltime_s=86_400, max_submitted=7, default=True),
        Limit(kind=LimitKind.QUEUE, name="debug", max_nodes=3, max_walltime_s=600, max_submitted=7),
    ]
    for spoken in (said("[]"), said("{}"), said("x"), said("", "no daemon", 2)):
        with pytest.raises(BatchUnreachable):
            local.info(spoken)
