from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcharvest.config.schema import About, AllocationLimits, Batch, Nodes, Site
from hpcharvest.errors import BatchError, BatchUnreachable, ConfigurationError, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, Spoken
from hpcharvest.providers.registry import dialect
from hpcharvest.providers.saga import SagaDialect
from hpcharvest.providers.saga_command import judge
from hpcharvest.providers.script import render

GOLDEN = Path(__file__).parent.parent / "golden" / "saga_script.sh"
SAGA = SagaDialect(["saga", "--url", "slurm://localhost/"], cores=64)
REQUEST = BatchRequest(
    tag="me-1-abc",
    shape=Shape(nodes=2, walltime_s=90, partition="regular"),
    folder=Path("/f"),
    account="physics",
    options=("JobContact=me",),
    signal_before_end_s=30,
)


def site(*command: str, **limits: int) -> Site:
    return Site(
        site=About(name="here"),
        nodes=Nodes(cores=1),
        allocation=AllocationLimits(max_walltime_s=3600, **limits),
        batch=Batch(dialect="saga", command=command),
    )


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in (*rows, {"lines": len(rows)}))


def test_the_script_is_as_expected() -> None:
    assert render(SAGA, REQUEST, ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/f"]) == GOLDEN.read_text()


def test_on_one_host_the_nodes_are_this_very_host() -> None:
    for command in (["saga", "--url", "fork://localhost/"], ["saga", "--url=local://localhost/"]):
        assert "export HPCHARVEST_VIRTUAL_NODES=1" in SagaDialect(command, cores=1).directives(REQUEST)


def test_everything_is_on_the_command_line() -> None:
    assert SAGA.submit_argv(REQUEST) == [
        *("saga", "--url", "slurm://localhost/", "submit", "--tag=me-1-abc", "--nodes=2", "--cores=64"),
        *("--walltime=90", "--warning=30", "--queue=regular", "--project=physics", "--attribute=JobContact=me"),
        "/f/script.sh",
    ]


def test_sagas_slurm_takes_the_quality_of_service_with_the_queue() -> None:
    request = BatchRequest(tag="t", shape=Shape(nodes=1, walltime_s=60), folder=Path("/f"), qos="premium")
    assert "--queue=:premium" in SAGA.submit_argv(request)


def test_the_batch_id_is_found() -> None:
    assert SAGA.read_submitted(Spoken(exit_code=0, out=lines({"id": "me-1-abc"}))) == "me-1-abc"


@pytest.mark.parametrize(
    ("spoken", "error"),
    [
        (Spoken(exit_code=4, out="", err="chatter\nno such queue"), SubmissionRefused),
        (Spoken(exit_code=1, out="", err="Traceback\nOSError: no such queue"), SubmissionUnknown),
        (Spoken(exit_code=2, out="", err="chatter\nno such queue"), BatchUnreachable),
        (Spoken(exit_code=3, out="", err="no such queue"), SubmissionRefused),
        (Spoken(exit_code=64, out="", err="no such queue"), SubmissionRefused),
        (Spoken(exit_code=-9, out="", err="no such queue"), SubmissionUnknown),
        (Spoken(exit_code=139, out="", err="no such queue"), SubmissionUnknown),
        (Spoken(exit_code=0, out="no such queue"), SubmissionUnknown),
        (Spoken(exit_code=0, out=lines({"no such queue": 1})), SubmissionUnknown),
    ],
)
def test_every_failure_to_submit_has_its_own_name(spoken: Spoken, error: type[BatchError]) -> None:
    with pytest.raises(error, match=r"^[^\n]*no such queue"):
        SAGA.read_submitted(spoken)


@pytest.mark.parametrize("word", sorted({*judge.ENDS, judge.PENDING, judge.RUNNING, judge.UNKNOWN, "A_NEW_WORD"}))
def test_what_the_command_line_says_becomes_ours(word: str) -> None:
    out = lines({"id": "t", "state": word, "words": "Running [slurm://localhost/]-[1]", "tag": "t"})
    (status,) = SAGA.read_status(Spoken(exit_code=0, out=out)).values()
    assert (status.id, status.words, status.tag) == ("t", "Running [slurm://localhost/]-[1]", "t")
    assert status.state.ended is (word in judge.ENDS)
    assert (status.state is BatchState.UNKNOWN) is (word in {judge.UNKNOWN, "A_NEW_WORD"})


def test_no_batch_job_at_all_is_an_answer() -> None:
    assert SAGA.read_status(Spoken(exit_code=0, out=lines())) == {}


@pytest.mark.parametrize(
    "spoken",
    [
        Spoken(exit_code=2, out=lines(), err="away"),
        Spoken(exit_code=0, out=""),
        Spoken(exit_code=0, out='{"id": "t", "state": "FAILED"}\n'),
        Spoken(exit_code=0, out='{"id": "t", "state": "FAILED"}\n{"lines": 2}\n'),
        Spoken(exit_code=0, out='{"id": "t"}\n{"lines": 1}\n'),
        Spoken(exit_code=0, out="[]\n"),
    ],
)
def test_an_answer_that_is_not_whole_says_nothing_about_any_job(spoken: Spoken) -> None:
    with pytest.raises(BatchUnreachable):
        SAGA.read_status(spoken)
    with pytest.raises(BatchUnreachable):
        SAGA.read_accounting(spoken)


def test_a_site_without_a_command_is_told_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match=r"batch\.command.*--url.*slurm://localhost/"):
        dialect(site())


def test_one_host_is_one_node() -> None:
    with pytest.raises(ConfigurationError, match="max_nodes is 2"):
        dialect(site("saga", "--url", "fork://localhost/", max_nodes=2))


def test_a_command_that_cannot_be_run_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"batch\.command does not work"):
        dialect(site("/no/such/saga", "--url", "slurm://localhost/"))
