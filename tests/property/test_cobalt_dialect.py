"""Whatever Cobalt prints: only errors of ours, and no batch job is over whose log did not call it so."""

from __future__ import annotations

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchError, BatchUnreachable
from hpcharvest.model.states import BatchState
from hpcharvest.providers.cobalt import COLUMNS, VOCABULARY, CobaltDialect
from hpcharvest.providers.dialect import Spoken

COBALT = CobaltDialect()
DATE = "Sat Nov 21 00:21:06 2026 +0000 (UTC) "
TASK = "task completed normally with an exit code of {}; initiating job cleanup and removal"
ENDS = (
    *(f"Info: {TASK.format(code)}" for code in ("0", "3", "None")),
    "Info: user delete requested",
    "Info: maximum execution time exceeded; initiating job ",
    "ERROR: execution failure;",
)
WORDS = sorted(VOCABULARY.words)
HEADING = "JobID  State    JobName  Location  "
PIECES = [
    HEADING,
    "=" * 40,
    "\n",
    " ",
    "7",
    "==> /f/7.cobaltlog <==",
    DATE,
    *ENDS,
    *WORDS,
    "Info: ",
    "done",
    "exit code",
]
LINES = st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=30).map("".join)
SPOKEN = st.builds(Spoken, exit_code=st.integers(-15, 255), out=LINES, err=LINES)
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
ROWS = st.dictionaries(st.integers(1, 99_999), st.tuples(st.sampled_from(WORDS), CELL, CELL), max_size=6)


def table(rows: dict[int, tuple[str, str, str]]) -> str:
    texts = [COLUMNS, *((str(number), *cells) for number, cells in rows.items())]
    widths = [max(len(text[place]) for text in texts) + 2 for place in range(len(COLUMNS))]
    first, *others = ("".join(map(str.ljust, text, widths)) for text in texts)
    return "\n".join([first, "=" * len(first), *others, ""])


@given(SPOKEN)
def test_no_text_makes_a_parser_stumble_and_qstat_never_ends_a_batch_job(spoken: Spoken) -> None:
    with contextlib.suppress(BatchUnreachable):
        for number, one in COBALT.read_status(spoken).items():
            assert number == one.id
            assert not one.state.ended
    with contextlib.suppress(BatchError):
        assert COBALT.read_submitted(spoken).isdigit()


@given(SPOKEN)
def test_only_the_words_of_its_own_log_end_a_batch_job(spoken: Spoken) -> None:
    with contextlib.suppress(BatchUnreachable):
        for number, one in COBALT.read_accounting(spoken).items():
            assert number == one.id
            own = spoken.out.partition(f"{number}.cobaltlog <==\n")[2]
            assert any(f"{DATE}{end}" in own for end in ENDS)
            assert one.state.ended


@given(ROWS)
def test_every_batch_job_is_told_of_with_its_own_word_and_name(rows: dict[int, tuple[str, str, str]]) -> None:
    said = COBALT.read_status(Spoken(exit_code=0, out=table(rows)))
    assert list(said) == [str(number) for number in sorted(rows)]
    for number, (word, name, _) in rows.items():
        one = said[str(number)]
        assert (one.state, one.tag) == (VOCABULARY.words[word], name)
        assert one.words.startswith(word)


@given(ROWS, CELL.filter(lambda word: word not in VOCABULARY.words))
def test_a_word_of_tomorrow_is_no_end_and_blinds_nobody(rows: dict[int, tuple[str, str, str]], word: str) -> None:
    said = COBALT.read_status(Spoken(exit_code=0, out=table(rows | {100_000: (word, "tag", "None")})))
    assert said["100000"].state is BatchState.UNKNOWN
    assert said["100000"].words == word
    assert len(said) == len(rows) + 1


@given(st.lists(st.sampled_from([*ENDS, "Info: job successfully preempted", "Info: something", ""]), max_size=8))
def test_the_last_word_of_a_log_counts_and_preemption_takes_back_what_was(lines: list[str]) -> None:
    out = "==> /f/7.cobaltlog <==\n" + "\n".join(f"{DATE}{line}" for line in lines)
    said = COBALT.read_accounting(Spoken(exit_code=0, out=out))
    last = next((line for line in reversed(lines) if not re.fullmatch("|Info: something", line)), "")
    assert ("7" in said) == (last in ENDS)
    assert not said or said["7"].words == last.partition(": ")[2].strip()
