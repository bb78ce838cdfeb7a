"""Whatever LSF's commands print: only errors of ours, and no batch job is over that LSF did not call so."""

from __future__ import annotations

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchError, BatchUnreachable
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.lsf import REASONS, VOCABULARY, LsfDialect

LSF = LsfDialect()
WORDS = sorted(VOCABULARY.words)
WHY = [*(f"{reason}: job killed" for reason in REASONS), "TERM_NEW: who knows", "-"]
PIECES = ["^", "\n", " ", "7", "-", *WORDS, *WHY, "No job found", "LSF is down", "Job <7> is submitted to queue <q>."]
LINES = st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=30).map("".join)
SPOKEN = st.builds(Spoken, exit_code=st.integers(-15, 255), out=LINES, err=LINES)
NAME = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="^"), min_size=1)
ROWS = st.dictionaries(st.integers(1, 999), st.tuples(st.sampled_from(WORDS), st.sampled_from(WHY), NAME), min_size=1)


def answer(rows: dict[int, tuple[str, str, str]]) -> Spoken:
    lines = (f"{number}^{word}^1^{why}^{name}^a reason; with ^\n" for number, (word, why, name) in rows.items())
    return Spoken(exit_code=0, out="".join(lines))


@given(SPOKEN)
def test_no_text_makes_a_parser_stumble_or_a_batch_job_end(spoken: Spoken) -> None:
    with contextlib.suppress(BatchUnreachable):
        for number, one in LSF.read_status(spoken).items():
            assert number == one.id
            row = rf"^\s*{number}\s*\^\s*(DONE|EXIT)\s*\^"
            assert not one.state.ended or re.search(row, spoken.out, re.MULTILINE)
    with contextlib.suppress(BatchError):
        assert LSF.read_submitted(spoken).isdigit()


@given(ROWS)
def test_every_batch_job_is_told_of_with_its_own_word_and_name(rows: dict[int, tuple[str, str, str]]) -> None:
    said = LSF.read_status(answer(rows))
    assert list(said) == [str(number) for number in sorted(rows)]
    for number, (word, why, name) in rows.items():
        one = said[str(number)]
        wanted = REASONS.get(why.partition(":")[0], BatchState.FAILED) if word == "EXIT" else VOCABULARY.words[word]
        assert (one.state, one.tag) == (wanted, "" if name == "-" else name)
        assert one.state.ended == (word in {"DONE", "EXIT"} and wanted is not BatchState.PENDING)


@given(ROWS, NAME.filter(lambda word: word not in VOCABULARY.words))
def test_a_word_of_tomorrow_is_no_end_and_blinds_nobody(rows: dict[int, tuple[str, str, str]], word: str) -> None:
    said = LSF.read_status(answer(rows | {1000: (word, "TERM_OWNER: job killed by owner", "tag")}))
    assert said["1000"].state is BatchState.UNKNOWN
    assert len(said) == len(rows) + 1
