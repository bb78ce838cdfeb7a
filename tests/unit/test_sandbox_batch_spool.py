from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

import pytest

from hpcharvest.sandbox.batch.errors import RefusedError
from hpcharvest.sandbox.batch.job import Job
from hpcharvest.sandbox.batch.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = Spool(tmp_path / "spool")
    yield found
    found.close()


def make_job(job_id: int) -> Job:
    return Job(id=job_id, user=0, queue="batch", nodes_wanted=1, walltime_s=9.0, cwd="/", submit_time=1.0)


def test_an_added_job_is_there_with_script_and_environment_even_if_they_are_not_utf8(spool: Spool) -> None:
    spool.add(make_job(1), "echo \udcff", {"A": "\udcfe"})
    assert spool.load() == ({1: make_job(1)}, [], 1)
    assert (spool.work(1) / "script").read_bytes() == b"echo \xff"
    assert spool.environment(1) == {"A": "\udcfe"}


def test_only_the_owner_reads_environments(spool: Spool) -> None:
    spool.add(make_job(1), "", {})
    for path in (spool.root, spool.work(1), spool.work(1) / "environment.json"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_a_torn_record_is_reported_left_alone_and_its_id_never_given_again(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    spool.add(make_job(1), "", {})
    spool.add(make_job(5), "", {})
    torn = spool.root / "jobs" / "5.json"
    torn.write_bytes(torn.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        jobs, names, highest = spool.load()
    assert (list(jobs), names, highest) == ([1], ["5.json"], 5)
    assert "5.json is no job record" in caplog.text
    assert torn.exists()
    assert (spool.work(5) / "script").exists()


def test_a_submission_that_was_cut_short_leaves_no_job(spool: Spool) -> None:
    spool.work(3).mkdir()
    (spool.root / "jobs" / ".3.json.new").write_bytes(b"{")
    assert spool.load() == ({}, [], 0)
    assert not spool.work(3).exists()


def test_ids_are_not_given_again_after_the_job_is_forgotten(spool: Spool) -> None:
    spool.add(make_job(4), "", {})
    spool.forget(4, 4)
    assert spool.load() == ({}, [], 4)


def test_two_daemons_never_share_a_spool(spool: Spool) -> None:
    with pytest.raises(RefusedError, match="has a daemon already"):
        Spool(spool.root)


def test_the_token_and_the_nodes_that_are_down_last(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.save_down({"vn002"})
    first.close()
    again = Spool(tmp_path)
    again.close()
    assert (again.token, again.down()) == (first.token, {"vn002"})
