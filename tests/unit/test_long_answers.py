"""Answers that are long and odd: who reads them may not need time that grows faster than they do."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hpcharvest.providers.capacity import lsf, text
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.pbs_answers import read_json

LONG = 200_000
ENOUGH_S = 5.0
"""Without care each takes minutes; with it, milliseconds."""

BLANKS = " " * LONG
COMMENT = f'{{\n  "Jobs":{{\n    "1.vm":{{\n      "comment":"a{BLANKS}b"c,\n      "job_state":"R",\n    }}\n  }}\n}}\n'


def queues(answer: str) -> object:
    return lsf.queues(Spoken(exit_code=0, out=answer))


def windows(answer: str) -> object:
    return lsf.holes(Spoken(exit_code=0, out=f"SLOTS: 1\nRUNTIME: 1 hour\nHOSTS: 1*a\n{answer}"))


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        pytest.param(read_json, COMMENT, id="a comment of PBS, in what is no JSON"),
        pytest.param(text.moment, f"Mon{BLANKS}x", id="a moment"),
        pytest.param(text.nodes, f"n[{'1-100000,' * 1000}1]", id="a list of nodes"),
        pytest.param(queues, "QUEUE: q\nRUNLIMIT" + "\n" * LONG, id="queues of LSF"),
        pytest.param(windows, "SLOTS: 1\n" + "\n" * LONG, id="windows of LSF"),
    ],
)
def test_time_goes_with_length(read: Callable[[str], object], answer: str) -> None:
    began = time.perf_counter()
    read(answer)
    assert time.perf_counter() - began < ENOUGH_S


def test_a_job_with_such_a_comment_is_read() -> None:
    assert read_json(COMMENT)["1.vm"]["job_state"] == "R"
