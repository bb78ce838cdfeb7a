"""The benchmarks run and tell what they promise; only figures are looked at that no machine may change."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def bench(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "hpcharvest", "bench", *words, "--output", "json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_engine_is_measured() -> None:
    told = bench("engine", "--jobs", "20")
    promised = "jobs jobs_per_s cpu_ms_per_job peak_rss_mb os_threads median_latency_s log_bytes_per_job"
    assert told.keys() >= set(promised.split())
    assert (told["jobs"], told["double_reports"]) == (20, 0)
    assert told["os_threads"] <= 16


def test_crashes_cost_nothing() -> None:
    told = bench("crash", "--kills", "4", "--in-flight", "20")
    assert told.keys() >= {"kills", "lost", "run_twice", "reported_twice", "median_recovery_s"}
    assert (told["kills"], told["lost"], told["run_twice"], told["reported_twice"]) == (4, 0, 0, 0)


@pytest.mark.needs("slurm")
def test_kills_around_submissions_to_a_real_slurm_leave_no_orphan_and_no_twin() -> None:
    told = bench("batch", "--allocations", "3", "--seconds", "1", "--ends", "1", "--kills", "8")
    promised = "commands_per_min parse_1000_ms end_to_fact_s kills orphans double_submissions"
    assert told.keys() >= set(promised.split())
    assert (told["kills"], told["orphans"], told["double_submissions"], told["run_twice"]) == (8, 0, 0, 0)


def test_event_ranges_are_measured() -> None:
    told = bench("jumbo", "--ranges", "20000", "--nodes", "2", "--start-nodes", "20", "--cores", "8", "--faults", "4")
    promised = "core_time_in_events_2h startup_s_8_nodes startup_s_10000_nodes ranges_per_s peak_rss_mb_1m_ranges"
    assert told.keys() >= {*promised.split(), "faults", "lost", "reported_twice"}
    assert told["core_time_in_events_2h"] >= 0.97, "on virtual time no machine can change it"
    assert 0 < told["startup_s_20_nodes"] <= told["last_process_there_s_20_nodes"] + 2, "the straggler holds nobody"
    assert told["ranges_per_s"] > 0
    assert (told["faults"], told["lost"], told["reported_twice"]) == (4, 0, 0)
