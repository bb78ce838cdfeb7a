"""Where a key stands, in every way in which TOML lets it be written."""

from __future__ import annotations

import pytest

from hpcharvest.config.lines import KeyPath, key_lines, line_of

TEXT = '''\
# [comment]
top = "a # no comment" # [no.header]
[one]
"quoted key" = 1
'it''s' = 2
dotted.inner . deep = 3

[one.two]  # a comment
list = [
  "]", # ]
  [1, 2],
  {x = "}"},
]
after = 4
[[many]]
name = "first"
inline = {a = 1, b = {c = 2}}
[many.sub]
deep = true
[[many]]
text = """
[not.a.header]
key = "value" \\"""
"""
when = 1979-05-27T07:32:00.5Z
[[many.inner]]
z = \'\'\'
quote '' in it'\'\'\'
[ a . "b.c" ]
last = +1_000.5e3
'''.replace("'it''s'", "'its'")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("one",), 3),
        (("one", "quoted key"), 4),
        (("one", "its"), 5),
        (("one", "dotted"), 6),
        (("one", "dotted", "inner", "deep"), 6),
        (("one", "two"), 8),
        (("one", "two", "list"), 9),
        (("one", "two", "list", 1, 0), 9),
        (("one", "two", "after"), 14),
        (("many",), 15),
        (("many", 0), 15),
        (("many", 0, "name"), 16),
        (("many", 0, "inline", "b", "c"), 17),
        (("many", 0, "sub"), 18),
        (("many", 0, "sub", "deep"), 19),
        (("many", 1), 20),
        (("many", 1, "text"), 21),
        (("many", 1, "when"), 25),
        (("many", 1, "inner", 0), 26),
        (("many", 1, "inner", 0, "z"), 27),
        (("a", "b.c"), 29),
        (("a", "b.c", "last"), 30),
        (("one", "missing"), 3),
        (("nowhere", "at", "all"), 1),
        ((), 1),
    ],
)
def test_line_of_a_key(path: KeyPath, line: int) -> None:
    assert line_of(key_lines(TEXT), path) == line


def test_empty_text_has_no_keys() -> None:
    assert key_lines("") == {}
    assert key_lines("# only a comment") == {}
