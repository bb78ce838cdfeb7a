"""References to images: whatever stands there is a name that no engine takes for anything else, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.model.image import LONGEST, ImageKind, ImageReference, parse

DIGEST = f"sha256:{'ab12' * 16}"
likely = st.lists(
    st.sampled_from(["-", "--", "a", "b1", "/", ":", "@", DIGEST, "docker-archive:", "docker://", "..", " ", "\n", ","])
).map("".join)


@given(st.one_of(st.text(), likely))
def test_any_text_is_a_plain_name_or_no_image(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert len(text) <= LONGEST
    for word in (found.wanted, found.name):
        assert word
        assert not word.startswith("-")
        assert word.isascii()
        assert not set(word) & set(" \t\r\n,;|&$`'\"\\")
    assert found.kind is ImageKind.REGISTRY or (found.name.startswith("/") and ":" not in found.name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("alpine", "alpine:latest"),
        ("docker://atlas/athena:24.0", "atlas/athena:24.0"),
        ("registry.example:5000/a/b-c/d_e:v1", "registry.example:5000/a/b-c/d_e:v1"),
        (f"a/b@{DIGEST}", f"a/b@{DIGEST}"),
        (f"a/b:1@{DIGEST}", f"a/b@{DIGEST}"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_names_are_pulled_by_digest_where_there_is_one(text: str, wanted: str) -> None:
    assert parse(text).wanted == wanted


def test_archives_and_files_are_known_by_how_they_begin() -> None:
    assert parse("oci-archive:/a/b.tar") == ImageReference(kind=ImageKind.ARCHIVE, name="/a/b.tar", form="oci-archive")
    assert parse("/cvmfs/x@1/y+z.sif") == ImageReference(kind=ImageKind.FILE, name="/cvmfs/x@1/y+z.sif")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a/../b",
        "/a:b",
        "docker-archive:a",
        "docker-archive:",
        "a@sha256:12",
        "a:",
        ":1",
        "a//b",
        "a b",
        "x" * 513,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"image|path"):
        parse(text)
