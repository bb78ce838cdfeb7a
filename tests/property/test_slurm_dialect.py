"""Whatever Slurm's commands print: only errors of ours, and no batch job is over that Slurm did not call so."""

from __future__ import annotations

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchError, BatchUnreachable
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchStatus, Spoken
from hpcharvest.providers.slurm import VOCABULARY, SlurmDialect

SLURM = SlurmDialect()
ENDS = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
WORDS = sorted(VOCABULARY.words)
LINES = st.lists(
    st.one_of(st.sampled_from(["\x1e", "\x1f", "\n", " ", "7", "8_1", "0:0", "None", "error", *WORDS]), st.text()),
    max_size=30,
).map("".join)
SPOKEN = st.builds(Spoken, exit_code=st.integers(-15, 255), out=LINES, err=LINES)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\x1e\x1f"), max_size=20)
ROWS = st.dictionaries(st.integers(1, 999), st.tuples(st.sampled_from(WORDS), NAME, NAME), min_size=1, max_size=6)


def answer(rows: dict[int, tuple[str, str, str]]) -> str:
    return "".join(f"\x1e{number}\x1f" + "\x1f".join(fields) + "\n" for number, fields in rows.items())


def is_said(one: BatchStatus, out: str) -> bool:
    """Whether a row names this batch job beside a word for an end."""
    pattern = rf"(^|[\n\x1e]){re.escape(one.id)}\s*\x1f\s*({'|'.join(ENDS)})"
    return re.search(pattern, re.sub(r"(?<=[\n\x1e])[^\S\n\x1e\x1f]+", "", out)) is not None


@given(SPOKEN)
def test_no_text_makes_a_parser_stumble_or_a_batch_job_end(spoken: Spoken) -> None:
    for read in (SLURM.read_status, SLURM.read_accounting):
        try:
            said = read(spoken)
        except BatchUnreachable:
            continue
        for number, one in said.items():
            assert number == one.id
            assert not one.state.ended or is_said(one, f"\n{spoken.out}")
    with contextlib.suppress(BatchError):
        assert SLURM.read_submitted(spoken).isdigit()


@given(ROWS)
def test_every_batch_job_is_told_of_with_its_own_word_and_name(rows: dict[int, tuple[str, str, str]]) -> None:
    said = SLURM.read_status(Spoken(exit_code=0, out=answer(rows)))
    assert said.keys() == {str(number) for number in rows}
    for number, (word, _, name) in rows.items():
        one = said[str(number)]
        assert one.state is VOCABULARY.words[word]
        assert one.state.ended == (word in ENDS)
        assert one.words.startswith(word)
        assert one.tag == name.strip()


@given(ROWS, st.text(max_size=10).filter(lambda word: word.strip().partition(" ")[0] not in VOCABULARY.words))
def test_a_word_of_tomorrow_is_no_end_and_blinds_nobody(rows: dict[int, tuple[str, str, str]], word: str) -> None:
    new = word.replace("\x1e", "").replace("\x1f", "")
    out = f"\x1e1000\x1fNEW{new}\x1fNone\x1ftag\n" + answer(rows)
    said = SLURM.read_status(Spoken(exit_code=0, out=out))
    assert said["1000"].state is BatchState.UNKNOWN
    assert len(said) == len(rows) + 1


@given(ROWS, st.data())
def test_an_answer_cut_off_ends_nobody_who_lives(rows: dict[int, tuple[str, str, str]], data: st.DataObject) -> None:
    whole = answer(rows)
    out = whole[: data.draw(st.integers(0, len(whole)))]
    with contextlib.suppress(BatchUnreachable):
        for number, one in SLURM.read_status(Spoken(exit_code=0, out=out)).items():
            assert rows[int(number)][0] in ENDS or not one.state.ended
