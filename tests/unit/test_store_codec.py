from __future__ import annotations

import pytest

from hpcharvest.errors import StoreError
from hpcharvest.model.ids import JobId
from hpcharvest.model.job import InputFile, JobSpec
from hpcharvest.store.codec import Codec

SPEC = JobSpec(
    panda_id=JobId(6_000_000_001),
    attempt_nr=1,
    transformation="Sim_tf.py",
    job_pars='--maxEvents=10 "\x00ä"',
    inputs=(InputFile(lfn="a.root", scope="mc", size=1),),
)


def test_what_is_written_is_read_back() -> None:
    codec = Codec(JobSpec, "attempt_nr")
    text = codec.encode(SPEC)
    assert "attempt_nr" not in text
    assert codec.decode(text, {"attempt_nr": 1}, 1) == SPEC


def test_defaults_are_written_so_that_later_ones_do_not_change_the_past() -> None:
    assert '"core_count":1' in Codec(JobSpec).encode(SPEC)


def test_a_lone_surrogate_does_not_stop_the_store() -> None:
    codec = Codec(InputFile)
    assert codec.decode(codec.encode(InputFile(lfn="a\udcffb", scope="é")), {}, 1) == InputFile(lfn="a?b", scope="é")


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{", '{"lfn": 1, "scope": "mc"}'])
def test_a_row_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(StoreError, match="inputfile 17: its row in the database cannot be read"):
        Codec(InputFile).decode(text, {}, 17)
