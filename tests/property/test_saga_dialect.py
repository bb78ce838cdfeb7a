"""Whatever SAGA's command line prints: only errors of ours, and no batch job is over that it did not call so."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import BatchError, BatchUnreachable
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.saga import VOCABULARY, SagaDialect
from hpcharvest.providers.saga_command.judge import ENDS, SAGA, Marks, judge

DIALECT = SagaDialect(["saga"], cores=1)
WORDS = sorted({*VOCABULARY.words, *ENDS})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "state", "words", "tag", "lines"]), inner, max_size=5)
    ),
    max_leaves=6,
).map(json.dumps)
ROWS = st.lists(
    st.fixed_dictionaries({"id": st.text(min_size=1, max_size=9), "state": st.sampled_from(WORDS) | st.text()}),
    max_size=5,
    unique_by=lambda row: row["id"],
)
OUT = st.lists(JSON | st.text(max_size=20), max_size=5).map("\n".join) | st.text()
SECONDS = st.floats(0, 1e10)


@given(st.builds(Spoken, exit_code=st.integers(-15, 255), out=OUT, err=st.text()))
def test_no_text_makes_a_parser_stumble_or_a_batch_job_end(spoken: Spoken) -> None:
    for read in (DIALECT.read_status, DIALECT.read_accounting):
        with contextlib.suppress(BatchUnreachable):
            for one in read(spoken).values():
                assert not one.state.ended or any(f'"{word}"' in spoken.out for word in ENDS)
    with contextlib.suppress(BatchError):
        assert DIALECT.read_submitted(spoken) is not None


@given(ROWS, st.integers(0, 10_000))
def test_an_answer_that_is_cut_says_nothing(rows: list[dict[str, str]], cut: int) -> None:
    whole = "".join(json.dumps(row) + "\n" for row in [*rows, {"lines": len(rows)}])
    said = DIALECT.read_status(Spoken(exit_code=0, out=whole))
    assert {one.id: one.state.ended for one in said.values()} == {row["id"]: row["state"] in ENDS for row in rows}
    part = whole[: cut % (len(whole) - 1)]
    with contextlib.suppress(BatchUnreachable):
        raise AssertionError(f"{part!r} was taken for {DIALECT.read_status(Spoken(exit_code=0, out=part))}")


@given(
    st.builds(
        Marks,
        walltime_s=st.integers(1, 10**6),
        began=st.none() | SECONDS,
        ended=st.none() | SECONDS,
        code=st.integers(0, 255),
        cancelled=st.booleans(),
    ),
    st.none() | st.sampled_from([*SAGA, "Unknown"]) | st.text(),
    SECONDS,
)
def test_nothing_is_over_without_sagas_word_a_mark_or_our_own_wish(marks: Marks, told: str | None, now: float) -> None:
    said = judge(marks, told, now)
    if said is not None and said.state in ENDS:
        assert told in {"Done", "Failed", "Canceled"} or marks.ended is not None or marks.cancelled
    if said is not None and said.state == "COMPLETED":
        assert told == "Done" or marks.code == 0
