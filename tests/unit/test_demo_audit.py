"""The audit of the demonstration finds every kind of disagreement: a check that cannot fail would prove nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hpcharvest.cli.demo.audit import Booked, Evidence, Kept, Order, Physics, audit
from hpcharvest.cli.demo.findings import Content, Disagreement
from hpcharvest.model.states import JobState
from hpcharvest.sandbox.states import JobState as ServerState

A, B = (
    Order(job=job, process="top pairs", output=f"{job}.hepmc3.gz", log=f"{job}.log.tgz", events=40) for job in (1, 2)
)
CONTENT = {name: Content(1000 + place, f"{place:08x}") for place, name in enumerate([*A.files, *B.files])}


def report(contents: Mapping[str, Content]) -> str:
    return json.dumps(
        {name: {"guid": "g", "fsize": one.size, "adler32": one.adler32} for name, one in contents.items()}
    )


def of(order: Order, **changed: Content) -> dict[str, Content]:
    kinds = {"output": order.output, "log": order.log}
    return {name: changed.get(kind, CONTENT[name]) for kind, name in kinds.items()}


GOOD = Evidence(
    orders=(A, B),
    books={
        one.job: Booked(state=ServerState.FINISHED, final_reports=1, output_report=report(of(one))) for one in (A, B)
    },
    double_reports=0,
    ledger={one.job: Kept(state=JobState.FINISHED, files=of(one), report_owed=False) for one in (A, B)},
    storage=CONTENT,
    physics={one.output: Physics(events=40, cross_section_pb=600.0) for one in (A, B)},
    starts={1: 1, 2: 1},
)
OTHER = Content(7, "0000abcd")


def without(table: Mapping[Any, Any], key: object) -> dict[Any, Any]:
    return {name: value for name, value in table.items() if name != key}


def booked(**changes: Any) -> Evidence:
    return replace(GOOD, books={**GOOD.books, 1: replace(GOOD.books[1], **changes)})


def kept(**changes: Any) -> Evidence:
    return replace(GOOD, ledger={**GOOD.ledger, 1: replace(GOOD.ledger[1], **changes)})


def physics(**changes: Any) -> Evidence:
    return replace(GOOD, physics={**GOOD.physics, A.output: replace(GOOD.physics[A.output], **changes)})


def test_nothing_is_found_where_all_agree() -> None:
    assert audit(GOOD) == ()


CASES: dict[str, tuple[Evidence, int | None, str]] = {
    "server does not know": (replace(GOOD, books=without(GOOD.books, 1)), 1, "the server does not know it"),
    "server failed": (booked(state=ServerState.FAILED), 1, "the server has it as failed"),
    "server not final": (booked(state=ServerState.HOLDING), 1, "the server has it as holding"),
    "never reported": (booked(final_reports=0), 1, "the server got 0 final reports"),
    "reported twice": (booked(final_reports=2), 1, "the server got 2 final reports"),
    "no report": (booked(output_report=""), 1, "the output report at the server cannot be read"),
    "report of no size": (booked(output_report='{"a": {"adler32": "1"}}'), 1, "cannot be read"),
    "report is a list": (booked(output_report="[]"), 1, "cannot be read"),
    "report without log": (
        booked(output_report=report(without(of(A), A.log))),
        1,
        f"the server's output report does not list {A.log}",
    ),
    "report with another file": (
        booked(output_report=report({**of(A), "x": OTHER})),
        1,
        "the server's output report lists x, which the job does not owe",
    ),
    "server has another size": (
        booked(output_report=report(of(A, output=CONTENT[A.output]._replace(size=1)))),
        1,
        f"says 1 bytes 00000000 of {A.output}, the storage has 1000 bytes 00000000",
    ),
    "server has another checksum": (
        booked(output_report=report(of(A, log=CONTENT[A.log]._replace(adler32="0000abcd")))),
        1,
        f"says 1001 bytes 0000abcd of {A.log}, the storage has 1001 bytes 00000001",
    ),
    "double reports": (replace(GOOD, double_reports=1), None, "the server counts 1 final reports too many"),
    "ledger does not know": (replace(GOOD, ledger=without(GOOD.ledger, 1)), 1, "the local ledger does not know it"),
    "ledger not final": (kept(state=JobState.RAN), 1, "the local ledger has it as ran"),
    "ledger failed": (kept(state=JobState.FAILED), 1, "the local ledger has it as failed"),
    "ledger owes": (kept(report_owed=True), 1, "the local ledger still owes the server a report"),
    "ledger without log": (kept(files=without(of(A), A.log)), 1, f"the local ledger does not list {A.log}"),
    "ledger has another checksum": (
        kept(files=of(A, output=CONTENT[A.output]._replace(adler32="0000abcd"))),
        1,
        f"the local ledger says 1000 bytes 0000abcd of {A.output}",
    ),
    "output lost": (replace(GOOD, storage=without(CONTENT, A.output)), 1, f"{A.output} is not in the outputs storage"),
    "log lost": (replace(GOOD, storage=without(CONTENT, A.log)), 1, f"{A.log} is not in the outputs storage"),
    "file nobody ordered": (
        replace(GOOD, storage={**CONTENT, ".x.partial": OTHER}),
        None,
        "the outputs storage: .x.partial is there, which nobody ordered",
    ),
    "strange job at the server": (
        replace(GOOD, books={**GOOD.books, 3: GOOD.books[1]}),
        None,
        "the server's books: job 3 is there, which nobody submitted",
    ),
    "strange job in the ledger": (
        replace(GOOD, ledger={**GOOD.ledger, 3: GOOD.ledger[1]}),
        None,
        "the local ledger: job 3 is there, which nobody submitted",
    ),
    "physics unchecked": (replace(GOOD, physics=without(GOOD.physics, A.output)), 1, f"{A.output} was not checked"),
    "momentum not conserved": (physics(problem="out of balance"), 1, f"{A.output}: out of balance"),
    "too few events": (physics(events=39), 1, f"{A.output} has 39 events, 40 were asked for"),
    "too many events": (physics(events=41), 1, f"{A.output} has 41 events, 40 were asked for"),
    "no cross-section": (physics(cross_section_pb=0.0), 1, "has a cross-section of 0.0 pb"),
    "nonsense of a cross-section": (physics(cross_section_pb=float("nan")), 1, "has a cross-section of nan pb"),
    "never run": (replace(GOOD, starts={2: 1}), 1, "its payload was started 0 times"),
    "run twice": (replace(GOOD, starts={1: 2, 2: 1}), 1, "its payload was started 2 times"),
}


@pytest.mark.parametrize(("evidence", "job", "what"), CASES.values(), ids=CASES.keys())
def test_each_disagreement_is_found_and_names_its_job(evidence: Evidence, job: int | None, what: str) -> None:
    found = audit(evidence)
    assert len(found) == 1
    assert found[0].job == job
    assert what in found[0].what


def test_an_empty_file_is_found_even_if_all_agree_on_it() -> None:
    empty = Content(0, "00000001")
    agreed = replace(
        kept(files=of(A, output=empty)),
        books=booked(output_report=report(of(A, output=empty))).books,
        storage={**CONTENT, A.output: empty},
    )
    assert audit(agreed) == (Disagreement(1, f"{A.output} is empty"),)


def test_a_file_that_changed_in_the_storage_contradicts_server_and_ledger() -> None:
    found = audit(replace(GOOD, storage={**CONTENT, A.output: OTHER}))
    assert [one.what.partition(" says ")[0] for one in found] == ["the server's output report", "the local ledger"]


def test_no_jobs_prove_nothing() -> None:
    empty: dict[Any, Any] = {}
    nothing = Evidence(
        orders=(), books=empty, double_reports=0, ledger=empty, storage=empty, physics=empty, starts=empty
    )
    assert audit(nothing) == (Disagreement(None, "no job was submitted, so nothing is proven"),)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, storage=without(one.storage, A.log)),
        lambda one: replace(one, double_reports=2),
        lambda one: replace(one, starts={1: 1, 2: 3}),
    ],
)
def test_every_disagreement_is_told_not_just_the_first(spoil: Callable[[Evidence], Evidence]) -> None:
    assert len(audit(spoil(physics(events=1)))) == 2
