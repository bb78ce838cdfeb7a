"""The agent against a head that is made up, on virtual time: nothing is lost, or told twice, whatever is cut when."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.jumbo.links.messages import Ask, Bye, Hello, Lease, Leave, Recall, Slots, Stop, Told
from hpcharvest.jumbo.node import appetite
from tests.services.agent_world import TASK, Plan, World
from tests.services.range_slots import JOB

STEPS = st.lists(
    st.sampled_from(["run", "long", "cut", "new head", "connect", "recall", "deaf", "fewer", "more", "grudge"]),
    max_size=25,
)


def told(world: World) -> list[Told]:
    return [message for message in world.link.sent if isinstance(message, Told)]


def take(world: World, step: str, range_s: float) -> None:
    match step:
        case "run":
            world.run(range_s / 2)
        case "long":
            world.run(5 * range_s)
        case "cut" | "new head":
            world.cut(new_head=step == "new head")
        case "connect":
            world.link.cut()
            world.link.connect()
        case "recall":
            world.link.say(Recall(job=JOB, indices=[]))
        case "deaf":
            world.deaf = not world.deaf
        case "fewer" | "more":
            world.link.say(Slots(job=JOB, count=1 if step == "fewer" else 2))
        case "grudge":
            world.head.grudge |= {i for i, state in world.head.state.items() if state == "leased" and i % 3 == 0}


@given(
    steps=STEPS,
    range_s=st.sampled_from([0.05, 1.0, 30.0]),
    delay_s=st.sampled_from([0.001, 0.3, 2.0]),
    failures=st.dictionaries(st.integers(0, 30), st.integers(1, 3), max_size=5),
)
def test_every_range_has_one_outcome_whatever_happens(
    steps: list[str], range_s: float, delay_s: float, failures: dict[int, int]
) -> None:
    world = World(total=40, delay_s=delay_s, plan=Plan(range_s=range_s, failures=failures), most=3)
    for step in steps:
        take(world, step, range_s)
        assert {row[0] for one in told(world) for row in one.done} <= world.outputs.durable
    silent = world.agent.over
    world.deaf = False
    world.link.cut()
    world.link.connect()
    world.run(3 * delay_s + 1)
    world.link.say(Leave(reason="the end", left_s=1000.0))
    world.run(2000.0)
    assert world.said_goodbye is not silent
    assert silent or world.states().keys() <= {"ready", "archived", "failed", "elsewhere"}
    assert sum(world.states().values()) == 40


def test_all_is_done_and_no_slot_ever_waits() -> None:
    for range_s, delay_s in ((60.0, 0.01), (1.0, 0.2), (0.1, 0.05), (600.0, 1.0)):
        world = World(total=2000, slots=8, delay_s=delay_s, plan=Plan(range_s=range_s), most=100)
        world.run(5 * delay_s + 50 * range_s)
        first = world.idle_s
        world.run(100 * range_s)
        assert world.idle_s == pytest.approx(first, abs=1e-6), (range_s, delay_s)
        assert first <= 8 * 6 * delay_s, (range_s, delay_s)


def test_a_node_does_not_hoard_long_ranges() -> None:
    world = World(total=1000, slots=4, plan=Plan(range_s=600.0))
    world.run(3000.0)
    assert world.states()["leased"] <= 2 * 4


def test_a_range_begins_only_if_it_can_end() -> None:
    world = World(total=100, left_s=100.0, needs_s=40.0, plan=Plan(range_s=30.0))
    world.run(99.0)
    assert len(world.begun) == 4
    assert world.states() == {"done": 4, "ready": 96}
    world = World(total=2, left_s=100.0, needs_s=40.0, plan=Plan(range_s=30.0))
    world.run(99.0)
    asked = [one.want for one in world.link.sent if isinstance(one, Ask)]
    assert asked[0] > 2
    assert asked[-1] == 0


def test_a_failed_range_is_tried_again_here_and_then_told() -> None:
    world = World(total=3, plan=Plan(range_s=1.0, failures={0: 1, 1: 2}))
    world.run(20.0)
    assert world.head.state == {0: "done", 1: "failed", 2: "done"}
    assert world.begun.count(0) == 2
    assert world.begun.count(1) == 2


@pytest.mark.parametrize("own", [True, False])
def test_a_hung_range_is_stopped_and_is_a_failure(own: bool) -> None:
    task = dataclasses.replace(TASK, range_walltime_s=20.0) if own else TASK
    world = World(total=10, task=task, limit_s=0.0 if own else 20.0, plan=Plan(range_s=1.0, hang=frozenset({0})))
    world.run(60.0)
    assert world.head.state[0] == "failed"
    assert world.begun.count(0) == 1
    errors = [row[1] for one in told(world) for row in one.failed]
    assert errors == ["hung: it took longer than it may"]
    assert world.states() == {"failed": 1, "done": 9}


def test_what_is_stopped_is_given_back_and_never_done() -> None:
    world = World(total=10, plan=Plan(range_s=100.0))
    world.run(10.0)
    world.link.say(Stop(job=JOB, reason="killed"))
    world.run(10.0)
    assert world.states() == {"ready": 10}
    world.link.say(world.orders)
    world.run(600.0)
    assert world.states() == {"archived": 10}


def test_one_that_leaves_lets_end_what_can_end_in_time_and_stops_the_rest() -> None:
    world = World(total=10, needs_s=30.0, plan=Plan(range_s=30.0))
    world.run(20.0)
    world.link.say(Leave(reason="the end", left_s=25.0))
    world.run(30.0)
    assert world.said_goodbye
    assert world.states() == {"archived": 2, "ready": 8}
    world = World(total=10, needs_s=300.0, plan=Plan(range_s=300.0))
    world.run(20.0)
    world.link.say(Leave(reason="the end", left_s=100.0))
    world.run(5.0)
    assert world.said_goodbye
    assert world.states() == {"ready": 10}


def test_one_that_has_no_time_to_leave_is_over_at_once() -> None:
    world = World(total=10)
    world.run(5.0)
    world.link.say(Leave(reason="given up", left_s=0.0))
    world.run(1.0)
    assert world.agent.over


def test_a_silent_head_is_waited_for_and_then_left_without_a_word() -> None:
    world = World(total=1000, plan=Plan(range_s=10.0))
    world.run(30.0)
    world.cut()
    began = world.now
    world.run(10_000.0)
    assert world.agent.over
    assert 600.0 <= world.now - began <= 620.0
    assert not any(isinstance(message, Bye) for message in world.link.sent)
    assert not world.outputs._sealed
    assert not any(slot.run for slot in world.made)


def test_a_silent_head_is_not_waited_for_when_the_end_is_near() -> None:
    world = World(total=1000, left_s=100.0, plan=Plan(range_s=10.0))
    world.run(30.0)
    world.cut()
    world.run(10_000.0)
    assert world.agent.over
    assert 100.0 <= world.now <= 140.0


def test_a_head_that_answers_is_left_only_when_it_says_so() -> None:
    world = World(total=4, left_s=100.0, plan=Plan(range_s=10.0))
    world.run(10_000.0)
    assert not world.agent.over
    assert world.beats > 900


def test_long_ranges_are_no_silence_of_the_head() -> None:
    world = World(total=4, plan=Plan(range_s=7200.0))
    world.run(7300.0)
    assert not world.agent.over
    assert world.states() == {"done": 2, "leased": 2}


def test_no_head_at_all_is_not_waited_for_for_ever() -> None:
    world = World(connect=False)
    world.run(10_000.0)
    assert world.agent.over
    assert world.now <= 620.0


def test_a_node_says_what_it_holds_to_each_head() -> None:
    world = World(total=30, plan=Plan(range_s=10.0), most=100)
    world.run(35.0)
    world.cut(new_head=True)
    world.link.connect()
    world.run(1.0)
    hello = [message for message in world.link.sent if isinstance(message, Hello)][-1]
    assert hello.held[str(JOB)] == sorted(i for i, state in world.head.state.items() if state == "leased")
    world.link.say(Leave(reason="end", left_s=100.0))
    world.run(100.0)
    assert world.states().keys() <= {"archived", "ready"}


def test_nonsense_of_a_head_is_passed_over() -> None:
    world = World(total=4, plan=Plan(range_s=1.0))
    world.link.say(Slots(job=99, count=1))
    world.link.say(Lease(job=JOB, ranges=[[0, "x", 1, 1, "nowhere"]], files={}))
    world.link.say(Lease(job=JOB, ranges=[["x"]], files={}))
    world.run(30.0)
    assert world.states() == {"done": 4}


@given(
    capacity=st.integers(1, 256),
    range_s=st.floats(0.01, 10_000),
    answer_s=st.floats(0.0, 10.0),
    have=st.integers(0, 20_000),
    asked=st.integers(0, 20_000),
)
def test_what_is_asked_for_lasts_until_it_comes(
    capacity: int, range_s: float, answer_s: float, have: int, asked: int
) -> None:
    spare = appetite.spare(capacity, range_s, answer_s)
    assert 1 <= spare <= appetite.MOST
    want = appetite.want(capacity, spare, have, asked)
    if want is None:
        waiting = have + asked - capacity
        assert waiting * range_s / capacity >= answer_s * (1 - 1e-9) or spare == appetite.MOST
    else:
        assert have + want == capacity + spare


def test_a_node_without_slots_asks_for_nothing() -> None:
    assert appetite.want(0, 0, 0, 0) is None
    assert appetite.want(0, 0, 0, 5) == 0
    assert appetite.spare(0, 1.0, 1.0) == 0
