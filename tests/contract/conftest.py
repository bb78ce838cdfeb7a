"""What several suites of this folder are run on: a database of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from hpcharvest.store.database import Database
from tests.services import postgresql

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))]
_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgresql.cluster() as url:
        yield url


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a fresh database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return postgresql.new_database(request.getfixturevalue("server"), f"store_{next(_numbers)}")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Open it."""
    opened = Database.open(url)
    yield opened
    opened.close()
