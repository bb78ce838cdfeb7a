from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable, TornMessage
from hpcharvest.jumbo.links.messages import (
    Ack,
    Archived,
    Ask,
    Beat,
    Bye,
    Hello,
    Leave,
    Recall,
    Slots,
    Stop,
    Told,
    Welcome,
)
from hpcharvest.messenger.protocol import Record
from hpcharvest.messenger.ranges import ArchiveClosed, RangeDone, RangeFailed, RangesFailed, RangesWanted
from hpcharvest.model.ids import JobId
from tests.services.desks import Office, event_task, feed_of, leased, of


def archived(number: int, indices: Sequence[int], job: int = 1) -> Archived:
    rows = [[index, f"{job}-{index}", 1.0, 2.0] for index in indices]
    return Archived(number=number, job=job, name=f"a{number}.tar", size=10, adler32="00000001", ranges=rows)


def told(number: int, indices: Sequence[int], job: int = 1) -> Told:
    return Told(number=number, job=job, done=[[index, 1.0, 2.0] for index in indices])


def served(count: int = 8, *, last: bool = False, cores: int = 4) -> Office:
    """Give an office with a job of `count` ranges, and nodes a and b there."""
    office = Office()
    office.rooms(cores)
    office.feed(feed_of(1, 0, 0, count, last=last))
    for node in "ab":
        office.hello(node)
    return office


def test_a_node_that_comes_is_welcome_and_told_of_its_slots() -> None:
    office = Office(leave_at=100.0)
    office.rooms(4)
    sent = office.hello("a")
    assert [one.left_s for one in of(Welcome, sent)] == [100.0]
    assert [(one.job, one.count) for one in of(Slots, sent)] == [(1, 4)]


def test_who_asks_gets_ranges_and_hears_that_his_words_were_taken_in() -> None:
    office = served(100)
    assert leased(office.say("a", Ask(job=1, want=6))) == [0, 1, 2, 3, 4, 5]
    sent = office.say("a", told(1, [0, 1]))
    assert of(Ack, sent) == [Ack(number=1)]
    assert not leased(sent)


def test_an_archive_is_acknowledged_only_when_the_journal_has_it() -> None:
    office = served(100)
    office.say("a", Ask(job=1, want=2))
    office.say("a", told(1, [0, 1]))
    office.published = False
    assert not of(Ack, office.say("a", archived(2, [0, 1])))
    done = tuple(RangeDone(id=f"1-{index}", cpu_s=1.0, wall_s=2.0) for index in (0, 1))
    closed = ArchiveClosed(at=1000.0, job=JobId(1), name="a2.tar", size=10, adler32="00000001", ranges=done)
    assert [one for one in office.said if isinstance(one, ArchiveClosed)] == [closed]
    assert not of(Ack, office.tick(0.1))
    office.published = True
    assert of(Ack, office.tick(0.1)) == [Ack(number=2)]
    office.say("a", archived(2, [0, 1]))
    assert sum(isinstance(one, ArchiveClosed) for one in office.said) == 1, "said again, it changes nothing"


def test_what_two_nodes_have_done_counts_once() -> None:
    office = served(4)
    office.say("a", Ask(job=1, want=4))
    office.tick(40)
    assert sorted(office.desk.lost()) == ["a", "b"]
    office.hello("b", life=1)
    assert leased(office.say("b", Ask(job=1, want=4))) == [0, 1, 2, 3]
    office.say("b", told(1, [0, 1, 2, 3]))
    office.hello("a", life=1, j1=[0])
    assert of(Ack, office.say("a", told(1, [0]))) == [Ack(number=1, void={"1": [0]})]


