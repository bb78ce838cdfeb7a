"""Slots on several nodes: a group of whole nodes has them, the first runs them, and they end with any of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcharvest.jumbo.links.messages import Ask, Beat, Bye, Recall, Slots, Stop, Told
from hpcharvest.jumbo.node.crew import NODE_GONE, Crew
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import EventTask, PayloadKind, RangesFailed
from tests.services.desks import Office, event_task, feed_of, leased, of
from tests.services.range_slots import leased as a_range

GROUPS = [["a", "b"], ["c", "d"]]


def office(*, count: int = 8, here: str = "abcde") -> Office:
    """Give an office with a job whose slots are on two nodes, and five nodes, of which some are there."""
    made = Office(event_task(kind=PayloadKind.MPI, nodes=2, cores=4), nodes="abcde")
    made.rooms(4)
    made.feed(feed_of(1, 0, 0, count, last=True))
    for node in here:
        made.hello(node)
    made.tick(2)
    return made


def heard(made: Office, *silent: str, seconds: int = 40) -> list[tuple[str, Slots]]:
    """Let time pass in which all but some nodes beat; give what is said about slots."""
    said = []
    for _ in range(seconds):
        for node in {*"abcde"} - {*silent}:
            made.link.came.append((node, Beat()))
        said += [(name, one) for name, one in made.tick(1) if isinstance(one, Slots)]
    return said


def test_the_first_node_of_each_group_that_is_complete_gets_its_slots() -> None:
    made = office(here="abce")
    (said,) = of(Slots, made.hello("a"))
    assert (said.count, said.nodes) == (1, GROUPS[0])
    assert not of(Slots, made.hello("b")), "its room is a's"
    assert not of(Slots, made.hello("c")), "d is not there"
    assert not leased(made.say("c", Ask(job=1, want=2)))
    assert not of(Slots, made.hello("e")), "it has nobody to share with"
    assert leased(made.say("a", Ask(job=1, want=2)), "a")
    made.hello("d")
    (said,) = [one for _, one in heard(made, seconds=2)]
    assert (said.count, said.nodes) == (1, GROUPS[1])


def test_a_node_that_is_lost_ends_the_slots_of_its_group_and_no_others() -> None:
    made = office()
    assert leased(made.say("a", Ask(job=1, want=1))) == [0]
    assert leased(made.say("c", Ask(job=1, want=1))) == [1]
    ((name, gone),) = heard(made, "d")
    assert (name, gone.count, gone.nodes) == ("c", 0, [])
    made.say("c", Told(number=1, job=1, back=[1]))
    assert 1 in leased(made.say("a", Ask(job=1, want=8)))
    made.hello("d", life=1)
    ((name, back),) = heard(made, seconds=2)
    assert (name, back.count, back.nodes) == ("c", 1, GROUPS[1])


def test_a_group_that_only_has_nothing_to_do_is_not_broken() -> None:
    made = office(count=1)
    made.say("a", Ask(job=1, want=1))
    sent = made.say("a", Told(number=1, job=1, done=[[0, 1.0, 1.0]])) + made.tick(2)
    assert of(Stop, sent)
    assert {tuple(one.nodes) for one in of(Slots, sent, "a")} <= {("a", "b")}


def test_what_failed_on_a_group_waits_for_no_node_that_never_has_a_slot() -> None:
    made = office(count=1)
    for node, number in (("a", 1), ("c", 1)):
        assert leased(made.say(node, Ask(job=1, want=1))) == [0]
        made.say(node, Told(number=number, job=1, failed=[[0, f"on {node}"]]))
    assert [[one.id for one in record.ranges] for record in said(made)] == [["1-0"]]


def test_what_failed_waits_for_no_group_that_will_never_be_complete_again() -> None:
    made = office(count=1)
    made.say("d", Bye())
    made.tick(2)
    made.say("a", Ask(job=1, want=1))
    made.say("a", Told(number=1, job=1, failed=[[0, "on a"]]))
    assert len(said(made)) == 1


def test_a_range_that_the_group_was_to_begin_is_called_back() -> None:
    made = office()
    assert leased(made.say("c", Ask(job=1, want=2))) == [0, 1]
    made.link.came += [("d", Bye())]
    sent = made.tick(2)
    assert [(one.count, one.nodes) for one in of(Slots, sent, "c")] == [(0, [])]
    assert of(Recall, sent, "c") == [Recall(job=1, indices=[0, 1])]


def said(made: Office) -> list[RangesFailed]:
    found: list[Record] = made.said
    return [one for one in found if isinstance(one, RangesFailed)]


class Program:
    """A slot whose range goes on until it is stopped."""

    next_at = float("inf")

    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = nodes
        self.held: list[Leased] = []
        self.told: list[Outcome] = []
        self.finishing = False

    @property
    def room(self) -> int:
        return 0 if self.held or self.finishing else 1

    @property
    def over(self) -> bool:
        return self.finishing and not self.held and not self.told

    def give(self, leased: Leased, now: float) -> None:
        del now
        self.held.append(leased)

    def filenos(self) -> Sequence[int]:
        return ()

    def next_event(self) -> float:
        return self.next_at

    def serve(self, now: float) -> Sequence[Outcome]:
        del now
        told, self.told = self.told, []
        return told

    def finish(self, now: float) -> None:
        del now
        self.finishing = True

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        self.told += [Failed(leased=one, error=reason, wall_s=now, ours=True) for one in ranges]
        self.held = []


def crew(folder: Path) -> tuple[Crew, list[Program]]:
    made: list[Program] = []

    def make(_task: EventTask, _gpus: int, nodes: Sequence[str]) -> Program:
        made.append(Program(nodes))
        return made[-1]

    task = event_task(kind=PayloadKind.MPI, folder=str(folder), nodes=2)
    one = Crew(task, make)
    one.order(Slots(job=1, count=1, nodes=["a", "b"]), 0.0)
    one.add([a_range(0)])
    one.fill(0.0)
    return one, made


def test_what_runs_on_a_group_of_which_a_node_is_gone_is_stopped_without_a_fault_of_its_own(tmp_path: Path) -> None:
    one, (program,) = crew(tmp_path)
    assert program.nodes == ["a", "b"]
    one.order(Slots(job=1, count=0), 1.0)
    (outcome,) = one.serve(1.0)
    assert isinstance(outcome, Failed)
    assert (outcome.error, outcome.ours) == (NODE_GONE, True)
    assert one.empty


def test_what_runs_when_its_group_gets_no_more_slots_may_end(tmp_path: Path) -> None:
    one, (program,) = crew(tmp_path)
    one.order(Slots(job=1, count=0, nodes=["a", "b"]), 1.0)
    assert one.serve(1.0) == []
    (held,) = program.held
    program.told.append(Done(leased=held, output="x", cpu_s=1.0, wall_s=1.0))
    program.held = []
    assert [type(outcome) for outcome in one.serve(2.0)] == [Done]
    assert one.empty


def test_slots_for_another_group_are_new_ones(tmp_path: Path) -> None:
    one, made = crew(tmp_path)
    one.order(Slots(job=1, count=1, nodes=["a", "c"]), 1.0)
    assert [type(outcome) for outcome in one.serve(1.0)] == [Failed]
    one.fill(1.0)
    assert [program.nodes for program in made] == [["a", "b"], ["a", "c"]]
