"""The program `hpcharvest` as others start it: exit codes, a light start, and commands beside a controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcharvest.clock import SystemClock
from hpcharvest.config.loader import load
from hpcharvest.engine.lease import Lease
from hpcharvest.engine.parts import folders_of
from hpcharvest.sandbox.jobs import make_job
from hpcharvest.sandbox.server import SandboxServer
from tests.unit.test_cli_harvest import write_configuration

PROGRAM = str(Path(sys.executable).with_name("hpcharvest"))
HEAVY = {"parsl", "sqlalchemy", "pydantic", "alembic", "requests", "rich", "psutil", "starlette", "tomllib"}


def call(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [PROGRAM, *map(str, words)]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=180, env={**os.environ, **(env or {})}
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_asking_for_help_imports_nothing_heavy(words: list[str]) -> None:
    program = f"""
import sys
from hpcharvest.cli.main import main
try:
    main({words!r})
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    modules = set(told.stderr.split())
    assert "click" in modules
    assert not modules & HEAVY
    assert {one for one in modules if one.startswith("hpcharvest.")} <= {
        "hpcharvest.cli",
        "hpcharvest.cli.lazy",
        "hpcharvest.cli.main",
        "hpcharvest.cli.output",
        "hpcharvest.cli.page",
        "hpcharvest.cli.plain",
        "hpcharvest.errors",
    }


def test_a_wrong_configuration_is_exit_code_two(tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text("[controller]\n")

    told = call("run", "--config", config)

    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    assert all(line.startswith(f"hpcharvest: {config}:") for line in told.stderr.splitlines())


def test_a_lease_that_another_holds_is_exit_code_three(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    lease = Lease(folders_of(load(config)).lease, 60.0, SystemClock())
    lease.acquire(time.sleep, patient=False)
    try:
        told = call("run", "--once", "--config", config)
    finally:
        lease.release()

    assert told.returncode == 3
    assert "--wait" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    with subprocess.Popen(
        [PROGRAM, "config", "show", "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()

    assert "Traceback" not in complaint


def test_a_controller_answers_what_the_command_line_asks(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    batch = tmp_path / "batch"
    batch.write_text("#!/bin/sh\necho '[]'\n")
    batch.chmod(0o700)
    site = tmp_path / "toy.toml"
    site.write_text(site.read_text().replace('command = ["python3"', f'command = ["{batch}"'))
    with SandboxServer() as server:
        server.desk.books.add([make_job(77, site="TOY", transformation="copy", job_pars="", max_walltime=60)])
        config.write_text(config.read_text().replace("http://127.0.0.1:9", server.url))
        env = {"HPCHARVEST_CONFIG": str(config)}
        with subprocess.Popen([PROGRAM, "run"], stderr=subprocess.PIPE, text=True, env={**os.environ, **env}) as run:
            try:
                _wait_for(tmp_path / "state/hpcharvest.sqlite", run)
                alive = call("status", "--output", "quiet", env=env)
                doctor = call("doctor", env=env)
                while call("jobs", "show", 77, env=env).returncode:
                    time.sleep(0.1)
                asked = call("jobs", "kill", 77, "--wait", 30, "--output", "json", env=env)
                unknown = call("jobs", "kill", 78, env=env)
            finally:
                run.send_signal(signal.SIGTERM)
                assert run.stderr is not None
                said = run.stderr.read()

    assert run.returncode == 0, said
    assert alive.stdout == "alive\n", alive.stderr
    assert doctor.returncode == 0, doctor.stdout
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["requests"][0]["answer"] == "job 77 is told"
    assert "INFO  kill_job 77, asked by" in said
    assert (unknown.returncode, unknown.stderr) == (1, "hpcharvest: there is no job 78\n")
    assert call("status", "--output", "quiet", "--config", config).stdout == "none\n"


def _wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_sandbox_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with subprocess.Popen(
        [PROGRAM, "sandbox", "--ready-file", str(ready)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            _wait_for(ready, server)
            url = json.loads(ready.read_text())["url"]
            assert server.stderr is not None
            assert f"the sandbox is a PanDA server at {url}, until" in server.stderr.readline()
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    assert url.startswith("http://127.0.0.1:")


def test_a_sandbox_without_its_libraries_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["starlette"] = None
sys.modules["uvicorn"] = None
from hpcharvest.cli.main import main
main(["sandbox"])
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert told.returncode == 2
    assert "pip install 'hpcharvest[sandbox]'" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_jobs_file_that_makes_no_sense_is_one_line(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.json"
    jobs.write_text("{")

    told = call("sandbox", "--jobs-file", jobs)

    assert told.returncode == 2
    assert told.stderr.startswith("hpcharvest: the sandbox cannot be started: ")
