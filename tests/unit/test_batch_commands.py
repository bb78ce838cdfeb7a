from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcharvest.clock import ManualClock
from hpcharvest.errors import BatchUnreachable, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.batch import BatchSystem, TokenBucket
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Environment, NoAccounting, Spoken
from hpcharvest.providers.local import LocalDialect

REQUEST = BatchRequest(tag="tag", shape=Shape(nodes=1, walltime_s=60), folder=Path("/nowhere"))


class PythonDialect(NoAccounting):
    """A dialect whose commands are a Python program's: `code` is what each of them runs."""

    environment = Environment(nodes="", batch_id="", restart="", deadline="")

    def __init__(self, code: str, argv: Sequence[str] = ()) -> None:
        self._argv = list(argv) or [sys.executable, "-c", code]

    def directives(self, request: BatchRequest) -> Sequence[str]:
        return [request.tag]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        return [*self._argv, request.tag]

    def read_submitted(self, spoken: Spoken) -> str:
        if spoken.exit_code:
            raise SubmissionRefused(spoken.err.strip())
        return spoken.out.strip()

    def status_argv(self) -> Sequence[str]:
        return self._argv

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        rows = [line.split() for line in spoken.out.splitlines()]
        states = {row[0]: BatchState(row[2]) if len(row) > 2 else BatchState.RUNNING for row in rows}
        return {row[0]: BatchStatus(id=row[0], state=states[row[0]], words="", tag=row[1]) for row in rows}

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        return [*self._argv, *ids]


def system(code: str, timeout_s: float = 20.0) -> BatchSystem:
    return BatchSystem(PythonDialect(code), timeout_s=timeout_s, per_minute=600)


def test_a_submission_gives_the_id_and_gets_its_words_as_they_are() -> None:
    assert system("import sys; print(sys.argv[1])").submit(REQUEST) == "tag"


def test_a_refusal_has_the_batch_systems_own_words() -> None:
    with pytest.raises(SubmissionRefused, match="no such account"):
        system("import sys; sys.exit('no such account')").submit(REQUEST)


def test_a_submission_without_an_id_in_its_answer_may_have_happened() -> None:
    with pytest.raises(SubmissionUnknown, match="no batch id"):
        system("").submit(REQUEST)


def test_a_submission_that_hangs_may_have_happened() -> None:
    with pytest.raises(SubmissionUnknown, match="no answer within"):
        system("import time; time.sleep(60)", timeout_s=0.3).submit(REQUEST)


def test_a_question_that_hangs_tells_nothing_about_any_job() -> None:
    with pytest.raises(BatchUnreachable, match="no answer within"):
        system("import time; time.sleep(60)", timeout_s=0.3).status()


def test_who_hangs_is_named_also_behind_env() -> None:
    dialect = PythonDialect("", argv=["env", "-u", "A", "-u", "B", "sleep", "60"])
    behind = BatchSystem(dialect, timeout_s=0.3, per_minute=600)
    with pytest.raises(BatchUnreachable, match=r"^sleep gave no answer"):
        behind.status()


def test_a_script_can_be_executed_when_it_is_submitted(tmp_path: Path) -> None:
    request = replace(REQUEST, folder=tmp_path)
    request.script.write_text("#!/bin/sh\n")
    request.script.chmod(0o640)
    system("print(7)").submit(request)
    assert request.script.stat().st_mode & 0o777 == 0o740


def test_a_program_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(BatchUnreachable, match="cannot run"):
        BatchSystem(LocalDialect(["/no/such/program"])).status()


def test_a_program_that_is_not_there_is_unreachable_also_behind_env(tmp_path: Path) -> None:
    for argv, environment in (["env", "-u", "HOME", "no-such-program"], {}), (["no-such-program"], {"A": "b"}):
        request = replace(REQUEST, folder=tmp_path)
        with pytest.raises(BatchUnreachable, match="cannot run no-such-program"):
            BatchSystem(PythonDialect("", argv), environment=environment).submit(request)


def test_a_tag_is_found_and_the_newest_of_several() -> None:
    asked = system("print('1 other\\n2 tag\\n3 tag')")
    assert asked.find("tag") == "3"
    assert asked.find("nobody's") == ""


def test_of_several_with_a_tag_one_that_is_alive_is_found() -> None:
    asked = system("print('1 tag\\n2 tag\\n3 tag cancelled')")
    assert asked.find("tag") == "2"


def test_cancelling_what_is_gone_is_no_error() -> None:
    system("import sys; sys.exit('no such job')").cancel(["1", "2"])


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert system("import sys; sys.stdout.buffer.write(b'12\\xff')").submit(REQUEST) == "12\N{REPLACEMENT CHARACTER}"


def test_a_bucket_lets_a_few_through_and_then_keeps_the_pace() -> None:
    clock = ManualClock()
    bucket = TokenBucket(60, burst=3, clock=clock)
    assert [bucket.take() for _ in range(5)] == pytest.approx([0, 0, 0, 1, 2])
    clock.advance(10)
    assert bucket.take() == 0
