"""The laws of lines on a stream of bytes."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.errors import MessageNotUnderstood
from hpcharvest.jumbo.links.framing import Lines
from hpcharvest.jumbo.links.messages import Ack, Lease, Message, Told, decode, encode

LIMIT = 30
lines = st.lists(st.binary(max_size=LIMIT).filter(lambda line: b"\n" not in line), max_size=20)
texts = st.text(max_size=20)
rows = st.lists(st.tuples(st.integers(0, 2**53), texts).map(list), max_size=5)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Told, number=st.integers(0), job=st.integers(), failed=rows, back=st.lists(st.integers(0))),
    st.builds(Lease, job=st.integers(), ranges=rows, files=st.dictionaries(texts, st.lists(texts, max_size=3))),
    st.builds(Ack, number=st.integers(0), void=st.dictionaries(texts, st.lists(st.integers(0)))),
)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(places)]


@given(said=lines, rest=st.binary(max_size=LIMIT), cuts=st.lists(st.integers(0)))
def test_however_a_stream_is_cut_the_same_lines_come(said: list[bytes], rest: bytes, cuts: list[int]) -> None:
    rest = rest.replace(b"\n", b"")
    taker, heard = Lines(LIMIT), list[bytes]()
    for piece in pieces(b"".join(line + b"\n" for line in said) + rest, cuts):
        heard += taker.feed(piece)
    assert heard == said
    assert taker.feed(b"\n") == [rest]


@given(said=lines, extra=st.integers(1, 100), cuts=st.lists(st.integers(0)))
def test_a_line_that_is_too_long_is_refused_however_it_is_cut(said: list[bytes], extra: int, cuts: list[int]) -> None:
    taker, heard = Lines(LIMIT), list[bytes]()

    def feed_all() -> None:
        for piece in pieces(b"".join(line + b"\n" for line in [*said, b"x" * (LIMIT + extra)]), cuts):
            heard.extend(taker.feed(piece))

    with pytest.raises(MessageNotUnderstood):
        feed_all()
    assert heard == said[: len(heard)]


@given(said=st.lists(messages, max_size=5), cuts=st.lists(st.integers(0)))
def test_messages_come_as_they_were_said_whatever_is_in_them(said: list[Message], cuts: list[int]) -> None:
    taker, heard = Lines(1_000_000), list[Message]()
    for piece in pieces(b"".join(encode(message) + b"\n" for message in said), cuts):
        heard += map(decode, taker.feed(piece))
    assert heard == said


def test_the_work_grows_with_the_length_of_a_line_and_not_with_its_square() -> None:
    def seconds(pieces: int) -> float:
        taker, begin = Lines(1 << 30), time.process_time()
        for _ in range(pieces):
            assert taker.feed(b"x" * 1000) == []
        assert len(taker.feed(b"\n")[0]) == pieces * 1000
        return time.process_time() - begin

    short = min(seconds(1_000) for _ in range(3))
    assert seconds(32_000) < 32 * 6 * max(short, 0.0005)
