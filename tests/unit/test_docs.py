"""The pages that people read say what the code says. That the files which they name exist is tested in test_house."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import click
import pytest

from hpcharvest.cli.main import main
from hpcharvest.config.loader import load
from hpcharvest.messenger.protocol import ExitCode
from hpcharvest.model import facts
from hpcharvest.model.states import (
    AllocationOutcome,
    AllocationState,
    BundleState,
    JobState,
    PayloadResult,
    RangeState,
)
from hpcharvest.sandbox.faults import Kind

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))}

LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(hpcharvest [^`]+)`")
CALL = re.compile(r"(?:^|[\s'/])(hpcharvest (?!is |in |from ).*)")
END_OF_CALL: Final = re.compile(r"[|&;<>'#…,].*")
LOGICAL_LINE = re.compile(r"\\\n\s*")


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found.groups()) for found in FENCE.finditer(PAGES[page])]


def prose(page: str) -> str:
    return FENCE.sub("", PAGES[page])


def anchors(page: str) -> set[str]:
    """Give the names that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def calls(page: str) -> Iterator[str]:
    """Give every command line of ours that a page shows, without what the shell makes of its end."""
    yield from (END_OF_CALL.sub("", found) for found in INLINE.findall(prose(page)))
    for block in blocks(page):
        if block.language in {"", "ini"}:
            lines = LOGICAL_LINE.sub(" ", block.text).splitlines()
            shown = (CALL.search(line) for line in lines if not line.startswith((" ", "…", "hpcharvest:")))
            yield from (END_OF_CALL.sub("", found[1]) for found in shown if found)


def problem(call: str) -> str:
    """Say what is wrong with a command line; empty if click would take its words and options."""
    words = shlex.split(call)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"there is no command {words[0]}"
        command, words = found, words[1:]
    with_help = {"--help", "-h"}
    known = with_help.union(*(one.opts for one in command.params if isinstance(one, click.Option)))
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    return f"{command.name} has no option {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_a_heading_leads_there(page: str) -> None:
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        there = str(((ROOT / page).parent / path).resolve().relative_to(ROOT)) if path else page
        assert (ROOT / there).exists(), target
        assert not anchor or anchor in anchors(there), f"{target}: {there} has {sorted(anchors(there))}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_would_be_taken(page: str) -> None:
    wrong = {call: said for call in calls(page) if (said := problem(call))}
    assert not wrong


@pytest.mark.parametrize(
    ("call", "right"),
    [
        ("hpcharvest run --once", True),
        ("hpcharvest jobs list --state queued", True),
        ("hpcharvest jobs why 1", True),
        ("hpcharvest jobs", True),
        ("hpcharvest fly", False),
        ("hpcharvest jobs fly 1", False),
        ("hpcharvest run --twice", False),
    ],
)
def test_a_wrong_command_line_is_seen(call: str, right: bool) -> None:
    assert (problem(call) == "") is right


def test_command_lines_are_found() -> None:
    found = {page: list(calls(page)) for page in PAGES}
    assert "hpcharvest run" in found["docs/quickstart.md"]
    assert "hpcharvest run --once --config $HOME/harvest/controller.toml" in found["docs/operations.md"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, fresh = set[str](), {"README.md"}
    while fresh:
        page = fresh.pop()
        reached.add(page)
        paths = {target.partition("#")[0] for target in LINK.findall(prose(page))}
        linked = {str(((ROOT / page).parent / path).resolve().relative_to(ROOT)) for path in paths if path}
        fresh |= (linked & PAGES.keys()) - reached
    assert reached == PAGES.keys()


@pytest.mark.parametrize(
    "member", [one for life in (JobState, AllocationState, AllocationOutcome, PayloadResult) for one in life], ids=repr
)
def test_every_state_and_outcome_is_explained(member: Enum) -> None:
    assert f"| `{member.value}` |" in PAGES["docs/concepts.md"]


@pytest.mark.parametrize("member", [one for life in (RangeState, BundleState) for one in life], ids=repr)
def test_every_state_of_ranges_and_bundles_is_explained(member: Enum) -> None:
    assert f"| `{member.value}` |" in PAGES["docs/event-ranges.md"]


FAILURE = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
FAILURES: Final = {int(number): tests for number, _, _, tests in FAILURE.findall(PAGES["docs/failures.md"])}
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def missing_tests(cell: str) -> list[str]:
    """Give the tests that a cell names and that are not there; a cell that names none has to say so."""
    named = TEST_ID.findall(cell)
    if not named:
        return [] if cell == "**not yet**" else [cell]
    return [f"{path}::{test}" for path, test in named if not defines(ROOT / path, test)]


def defines(path: Path, test: str) -> bool:
    return path.is_file() and re.search(rf"^def {test}\(", path.read_text(), re.MULTILINE) is not None


def test_the_list_of_failures_is_whole() -> None:
    assert list(FAILURES) == list(range(1, len(FAILURES) + 1))
    assert len(FAILURES) >= 18


@pytest.mark.parametrize("number", FAILURES)
def test_every_failure_has_its_tests_or_says_that_it_has_none(number: int) -> None:
    assert missing_tests(FAILURES[number]) == []


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        ("**not yet**", 0),
        ("soon", 1),
        ("`tests/unit/test_docs.py::test_the_list_of_failures_is_whole`", 0),
        ("`tests/unit/test_docs.py::test_the_list`", 1),
        ("`tests/unit/test_docs.py::test_the_list_of_failures_is_whole`<br>`tests/unit/test_nothing.py::test_x`", 1),
    ],
)
def test_a_test_that_is_not_there_is_missed(cell: str, missing: int) -> None:
    assert len(missing_tests(cell)) == missing


def test_every_fact_is_named() -> None:
    kinds = [
        name
        for name, kind in vars(facts).items()
        if isinstance(kind, type) and issubclass(kind, facts.JobFact | facts.AllocationFact)
    ]
    missing = {name for name in kinds if not re.search(rf"\b{name}\b", PAGES["docs/concepts.md"])}
    assert missing == {"JobFact", "AllocationFact"}


@pytest.mark.parametrize("kind", Kind)
def test_every_fault_of_the_sandbox_is_explained(kind: Kind) -> None:
    assert f"| `{kind.value}` |" in PAGES["docs/sandbox.md"]


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_of_the_runner_is_explained(code: ExitCode) -> None:
    assert f"\n| {code.value} |" in PAGES["docs/operations.md"].partition("The runner")[2]


@pytest.mark.parametrize(
    ("page", "text"), [(page, one.text) for page in PAGES for one in blocks(page) if one.language == "toml"]
)
def test_every_configuration_can_be_read(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = "[controller]" in text
    assert tomllib.loads(text), page
    if whole:
        file = tmp_path / "controller.toml"
        file.write_text(text)
        assert load(file).queues
