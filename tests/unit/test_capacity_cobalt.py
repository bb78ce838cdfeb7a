"""What Cobalt 1.0.33 said about free nodes, holes, reservations and limits."""

from __future__ import annotations

import pytest

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import Hole, Limit, LimitKind, NodeGroup, OwnJob, Reservation
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.capacity import cobalt
from hpcharvest.providers.capacity.question import Asker
from hpcharvest.providers.dialect import Spoken
from tests.services.recordings import recorded

SHAPE = NodeShape(cores=64, memory_mb=192_000)
ROOT = Asker(user="root", shape=SHAPE)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("nodelist", [(5, 588), (2, None)]),
        ("nodelist_res", [(5, 299), (0, None)]),
        ("nodelist_down", [(5, 300), (0, None)]),
        ("nodelist_est", [(1, None)]),
    ],
)
def test_the_backfill_column_is_holes_in_every_queue_of_the_node(
    name: str, steps: list[tuple[int, int | None]]
) -> None:
    said = cobalt.nodes(ROOT, recorded("cobalt", name))
    assert [one for one in said if isinstance(one, Hole)] == [
        Hole(partition=queue, nodes=nodes, seconds=seconds)
        for queue in ("debug", "default")
        for nodes, seconds in steps
    ]


def test_idle_nodes_are_free_and_their_shape_is_as_configured() -> None:
    debug, default, *_ = cobalt.nodes(ROOT, recorded("cobalt", "nodelist"))
    assert debug == NodeGroup(partition="debug", shape=SHAPE, total=8, free=("c03", "c04", "c05", "c06", "c07"))
    assert isinstance(default, NodeGroup)
    assert (default.partition, default.free) == ("default", debug.free)


def test_a_reservation_is_read_with_its_zone_and_folded_nodes() -> None:
    assert cobalt.reservations(ROOT, recorded("cobalt", "showres_l")) == [
        Reservation(
            name="maint",
            start=1795221720.0,
            end=1795225320.0,
            nodes=3,
            names=("c01", "c02", "c03"),
            usable=True,
            words="queue=R.maint users=root",
        )
    ]
    (others,) = cobalt.reservations(Asker(user="alice"), recorded("cobalt", "showres_l"))
    assert isinstance(others, Reservation)
    assert not others.usable


def test_a_reservation_is_chosen_by_its_queue() -> None:
    (one,) = cobalt.reservations(Asker(user="root", partition="R.maint"), recorded("cobalt", "showres_l"))
    assert isinstance(one, Reservation)
    assert one.chosen


def test_no_reservation_is_an_empty_table() -> None:
    header = "Reservation  Queue  User  Start  Duration  End Time  Partitions\n" + "=" * 60 + "\n"
    assert cobalt.reservations(ROOT, Spoken(exit_code=0, out=header)) == []
    with pytest.raises(BatchUnreachable, match="End Time"):
        cobalt.reservations(ROOT, recorded("cobalt", "showres"))  # without -l there is no end


def test_our_jobs_are_told() -> None:
    said = cobalt.own(ROOT, recorded("cobalt", "qstat_f"))
    assert said[0] == OwnJob(
        id="1",
        tag="harv.w1",
        state=BatchState.RUNNING,
        partition="default",
        nodes=2,
        walltime_s=600,
        start=1795220445.0,
    )
    assert len(said) == 6
    estimated = cobalt.own(ROOT, recorded("cobalt", "qstat_header"))[1]
    assert isinstance(estimated, OwnJob)
    assert estimated.state is BatchState.PENDING
    assert estimated.start is not None
    assert cobalt.own(Asker(user="alice"), recorded("cobalt", "qstat_f")) == []


def test_queues_say_their_limits() -> None:
    assert cobalt.queues(recorded("cobalt", "qstat_Q")) == [
        Limit(kind=LimitKind.QUEUE, name="debug", max_walltime_s=3600),
        Limit(kind=LimitKind.QUEUE, name="default", default=True),
    ]


def test_a_queue_manager_that_is_down_says_nothing() -> None:
    with pytest.raises(BatchUnreachable, match="component error"):
        cobalt.own(ROOT, recorded("cobalt", "cqm_down_qstat"))
    with pytest.raises(BatchUnreachable):
        cobalt.nodes(ROOT, Spoken(exit_code=0, out=""))
