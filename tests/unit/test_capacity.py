"""What follows from what a batch system said: holes, walltimes by nodes, ages; and that questions may fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.capacity import (
    Bin,
    Capacity,
    Heard,
    Hole,
    Limit,
    LimitKind,
    NodeGroup,
    Planned,
    Reservation,
    Topic,
    bins,
    holes,
)
from hpcharvest.model.shape import NodeShape, Shape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.capacity import slurm, text
from hpcharvest.providers.capacity.look import QUESTIONS, look
from hpcharvest.providers.capacity.question import Asker, Question
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.slurm import SlurmDialect
from tests.services.recordings import recorded
from tests.services.sites import site

NOW = 1000.0
NODE = NodeShape(cores=4)
THREE = NodeGroup(partition="p", shape=NODE, total=5, free=("a", "b", "c"))


def kept(start: float, names: tuple[str, ...] = (), *, chosen: bool = False, end: float | None = None) -> Reservation:
    return Reservation(name="r", start=start, end=end, nodes=len(names) or 1, names=names, chosen=chosen)


def hole(nodes: int, seconds: float | None, partition: str = "p") -> Hole:
    return Hole(partition=partition, nodes=nodes, seconds=seconds)


def found(*reservations: Reservation, planned: Sequence[Planned] = ()) -> Capacity:
    return Capacity(nodes=(THREE,), reservations=reservations, planned=tuple(planned))


def test_free_nodes_that_nobody_waits_for_are_free_without_limit() -> None:
    assert holes(found(), NOW) == (hole(3, None),)
    assert holes(Capacity(nodes=(NodeGroup(partition="p", shape=NODE, total=5),)), NOW) == ()


def test_many_nodes_are_free_for_a_short_time_and_fewer_for_longer() -> None:
    planned = [
        Planned(id="1", start=NOW + 60, nodes=("a", "x")),
        Planned(id="2", start=NOW + 600, nodes=("a", "b")),
    ]
    assert holes(found(planned=planned), NOW) == (hole(3, 60), hole(2, 600), hole(1, None))


def test_the_first_who_wants_a_node_counts() -> None:
    planned = [Planned(id="1", start=NOW + 600, nodes=("a", "b", "c"))]
    assert holes(found(kept(NOW + 60, ("a", "b", "c")), planned=planned), NOW) == (hole(3, 60),)


def test_a_reservation_that_we_ask_for_or_one_that_is_over_takes_nothing() -> None:
    ours = kept(NOW + 60, ("a",), chosen=True)
    over = kept(NOW - 60, ("a", "b", "c"), end=NOW - 1)
    assert holes(found(ours, over), NOW) == (hole(3, None),)


def test_a_reservation_that_we_might_use_but_do_not_ask_for_bars_us() -> None:
    open_to_us = Reservation(name="r", start=NOW - 5, end=None, nodes=1, names=("a",), usable=True)
    assert holes(found(open_to_us), NOW) == (hole(2, None),)


def test_a_reservation_without_names_counts_against_every_node() -> None:
    assert holes(found(kept(NOW + 60)), NOW) == (hole(3, 60),)


def test_what_has_begun_leaves_no_hole() -> None:
    assert holes(found(kept(NOW - 5, ("a", "b"))), NOW) == (hole(1, None),)


def test_holes_that_the_batch_system_counts_are_taken_and_grow_shorter_with_age() -> None:
    told = (hole(5, 100), hole(2, None), hole(9, 20), hole(0, None))
    heard = (Heard(topic=Topic.HOLES, command="nodelist", at=NOW - 30),)
    assert holes(Capacity(nodes=(THREE,), holes=told, heard=heard), NOW) == (hole(5, 70), hole(2, None))


def test_shapes_of_one_partition_share_a_hole() -> None:
    other = NodeGroup(partition="p", shape=NodeShape(cores=8), total=1, free=("z",))
    assert holes(Capacity(nodes=(THREE, other)), NOW) == (hole(4, None),)


def queue(name: str, least: int, most: int, seconds: int) -> Limit:
    return Limit(kind=LimitKind.QUEUE, name=name, min_nodes=least, max_nodes=most, max_walltime_s=seconds)


def test_a_queue_that_leads_on_has_the_walltimes_of_where_it_leads() -> None:
    """As on Polaris: small, medium and large behind prod."""
    limits = [
        Limit(kind=LimitKind.QUEUE, name="prod", routes=("large", "small", "medium", "shut"), min_nodes=10),
        queue("small", 1, 24, 10_800),
        queue("medium", 25, 99, 21_600),
        queue("large", 100, 496, 86_400),
        Limit(kind=LimitKind.QUEUE, name="shut", max_walltime_s=1, open=False),
    ]
    assert bins(limits, "prod") == (
        Bin(min_nodes=10, max_nodes=24, max_walltime_s=10_800),
        Bin(min_nodes=25, max_nodes=99, max_walltime_s=21_600),
        Bin(min_nodes=100, max_nodes=496, max_walltime_s=86_400),
    )
    assert bins(limits, "nosuch") == ()


def test_the_stricter_of_partition_qos_and_account_counts() -> None:
    limits = [
        Limit(kind=LimitKind.PARTITION, name="p", max_nodes=100, max_walltime_s=1000, qos="part"),
        Limit(kind=LimitKind.QOS, name="part", max_nodes=50),
        Limit(kind=LimitKind.QOS, name="debug", max_walltime_s=300, min_nodes=2),
        Limit(kind=LimitKind.ACCOUNT, name="physics", max_nodes=40),
        Limit(kind=LimitKind.ACCOUNT, name="physics/p", max_nodes=30),
    ]
    assert bins(limits, "p") == (Bin(min_nodes=1, max_nodes=50, max_walltime_s=1000),)
    assert bins(limits, "p", qos="debug", account="physics") == (Bin(min_nodes=2, max_nodes=30, max_walltime_s=300),)


def test_an_account_has_its_own_default_qos() -> None:
    limits = [
        Limit(kind=LimitKind.PARTITION, name="p", max_walltime_s=1000),
        Limit(kind=LimitKind.ACCOUNT, name="physics", qos="debug"),
        Limit(kind=LimitKind.QOS, name="debug", max_walltime_s=300),
        Limit(kind=LimitKind.QOS, name="regular", max_walltime_s=700),
    ]
    longest = {
        qos: bins(limits, "p", qos=qos, account=account)[0].max_walltime_s
        for qos, account in (("", "physics"), ("regular", "physics"))
    }
    assert longest == {"": 300, "regular": 700}
    assert bins(limits, "p")[0].max_walltime_s == 1000


def test_a_long_list_of_nodes_is_read_quickly() -> None:
    names = [f"node{number}" for number in range(50_000)]
    assert text.nodes(",".join(names)) == tuple(names)


def test_what_no_number_of_nodes_fulfils_is_not_offered() -> None:
    limits = [
        Limit(kind=LimitKind.PARTITION, name="p", max_nodes=4, qos="big"),
        Limit(kind=LimitKind.QOS, name="big", min_nodes=5),
    ]
    assert bins(limits, "p") == ()


def test_the_age_is_that_of_the_oldest_statement() -> None:
    heard = [Heard(topic=Topic.LIMITS, command="x", at=at) for at in (NOW - 5, NOW - 9)]
    capacity = Capacity(heard=tuple(heard))
    assert capacity.age(Topic.LIMITS, NOW) == 9.0
    assert capacity.age(Topic.LIMITS, NOW - 100) == 0.0
    assert capacity.age(Topic.NODES, NOW) is None


def answers(argv: Sequence[str]) -> Spoken:
    """Be a Slurm whose accounting is down."""
    words = [one for one in argv if one != "env" and not one.startswith(("--unset=", "SLURM_TIME_FORMAT="))]
    names = {
        ("sinfo", "--all"): "sinfo_free",
        ("scontrol", "show", "reservation"): "show_res_epoch",
        ("scontrol", "show", "partition"): "show_part_oneline",
        ("squeue", "--all"): "squeue_planned",
        ("squeue", "--me"): "squeue_own",
        ("sbatch", "--test-only"): "testonly_resv",
    }
    for first, name in names.items():
        if tuple(words[: len(first)]) == first:
            return recorded("slurm", name)
    raise BatchUnreachable(f"{words[0]}: connection refused")


def test_all_is_asked_once_around() -> None:
    shapes = (Shape(nodes=1, walltime_s=1800),)
    seen = look(site("slurm"), answers, shapes=shapes, user="root", clock=ManualClock(NOW))
    assert [one.topic for one in seen.heard] == ["nodes", "reservations", "planned", "own", "limits", "starts"]
    assert {one.at for one in seen.heard} == {NOW}
    assert (len(seen.nodes), len(seen.reservations), len(seen.planned), len(seen.own)) == (3, 2, 1, 4)
    assert (len(seen.limits), len(seen.starts)) == (3, 1)
    assert holes(seen, 1795557226.0)[0] == hole(2, 300, "regular")


def test_what_fails_or_is_forbidden_is_skipped_and_said() -> None:
    seen = look(site("slurm", forbidden=("squeue", "sbatch --test-only", "scontrol reservation")), answers, user="root")
    reasons = {(one.topic.value, one.command.split()[0]): one.reason for one in seen.skipped}
    assert reasons == {
        ("planned", "squeue"): "forbidden by batch.forbidden",
        ("own", "squeue"): "forbidden by batch.forbidden",
        ("reservations", "scontrol"): "forbidden by batch.forbidden",
        ("limits", "sacctmgr"): "sacctmgr: connection refused",
    }
    assert [one.topic for one in seen.heard] == ["nodes", "limits"]


def test_nobody_answers_and_nothing_is_known() -> None:
    def dead(argv: Sequence[str]) -> Spoken:
        raise BatchUnreachable(f"{argv[0]} gave no answer within 60 s")

    for dialect in QUESTIONS:
        seen = look(site(dialect), dead, user="me")
        assert (seen.heard, seen.nodes, holes(seen, NOW)) == ((), (), ())
        assert seen.skipped


def test_a_daemon_that_is_away_is_waited_for_once() -> None:
    clock = ManualClock(NOW)
    asked = []

    def slow(argv: Sequence[str]) -> Spoken:
        asked.append(next(one for one in argv if one != "env" and "=" not in one))
        clock.advance(9.0)
        raise BatchUnreachable("connect failure")

    seen = look(site("slurm"), slow, user="me", clock=clock)
    assert asked == ["sinfo", "sacctmgr"]  # Slurm's controller, and its accounting
    assert "sinfo was left without an answer" in seen.skipped[1].reason
    assert [one.topic for one in seen.skipped] == [
        "nodes",
        "reservations",
        "planned",
        "own",
        "limits",
        "limits",
        "limits",
    ]


def test_a_dialect_without_questions_is_told_of() -> None:
    seen = look(site("other"), answers, user="me")
    assert {one.topic for one in seen.skipped} == set(Topic)
    assert "other" in seen.skipped[0].reason


@pytest.mark.parametrize(
    ("argv", "forbidden", "is_so"),
    [
        (("sinfo", "--all"), ("sinfo",), True),
        (("/usr/bin/sinfo", "--all"), ("sinfo",), True),
        (("env", "A=b", "sinfo"), ("sinfo",), True),
        (("sbatch", "--test-only"), ("sbatch --test-only",), True),
        (("scontrol", "show", "partition"), ("scontrol show reservation",), False),
        (("sinfo",), ("squeue", "info"), False),
        (("sinfo",), (), False),
    ],
)
def test_a_site_forbids_by_name_and_words(argv: tuple[str, ...], forbidden: tuple[str, ...], is_so: bool) -> None:
    question = Question(topics=(Topic.NODES,), argv=argv, read=slurm.nodes)
    assert question.is_forbidden(forbidden) is is_so


def test_a_question_has_the_time_limit_of_every_command(tmp_path: Path) -> None:
    system = BatchSystem(SlurmDialect(), timeout_s=0.2)
    with pytest.raises(BatchUnreachable, match=r"gave no answer within 0\.2 s"):
        system.ask(["sleep", "5"])
    with pytest.raises(BatchUnreachable, match="cannot run"):
        system.ask([str(tmp_path / "nothing")])
    assert system.ask(["echo", "a"]).out == "a\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("n[1-3,07],m4", ("n1", "n2", "n3", "n07", "m4")),
        ("x[0-1]c[2-3]", ("x0c2", "x0c3", "x1c2", "x1c3")),
        ("c01,c08", ("c01", "c08")),
        ("n[098-101]", ("n098", "n099", "n100", "n101")),
        ("(null)", ()),
        ("None", ()),
        ("", ()),
        ("n[1-999999999]", ()),
        ("[1-9999][1-9999][1-9999]", ()),
    ],
)
def test_lists_of_nodes_are_unfolded(words: str, names: tuple[str, ...]) -> None:
    assert text.nodes(words) == names


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("1-00:00:00", 86_400),
        ("1-12", 129_600),
        ("00:30:00", 1800),
        ("30:00", 1800),
        ("2:00:00:00", 172_800),
        ("90", 90),
        ("UNLIMITED", None),
        ("-1", None),
        ("", None),
    ],
)
def test_lengths_of_time_are_read(words: str, seconds: int | None) -> None:
    assert text.span(words) == seconds


def test_a_bare_number_is_minutes_for_slurm_and_seconds_for_others() -> None:
    assert (text.slurm_span("30"), text.span("30")) == (1800, 30)


@pytest.mark.parametrize(
    ("words", "mb"),
    [("16gb", 16_384), ("16777216kb", 16_384), ("1048576", 1), ("512mb", 512), ("2tb", 2 << 20), ("x", 0)],
)
def test_amounts_of_memory_are_read(words: str, mb: int) -> None:
    assert text.memory_mb(words) == mb


def test_every_dialect_asks_about_nodes_or_holes_and_limits() -> None:
    for name, questions in QUESTIONS.items():
        topics = {topic for one in questions(Asker(user="me")) for topic in one.topics}
        assert topics & {Topic.NODES, Topic.HOLES}, name
        assert Topic.LIMITS in topics, name