def test_a_silent_node_is_lost_and_what_it_left_is_saved() -> None:
    def salvage(node: str, life: int) -> Sequence[Record]:
        found = tuple(RangeDone(id=name) for name in ("1-0", "1-2", "elsewhere"))
        failed = RangesFailed(at=0.0, job=JobId(1), ranges=(RangeFailed(id="1-1", error="bad", node=node),))
        assert (node, life) == ("a", 0)
        return [ArchiveClosed(at=1.0, job=JobId(1), name="s", size=1, adler32="", ranges=found), failed]

    office = Office(salvage=salvage)
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 4))
    office.hello("a")
    office.hello("b")
    office.say("a", Ask(job=1, want=4))
    office.say("a", told(1, [0]))
    for _ in range(4):
        office.tick(10)
        office.say("b", Beat())
    assert office.desk.lost() == ["a"]
    assert "a" in office.link.dropped
    closed = [one for one in office.said if isinstance(one, ArchiveClosed)]
    assert [[one.id for one in record.ranges] for record in closed] == [["1-0", "1-2"]]
    assert sorted(leased(office.say("b", Ask(job=1, want=9)))) == [1, 3]


def test_a_head_that_stood_still_does_not_take_that_for_the_silence_of_its_nodes() -> None:
    office = served(4)
    office.link.came += [("a", Beat()), ("b", Beat())]
    office.tick(1)
    office.now += 100
    office.tick()
    assert office.desk.lost() == []
    office.tick(29)
    assert office.desk.lost() == [], "it still has its time from there on"
    office.link.came.append(("b", Beat()))
    office.tick(3)
    assert office.desk.lost() == ["a"]


def test_what_an_earlier_head_had_heard_is_not_waited_for_and_its_archives_are_closed() -> None:
    office = Office(takes_over=True)
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 4, last=True))
    office.link.came.append(("a", Hello(node="a", life=0, held={"1": [0, 1]}, done={"1": [0, 1]})))
    sent = office.say("b", Hello(node="b", life=0, held={"1": [1, 2, 3]}, done={"1": [1, 2]}))
    assert [one.indices for one in of(Recall, sent, "b")] == [[1]], "it is the other one's, done or not"
    assert not of(Stop, sent), "one of them is under way"
    assert of(Stop, office.say("b", told(9, [3])), "a"), "all is done"
    office.say("a", archived(5, [0, 1]))
    assert [[one.id for one in said.ranges] for said in office.said if isinstance(said, ArchiveClosed)] == [
        ["1-0", "1-1"]
    ]


def test_a_life_that_was_given_up_must_go_and_is_not_listened_to() -> None:
    office = served(4)
    office.say("a", Ask(job=1, want=2))
    office.tick(40)
    sent = office.hello("a", life=0, j1=[0, 1])
    assert [one.left_s for one in of(Leave, sent, "a")] == [0.0]
    assert not of(Ack, office.say("a", told(1, [0, 1]), Ask(job=1, want=2)))
    assert of(Welcome, office.hello("a", life=1), "a")


def test_another_process_on_a_node_ends_the_leases_of_the_one_before() -> None:
    office = served(4)
    office.say("a", Ask(job=1, want=4))
    office.hello("a", life=1)
    assert not office.desk.lost(), "nobody needs to start a third one"
    assert not office.link.dropped, "at the other end is the new one"
    assert leased(office.tick(1)) == []
    assert sorted(leased(office.say("a", Ask(job=1, want=4)))) == [0, 1, 2, 3]


def test_a_process_that_came_instead_of_another_is_not_replaced_again() -> None:
    office = served(4)
    office.hello("a", life=1)
    assert office.desk.is_there("a")
    assert office.desk.lost() == []


def test_a_salvage_that_the_storage_refuses_is_tried_again() -> None:
    tried = []

    def salvage(_node: str, _life: int) -> Sequence[Record]:
        tried.append(1)
        if len(tried) < 3:
            raise StorageUnavailable("the file system does not answer")
        return []

    office = Office(nodes="a", salvage=salvage)
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 2, last=True))
    office.hello("a")
    office.say("a", Ask(job=1, want=2))
    office.tick(32)
    assert office.desk.busy
    office.tick(15)
    assert len(tried) == 3
    office.hello("a", life=1)
    assert leased(office.say("a", Ask(job=1, want=2))) == [0, 1]


