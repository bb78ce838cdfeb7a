"""A controller from its start to the end of its jobs, in good order and in bad."""

from __future__ import annotations

from pathlib import Path

from tests import worlds
from tests.worlds import Controller


def test_thirty_jobs_are_harvested_and_all_books_agree(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as inside, Controller(inside):
        numbers = worlds.submit(inside, [worlds.copying_job(inside) for _ in range(30)])
        worlds.until_all_over(inside)
        worlds.assert_books_agree(inside, numbers)
        assert set(worlds.tally(inside, "start").values()) == {1}
