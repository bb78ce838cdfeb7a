"""What payloads left on a node is removed, whatever they did to it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.jumbo.node import rubbish

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder of somebody who is not root, whom no permission would stop."""
    with tempfile.TemporaryDirectory() as made:
        root = os.geteuid() == 0
        if root:
            os.chown(made, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(made)
        finally:
            if root:
                os.seteuid(0)


def test_folders_that_a_payload_made_read_only_are_removed(place: Path) -> None:
    deep = place / "range" / "a" / "b"
    deep.mkdir(parents=True)
    other = place / "other"
    other.mkdir()
    (deep / "file").write_text("x")
    (place / "range" / "link").symlink_to(other)
    for folder, mode in ((deep, 0o000), (deep.parent, 0o555), (place / "range", 0o500), (other, 0o555)):
        folder.chmod(mode)
    rubbish.remove(place / "range")
    assert [path.name for path in place.iterdir()] == ["other"]
    assert other.stat().st_mode & 0o777 == 0o555, "links are not followed"


def test_what_cannot_be_removed_is_left_and_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "range").mkdir()
    place.chmod(0o555)
    rubbish.remove(place / "range")
    assert "cannot be removed" in caplog.text
    place.chmod(0o755)
    rubbish.remove(place / "range")
    assert not list(place.iterdir())
