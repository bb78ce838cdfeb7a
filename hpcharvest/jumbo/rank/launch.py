"""The runner's first process where head and nodes speak over MPI: it starts them as ranks, and waits for their end.

There is no next head: when one of the ranks dies, MPI ends all, and what they left is for the controller to salvage.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpcharvest.errors import ConfigurationError, StorageUnavailable
from hpcharvest.jumbo import command, kin
from hpcharvest.jumbo.bell import Bell
from hpcharvest.jumbo.rank import roll
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How soon a word to leave is tried again that could not be left."""
LOOKS: Final = 10
PAUSE_S: Final = 0.1
"""How often, and how long apart, it is looked whether all is ended."""


def run(mailbox: Mailbox, manifest: Manifest, where: Surroundings, environment: Mapping[str, str]) -> ExitCode:
    """Run an allocation as ranks, one on each node; give what the head exits with.

    ConfigurationError: there is no launcher, or it cannot be started.
    """
    launcher = manifest.node_launcher if manifest.nodes_together else manifest.launcher
    if not launcher:
        raise ConfigurationError("the link over MPI needs a launcher, and the site has none")
    cores, gpus = manifest.cores_per_node, manifest.gpus_per_node
    argv = [*command.launched(launcher, where.nodes, per_node=1, cores=cores, gpus=gpus), *_program()]
    more = {roll.SETTINGS_VARIABLE: roll.settings(environment)}
    with Bell() as bell:
        try:
            ranks = subprocess.Popen(
                [*argv, str(mailbox.folder)],
                stdin=subprocess.DEVNULL,
                env={**environment, **more},
                start_new_session=True,  # a signal for all of our group would end the ranks at once
            )
        except OSError as error:
            raise ConfigurationError(f"the launcher {argv[0]} cannot be started: {error}") from error
        _wait(ranks, bell, mailbox, where.restart)
    _end_all(manifest.tag, where.restart)
    return _judge(ranks.returncode)


def _wait(ranks: subprocess.Popen[bytes], bell: Bell, mailbox: Mailbox, restart: int) -> None:
    """Wait for the launcher, and hand a word to leave on: by a note, as launchers end all when they hear a signal."""
    handed_on = False
    while ranks.poll() is None:
        bell.wait(LOOK_S)
        if bell.asked_to_leave and not handed_on:
            try:
                mailbox.leave_word_to_leave(restart)
                handed_on = True
            except StorageUnavailable as error:
                log.warning("the head cannot be told to leave: %s", error)


def _end_all(tag: str, restart: int) -> None:
    """Kill what the ranks left running here; what is just being started is found by another look."""
    for _ in range(LOOKS):
        left = kin.of_this_start(tag, restart)
        if not left:
            return
        kin.send(left, signal.SIGKILL)
        time.sleep(PAUSE_S)
    log.warning("%s processes of ours are still there, though killed", len(left))


def _judge(code: int) -> ExitCode:
    if code in set(ExitCode):
        return ExitCode(code)
    log.error("the ranks ended with %s, before the head was done: the controller looks what they left", code)
    return ExitCode.UNPUBLISHED


def _program() -> list[str]:
    """Give the words that start a rank: from the same folder, or the same zip, as this process."""
    home = Path(__file__).parents[3]
    if home.is_file():
        return [sys.executable, "-I", str(home), "rank"]
    return [sys.executable, "-m", "hpcharvest.jumbo.rank"]
