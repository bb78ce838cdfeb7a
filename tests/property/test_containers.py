"""The launch line of a payload in a container: its words stay its own, behind the image, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.apps import containers
from hpcharvest.apps.containers import ENGINES, Inside
from hpcharvest.config.schema import Container

words = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1).map(tuple)


@pytest.mark.parametrize("engine", ENGINES)
@given(
    argv=words,
    options=st.lists(st.text(min_size=1)).map(tuple),
    mpi=st.booleans(),
    vendor=st.sampled_from(["", "nvidia", "amd"]),
)
def test_a_payloads_words_are_never_the_engines(
    engine: str, argv: tuple[str, ...], options: tuple[str, ...], mpi: bool, vendor: str
) -> None:
    here = Container(engine=engine, options=options)  # type: ignore[arg-type]  # one of its words
    inside = Inside(image="{image}{bind}", folder="/w", reads=("/r",), variables=("A",), mpi=mpi, gpu_vendor=vendor)
    whole = containers.wrap(here, inside, argv)
    image = whole[len(whole) - len(argv) - 1]
    assert whole[len(whole) - len(argv) :] == argv
    assert image.endswith("{image}{bind}")  # a word is filled in once
    assert whole[len(whole) - len(argv) - 1 - len(options) : len(whole) - len(argv) - 1] == options
    assert whole[0] == engine
