"""`hpcharvest run`: its log, and the commit at which it is to die."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcharvest.cli import log
from hpcharvest.cli.main import main
from hpcharvest.errors import ConfigurationError
from tests.unit.test_cli_harvest import write_configuration

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO  job 7: received\n")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("hpcharvest")
    before = (list(root.handlers), root.level, ours.level)
    told = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = told


@pytest.mark.usefixtures("logging_restored")
def test_the_log_is_private_and_utc(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.set_up(file, "INFO")

    logging.getLogger("hpcharvest.engine").info("job %s: %s", 7, "received")
    logging.getLogger("hpcharvest.engine").debug("too much")
    logging.getLogger("parsl").info("too much")

    assert LINE.fullmatch(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600


def test_each_line_has_its_own_second() -> None:
    written = log.LineFormatter()

    def line(second: float) -> str:
        return written.format(logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": second}))

    assert [line(second) for second in (0.0, 0.9, 1.0, 0.0)] == [
        "1970-01-01T00:00:00Z INFO  x",
        "1970-01-01T00:00:00Z INFO  x",
        "1970-01-01T00:00:01Z INFO  x",
        "1970-01-01T00:00:00Z INFO  x",
    ]


@pytest.mark.usefixtures("logging_restored")
def test_nobody_can_put_a_line_into_the_log(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.set_up(file, "INFO")

    logging.getLogger("hpcharvest").warning("job 7: %s", "x\n2026-11-21T02:03:04Z INFO  job 8: finished\x1b[2J")

    assert len(file.read_text().splitlines()) == 1
    assert "\x1b" not in file.read_text()


@pytest.mark.usefixtures("logging_restored")
def test_a_log_that_was_moved_away_is_made_anew_at_the_next_look(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.set_up(file, "INFO")
    ours = logging.getLogger("hpcharvest")
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, log.PrivateFile)

    ours.info("before")
    file.rename(tmp_path / "log.1")
    handler.next_look = time.monotonic() + 1000
    ours.info("at once")
    handler.next_look = time.monotonic()
    ours.info("after")

    assert re.findall("before|at once|after", (tmp_path / "log.1").read_text()) == ["before", "at once"]
    assert re.findall("before|at once|after", file.read_text()) == ["after"]


def test_a_log_that_cannot_be_opened_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        log.set_up(tmp_path / "none/log", "INFO")


@pytest.mark.parametrize("moment", ["", "0:before", "3", "3:during", "3:before "])
def test_a_moment_to_die_at_is_well_formed(moment: str, tmp_path: Path) -> None:
    config = write_configuration(tmp_path)

    told = CliRunner().invoke(main, ["run", "--config", str(config), "--die-at-commit", moment])

    assert told.exit_code == 2
    assert "3:before or 12:after" in told.stderr


def test_what_is_imported_for_good_is_not_looked_through_for_garbage_and_what_comes_later_is() -> None:
    program = """
import gc
from hpcharvest.cli.run import for_good
with for_good():
    import decimal
    assert not gc.isenabled()
assert gc.isenabled()
print(gc.get_freeze_count() > 0, any(one is decimal.Decimal for one in gc.get_objects()))
later = []
print(any(one is later for one in gc.get_objects()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "False", "True"]


@pytest.mark.parametrize(
    ("moment", "said"), [((2, "before"), "1b 1a "), ((2, "after"), "1b 1a 2b "), (None, "1b 1a 2b 2a 3b 3a ")]
)
def test_the_process_dies_at_its_moment(moment: tuple[int, str] | None, said: str) -> None:
    program = f"""
from hpcharvest.cli.run import killer
around = killer({moment!r})
for number in (1, 2, 3):
    for now in ("before", "after"):
        around(now)
        print(f"{{number}}{{now[0]}}", end=" ", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == said
    assert done.returncode == (0 if moment is None else -9)
