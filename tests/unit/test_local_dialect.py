from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcharvest.errors import BatchUnreachable, ConfigurationError, SubmissionRefused
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.local import UNREACHABLE_EXIT, LocalDialect
from hpcharvest.providers.registry import dialect
from tests.services.sites import site

LOCAL = LocalDialect(["batch", "--spool", "/spool"])
REQUEST = BatchRequest(tag="me-1-abc", shape=Shape(nodes=2, walltime_s=90), folder=Path("/f"), signal_before_end_s=5)


def test_everything_is_on_the_command_line() -> None:
    words = LOCAL.submit_argv(REQUEST)
    assert words[:4] == ["batch", "--spool", "/spool", "submit"]
    assert {"--nodes=2", "--walltime=90", "--name=me-1-abc", "--no-requeue", "--signal=USR1@5"} <= set(words)
    assert words[-1] == "/f/script.sh"


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", BatchState.PENDING),
        ("RUNNING", BatchState.RUNNING),
        ("COMPLETED", BatchState.COMPLETED),
        ("FAILED", BatchState.FAILED),
        ("TIMEOUT", BatchState.TIMED_OUT),
        ("PREEMPTED", BatchState.PREEMPTED),
        ("NODE_FAIL", BatchState.NODE_FAILED),
        ("CANCELLED", BatchState.CANCELLED),
        ("A_NEW_WORD", BatchState.UNKNOWN),
    ],
)
def test_its_words_become_ours(word: str, state: BatchState) -> None:
    rows = [{"id": 3, "state": word, "reason": "because", "name": "tag"}]
    (status,) = LOCAL.read_status(Spoken(exit_code=0, out=json.dumps(rows))).values()
    assert (status.id, status.state, status.tag) == ("3", state, "tag")
    assert status.words == f"{word} because"


@pytest.mark.parametrize("out", ["", "no JSON", "{}", "[{}]", "[1]", "null"])
def test_an_answer_without_sense_says_nothing_about_any_job(out: str) -> None:
    with pytest.raises(BatchUnreachable, match="makes no sense"):
        LOCAL.read_status(Spoken(exit_code=0, out=out))


def test_a_daemon_that_is_away_is_no_refusal() -> None:
    with pytest.raises(BatchUnreachable, match="away"):
        LOCAL.read_submitted(Spoken(exit_code=UNREACHABLE_EXIT, out="", err="away"))
    with pytest.raises(BatchUnreachable, match="away"):
        LOCAL.read_status(Spoken(exit_code=2, out="", err="away"))
    with pytest.raises(SubmissionRefused, match="no"):
        LOCAL.read_submitted(Spoken(exit_code=1, out="", err="no"))


def test_the_registry_wants_a_command_for_it() -> None:
    assert isinstance(dialect(site("local", command=("batch",))), LocalDialect)
    with pytest.raises(ConfigurationError, match=r"batch\.command"):
        dialect(site("local"))
