"""The laws of the line scanner: it finds exactly the keys that tomllib reads, each on the line that it was written."""

from __future__ import annotations

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.config.lines import KeyPath, key_lines

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5),
)
VALUES = st.sampled_from(
    ["1", "-2.5e3", '"a = [b] # c"', "'\\'", '"\\""', '"""\n[x]\ny = 1\n""""', "'''\n''q'''", "1979-05-27 07:32:00",
     "[]", "[ # ]\n 1,\n [2], ]", "{}", '{a = 1, "b" = {c.d = "}"}}', '["]", {x = 1}]']
)  # fmt: skip
BLANKS = st.sampled_from(["", "\n", "# [comment] = {\n", "  \n\t"])
TABLES = st.dictionaries(KEYS, st.tuples(BLANKS, st.lists(KEYS, max_size=2), VALUES), max_size=4)


def written(key: str) -> str:
    bare = key and all(char.isascii() and (char.isalnum() or char in "_-") for char in key)
    return key if bare else json.dumps(key)


@given(st.dictionaries(KEYS, TABLES, max_size=3), st.booleans())
def test_every_key_is_found_on_its_line(tables: dict[str, dict[str, tuple[str, list[str], str]]], arrays: bool) -> None:
    text, expected = "", dict[KeyPath, int]()
    for name, table in tables.items():
        header: KeyPath = (name, 0) if arrays else (name,)
        text += f"[[{written(name)}]] # x\n" if arrays else f" [ {written(name)} ]\n"
        expected[header] = text.count("\n")
        for key, (blank, more, value) in table.items():
            text += blank
            expected[(*header, key, *more)] = text.count("\n") + 1
            text += f"{' . '.join(map(written, [key, *more]))} = {value}\n"
    tomllib.loads(text)
    lines = key_lines(text)
    assert {path: lines.get(path) for path in expected} == expected
    assert leaves(lines) <= expected.keys() | {(name,) for name in tables}


def leaves(lines: dict[KeyPath, int]) -> set[KeyPath]:
    """Give the paths below which there is no other."""
    inner = {path[:length] for path in lines for length in range(len(path))}
    return set(lines) - inner