def test_a_failure_that_stays_is_said() -> None:
    office = served(4)
    for node in "ab":
        office.say(node, Ask(job=1, want=1))
    office.say("a", Told(number=1, job=1, failed=[[0, "exit code 1"]]))
    assert leased(office.say("b", Ask(job=1, want=1)), "b") == [0]
    office.say("b", Told(number=1, job=1, failed=[[0, "exit code 1"]]))
    said = [one for one in office.said if isinstance(one, RangesFailed)]
    failed = RangeFailed(id="1-0", error="exit code 1", node="b", fatal=False)
    assert said == [RangesFailed(at=1000.0, job=JobId(1), ranges=(failed,))]


@pytest.mark.parametrize("error", [MessageNotUnderstood("no feed"), TornMessage("half of one")])
def test_a_bad_feed_file_is_passed_over_and_counted(error: Exception) -> None:
    office = Office()
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 4))
    office.feeds[1, 1] = error
    office.feed(feed_of(1, 2, 6, 2, last=True))
    office.tick(60)
    assert office.desk.bad_feeds == 1
    office.hello("a")
    assert sorted(leased(office.say("a", Ask(job=1, want=4)))) == [0, 1, 2, 3]
    assert sorted(leased(office.say("a", told(1, [0, 1, 2, 3]), Ask(job=1, want=4)))) == [6, 7]


def test_a_torn_feed_file_is_read_again() -> None:
    office = Office()
    office.rooms(4)
    office.feeds[1, 0] = TornMessage("half of one")
    office.hello("a")
    office.tick(3)
    office.feed(feed_of(1, 0, 0, 4))
    office.say("a", Ask(job=1, want=4))
    assert leased(office.tick(6)) == [0, 1, 2, 3]
    assert office.desk.bad_feeds == 0


