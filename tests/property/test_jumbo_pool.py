"""The laws of placement and drain."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.jumbo import drain, placement
from hpcharvest.jumbo.placement import Need, Room
from hpcharvest.jumbo.pool import Place, Pool
from hpcharvest.messenger.protocol import Task
from hpcharvest.model.ids import Attempt, JobId

NODES = ("a", "b", "c")
CORES, MEMORY, GPUS = 4, 100, 3

Drawn = tuple[int, int, int, int, int]
shapes = st.tuples(
    st.integers(0, 4),
    st.integers(0, 5),
    st.sampled_from([0, 30, 50, 100, 101]),
    st.sampled_from([0, 10, 100, 1000]),
    st.integers(0, 4),
)


def tasks_of(drawn: list[Drawn]) -> list[Task]:
    return [
        Task(
            job=JobId(number),
            attempt=Attempt(1),
            argv=("true",),
            folder=f"/{number}",
            nodes=nodes,
            cores=cores,
            memory_mb=memory,
            walltime_s=walltime,
            gpus=gpus,
        )
        for number, (nodes, cores, memory, walltime, gpus) in enumerate(drawn)
    ]


def assert_nobody_is_crowded(places: list[Place]) -> None:
    for node in NODES:
        here = [place.need for place in places if node in place.nodes]
        assert sum(need.cores for need in here) <= CORES
        assert sum(need.memory_mb for need in here) <= MEMORY
        taken = [place.gpus for place in places if node in place.nodes]
        assert sum(taken) < 1 << GPUS  # nobody has one that is not there
        assert sum(taken).bit_count() == sum(need.gpus for need in here)  # nobody has one that another has


@given(drawn=st.lists(shapes, max_size=30), ends=st.lists(st.integers(0, 100)))
def test_no_node_is_ever_crowded_no_gpu_is_shared_and_every_task_that_fits_runs_once(
    drawn: list[Drawn], ends: list[int]
) -> None:
    tasks, pool = tasks_of(drawn), Pool(NODES, CORES, MEMORY, GPUS)
    misfits = pool.add(tasks)
    running: list[Place] = []
    ran: list[Task] = []
    while len(pool) or running:
        while found := pool.take():
            ran.append(found[0])
            running.append(found[1])
            assert len(set(found[1].nodes)) == found[1].need.nodes
            assert found[1].gpus.bit_count() == found[0].gpus
        assert running, "something waits, nothing runs, and nothing is started"
        assert_nobody_is_crowded(running)
        pool.give_back(running.pop(ends.pop() % len(running) if ends else 0))
    assert sorted(task.job for task in ran + misfits) == [task.job for task in tasks]


@given(drawn=st.lists(shapes, max_size=30), ends=st.lists(st.integers(0, 100)))
def test_what_is_given_away_crowds_nobody_and_keeps_no_task_out(drawn: list[Drawn], ends: list[int]) -> None:
    tasks, pool = tasks_of(drawn), Pool(NODES, CORES, MEMORY, GPUS)
    misfits = pool.add(tasks)
    running: list[Place] = []
    ran: list[Task] = []
    given = [Room(0, 0)] * len(NODES)
    while len(pool) or running:
        while found := pool.take():
            ran.append(found[0])
            running.append(found[1])
        given = [before.plus(more) for before, more in zip(given, pool.give_away(), strict=True)]
        assert running, "something waits, nothing runs, and nothing is started: its room was given away"
        for node, room in zip(NODES, given, strict=True):
            here = [place for place in running if node in place.nodes]
            assert sum(place.need.cores for place in here) + room.cores <= CORES
            assert sum(place.need.memory_mb for place in here) + room.memory_mb <= MEMORY
            assert not any(place.gpus & room.gpus for place in here)
        pool.give_back(running.pop(ends.pop() % len(running) if ends else 0))
    assert sorted(task.job for task in ran + misfits) == [task.job for task in tasks]


@given(small=st.integers(5, 40))
def test_small_tasks_do_not_keep_a_large_one_out(small: int) -> None:
    pool = Pool(NODES, CORES, 0)
    pool.add(tasks_of([(1, 3, 0, 0, 0)] * 2 + [(3, 2, 0, 0, 0)]))
    running = [found[1] for _ in range(1) if (found := pool.take())]
    assert running[0].need.nodes == 3, "the largest goes first"
    pool.add(tasks_of([(3, 4, 0, 0, 0)] + [(1, 1, 0, 0, 0)] * small))
    started_before = 0
    while True:
        while found := pool.take():
            running.append(found[1])
            if found[1].need == Need(3, 4, 0):
                assert started_before <= len(NODES) * CORES
                return
            started_before += 1
        pool.give_back(running.pop(0))


room = st.builds(Room, st.integers(0, 8), st.sampled_from([0.0, 50.0, math.inf]), st.integers(0, 15))
rooms = st.lists(room, min_size=1, max_size=6)
needs = st.builds(Need, st.integers(1, 4), st.integers(1, 8), st.sampled_from([0, 50, 60]), st.integers(0, 4))


@given(need=needs, rooms=rooms)
def test_a_place_is_found_if_and_only_if_there_is_one(need: Need, rooms: list[Room]) -> None:
    fitting = {index for index, room in enumerate(rooms) if room.fits(need)}
    found = placement.place(need, rooms)
    if len(fitting) < need.nodes:
        assert found is None
    else:
        assert found is not None
        assert len(set(found)) == need.nodes
        assert set(found) <= fitting


@given(need=needs, rooms=rooms)
def test_a_task_gets_gpus_that_are_free_on_all_its_nodes(need: Need, rooms: list[Room]) -> None:
    found = placement.place(need, rooms)
    for index in found or ():
        gpus = rooms[found[0] if found else 0].gpus_for(need)
        assert gpus.bit_count() == need.gpus
        assert gpus & ~rooms[index].gpus == 0
        assert rooms[index].without(need, gpus).again(need, gpus) == rooms[index]


@given(need=needs, rooms=rooms)
def test_what_is_held_is_left_alone(need: Need, rooms: list[Room]) -> None:
    most = [Room(need.cores, need.memory_mb, (1 << max(need.gpus, 1)) - 1)] * len(rooms)
    held = placement.hold(need, rooms, most)
    assert not held & set(placement.place(Need(1, 1), rooms, held) or ())


@given(drawn=st.lists(shapes, max_size=20), left_s=st.floats(0, 2000))
def test_what_is_too_long_is_taken_out_and_all_else_stays(drawn: list[Drawn], left_s: float) -> None:
    pool = Pool(NODES, CORES, MEMORY, GPUS)
    misfits = pool.add(tasks_of(drawn))
    late = pool.too_long(left_s)
    rest = pool.clear()
    assert not any(drain.fits(task.walltime_s, left_s) for task in late)
    assert all(drain.fits(task.walltime_s, left_s) for task in rest)
    assert len(late) + len(rest) + len(misfits) == len(drawn)


@given(now=st.floats(0, 1e6), left=st.floats(0, 1e6), margin=st.floats(0, 1e3), walltime=st.integers(0, 10**6))
def test_what_may_start_ends_before_the_runner_leaves(now: float, left: float, margin: float, walltime: int) -> None:
    leave_at = drain.leave_at(now, left, margin)
    if drain.fits(walltime, leave_at - now):
        assert now + walltime <= leave_at + 1e-6
        assert leave_at > now
