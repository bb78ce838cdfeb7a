"""Whatever qsub and qstat print: only errors of ours, and no batch job is over that the server did not call so."""

from __future__ import annotations

import contextlib
import json
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchError, BatchUnreachable
from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.dialect import BatchStatus, Spoken
from hpcharvest.providers.pbs import VARIANTS, VOCABULARY, PbsDialect
from tests.services.recordings import RECORDINGS, recorded

DIALECTS = {name: PbsDialect(variant, NodeShape(cores=1)) for name, variant in VARIANTS.items()}
PBS, TORQUE = DIALECTS["pbs"], DIALECTS["torque"]
OVER = {"pbs": "F", "torque": "C"}
LETTERS = sorted({*VOCABULARY.words, "M", "X", "F", "C"})
PIECES = [
    *('"', "{", "}", ",", ":", "\n", "\t", "\t\t", "    ", " = ", "7.vm", '\t\t"7.vm":\t{\n', "\t\t}\n", "Jobs"),
    *("Job Id: 7.vm\n", "    job_state = F\n", "    Exit_status = 0\n", '\t\t\t"job_state":\t"F",\n', "\n\n"),
    *('\t\t\t"Exit_status":\t0\n', '{"pbs_server":"vm","Jobs":{', "exit_status", "substate", "91", "-29", "[", "]"),
]
TEXT = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=30).map("".join)
SPOKEN = st.builds(Spoken, exit_code=st.sampled_from([0, 0, 0, 35, 153, 255, -9]), out=TEXT, err=TEXT)
NAME = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=20)
JOB = st.fixed_dictionaries(
    {"Job_Name": NAME, "job_state": st.sampled_from(LETTERS)},
    optional={
        "comment": st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20),
        "Exit_status": st.integers(-40, 300).map(str),
        "substate": st.sampled_from(["10", "42", "91", "92", "93"]),
    },
)
JOBS = st.dictionaries(st.integers(0, 999).map(lambda number: f"{number}.vm"), JOB, min_size=1, max_size=6)
ANYTHING = st.text(st.characters(codec="utf-8"), max_size=30)


def in_json(jobs: dict[str, dict[str, str]], variable: str = "1") -> str:
    """Give an answer as PBS lays it out, where `variable` stands in the first job as it is."""
    told = []
    for at, (number, job) in enumerate(jobs.items()):
        lines = [f"\t\t\t{json.dumps(name)}:\t{json.dumps(value)}" for name, value in job.items()]
        value = variable if at == 0 else "1"
        lines.insert(2, f'\t\t\t"Variable_List":\t{{\n\t\t\t\t"foo":\t{value},\n\t\t\t\t"HOST":\t"vm"\n\t\t\t}}')
        told.append(f'\t\t"{number}":\t{{\n' + ",\n".join(lines) + "\n\t\t}")
    return '{\n\t"pbs_server":\t"vm",\n\t"Jobs":\t{\n' + ",\n".join(told) + "\n\t}\n}\n"


def in_text(jobs: dict[str, dict[str, str]]) -> str:
    return "".join(
        f"Job Id: {number}\n" + "".join(f"    {name} = {value}\n" for name, value in job.items()) + "\n"
        for number, job in jobs.items()
    )


def is_said(one: BatchStatus, out: str, letter: str) -> bool:
    """Whether the answer has this id, and the letter for an end beside `job_state`."""
    after = out.partition(one.id)[2] if one.id in out else out
    return re.search(rf'job_state(?:\s*=\s*|\\?"\s*:\s*\\?"?){letter}', after) is not None


@pytest.mark.parametrize("name", VARIANTS)
@given(spoken=SPOKEN)
def test_no_text_makes_a_parser_stumble_or_a_batch_job_end(name: str, spoken: Spoken) -> None:
    for read in (DIALECTS[name].read_status, DIALECTS[name].read_accounting):
        try:
            said = read(spoken)
        except BatchUnreachable:
            continue
        for number, one in said.items():
            assert number == one.id
            assert not one.state.ended or is_said(one, spoken.out, OVER[name])
    with contextlib.suppress(BatchError):
        assert re.match(r"[0-9]", DIALECTS[name].read_submitted(spoken))


@given(JOBS)
def test_every_batch_job_is_told_of_with_its_own_letter_and_name(jobs: dict[str, dict[str, str]]) -> None:
    answers = {
        "F": (PBS.read_status(Spoken(exit_code=0, out=in_json(jobs))), PBS.read_accounting, in_text(jobs)),
        "C": (TORQUE.read_status(Spoken(exit_code=0, out=in_text(jobs))), TORQUE.read_accounting, in_text(jobs)),
    }
    for over, (said, read, text) in answers.items():
        assert said.keys() == jobs.keys()
        assert read(Spoken(exit_code=153, out=text, err="qstat: Unknown Job Id 1000.vm\n")) == said
        for number, job in jobs.items():
            one, letter = said[number], job["job_state"]
            assert (one.tag, one.words[:1]) == (job["Job_Name"], letter)
            assert letter == over or one.state is VOCABULARY.translate(letter)
            told = (
                "Exit_status" in job or (over == "C" and "substate" not in job) or job.get("substate", "10")[0] == "9"
            )
            assert one.state.ended == (letter == over and told)


@given(JOBS, ANYTHING)
def test_a_variable_that_is_no_json_blinds_nobody(jobs: dict[str, dict[str, str]], variable: str) -> None:
    """Not even its own job, as long as it does not look like a line of an answer."""
    tame = re.sub(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", " ", variable)
    expected = PBS.read_status(Spoken(exit_code=0, out=in_json(jobs)))
    assert PBS.read_status(Spoken(exit_code=0, out=in_json(jobs, tame))) == expected
    # Over several lines it may spoil its own job, but not what is said of the others.
    with contextlib.suppress(BatchUnreachable):
        said = PBS.read_status(Spoken(exit_code=0, out=in_json(jobs, f"005 {variable}")))
        assert {number: said[number] for number in list(jobs)[1:]} == dict(list(expected.items())[1:])


@given(JOBS, st.data())
def test_an_answer_cut_off_ends_nobody_otherwise(jobs: dict[str, dict[str, str]], data: st.DataObject) -> None:
    for name, whole in (("pbs", in_json(jobs)), ("torque", in_text(jobs))):
        read = DIALECTS[name].read_status
        expected = read(Spoken(exit_code=0, out=whole))
        out = whole[: data.draw(st.integers(0, len(whole)))]
        with contextlib.suppress(BatchUnreachable):
            for number, one in read(Spoken(exit_code=0, out=out)).items():
                assert one == expected[number]


@given(st.sampled_from(sorted(path.stem for path in (RECORDINGS / "pbs").glob("qstat_*json.out"))), st.data())
def test_a_recording_with_a_piece_torn_out_ends_nobody_who_lives(name: str, data: st.DataObject) -> None:
    whole = recorded("pbs", name).out
    start = data.draw(st.integers(0, len(whole)))
    out = whole[:start] + whole[start + data.draw(st.integers(0, 200)) :]
    with contextlib.suppress(BatchUnreachable):
        for one in PBS.read_status(Spoken(exit_code=0, out=out)).values():
            assert not one.state.ended or '"job_state":\t"F"' in out
