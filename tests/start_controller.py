"""A controller's process for tests: the engine as it is, which may be told to die at a commit.

python tests/start_controller.py CONTROLLER.TOML [--once] [--wait] [--die-at NUMBER]
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from hpcharvest.config.loader import load
from hpcharvest.engine.service import run
from hpcharvest.errors import LeaseHeld

LEASE_HELD_EXIT = 75


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--die-at", type=int, default=0, help="odd: before, even: after so many halves of commits")
    given = parser.parse_args()
    configuration = load(given.configuration)
    logging.basicConfig(
        level=configuration.controller.log_level, format="%(asctime)s %(levelname)s %(threadName)s %(name)s %(message)s"
    )
    try:
        run(configuration, once=given.once, wait_for_lease=given.wait, around_commit=_killer(given.die_at))
    except LeaseHeld as error:
        logging.error("%s", error)  # noqa: TRY400, LOG015 - a program's last words
        return LEASE_HELD_EXIT
    return 0


def _killer(number: int) -> Callable[[str], None]:
    """Give what kills this process, as a crash does, when it is called for the `number`-th time; never for 0."""
    calls = itertools.count(1)

    def pass_by(_moment: str) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return pass_by


if __name__ == "__main__":
    sys.exit(main())
