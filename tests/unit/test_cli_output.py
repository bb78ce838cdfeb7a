"""How pages look: three outputs, two kinds of tables, and text that cannot do harm."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import termios

import pytest

from hpcharvest.cli import table
from hpcharvest.cli.output import OUTPUTS, complain
from hpcharvest.cli.page import Card, Listing, Moment, Page, Span, Words, moment
from hpcharvest.cli.plain import plain

LISTING = Listing(
    name="two_things",
    columns=("id", "name_of_it"),
    records=[{"id": 1, "name_of_it": "[b]x[/b]\x1b[2J", "more": True}, {"id": 22, "name_of_it": None, "more": False}],
)
PAGE = Page(
    parts=(LISTING, Card(name="one", fields={"a": {"b": 1}, "at": moment(0)}), Words(name="text", text="x\n\ty\a")),
    ids=(1, 22),
    note="a hint",
)


def test_a_page_in_tables(capsys: pytest.CaptureFixture[str]) -> None:
    OUTPUTS["table"]().show(PAGE)

    assert capsys.readouterr().out == (
        "two things:\n"
        "  id  name of it\n"
        "  1   [b]x[/b]\\x1b[2J\n"
        "  22  -\n"
        "\n"
        "one:\n"
        "  a.b  1\n"
        "  at   -\n"
        "\n"
        "x\n"
        "\ty\\x07\n"
        "\n"
        "a hint\n"
    )


def test_a_page_in_json_is_whole_and_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    OUTPUTS["json"]().show(PAGE)

    written = capsys.readouterr().out
    assert written.isascii()
    assert "\x1b" not in written
    assert json.loads(written) == {
        "two_things": LISTING.records,
        "one": {"a": {"b": 1}, "at": None},
        "text": "x\n\ty\a",
    }


def test_a_page_in_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    OUTPUTS["quiet"]().show(PAGE)

    assert capsys.readouterr().out == "1\n22\n"


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\nsecond\x1b")

    assert capsys.readouterr().err == "hpcharvest: first second\\x1b\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, ü and 漢", "plain words, ü and 漢"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\u202eb\u200bc", "a\\u202eb\\u200bc"),
        ("lone \ud800", "lone \\ud800"),
        ("a\r\nb\x9b", "a\\r\\nb\\x9b"),
    ],
)
def test_text_from_outside_is_made_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_cells_know_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")

    assert table.cell(Moment(1_795_226_584)).startswith("2026-11-2")
    assert table.cell(Span(90)) == "90 s"
    nothing: tuple[object, ...] = (None, "", (), {})
    assert {table.cell(one) for one in nothing} == {"-"}
    assert (table.cell(True), table.cell(False), table.cell(0)) == ("yes", "no", "0")
    assert table.cell(["a\n", {"b": 1}]) == "a\\n, b=1"


def test_a_length_of_time_says_its_unit_and_its_name_does_not() -> None:
    heard = Listing(name="heard", columns=("id", "age_s"), records=[{"id": 1, "age_s": Span(90)}, {"id": 2}])
    assert table.listing(heard, 0).splitlines() == ["heard:", "  id  age", "  1   90 s", "  2   -"]
    assert table.card(Card(name="lease", fields={"lease_s": Span(60), "walltime_s": 60})).splitlines() == [
        "lease:",
        "  lease       60 s",
        "  walltime_s  60",
    ]


def test_sentences_of_a_record_have_a_line_each_and_words_share_one() -> None:
    fields = {"assumed": ["this, and that", "more"], "nodes": ["n1", "n2"], "none": []}
    assert table.card(Card(name="site", fields=fields)).splitlines() == [
        "site:",
        "  assumed  this, and that",
        "           more",
        "  nodes    n1, n2",
        "  none     -",
    ]


def test_many_rows_are_cut_and_counted() -> None:
    many = Listing(name="many", columns=("id",), records=[{"id": one} for one in range(20)], rows=3)

    assert table.listing(many, 0).splitlines() == ["many:", "  id", "  0", "  1", "  2", "... and 17 more"]


def test_a_terminal_gets_ruled_tables_without_markup() -> None:
    drawn = table.listing(LISTING, 60)

    assert "──" in drawn
    assert "[b]x[/b]\\x1b[2J" in drawn


@pytest.mark.parametrize(("width", "whole"), [(60, True), (40, False)])
def test_times_and_ids_are_broken_only_where_there_is_no_room_at_all(width: int, whole: bool) -> None:
    record = {"since": "2026-11-24T22:37:39+00:00", "words": "a long story of a batch job", "outcome": "done"}
    drawn = table.listing(Listing(name="all", columns=tuple(record), records=[record]), width)
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert max(map(len, drawn.splitlines())) <= width
    assert (record["since"] in drawn) is whole
    assert record["words"] not in drawn
    assert {"story", "done"} <= set(drawn.split())


def test_a_narrow_terminal_gets_aligned_ones() -> None:
    assert "─" not in table.listing(LISTING, 12)


@pytest.mark.parametrize(("encoding", "word", "ruled"), [("utf-8", "ü", True), ("ascii", "\\xfc", False)])
def test_a_terminal_is_shown_what_it_can_show(
    encoding: str, word: str, ruled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    page = Page(parts=(Words(name="text", text="ü"), LISTING))
    with os.fdopen(theirs, "w", encoding=encoding) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        OUTPUTS["table"]().show(page)
        terminal.flush()
        written = os.read(ours, 10_000).decode()
    os.close(ours)

    assert written.startswith(word)
    assert ("─" in written) is ruled
