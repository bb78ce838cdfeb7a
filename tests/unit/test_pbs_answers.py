"""Answers of qstat that are no JSON, not whole, or full of surprises, are read job by job."""

from __future__ import annotations

import pytest

from hpcharvest.errors import BatchUnreachable
from hpcharvest.model.shape import NodeShape
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.pbs_answers import read_json
from tests.services.pbs import in_json, job
from tests.services.recordings import RECORDINGS, recorded

PBS = PbsDialect(VARIANTS["pbs"], NodeShape(cores=1))


@pytest.mark.parametrize("name", sorted(path.stem for path in (RECORDINGS / "pbs").glob("envjson_*.out")))
def test_variables_of_every_kind_do_no_harm(name: str) -> None:
    spoken = recorded("pbs", name)
    if "Jobs" not in spoken.out:  # qsub had failed, and there was nothing to ask for
        with pytest.raises(BatchUnreachable):
            PBS.read_status(spoken)
        return
    (said,) = PBS.read_status(spoken).values()
    assert (said.state, said.tag) == (BatchState.PENDING, "w.sh")


BROKEN = ["005", '"a"b"', '"a\\"', '"\\x"', "nan", '"() {  eval `/usr/bin/modulecmd bash $*`\n}"', "", '"a,\n  "b": {']


@pytest.mark.parametrize("value", BROKEN)
def test_a_job_that_is_no_json_is_read_all_the_same_and_blinds_nobody(value: str) -> None:
    variables = f'{{\n\t\t\t\t"foo":\t{value},\n\t\t\t\t"PBS_O_HOST":\t"vm"\n\t\t\t}}'
    bad = job(Job_Name='"bad"', job_state='"F"', substate="93", Variable_List=variables, Exit_status="-29")
    good = job(Job_Name='"good"', job_state='"R"', substate="42")
    for jobs in ((good, bad, good), (bad, good, good), (good, good, bad)):
        said = PBS.read_status(in_json(*jobs))
        assert sorted((one.state, one.tag) for one in said.values()) == [
            (BatchState.RUNNING, "good"),
            (BatchState.RUNNING, "good"),
            (BatchState.TIMED_OUT, "bad"),
        ]


def test_of_a_job_that_is_no_json_its_walltimes_are_known_too() -> None:
    clock = '{\n\t\t\t\t"walltime":\t"00:01:00"\n\t\t\t}'
    variables = f'{{\n\t\t\t\t"foo":\t005,\n\t\t\t\t"Resource_List":\t{clock.replace("1", "9")}\n\t\t\t}}'
    told = job(job_state='"R"', Resource_List=clock, Variable_List=variables, resources_used=clock)
    assert read_json(in_json(told).out) == {
        "1.vm": {"job_state": "R", "Resource_List.walltime": "00:01:00", "resources_used.walltime": "00:01:00"}
    }


def test_older_servers_indent_with_blanks_and_are_read_too() -> None:
    out = in_json(job(Job_Name='"old"', job_state='"Q"', Variable_List='{\n\t\t\t\t"A": 005\n\t\t\t}')).out
    (said,) = PBS.read_status(Spoken(exit_code=0, out=out.replace("\t", "    "))).values()
    assert (said.state, said.tag) == (BatchState.PENDING, "old")


def test_an_answer_cut_off_leaves_out_what_is_not_whole() -> None:
    whole = recorded("pbs", "qstat_xf_finished").out
    assert PBS.read_accounting(Spoken(exit_code=0, out=whole[: whole.index("    Exit_status")])) == {}
    out = recorded("pbs", "qstat_walltime_json").out
    with pytest.raises(BatchUnreachable):
        PBS.read_status(Spoken(exit_code=0, out=out[: out.index('"Exit_status"')]))