def test_the_feed_is_looked_for_at_most_once_a_second_and_less_and_less_often() -> None:
    office = Office(event_task(1), event_task(2))
    office.tick(100)
    looks = office.looks[2:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert min(gaps) >= 1
    assert len(looks) < 60


def test_how_many_ranges_are_wanted_is_said_and_only_grows() -> None:
    office = served(16)
    office.tick(3)
    wanted = [one.total for one in office.said if isinstance(one, RangesWanted)]
    assert wanted == [16], "two for each slot"
    office.say("a", Ask(job=1, want=8))
    office.say("a", told(1, range(8)))
    office.tick(5)
    wanted = [one.total for one in office.said if isinstance(one, RangesWanted)]
    assert wanted == sorted(wanted)
    assert wanted[-1] == 8 + 16 + 8 * 60 / 2


def test_a_job_that_is_stopped_gets_no_more_and_leaves_the_others_alone() -> None:
    office = Office(event_task(1), event_task(2))
    office.rooms(2)
    for job in 1, 2:
        office.feed(feed_of(job, 0, 0, 4))
    office.hello("a")
    office.desk.stop(JobId(1), "the controller asked for it")
    sent = office.tick(1)
    assert of(Stop, office.hello("b"), "b") == [Stop(job=1, reason="the controller asked for it")]
    assert [(one.job, one.count) for one in of(Slots, sent, "a")] == [(1, 0), (2, 2)]
    assert not leased(office.say("a", Ask(job=1, want=2)))
    assert leased(office.say("a", Ask(job=2, want=2))) == [0, 1]


def test_a_message_without_sense_costs_its_node_the_connection_and_nobody_else_anything() -> None:
    office = served(8)
    office.say("a", Told(number=1, job=99))
    office.say("a", Told(number=1, job=1, done=[[]]))
    office.say("stranger", Beat())
    assert office.link.dropped == ["a", "a", "stranger"]
    assert leased(office.say("b", Ask(job=1, want=1))) == [0]


def test_when_all_is_done_archives_are_closed_at_once_and_the_desk_is_no_longer_busy() -> None:
    office = served(2, last=True)
    office.say("a", Ask(job=1, want=2))
    assert office.desk.busy
    sent = office.say("a", told(1, [0, 1]))
    assert {node for node, message in sent if isinstance(message, Stop)} == {"a", "b"}
    assert office.desk.busy
    office.say("a", archived(2, [0, 1]))
    assert not office.desk.busy


def test_what_is_ready_again_after_all_was_done_is_done_after_all() -> None:
    office = served(2, last=True)
    office.say("a", Ask(job=1, want=2))
    office.say("a", told(1, [0, 1]))
    for _ in range(4):
        office.tick(10)
        office.say("b", Beat())
    office.hello("a", life=1)
    assert sorted(leased(office.say("b", Ask(job=1, want=2)))) == [0, 1]


def test_a_feed_that_is_silent_does_not_burn_the_nodes() -> None:
    office = Office(patience_s=200.0)
    office.rooms(4)
    office.hello("a")
    for _ in range(19):
        office.tick(10)
        office.say("a", Beat())
        assert office.desk.busy
    office.tick(20)
    assert not office.desk.busy


def test_leaving_ends_when_the_last_node_said_goodbye_or_is_lost() -> None:
    office = served(4)
    office.desk.leave("the end is near", 50.0)
    assert not office.desk.gone(office.now)
    assert not leased(office.say("a", Ask(job=1, want=2)))
    office.say("a", Bye())
    assert not office.desk.gone(office.now)
    office.tick(40)
    assert office.desk.gone(office.now)
    assert not office.desk.busy
    assert [one.left_s for one in of(Leave, office.hello("a", life=1))] == [10.0]


def test_few_ranges_are_shared_and_not_kept_by_who_asked_first() -> None:
    office = served(8)
    first = leased(office.say("a", Ask(job=1, want=100)))
    second = leased(office.say("b", Ask(job=1, want=100)))
    assert (len(first), len(second)) == (4, 4)


def test_what_waits_on_one_node_is_called_back_for_one_that_is_idle() -> None:
    office = served(20, last=True)
    assert len(leased(office.say("a", Ask(job=1, want=100)))) == 20, "there were enough"
    office.say("b", Ask(job=1, want=4))
    sent = office.tick(6)
    assert of(Recall, sent, "a") == [Recall(job=1, indices=list(range(4, 20)))]
    office.say("a", Told(number=1, job=1, back=list(range(4, 20))))
    assert len(leased(office.link.sent, "b")) == 4


def test_a_new_head_knows_from_the_journal_and_from_its_nodes_what_is_done() -> None:
    done = ArchiveClosed(
        at=1.0, job=JobId(1), name="x", size=1, adler32="", ranges=(RangeDone(id="1-0"), RangeDone(id="1-1"))
    )
    wanted = RangesWanted(at=1.0, job=JobId(1), total=500)
    office = Office(known=[done, wanted], takes_over=True)
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 8))
    office.hello("a", j1=[1, 2, 3])
    assert of(Recall, office.link.sent) == [Recall(job=1, indices=[1])]
    assert not leased(office.say("a", Ask(job=1, want=4))), "b may have more of them"
    assert sorted(leased(office.hello("b", j1=[4]))) == [5, 6, 7]
    assert not any(isinstance(one, RangesWanted) for one in office.said)
    office.say("a", archived(9, [2, 3]))
    assert sum(isinstance(one, ArchiveClosed) for one in office.said) == 1


def test_a_new_head_does_not_wait_for_ever_for_nodes_that_are_gone() -> None:
    office = Office(takes_over=True)
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 8))
    office.hello("a")
    office.say("a", Ask(job=1, want=4))
    assert leased(office.tick(21)) == [0, 1, 2, 3]


def test_a_node_that_never_comes_is_not_waited_for() -> None:
    office = Office()
    office.rooms(4)
    office.feed(feed_of(1, 0, 0, 1, last=True))
    office.hello("a")
    office.say("a", Ask(job=1, want=1))
    office.say("a", Told(number=1, job=1, failed=[[0, "bad"]]))
    for _ in range(61):
        assert not [one for one in office.said if isinstance(one, RangesFailed)], "b could try it"
        office.tick(9.9)
        office.say("a", Beat())
    assert office.desk.lost() == ["b"]
    assert [one for one in office.said if isinstance(one, RangesFailed)]


def test_nodes_learn_how_long_ranges_take() -> None:
    office = served(100)
    office.say("a", Ask(job=1, want=30))
    office.say("a", Told(number=1, job=1, done=[[index, 1.0, 10.0 + index] for index in range(30)]))
    sent = of(Slots, office.tick(12), "b")
    assert [(one.needs_s, one.limit_s) for one in sent] == [(38.0, 380.0)]
