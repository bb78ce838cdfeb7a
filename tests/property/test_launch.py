"""The command line of a payload: words or a refusal, whatever the server sends, and never a shell's text."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.apps.transfer.copy import path_of
from hpcharvest.config.schema import About, AllocationLimits, Batch, Nodes, Payload, Queue, Site, Storage
from hpcharvest.engine import launch
from hpcharvest.errors import JobNotUnderstood
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec, OutputFile

TEXT = st.characters(codec="utf-8", exclude_characters="\0")
FOLDER = Path("/programs")
SITE = Site(
    site=About(name="here"),
    nodes=Nodes(cores=8, memory_mb=16_000),
    allocation=AllocationLimits(max_nodes=4, max_walltime_s=7200),
    batch=Batch(dialect="local", command=("batch",)),
)


def queue(arguments: tuple[str, ...] = ()) -> Queue:
    return Queue(
        site=SITE,
        payload=Payload(transformation_dir=FOLDER, arguments=arguments),
        storage=Storage(inputs="/remote/in put", outputs="/remote/out"),
    )


QUEUE = queue()


def spec(parameters: str, transformation: str = "work", **more: object) -> JobSpec:
    given: dict[str, object] = {"panda_id": JobId(7), "attempt_nr": 1, **more}
    return JobSpec(transformation=transformation, job_pars=parameters, **given)  # type: ignore[arg-type]  # a test's own


@given(st.text(st.characters()))
def test_any_parameters_are_words_or_not_understood(parameters: str) -> None:
    try:
        words = launch.command(spec(parameters), QUEUE)
    except JobNotUnderstood:
        return
    assert words[0] == "/programs/work"
    assert list(words[1:]) == shlex.split(parameters)
    assert not any("\0" in word for word in words)


@given(st.lists(st.text(TEXT)))
def test_words_that_were_quoted_arrive_as_they_were(words: list[str]) -> None:
    assert launch.command(spec(shlex.join(words)), QUEUE)[1:] == tuple(words)


@given(st.text(st.characters()))
def test_any_transformation_is_a_program_in_its_folder_or_not_understood(transformation: str) -> None:
    try:
        program = Path(launch.command(spec("", transformation), QUEUE)[0])
    except JobNotUnderstood:
        return
    assert program.parent == FOLDER
    assert program.resolve().parent == FOLDER


@pytest.mark.parametrize("transformation", ["", ".", "..", "../work", "/bin/sh", "a/b", "-x", "a b", "w\n", "$(x)"])
def test_a_transformation_that_is_no_plain_name_is_refused(transformation: str) -> None:
    with pytest.raises(JobNotUnderstood, match="no plain name"):
        launch.command(spec("", transformation), QUEUE)


@pytest.mark.parametrize("text", ["; rm -rf /", "$(id)", "`id`", "a|b", "a && b", "> /etc/passwd", "${HOME}", "*"])
def test_what_a_shell_would_take_for_its_own_stays_text(text: str) -> None:
    assert " ".join(launch.command(spec(text), QUEUE)[1:]) == text


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [("say 'open", "split into words"), ("a\\", "split into words"), ("'\0'", "NUL"), ("x" * 10_000_000, "120000")],
)
def test_parameters_that_are_no_command_line_are_refused_with_the_reason(parameters: str, reason: str) -> None:
    with pytest.raises(JobNotUnderstood, match=reason):
        launch.command(spec(parameters), QUEUE)


def test_the_limit_of_parameters_is_one_of_bytes() -> None:
    with pytest.raises(JobNotUnderstood, match="120000"):
        launch.command(spec("\N{GREEK SMALL LETTER ALPHA}" * 70_000), QUEUE)


def test_the_queues_own_arguments_come_last_and_know_the_shape() -> None:
    words = launch.command(spec("one"), queue(("--cores={cores}", "{{}}")), {"cores": 4})
    assert words == ("/programs/work", "one", "--cores=4", "{}")


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1))
def test_the_url_of_a_file_means_the_file_of_that_very_name(lfn: str) -> None:
    found = launch.storage(QUEUE)
    source = found.source(InputFile(lfn=lfn, scope="s"))
    destination = found.destination(OutputFile(lfn=lfn, scope=""))
    assert str(path_of(source)) == f"/remote/in put/s/{lfn}" or lfn in {".", ".."}
    assert str(path_of(destination)) == f"/remote/out/{lfn}" or lfn in {".", ".."}


@pytest.mark.parametrize("lfn", ["..%2F..%2Fvictim", "%2e%2e%2fvictim", "a?b", "a#b", "100%"])
def test_no_name_leads_out_of_the_storage(lfn: str) -> None:
    url = launch.storage(QUEUE).destination(OutputFile(lfn=lfn, scope=""))
    assert path_of(url) == Path("/remote/out") / lfn
