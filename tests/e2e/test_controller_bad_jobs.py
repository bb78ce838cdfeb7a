"""Jobs that are wrong in one way or another, among good ones: each is reported with its reason, and harms no other."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from hpcharvest.model.ids import JobId
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.world import Recipe, World
from tests import worlds
from tests.worlds import Controller

RECIPE = Recipe(patience={"retry_first_s": 0.2, "retry_max_s": 1.0, "stage_tries": 3})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one controller for all the tests of this module: what harms a job must not harm those that come later."""
    with worlds.world(tmp_path_factory.mktemp("bad"), RECIPE) as inside, Controller(inside) as controller:
        yield inside
        assert controller.process.poll() is None, worlds.log_of(inside)


def without(key: str, **more: Any) -> dict[str, Any]:
    given = worlds.job(**more)
    del given[key]
    return given


def changed(**more: Any) -> dict[str, Any]:
    return worlds.job() | more


def harvest(inside: World, bad: dict[str, Any]) -> str:
    """Harvest a bad job between two good ones; give what the server was told of the bad one."""
    first, number, last = worlds.submit(inside, [worlds.job(), bad, worlds.job()])
    states = worlds.until_all_over(inside, timeout_s=180)
    assert (states[first], states[number], states[last]) == ("finished", "failed", "finished")
    told = worlds.server_job(inside, number)
    assert told["double_reports"] == 0
    with worlds.database(inside) as opened:
        record = opened.jobs.get(JobId(number))
        assert record is not None
        assert record.state is JobState.FAILED
        assert record.error_code
    return str(told["fields"].get("pilot_error_diag", "")) + record.error


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (without("jobPars"), "'jobPars' is missing"),
        (changed(coreCount="many"), "'coreCount' is 'many'"),
        (changed(outFiles="../escape,log.tgz", logFile="log.tgz"), "leads to another folder"),
        (changed(outFiles="a\nb,log.tgz", logFile="log.tgz"), "control characters"),
        (changed(inFiles="-rf", GUID="", checksum="", fsize="", scopeIn=""), "'inFiles'"),
        (changed(jobPars="say 'never closed"), "split into words"),
        (changed(jobPars="\ud800"), "surrogates"),
        (changed(transformation="http://elsewhere/run.sh"), "no plain name"),
        (changed(transformation="../../bin/sh"), "no plain name"),
        (changed(jobPars="x" * 200_000), "120000"),
        (changed(coreCount=1000), "nodes"),
        (changed(maxWalltime=1_000_000), "may be asked for"),
        (worlds.job("exit 3"), "exit code 3"),
        (worlds.job("say nothing"), "did not leave"),
        (changed(transformation="nosuchprogram"), "nosuchprogram"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_job_is_told_with_its_reason(running: World, bad: dict[str, Any], reason: str) -> None:
    assert reason in harvest(running, bad)


def test_ten_megabytes_of_parameters_are_refused_with_the_reason(running: World) -> None:
    assert "bytes" in harvest(running, changed(jobPars="x" * 10_000_000))


def test_a_missing_source_is_told_at_once(running: World) -> None:
    given = worlds.copying_job(running)
    (running.inputs / "sandbox" / given["inFiles"]).unlink()
    assert given["inFiles"] in harvest(running, given)


@pytest.mark.parametrize("change", [{"checksum": "ad:00000001"}, {"fsize": "7"}])
def test_a_source_that_is_not_what_was_promised_is_told(running: World, change: dict[str, str]) -> None:
    assert "promised" in harvest(running, worlds.copying_job(running) | change)


def test_a_failed_payload_leaves_its_log(running: World) -> None:
    bad = worlds.job("say before exit 3")
    harvest(running, bad)
    (log,) = running.outputs.rglob(bad["logFile"])
    with tarfile.open(log) as tar:
        stderr = tar.extractfile(next(name for name in tar.getnames() if name.endswith("stderr.txt")))
        assert stderr is not None
        assert b"told to fail" in stderr.read()
    assert worlds.server_job(running, bad["PandaID"])["fields"]["trans_exit_code"] == 3


def test_what_a_shell_would_obey_arrives_as_it_is(running: World) -> None:
    words = ["; touch /tmp/never", "$(id)", "`id`", "a && b", "> file", "two  spaces", "it's", "\N{SNOWMAN}"]
    quoted = " ".join(f"say '{word}'" if "'" not in word else f'say "{word}"' for word in words)
    given = worlds.job(quoted.replace("{", "{{") + " copy words {out}")
    (number,) = worlds.submit(running, [given])
    assert worlds.until_all_over(running)[number] == "finished"
    (out,) = running.outputs.rglob(f"out.{number}.txt")
    assert out.read_text().split("\0")[:-1] == words


def test_names_that_mean_something_in_a_url_are_names(running: World) -> None:
    number, name = worlds.next_number(), "out #%2F..%2F?"
    given = worlds.job(f"write 'out #%2F..%2F?{number}.txt'", outputs=[f"{name}{number}.txt"])
    (number,) = worlds.submit(running, [given])
    assert worlds.until_all_over(running)[number] == "finished", worlds.log_of(running)
    assert [one.parent.name for one in running.outputs.rglob("out #*")] == ["sandbox"]
